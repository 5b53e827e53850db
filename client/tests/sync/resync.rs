//! Every refusal that names `td resync` ends with it, and nothing of ours is lost on the way.

use crate::fake::{Cable, FakeServer};
use crate::{linked, project, round, rows, temp, titled};
use td_client::project::Project;
use td_client::sync::{Resynced, SyncError};
use td_engine::id::{Epoch, Seq};

fn epoch(c: char) -> Epoch {
    Epoch::parse(&c.to_string().repeat(32)).expect("epoch")
}

/// Rows, pending and the digest against a fresh replay, after a resync and a sync.
fn ends_well(a: &mut Project, server: &FakeServer) -> Resynced {
    let (done, kept) = a.resync(server).expect("resync");
    assert!(kept.exists() && !a.base().join(".todos/td-sync.resync.db").exists());
    round(a, server).expect("a sync works again");
    let status = a.sync(server, |s| s.status(None)).expect("status");
    assert_eq!((status.pending, status.in_step), (0, Some(true)));
    assert_eq!(rows(a), server.replayed().digest_lines().expect("lines"));
    done
}

#[test]
fn after_a_restore_of_the_server_what_it_lost_is_sent_again_and_nothing_twice() {
    let (dir, other, server) = (temp(), temp(), FakeServer::new(3));
    *server.epoch.borrow_mut() = Some(epoch('a'));
    let (mut a, mut b) = (linked(dir.path(), 1), linked(other.path(), 2));
    for n in 0..5 {
        a.store.create_issue(titled(&format!("before the copy {n}"))).expect("create");
    }
    round(&mut a, &server).expect("sync");
    let copy = server.events.borrow().clone();
    let lost = a.store.create_issue(titled("after the copy")).expect("create");
    a.store.comment(&lost.id, "with a comment").expect("comment");
    round(&mut a, &server).expect("sync");
    round(&mut b, &server).expect("sync");
    a.store.create_issue(titled("never sent")).expect("create");

    server.put_back(copy);
    *server.epoch.borrow_mut() = Some(epoch('b'));
    assert!(matches!(round(&mut a, &server), Err(SyncError::EpochChanged { .. })));
    let done = ends_well(&mut a, &server);
    assert_eq!((done.pending, done.lost_by_server), (3, 2));
    assert_eq!(done.epoch, Some(epoch('b')));
    assert_eq!(server.events.borrow().len(), 8, "5 of the copy, 2 sent again, 1 new");
    // B had them only from the log. It loses nothing of its own, and gets A's again.
    let done = ends_well(&mut b, &server);
    assert_eq!((done.events, done.lost_by_server), (8, 0));
    assert_eq!(rows(&a), rows(&b));
}

#[test]
fn a_shorter_log_and_a_foreign_sync_end_with_a_resync() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let mut a = linked(dir.path(), 1);
    a.store.create_issue(titled("one of ours")).expect("create");
    round(&mut a, &server).expect("sync");
    server.put_back(Vec::new());
    assert!(matches!(round(&mut a, &server), Err(SyncError::LogEndsBefore { .. })));
    assert_eq!(ends_well(&mut a, &server).lost_by_server, 1);

    let tx = a.store.begin().expect("tx");
    tx.conn().execute("UPDATE sync_state SET last_pulled_server_seq = 40", []).expect("update");
    tx.conn().execute("UPDATE issues SET title = 'overwritten'", []).expect("update");
    tx.commit().expect("commit");
    assert!(matches!(round(&mut a, &server), Err(SyncError::ForeignSync { .. })));
    ends_well(&mut a, &server);
    assert!(rows(&a).concat().contains("one of ours"));
}

#[test]
fn a_resync_without_a_server_changes_nothing() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let mut a = linked(dir.path(), 1);
    a.store.create_issue(titled("stays")).expect("create");
    round(&mut a, &server).expect("sync");
    a.store.create_issue(titled("stays too")).expect("create");
    let before = rows(&a);
    server.cable.set(Cable::Cut);
    assert!(a.resync(&server).expect_err("offline").is_offline());
    assert_eq!(rows(&a), before);
    let left: Vec<_> = std::fs::read_dir(dir.path().join(".todos"))
        .expect("folder")
        .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
        .filter(|n| n.contains("resync"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    server.cable.set(Cable::Whole);
    assert_eq!(ends_well(&mut a, &server).lost_by_server, 0);
}

#[test]
fn local_rows_and_rejected_changes_survive_a_resync() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let mut a = linked(dir.path(), 1);
    let issue = a.store.create_issue(titled("with history")).expect("create");
    round(&mut a, &server).expect("sync");
    let refused = a.store.create_issue(titled("never taken")).expect("create");
    *server.poison.borrow_mut() = Some(refused.id.clone());
    round(&mut a, &server).expect("sync");
    let tx = a.store.begin().expect("tx");
    tx.conn()
        .execute(
            "INSERT INTO git_snapshots (id, issue_id, event, commit_sha, branch) VALUES ('gs-1', ?1, 'start', 'c', 'main')",
            [&issue.id],
        )
        .expect("local row");
    tx.commit().expect("commit");
    let before = rows(&a);
    let (done, _) = a.resync(&server).expect("resync");
    assert_eq!((rows(&a), done.pending), (before, 0));
    let kept: i64 =
        a.store.conn().query_row("SELECT count(*) FROM git_snapshots", [], |r| r.get(0)).expect("count");
    assert_eq!(kept, 1);
    let status = a.sync(&server, |s| s.status(None)).expect("status");
    assert_eq!(status.rejected.len(), 1, "still told");
    assert_eq!(status.cursor, Some(Seq(server.events.borrow().last().expect("event").seq.0)));
    assert_eq!(a.sync(&server, |s| Ok(s.project().clone())).expect("open"), project());
}
