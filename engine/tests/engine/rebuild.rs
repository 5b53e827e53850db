//! State is a function of the log: it can be thrown away and comes back equal (law 5), and is, when the rules that
//! made it were others (law 7).

use crate::events::{busy_log, count, replayed, violations};
use td_engine::db::{RebuildReason, Standing};
use td_engine::id::Seq;

#[test]
fn a_reset_database_comes_back_equal_and_keeps_local_rows() {
    let log = busy_log();
    let mut db = replayed(&log);
    let digest = db.digest().expect("digest");
    let conn = db.conn();
    let issue: String = conn
        .query_row("SELECT issue_id FROM comments LIMIT 1", [], |r| r.get(0))
        .expect("an issue with children");
    let add = "INSERT INTO git_snapshots (id, issue_id, event, commit_sha, branch) VALUES (?1, ?2, 'start', 'c', 'b')";
    conn.execute(add, ["gs-1", issue.as_str()]).expect("snapshot");
    conn.execute("INSERT INTO sync_state (project_id, last_pulled_server_seq) VALUES ('p', 809)", [])
        .expect("link");
    db.reset().expect("reset");
    assert_eq!(db.standing().expect("standing"), Standing::At(Seq(0)));
    assert_eq!(count(&db, "SELECT last_pulled_server_seq FROM sync_state"), 0);
    assert_eq!(count(&db, "SELECT count(*) FROM issues"), 0);
    for page in log.chunks(100) {
        db.apply_page(page, page[page.len() - 1].seq).expect("page");
    }
    let write = db.write().expect("write");
    assert_eq!(write.drop_orphans().expect("orphans"), 0);
    write.commit().expect("commit");
    assert_eq!(db.digest().expect("digest"), digest);
    assert_eq!(count(&db, "SELECT count(*) FROM git_snapshots"), 1);
    assert_eq!(violations(&db), 0);
}

#[test]
fn local_rows_whose_issue_does_not_come_back_are_dropped() {
    let mut db = replayed(&busy_log());
    let issue: String =
        db.conn().query_row("SELECT id FROM issues LIMIT 1", [], |r| r.get(0)).expect("issue");
    let add = "INSERT INTO git_snapshots (id, issue_id, event, commit_sha, branch) VALUES ('gs-1', ?1, 'e', 'c', 'b')";
    db.conn().execute(add, [issue]).expect("snapshot");
    db.reset().expect("reset");
    let write = db.write().expect("write");
    assert_eq!(write.drop_orphans().expect("orphans"), 1);
    write.commit().expect("commit");
    assert_eq!(violations(&db), 0);
}

#[test]
fn rows_made_by_other_rules_are_not_continued() {
    let mut db = replayed(&busy_log());
    db.conn().execute("UPDATE tdsync_meta SET value = '0' WHERE key = 'rules'", []).expect("older program");
    let reason = RebuildReason::RulesChanged { from: 0 };
    assert_eq!(db.standing().expect("standing"), Standing::Rebuild(reason));
    assert_eq!(db.apply_page(&[], Seq(900)).expect_err("refused").code(), "rebuild_needed");
}

#[test]
fn a_page_may_come_twice_and_may_end_in_a_gap() {
    let log = busy_log();
    let mut db = replayed(&log);
    let digest = db.digest().expect("digest");
    let report = db.apply_page(&log[700..], Seq(900)).expect("page");
    assert_eq!((report.repeated, report.applied, report.cursor), (109, 0, Seq(900)));
    let report = db.apply_page(&log[..10], Seq(10)).expect("an old page");
    assert_eq!((report.repeated, report.cursor), (10, Seq(900)), "the cursor never goes back");
    assert_eq!(db.digest().expect("digest"), digest);
}

#[test]
fn a_page_out_of_order_is_refused_whole() {
    let log = busy_log();
    let mut db = crate::events::empty();
    let swapped = [log[0].clone(), log[2].clone(), log[1].clone()];
    assert_eq!(db.apply_page(&swapped, Seq(3)).expect_err("refused").code(), "page_out_of_order");
    assert_eq!(db.apply_page(&log[..3], Seq(2)).expect_err("refused").code(), "page_out_of_order");
    assert_eq!(count(&db, "SELECT count(*) FROM issues"), 0);
    assert_eq!(db.standing().expect("standing"), Standing::At(Seq(0)));
}
