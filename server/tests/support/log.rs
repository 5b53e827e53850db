//! Logs in memory with events of every kind.

use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicI64, Ordering};
use td_engine::event::{LogEvent, NewEvent, Push};
use td_engine::id::{ActionId, DeviceId, Seq, SessionId};
use td_engine::payload::Payload;
use td_engine::taxonomy::{Action, Schema, TdSchema};
use td_engine::time::ClientTime;
use td_server::log::{
    Clock, EventLog, Filter, Head, HistoryQuery, Inspected, LogError, MemoryLog, ReadQuery, Ticket,
};
use tokio::sync::watch;

pub fn clock() -> Clock {
    std::sync::Arc::new(|| ClientTime::parse("2026-11-21T12:00:00Z").expect("time"))
}

/// A log with a counter for action ids.
pub struct Log(pub MemoryLog, AtomicI64);

impl Log {
    pub fn new() -> Self {
        Self(MemoryLog::new(clock()), AtomicI64::new(1))
    }

    pub fn head(&self) -> Seq {
        self.0.head().seq
    }

    /// One event of a device.
    pub fn event(&self, device: &str, action: &str, table: &str, id: &str, new: Value, previous: Value) {
        let payload = json!({"schema_version": 1, "new_data": new, "previous_data": previous});
        let event = NewEvent {
            action_id: ActionId(self.1.fetch_add(1, Ordering::SeqCst)),
            action: Action::from_stored(action).expect("an action"),
            entity_type: TdSchema.entity_type(table).expect("a type"),
            entity_id: id.into(),
            payload: Some(Payload::from_value(&payload)),
            client_time: ClientTime::parse("2026-11-21T10:00:00Z").expect("time"),
        };
        let push = Push {
            device: DeviceId::new(device).expect("id"),
            session: SessionId::new("ses").expect("id"),
            events: vec![event],
        };
        self.0.append(push).blocking_recv().expect("answered").expect("stored");
    }

    fn create(&self, device: &str, table: &str, id: &str, new: Value) {
        self.event(device, "create", table, id, new, json!({}));
    }

    /// Creations of issues.
    pub fn issues(&self, first: i64, last: i64) {
        for n in first..=last {
            self.create("dev", "issues", &format!("td-{n:06}"), issue(n, "as it was"));
        }
    }

    /// Changes of issues that are there.
    pub fn edits(&self, first: i64, count: i64) {
        for n in first..first + count {
            let id = format!("td-{n:06}");
            self.event("dev", "update", "issues", &id, issue(n, "changed"), issue(n, "as it was"));
        }
    }

    /// What is hard about applying: cascades, conflicts, cycles, orphans, poison, deletions. Needs issues 1 to 9.
    pub fn everything(&self, n: i64) {
        let comment = |issue: &str| json!({"issue_id": issue, "session_id": "s", "text": "fine"});
        let dependency = |from: &str, to: &str| json!({"issue_id": from, "depends_on_id": to, "relation_type": "depends_on"});
        self.create("dev", "comments", &format!("cm-{n}"), comment("td-000001"));
        self.create(
            "dev",
            "handoffs",
            &format!("ho-{n}"),
            json!({"issue_id": "td-000001", "session_id": "s"}),
        );
        self.create("other", "issues", "td-000001", issue(1, "replaced, children and all"));
        self.event("dev", "update", "issues", "td-000002", issue(2, "mine"), issue(2, "as it was"));
        self.event("other", "update", "issues", "td-000002", issue(2, "theirs"), issue(2, "as it was"));
        self.create("dev", "issue_dependencies", &format!("dep-{n}-a"), dependency("td-000003", "td-000004"));
        self.create(
            "other",
            "issue_dependencies",
            &format!("dep-{n}-b"),
            dependency("td-000004", "td-000003"),
        );
        self.create("dev", "comments", &format!("cm-{n}-orphan"), comment("td-none"));
        self.event("dev", "soft_delete", "issues", "td-000005", json!({}), issue(5, "as it was"));
        self.event("dev", "restore", "issues", "td-000005", json!({}), json!({}));
        self.event("dev", "delete", "issues", "td-000006", json!({}), issue(6, "as it was"));
        self.event("dev", "update", "issues", "td-000006", issue(6, "too late"), issue(6, "as it was"));
        self.event("dev", "soft_delete", "comments", &format!("cm-{n}"), json!({}), json!({}));
        self.event("dev", "create", "issues", &format!("td-poison-{n}"), json!({"colour": "red"}), json!({}));
        self.create("dev", "boards", &format!("bd-{n}"), json!({"name": format!("board {n}"), "query": ""}));
    }
}

fn issue(n: i64, title: &str) -> Value {
    json!({"id": format!("td-{n:06}"), "title": format!("{n} {title}"), "status": "open", "type": "task", "priority": "P2",
        "description": "a line about what has to be done, as long as such lines usually are",
        "created_at": "2026-11-21T10:00:00Z", "updated_at": "2026-11-21T10:00:00Z"})
}

/// A log as it was at an earlier head, though more can be read from it.
pub struct Until<'a>(pub &'a dyn EventLog, pub Seq);

impl EventLog for Until<'_> {
    fn append_at_most(&self, push: Push, most_new: i64) -> Ticket {
        self.0.append_at_most(push, most_new)
    }
    fn read(
        &self,
        query: &ReadQuery,
        each: &mut dyn FnMut(LogEvent) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        self.0.read(query, each)
    }
    fn history(
        &self,
        query: &HistoryQuery,
        each: &mut dyn FnMut(LogEvent) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        self.0.history(query, each)
    }
    fn inspect(
        &self,
        filter: &Filter,
        each: &mut dyn FnMut(Inspected) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        self.0.inspect(filter, each)
    }
    fn head(&self) -> Head {
        Head { seq: self.1, ..self.0.head() }
    }
    fn watch(&self) -> watch::Receiver<Head> {
        self.0.watch()
    }
}
