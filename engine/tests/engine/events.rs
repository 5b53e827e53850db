//! Events for tests, and the fixtures they are compared with.

use serde_json::{Value, json};
use std::path::PathBuf;
use td_engine::db::ProjectDb;
use td_engine::event::LogEvent;
use td_engine::id::Seq;
use td_engine::time::ClientTime;

pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name)
}

/// Compares with a file of `tests/fixtures`, or writes it.
pub fn assert_expected(name: &str, actual: &str) {
    let path = fixture(name);
    if std::env::var_os("TD_REWRITE").is_some() {
        std::fs::write(&path, actual).expect("write");
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some((n, (want, got))) =
        expected.lines().zip(actual.lines()).enumerate().find(|(_, (w, g))| w != g)
    {
        panic!("{name} line {}:\n  expected {want}\n  got      {got}\n{REWRITE}", n + 1);
    }
    assert!(expected == actual, "{name} has another length\n{REWRITE}");
}

const REWRITE: &str = "TD_REWRITE=1 cargo test -p td-engine writes the expected files anew; read the diff";

/// The moment of event `seq`: so many seconds after the start of 2026.
pub fn at(seq: i64) -> ClientTime {
    let start = ClientTime::parse("2026-01-01T00:00:00Z").expect("time").unix_nanos();
    ClientTime::from_unix_nanos(start + i128::from(seq) * 1_000_000_000).expect("time")
}

pub fn event(seq: i64, device: &str, action: &str, table: &str, id: &str, payload: &Value) -> LogEvent {
    serde_json::from_value(json!({
        "server_seq": seq, "device_id": device, "session_id": "ses_1", "client_action_id": seq,
        "action_type": action, "entity_type": table, "entity_id": id, "payload": payload,
        "client_timestamp": at(seq),
    }))
    .expect("event")
}

pub fn create(seq: i64, device: &str, table: &str, id: &str, new: Value) -> LogEvent {
    event(seq, device, "create", table, id, &json!({"new_data": new, "previous_data": {}}))
}

pub fn update(seq: i64, device: &str, table: &str, id: &str, previous: Value, new: Value) -> LogEvent {
    event(seq, device, "update", table, id, &json!({"new_data": new, "previous_data": previous}))
}

pub fn empty() -> ProjectDb {
    ProjectDb::in_memory(at(0)).expect("database")
}

/// A database with this log applied.
pub fn replayed(log: &[LogEvent]) -> ProjectDb {
    let mut db = empty();
    db.apply_page(log, log.last().map_or(Seq(0), |e| e.seq)).expect("page");
    db
}

pub fn count(db: &ProjectDb, sql: &str) -> i64 {
    db.conn().query_row(sql, [], |r| r.get(0)).expect(sql)
}

/// What foreign keys would object to.
pub fn violations(db: &ProjectDb) -> i64 {
    count(db, "SELECT count(*) FROM pragma_foreign_key_check")
}

/// The server's log of the recorded project: 809 events of three people.
pub fn busy_log() -> Vec<LogEvent> {
    let text = std::fs::read_to_string(fixture("td-0.62/busy/events.jsonl")).expect("fixture");
    let event = |line: &str| {
        let mut event: Value = serde_json::from_str(line).expect("line");
        // The log stores a payload as text; a pull answer carries it as JSON.
        let payload = event["payload"].as_str().expect("text").to_owned();
        event["payload"] = serde_json::from_str(&payload).expect("payload");
        serde_json::from_value(event).expect("event")
    };
    text.lines().map(event).collect()
}
