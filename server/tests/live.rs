//! The live view and snapshots are functions of the log: deleted, damaged or outdated, they come back equal (law 5).

use std::path::Path;
use std::sync::Arc;
use td_engine::db::{ProjectDb, Purpose};
use td_engine::event::{NewEvent, Push};
use td_engine::id::{ActionId, DeviceId, Seq, SessionId};
use td_engine::payload::Payload;
use td_engine::taxonomy::{Action, Schema, TdSchema};
use td_engine::time::ClientTime;
use td_server::live::{LiveView, StateDigest};
use td_server::log::{Clock, EventLog, MemoryLog};
use td_server::snapshot;

fn clock() -> Clock {
    Arc::new(|| ClientTime::parse("2026-11-21T12:00:00Z").expect("time"))
}

fn log_of(issues: i64) -> MemoryLog {
    let log = MemoryLog::new(clock());
    append(&log, 1, issues);
    log
}

fn append(log: &MemoryLog, first: i64, last: i64) {
    let events = (first..=last).map(|n| NewEvent {
        action_id: ActionId(n),
        action: Action::Create,
        entity_type: TdSchema.entity_type("issues").expect("type"),
        entity_id: format!("td-{n:06}"),
        payload: Payload::parse(&format!(
            r#"{{"schema_version":1,"previous_data":{{}},"new_data":{{"id":"td-{n:06}","title":"issue {n}","status":"open","type":"task","priority":"P2","created_at":"2026-11-21T10:00:00Z","updated_at":"2026-11-21T10:00:00Z"}}}}"#
        ))
        .ok(),
        client_time: ClientTime::parse("2026-11-21T10:00:00Z").expect("time"),
    });
    let push = Push {
        device: DeviceId::new("dev").expect("id"),
        session: SessionId::new("ses").expect("id"),
        events: events.collect(),
    };
    log.append(push).blocking_recv().expect("answered").expect("stored");
}

fn fresh(log: &dyn EventLog, path: &Path) -> StateDigest {
    LiveView::new(path.to_path_buf(), clock()).digest(log).expect("digest")
}

#[test]
fn a_view_that_was_deleted_comes_back_equal_and_follows_the_log() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("project.db");
    let log = log_of(2500);
    let mut view = LiveView::new(path.clone(), clock());
    let first = view.digest(&log).expect("digest");
    assert_eq!((first.seq, first.format), (Seq(2500), 1));
    drop(view);
    assert_eq!(fresh(&log, &path), first, "opened again");
    std::fs::remove_file(&path).expect("delete");
    assert_eq!(fresh(&log, &path), first, "built again");
    append(&log, 2501, 2502);
    let more = fresh(&log, &path);
    assert_eq!(more.seq, Seq(2502));
    assert_ne!(more.hex, first.hex);
}

#[test]
fn a_damaged_view_is_built_again() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("project.db");
    let log = log_of(300);
    let first = fresh(&log, &path);
    for damage in ["no database at all", ""] {
        std::fs::write(&path, damage).expect("damage");
        assert_eq!(fresh(&log, &path), first, "{damage:?}");
    }
    // Every page but the first is overwritten: the file opens, and reading fails.
    let size = std::fs::metadata(&path).expect("meta").len();
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[4096..].fill(0x5a);
    assert!(size > 8192);
    std::fs::write(&path, bytes).expect("damage");
    append(&log, 301, 301);
    assert_eq!(fresh(&log, &path).seq, Seq(301));
}

#[test]
fn a_view_of_other_rules_or_of_another_history_is_built_again() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("project.db");
    let (long, short) = (log_of(50), log_of(20));
    let want = fresh(&short, &dir.path().join("other.db"));
    assert_eq!(fresh(&long, &path).seq, Seq(50));
    assert_eq!(fresh(&short, &path), want, "its cursor was ahead of the log");
    let raw = rusqlite::Connection::open(&path).expect("open");
    raw.execute("UPDATE tdsync_meta SET value = '0' WHERE key = 'rules'", []).expect("older rules");
    raw.execute("DELETE FROM issues", []).expect("rows that other rules left out");
    drop(raw);
    assert_eq!(fresh(&short, &path), want);
}

#[test]
fn a_snapshot_equals_the_live_view_at_its_sequence_and_is_one_whole_file() {
    let dir = tempfile::tempdir().expect("dir");
    let log = log_of(1200);
    let path = dir.path().join("1200.db");
    let now = clock()();
    assert_eq!(snapshot::build(&log, None, &path, now).expect("built"), Seq(1200));
    let live = fresh(&log, &dir.path().join("project.db"));
    let digest =
        |path: &Path| ProjectDb::open(path, Purpose::Device).expect("opens").digest().expect("digest");
    assert_eq!(digest(&path).to_string(), live.hex);
    let half = dir.path().join("600.db");
    assert_eq!(snapshot::build(&log, Some(Seq(600)), &half, now).expect("built"), Seq(600));
    assert_eq!(digest(&half).to_string(), fresh(&log_of(600), &dir.path().join("600-live.db")).hex);
    assert!(snapshot::build(&MemoryLog::new(clock()), None, &half, now).is_err());
    let beside: Vec<_> =
        std::fs::read_dir(dir.path()).expect("list").map(|e| e.expect("entry").file_name()).collect();
    assert!(!beside.iter().any(|n| n.to_string_lossy().contains(".half")), "{beside:?}");
}
