//! Everything that is derived from a log is a function of it: however it was made, it is the replay of the log (law 5).

#[path = "../../engine/tests/engine/random_log.rs"]
mod random_log;
mod support;

use proptest::prelude::*;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use support::log::clock;
use td_engine::db::{ProjectDb, Purpose};
use td_engine::event::LogEvent;
use td_engine::id::{Epoch, Seq};
use td_server::live::LiveView;
use td_server::log::{EventLog, Options, ReadQuery, SqliteLog};
use td_server::snapshot::{Folder, Shelf, Version};

/// Writes events into a log's file as they are, words that no push would let through included.
fn store(path: &Path, events: &[LogEvent]) -> SqliteLog {
    if !path.exists() {
        SqliteLog::create(path, &Options::new(clock())).expect("a log");
    }
    let file = rusqlite::Connection::open(path).expect("opens");
    let mut insert = file
        .prepare(
            "INSERT INTO events (server_seq, device_id, session_id, client_action_id, action_type, entity_type,
             entity_id, payload, client_timestamp) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )
        .expect("statement");
    file.execute_batch("PRAGMA synchronous = OFF; BEGIN").expect("begin");
    for e in events {
        insert
            .execute((
                e.seq.0,
                e.device.as_str(),
                e.session.as_str(),
                e.action_id.0,
                &e.action,
                e.entity_type.as_str(),
                &e.entity_id,
                e.payload.as_str().as_bytes(),
                e.client_time.canonical(),
            ))
            .expect("stored");
    }
    file.execute_batch("COMMIT").expect("commit");
    drop(insert);
    drop(file);
    SqliteLog::open(path, Options::new(clock())).expect("opens")
}

fn after(log: &SqliteLog, seq: Seq) -> Vec<LogEvent> {
    let mut events = Vec::new();
    let query = ReadQuery { after: seq, limit: 10_000, exclude: None };
    log.read(&query, &mut |event| {
        events.push(event);
        ControlFlow::Continue(())
    })
    .expect("readable");
    events
}

/// A device that pulls the whole log.
fn replayed(log: &SqliteLog) -> ProjectDb {
    let mut device = ProjectDb::in_memory(clock()()).expect("a database");
    device.apply_page(&after(log, Seq(0)), log.head().seq).expect("page");
    device
}

fn lines(db: &ProjectDb) -> Vec<String> {
    let on: bool = db.conn().query_row("PRAGMA foreign_keys", [], |r| r.get(0)).expect("asked");
    assert!(on, "foreign keys are on everywhere");
    let wrong: i64 = db
        .conn()
        .query_row("SELECT COUNT(*) FROM pragma_foreign_key_check", [], |r| r.get(0))
        .expect("checked");
    assert_eq!(wrong, 0);
    db.digest_lines().expect("lines")
}

/// `PROPTEST_CASES=1000` for a long run.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_snapshot_however_it_was_made_a_live_view_and_devices_are_the_log_replayed(
        log in random_log::log(80),
        steps in prop::collection::vec((1..20usize, any::<bool>(), any::<bool>()), 1..6),
    ) {
        let dir = tempfile::tempdir().expect("dir");
        let epoch = Epoch::parse("0123456789abcdef0123456789abcdef").expect("epoch");
        let store_of = || Arc::new(Folder::new(dir.path().join("snap")));
        let shelf = Shelf::new(store_of(), Version::current(&epoch), clock());
        let mut view = LiveView::new(dir.path().join("project.db"), clock());
        let (mut rest, mut first) = (log.as_slice(), None);
        for (n, from_view, clear) in steps.into_iter().chain([(usize::MAX, false, false)]) {
            let (now, later) = rest.split_at(n.min(rest.len()));
            rest = later;
            let log = store(&dir.path().join("events.db"), now);
            let want = replayed(&log);
            let seen = view.catch_up(&log).expect("applied");
            if clear {
                // Then it is made from the view, or from nothing.
                shelf.clear();
            }
            let made = shelf.make(&log, from_view.then(|| (view.place(), seen))).expect("made");
            let path = dir.path().join("snap").join(made.name.to_string());
            let snapshot = ProjectDb::open(&path, Purpose::Snapshot).expect("opens");
            prop_assert_eq!(lines(&snapshot), lines(&want), "the snapshot at {}", made.seq());
            drop(snapshot);
            let live = ProjectDb::open(&dir.path().join("project.db"), Purpose::LiveView).expect("opens");
            prop_assert_eq!(lines(&live), lines(&want), "the live view at {}", seen);
            if first.is_none() {
                first = Some(dir.path().join("device.db"));
                std::fs::copy(&path, dir.path().join("device.db")).expect("installed");
            }
            let mut device = ProjectDb::open(first.as_deref().expect("installed"), Purpose::Device).expect("opens");
            let td_engine::db::Standing::At(cursor) = device.standing().expect("standing") else {
                panic!("a device continues from a snapshot")
            };
            device.apply_page(&after(&log, cursor), log.head().seq).expect("page");
            prop_assert_eq!(lines(&device), lines(&want), "a device that began with a snapshot");
            prop_assert_eq!(made.digest().expect("digest").hex, want.digest().expect("digest").to_string());
        }
    }
}
