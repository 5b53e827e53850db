//! The recorded log of three people at work, 809 events, replayed.

use std::path::PathBuf;
use td_engine::db::ProjectDb;
use td_engine::event::LogEvent;
use td_engine::time::ClientTime;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

fn busy_log() -> Vec<LogEvent> {
    let text = std::fs::read_to_string(fixtures().join("td-0.62/busy/events.jsonl")).expect("fixture");
    let event = |line: &str| {
        let mut event: serde_json::Value = serde_json::from_str(line).expect("line");
        // The log stores a payload as text; a pull answer carries it as JSON.
        let payload = event["payload"].as_str().expect("text").to_owned();
        event["payload"] = serde_json::from_str(&payload).expect("payload");
        serde_json::from_value(event).expect("event")
    };
    text.lines().map(event).collect()
}

fn start() -> ClientTime {
    ClientTime::parse("2026-01-01T00:00:00Z").expect("time")
}

#[test]
fn pages_of_any_size_give_one_digest() {
    let log = busy_log();
    let digests = [1, 7, 1000].map(|size| {
        let mut db = ProjectDb::in_memory(start()).expect("db");
        for page in log.chunks(size) {
            db.apply_page(page, page[page.len() - 1].seq).expect("page");
        }
        db.digest_at_cursor().expect("digest")
    });
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
}
