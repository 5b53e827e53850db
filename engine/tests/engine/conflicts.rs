//! Conflicts beyond the rules in `merge/conflicts.txt`: giving back, and the reference's own table.

use crate::events::{at, busy_log, count, create, event, replayed, update};
use serde_json::{Value, json};
use td_engine::conflict::{Kind, compose_restore, list_conflicts};
use td_engine::db::{ProjectDb, Purpose};
use td_engine::id::Seq;

#[test]
fn every_losing_side_can_be_given_back_by_an_ordinary_event() {
    let mut db = replayed(&busy_log());
    let conflicts = list_conflicts(db.conn()).expect("conflicts");
    assert!(
        conflicts.iter().any(|c| c.kind == Kind::Edit) && conflicts.iter().any(|c| c.kind == Kind::Cascade)
    );
    for (seq, conflict) in (810..).zip(conflicts) {
        let composed = compose_restore(db.conn(), db.catalog(), &conflict, at(seq)).expect("compose");
        let Some(r) = composed else { continue };
        let payload = json!({"new_data": r.new, "previous_data": r.previous});
        let restoring = event(seq, "me", r.action.as_str(), &r.entity_type, &r.entity_id, &payload);
        let report = db.apply_page(&[restoring], Seq(seq)).expect("page");
        assert_eq!((report.applied, report.in_part), (1, 0), "{conflict:?}");
        let again = compose_restore(db.conn(), db.catalog(), &conflict, at(seq)).expect("compose");
        assert_eq!(again, None, "{conflict:?}");
    }
}

#[test]
fn a_conflict_is_the_same_whatever_was_already_there() {
    let log = busy_log();
    let whole = list_conflicts(replayed(&log).conn()).expect("conflicts");
    let mut restarted = ProjectDb::in_memory(at(5)).expect("another built-in board");
    restarted.apply_page(&log[..600], Seq(600)).expect("page");
    restarted.apply_page(&log[600..], Seq(809)).expect("page");
    assert_eq!(list_conflicts(restarted.conn()).expect("conflicts"), whole);
}

#[test]
fn a_row_overwritten_whole_is_shown_in_the_table_of_the_reference_once() {
    let log = [
        create(1, "A", "work_sessions", "ws-1", json!({"name": "w", "session_id": "s"})),
        create(2, "B", "work_sessions", "ws-1", json!({"name": "v", "session_id": "s"})),
        update(3, "A", "work_sessions", "ws-1", json!({"name": "w"}), json!({"name": "u"})),
    ];
    let mut db = replayed(&log);
    let (table, local, when): (String, String, String) = db
        .conn()
        .query_row("SELECT entity_type, local_data, overwritten_at FROM sync_conflicts", [], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?))
        })
        .expect("one row");
    let local: Value = serde_json::from_str(&local).expect("json");
    assert_eq!((table.as_str(), local["name"].as_str()), ("work_sessions", Some("w")));
    assert_eq!(when, at(2).canonical());
    db.reset().expect("reset");
    db.apply_page(&log, Seq(3)).expect("page");
    assert_eq!(count(&db, "SELECT count(*) FROM sync_conflicts"), 1, "not told twice");
}

/// Law 3: a device whose clock is a year ahead does not win by it.
#[test]
fn a_later_sequence_wins_whatever_the_clocks_say() {
    let titled = |title: &str, when: i64| json!({"title": title, "updated_at": at(when).fixed_utc()});
    const AHEAD: i64 = 31_536_000;
    let mut log = vec![
        create(1, "A", "issues", "td-1", titled("first", 1)),
        update(2, "B", "issues", "td-1", titled("first", 1), titled("of tomorrow", AHEAD)),
        update(3, "A", "issues", "td-1", titled("first", 1), titled("of today", 3)),
    ];
    log[1].client_time = at(AHEAD);
    let db = replayed(&log);
    assert_eq!(count(&db, "SELECT count(*) FROM issues WHERE title = 'of today'"), 1);
}

#[test]
fn the_built_in_board_of_two_copies_is_no_conflict_and_no_difference() {
    let log = [
        update(
            1,
            "A",
            "boards",
            "bd-all-issues",
            json!({"view_mode": "x"}),
            json!({"view_mode": "swimlanes"}),
        ),
        create(2, "B", "boards", "bd-all-issues", json!({"name": "All Issues", "is_builtin": true})),
    ];
    let (_dir, path) = {
        let d = tempfile::tempdir().expect("folder");
        let p = d.path().join("x.db");
        (d, p)
    };
    let mut other = ProjectDb::create(&path, Purpose::Snapshot, at(50)).expect("create");
    other.apply_page(&log, Seq(2)).expect("page");
    let db = replayed(&log);
    assert_eq!(count(&db, "SELECT count(*) FROM tdsync_conflict"), 0);
    assert_eq!(db.digest().expect("digest"), other.digest().expect("digest"));
    assert_eq!(count(&db, "SELECT count(*) FROM boards WHERE is_builtin"), 1);
}
