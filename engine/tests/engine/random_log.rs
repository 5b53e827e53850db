//! Random logs: events of every kind about a few entities, so that they meet; mostly sensible, sometimes nonsense.
//!
//! The server's tests use this file too.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use td_engine::event::LogEvent;
use td_engine::time::ClientTime;

const TABLES: [&str; 14] = [
    "issues",
    "issues",
    "issues",
    "logs",
    "comments",
    "handoffs",
    "boards",
    "work_sessions",
    "board_issue_positions",
    "issue_dependencies",
    "issue_files",
    "work_session_issues",
    "issue_reviews",
    "notes",
];

/// A few ids per kind, so that events meet.
fn id(kind: &'static str) -> impl Strategy<Value = String> {
    (1..4u8).prop_map(move |n| format!("{kind}-{n}"))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => select(vec!["a", "b", "", "2026-01-01T00:00:00Z", "2026-01-01 01:00:00+01:00", "5", "9e999"]).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => select(vec![json!(null), json!(true), json!([1, "x"]), json!({"issue": {"title": "in"}})]),
    ]
}

/// Mostly what the table needs, sometimes less, sometimes nonsense.
fn fields(table: &'static str) -> BoxedStrategy<Value> {
    let needed: &[&str] = match table {
        "issues" => &["title", "priority", "labels", "closed_at", "points", "parent_id"],
        "logs" => &["session_id", "message", "issue_id"],
        "comments" => &["issue_id", "session_id", "text"],
        "handoffs" => &["issue_id", "session_id", "done"],
        "boards" => &["name", "query", "is_builtin", "last_viewed_at"],
        "work_sessions" => &["name", "session_id", "worktree_root", "ended_at"],
        "board_issue_positions" => &["board_id", "issue_id", "position"],
        "issue_dependencies" => &["issue_id", "depends_on_id", "relation_type"],
        "issue_files" => &["issue_id", "file_path", "role"],
        "work_session_issues" => &["work_session_id", "issue_id"],
        "issue_reviews" => &["issue_id", "reviewer_session", "decision"],
        _ => &["title", "content", "created_at", "updated_at", "pinned"],
    };
    let field = |name: &'static str| {
        let reference = match name {
            "issue_id" | "depends_on_id" | "parent_id" => Some("issues"),
            "board_id" => Some("boards"),
            "work_session_id" => Some("work_sessions"),
            _ => None,
        };
        let value = match reference {
            Some(kind) => prop_oneof![9 => id(kind).prop_map(Value::from), 1 => value()].boxed(),
            None if name == "relation_type" => {
                select(vec!["depends_on", "related"]).prop_map(Value::from).boxed()
            }
            None => value().boxed(),
        };
        (Just(name), value, prop::bool::weighted(0.9))
    };
    let all: Vec<_> = needed.iter().map(|n| field(n)).collect();
    (all, prop::bool::weighted(0.05))
        .prop_map(|(all, unknown)| {
            let there = all.into_iter().filter(|(.., there)| *there).map(|(k, v, _)| (k.to_owned(), v));
            let mut map: Map<String, Value> = there.collect();
            if unknown {
                map.insert("colour".into(), json!("red"));
            }
            Value::Object(map)
        })
        .boxed()
}

fn payload(table: &'static str) -> impl Strategy<Value = Value> {
    let meta = prop::option::of(0..60i64);
    prop_oneof![
        6 => (fields(table), fields(table), meta).prop_map(|(new, previous, base)| {
            let mut payload = json!({"new_data": new, "previous_data": previous});
            if let Some(base) = base {
                payload["meta"] = json!({"v": 1, "actor": "a", "origin": "td", "base_seq": base});
            }
            payload
        }),
        3 => fields(table).prop_map(|new| json!({"new_data": new, "previous_data": {}})),
        1 => select(vec![json!(null), json!([]), json!({}), json!({"new_data": 5}), json!({"previous_data": null})]),
    ]
}

type Draft = (&'static str, &'static str, &'static str, String, Value);

fn draft() -> impl Strategy<Value = Draft> {
    let actions =
        vec!["create", "create", "create", "update", "update", "delete", "soft_delete", "restore", "merge"];
    (select(TABLES.to_vec()), select(vec!["A", "B", "C"]), select(actions)).prop_flat_map(
        |(table, device, action)| (Just(table), Just(device), Just(action), id(table), payload(table)),
    )
}

/// A log of up to so many events.
pub fn log(length: usize) -> impl Strategy<Value = Vec<LogEvent>> {
    prop::collection::vec(draft(), 1..length).prop_map(|drafts| {
        let numbered = (1..).zip(drafts);
        numbered
            .map(|(seq, (table, device, action, id, payload))| {
                event(seq, device, action, table, &id, &payload)
            })
            .collect()
    })
}

fn event(seq: i64, device: &str, action: &str, table: &str, id: &str, payload: &Value) -> LogEvent {
    let start = ClientTime::parse("2026-01-01T00:00:00Z").expect("time").unix_nanos();
    let at = ClientTime::from_unix_nanos(start + i128::from(seq) * 1_000_000_000).expect("time");
    serde_json::from_value(json!({
        "server_seq": seq, "device_id": device, "session_id": "ses_1", "client_action_id": seq,
        "action_type": action, "entity_type": table, "entity_id": id, "payload": payload,
        "client_timestamp": at,
    }))
    .expect("event")
}
