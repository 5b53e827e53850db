//! Local changes on top of the log, and the way back.

use crate::events::{busy_log, count, create, empty, event, replayed, update, violations};
use rusqlite::params;
use serde_json::json;
use td_engine::apply::Outcome;
use td_engine::db::ProjectDb;
use td_engine::event::LogEvent;
use td_engine::id::Seq;

/// Two issues with one child of each kind, by device A.
fn project() -> Vec<LogEvent> {
    let issue = |seq, id| create(seq, "A", "issues", id, json!({"title": id, "parent_id": "td-1"}));
    vec![
        issue(1, "td-1"),
        issue(2, "td-2"),
        create(3, "A", "comments", "cm-1", json!({"issue_id": "td-1", "session_id": "s", "text": "t"})),
        create(4, "A", "handoffs", "ho-1", json!({"issue_id": "td-1", "session_id": "s"})),
        create(5, "A", "issue_files", "ifl_1", json!({"issue_id": "td-1", "file_path": "a"})),
        create(6, "A", "issue_dependencies", "dep_1", json!({"issue_id": "td-1", "depends_on_id": "td-2"})),
        create(7, "A", "boards", "bd-1", json!({"name": "b"})),
        create(8, "A", "work_sessions", "ws-1", json!({"name": "w", "session_id": "s"})),
        create(
            9,
            "A",
            "board_issue_positions",
            "bip_1",
            json!({"board_id": "bd-1", "issue_id": "td-1", "position": 1}),
        ),
        create(
            10,
            "A",
            "work_session_issues",
            "wsi_1",
            json!({"work_session_id": "ws-1", "issue_id": "td-1"}),
        ),
    ]
}

fn local(db: &mut ProjectDb, events: &[LogEvent]) -> Vec<Outcome> {
    let write = db.write().expect("write");
    let outcomes = events.iter().map(|e| write.apply_local(e.into()).expect("local")).collect();
    write.commit().expect("commit");
    outcomes
}

/// Rows, conflicts and quarantine as they stand, local changes included.
fn state(db: &ProjectDb) -> Vec<String> {
    db.digest_lines().expect("lines")
}

#[test]
fn every_kind_of_local_change_can_be_taken_back() {
    let changes = [
        create(0, "B", "issues", "td-9", json!({"title": "new"})),
        create(0, "B", "comments", "cm-9", json!({"issue_id": "td-1", "session_id": "s", "text": "t"})),
        update(0, "B", "issues", "td-1", json!({"title": "a"}), json!({"title": "b"})),
        update(0, "B", "boards", "bd-1", json!({}), json!({"name": "replaced, with its positions"})),
        create(0, "B", "issues", "td-1", json!({"title": "replaced, with its children"})),
        create(0, "B", "issue_files", "if-2", json!({"issue_id": "td-1", "file_path": "a"})),
        create(0, "B", "issue_dependencies", "dep_2", json!({"issue_id": "td-2", "depends_on_id": "td-1"})),
        event(0, "B", "soft_delete", "issues", "td-1", &json!(null)),
        event(0, "B", "delete", "issues", "td-1", &json!(null)),
        event(0, "B", "delete", "boards", "bd-1", &json!(null)),
        event(0, "B", "delete", "work_sessions", "ws-1", &json!(null)),
    ];
    for change in &changes {
        let mut db = replayed(&project());
        let (digest, before) = (db.digest().expect("digest"), state(&db));
        local(&mut db, std::slice::from_ref(change));
        let after = state(&db);
        let skipped = change.entity_type.as_str() == "issue_dependencies";
        assert_eq!(after == before, skipped, "{change:?}");
        assert_eq!(db.digest_at_cursor().expect("digest"), digest, "{change:?}");
        assert_eq!(state(&db), after, "asking for the digest changes nothing");
        let write = db.write().expect("write");
        drop(write.restore_before().expect("restore"));
        write.commit().expect("commit");
        assert_eq!(state(&db), before, "{change:?}");
        assert_eq!(violations(&db), 0);
    }
}

