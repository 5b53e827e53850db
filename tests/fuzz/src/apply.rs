//! Events as a log may hold them, one JSON object a line, for the engine alone.
//!
//! What holds (laws 5 and 7): they apply, whatever they are; where pages are cut does not matter; no foreign key is
//! broken; what is recorded about them can be read; local changes can be taken back.

use serde_json::{Value, json};
use std::ops::ControlFlow;
use td_engine::conflict::each_conflict;
use td_engine::db::ProjectDb;
use td_engine::event::LogEvent;
use td_engine::id::Seq;
use td_engine::replay::list_skipped;
use td_engine::time::ClientTime;

/// More make an input slow and say nothing new.
const MOST: usize = 24;

pub fn run(input: &[u8]) {
    let log: Vec<LogEvent> =
        input.split(|b| *b == b'\n').filter_map(event).take(MOST).zip(1..).map(number).collect();
    let Some(last) = log.last().map(|e| e.seq) else { return };
    let mut whole = empty();
    whole.apply_page(&log, last).expect("a page applies");
    let mut paged = empty();
    for event in &log {
        paged.apply_page(std::slice::from_ref(event), event.seq).expect("a page applies");
    }
    let digest = whole.digest().expect("digest");
    assert_eq!(digest, paged.digest().expect("digest"), "pages of one");
    holds(&whole);

    let write = whole.write().expect("write");
    for event in &log {
        write.apply_local(event.into()).expect("a local change applies");
    }
    write.commit().expect("commit");
    holds(&whole);
    let write = whole.write().expect("write");
    drop(write.restore_before().expect("taken back"));
    write.commit().expect("commit");
    assert_eq!(whole.digest().expect("digest"), digest, "local changes, taken back");
}

fn empty() -> ProjectDb {
    let now = ClientTime::parse("2026-01-01T00:00:00Z").expect("a time");
    ProjectDb::in_memory(now).expect("a database")
}

fn holds(db: &ProjectDb) {
    let broken: i64 = db
        .conn()
        .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |r| r.get(0))
        .expect("check");
    assert_eq!(broken, 0, "foreign keys");
    list_skipped(db.conn()).expect("what was skipped");
    each_conflict(db.conn(), None, &mut |_| ControlFlow::Continue(())).expect("conflicts");
}

/// What a line says, with what it leaves out filled in.
fn event(line: &[u8]) -> Option<LogEvent> {
    let Value::Object(said) = serde_json::from_slice(line).ok()? else { return None };
    let mut event = json!({
        "server_seq": 0, "device_id": "a", "session_id": "s", "client_action_id": 0, "action_type": "create",
        "entity_type": "issues", "entity_id": "td-1", "payload": {}, "client_timestamp": "2026-01-01T00:00:00Z",
    });
    event.as_object_mut()?.extend(said);
    serde_json::from_value(event).ok()
}

fn number((event, seq): (LogEvent, i64)) -> LogEvent {
    LogEvent { seq: Seq(seq), ..event }
}