#[test]
fn many_local_changes_go_back_to_the_log_at_once() {
    let mut db = replayed(&project());
    let before = state(&db);
    let outcomes = local(
        &mut db,
        &[
            update(0, "B", "issues", "td-1", json!({"title": "a"}), json!({"title": "b"})),
            create(0, "B", "issues", "td-9", json!({"title": "new"})),
            create(0, "B", "comments", "cm-9", json!({"issue_id": "td-9", "session_id": "s", "text": "t"})),
            event(0, "B", "delete", "issues", "td-1", &json!(null)),
            create(0, "B", "issues", "td-1", json!({"title": "again"})),
            event(0, "B", "delete", "comments", "cm-1", &json!(null)),
        ],
    );
    assert!(matches!(outcomes[5], Outcome::Skipped(_)), "cm-1 went with its issue");
    let write = db.write().expect("write");
    drop(write.restore_before().expect("restore"));
    write.commit().expect("commit");
    assert_eq!(state(&db), before);
    assert_eq!(count(&db, "SELECT count(*) FROM tdsync_before"), 0);
}

#[test]
fn a_page_is_not_applied_on_top_of_local_changes() {
    let mut db = replayed(&project());
    local(&mut db, &[create(0, "B", "issues", "td-9", json!({"title": "new"}))]);
    let error = db.apply_page(&[create(11, "A", "issues", "td-3", json!({"title": "t"}))], Seq(11));
    assert_eq!(error.expect_err("refused").code(), "local_changes");
}

#[test]
fn a_pull_around_local_changes_ends_as_the_log_does() {
    let log = busy_log();
    let (first, rest) = log.split_at(400);
    let me = log[0].device.clone();
    let mut db = replayed(first);
    // What this device wrote of the rest is there already, and comes back page by page.
    let own: Vec<LogEvent> = rest.iter().filter(|e| e.device == me).cloned().collect();
    assert!(own.len() > 50);
    local(&mut db, &own);
    for page in rest.chunks(13) {
        let up_to = page[page.len() - 1].seq;
        let write = db.write().expect("write");
        let rows = write.restore_before().expect("restore");
        write.apply_page(page, up_to).expect("page");
        for event in own.iter().filter(|e| e.seq > up_to) {
            write.apply_local(event.into()).expect("again");
        }
        write.put_back(rows).expect("put back");
        write.commit().expect("commit");
        assert_eq!(violations(&db), 0);
    }
    assert_eq!(db.digest().expect("digest"), replayed(&log).digest().expect("digest"));
}

#[test]
fn what_only_this_device_knows_survives_a_pull_and_a_replace() {
    let mut db = empty();
    let new = create(1, "A", "issues", "td-1", json!({"title": "mine"}));
    let session = create(2, "A", "work_sessions", "ws-1", json!({"name": "w", "session_id": "s"}));
    local(&mut db, &[new.clone(), session.clone()]);
    let add = "INSERT INTO issue_session_history (id, issue_id, session_id, action) VALUES (?1, 'td-1', 's', 'started')";
    db.conn().execute(add, params!["td-h"]).expect("history");
    db.conn().execute("UPDATE work_sessions SET worktree_root = '/here'", []).expect("worktree");
    let write = db.write().expect("write");
    let rows = write.restore_before().expect("restore");
    // The own create comes back from the log, then another device replaces the issue.
    let replace = create(3, "B", "issues", "td-1", json!({"title": "theirs"}));
    let renamed = create(4, "B", "work_sessions", "ws-1", json!({"name": "v", "session_id": "s"}));
    write.apply_page(&[new, session], Seq(2)).expect("page");
    write.put_back(rows).expect("put back");
    write.apply_page(&[replace, renamed], Seq(4)).expect("page");
    write.commit().expect("commit");
    assert_eq!(count(&db, "SELECT count(*) FROM issue_session_history WHERE issue_id = 'td-1'"), 1);
    assert_eq!(
        count(&db, "SELECT count(*) FROM work_sessions WHERE name = 'v' AND worktree_root = '/here'"),
        1
    );
}

#[test]
fn a_local_change_leaves_no_conflict_no_register_and_no_record() {
    let mut db = replayed(&project());
    let registers = count(&db, "SELECT count(*) FROM tdsync_register");
    let lost = event(0, "B", "delete", "issues", "td-none", &json!(null));
    local(&mut db, &[create(0, "B", "issues", "td-1", json!({"title": "replaced"})), lost]);
    assert_eq!(count(&db, "SELECT count(*) FROM tdsync_conflict"), 0);
    assert_eq!(count(&db, "SELECT count(*) FROM sync_skipped_events"), 0);
    assert_eq!(count(&db, "SELECT count(*) FROM tdsync_register"), registers);
}
