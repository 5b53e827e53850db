//! Devices on real project folders and a log that can lose answers.

mod beside_go;
mod changes;
mod converge;
mod door;
mod fake;
mod online;
mod resync;

use fake::{Cable, FakeServer, PROJECT};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use td_client::ambient::Ambient;
use td_client::project::Project;
use td_client::sync::{Cancel, Linked, SyncError, link, unlink};
use td_client::write::{Change, IssuePatch, NewIssue, WriteError};
use td_engine::id::{Epoch, ProjectId, Seq};
use td_engine::time::ClientTime;

/// A clock that ticks once per look and a random source that counts.
struct Counted(AtomicU64);

impl Ambient for Counted {
    fn now(&self) -> ClientTime {
        let tick = i128::from(self.0.fetch_add(1, Ordering::SeqCst));
        ClientTime::from_unix_nanos(1_795_000_000_000_000_000 + tick * 1_000_000).expect("time")
    }

    fn fill(&self, out: &mut [u8]) {
        let mut state = self.0.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in out {
            state ^= state >> 29;
            state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = (state >> 32) as u8;
        }
    }
}

fn ambient(seed: u64) -> Arc<dyn Ambient> {
    Arc::new(Counted(AtomicU64::new(seed << 20)))
}

fn project() -> ProjectId {
    ProjectId::parse(PROJECT).expect("id")
}

fn new_project(dir: &Path, seed: u64) -> Project {
    std::fs::create_dir_all(dir).expect("folder");
    Project::init(dir, ambient(seed)).expect("init").0
}

fn linked(dir: &Path, seed: u64) -> Project {
    let mut made = new_project(dir, seed);
    link(&mut made.store, &project()).expect("link");
    made
}

fn titled(title: &str) -> NewIssue {
    NewIssue { title: title.into(), ..NewIssue::default() }
}

fn rows(project: &Project) -> Vec<String> {
    project.store.db().digest_lines().expect("lines")
}

fn round(project: &mut Project, server: &FakeServer) -> Result<(), SyncError> {
    project.sync(server, |s| s.round()).map(drop)
}

fn temp() -> tempfile::TempDir {
    // Memory where there is some: these tests commit a lot.
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.expect("folder")
}

#[test]
fn a_lost_answer_loses_and_duplicates_nothing() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let mut a = linked(dir.path(), 1);
    let issue = a.store.create_issue(titled("kept across a crash")).expect("create");
    a.store.comment(&issue.id, "and its comment").expect("comment");
    let flaky = LosesFirstPushAnswer { inner: &server, lost: std::cell::Cell::new(false) };
    assert!(a.sync(&flaky, |s| s.push()).expect_err("no answer").is_offline());
    assert_eq!(server.events.borrow().len(), 2, "the log has them");
    drop(a);

    // The process is gone; another session pushes again.
    let mut a = Project::open(dir.path(), ambient(9)).expect("open");
    let pushed = a.sync(&server, |s| s.push()).expect("push");
    assert_eq!((pushed.accepted, pushed.duplicates), (0, 2));
    assert_eq!(server.events.borrow().len(), 2);
    let again = a.sync(&server, |s| s.push()).expect("push");
    assert!(again.is_nothing(), "{again:?}");
}

#[test]
fn a_pull_recognises_own_events_whose_answer_was_lost() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let mut a = linked(dir.path(), 1);
    a.store.create_issue(titled("came back before its answer")).expect("create");
    let flaky = LosesFirstPushAnswer { inner: &server, lost: std::cell::Cell::new(false) };
    assert!(a.sync(&flaky, |s| s.push()).is_err());
    let pulled = a.sync(&server, |s| s.pull()).expect("pull");
    assert_eq!(pulled.events, 1);
    let status = a.sync(&server, |s| s.status(None)).expect("status");
    assert_eq!((status.pending, status.in_step), (0, Some(true)));
}

/// Takes the first push and loses the answer.
struct LosesFirstPushAnswer<'a> {
    inner: &'a FakeServer,
    lost: std::cell::Cell<bool>,
}

impl td_client::transport::Transport for LosesFirstPushAnswer<'_> {
    fn push(
        &self,
        project: &ProjectId,
        request: &td_client::transport::PushRequest,
    ) -> Result<td_client::transport::PushResponse, td_client::transport::TransportError> {
        if !self.lost.replace(true) {
            self.inner.cable.set(Cable::DropsAnswers);
            let answer = self.inner.push(project, request);
            self.inner.cable.set(Cable::Whole);
            return answer;
        }
        self.inner.push(project, request)
    }
    fn pull(
        &self,
        project: &ProjectId,
        after: Seq,
        limit: u32,
    ) -> Result<td_client::transport::PullPage, td_client::transport::TransportError> {
        self.inner.pull(project, after, limit)
    }
    fn status(
        &self,
        project: &ProjectId,
    ) -> Result<td_client::transport::RemoteStatus, td_client::transport::TransportError> {
        self.inner.status(project)
    }
    fn digest(
        &self,
        project: &ProjectId,
    ) -> Result<td_client::transport::RemoteDigest, td_client::transport::TransportError> {
        self.inner.digest(project)
    }
}

#[test]
fn pushing_and_pulling_own_changes_alone_changes_no_row() {
    let (dir, server) = (temp(), FakeServer::new(3));
    let mut a = linked(dir.path(), 1);
    for n in 0..5 {
        let issue = a.store.create_issue(titled(&format!("issue number {n}"))).expect("create");
        a.store.comment(&issue.id, "text").expect("comment");
        let patch = IssuePatch { priority: Some("P0".into()), ..IssuePatch::default() };
        a.store.update_issue(&issue.id, patch).expect("update");
        match n % 3 {
            0 => drop(a.store.close_issue(&issue.id, Some("done")).expect("close")),
            1 => drop(a.store.delete_issue(&issue.id).expect("delete")),
            _ => {}
        }
    }
    let before = rows(&a);
    round(&mut a, &server).expect("sync");
    assert_eq!(rows(&a), before);
    assert_eq!(server.replayed().digest_lines().expect("lines"), before);
}

#[test]
fn an_unsent_change_stands_on_top_of_what_a_pull_brings() {
    let (dir, server) = (temp(), FakeServer::new(1));
    let (mut a, mut b) = (linked(&dir.path().join("a"), 1), linked(&dir.path().join("b"), 2));
    let id = a.store.create_issue(titled("known to both")).expect("create").id;
    round(&mut a, &server).expect("sync");
    round(&mut b, &server).expect("sync");
    let patch = |title: &str| IssuePatch { title: Some(title.into()), ..IssuePatch::default() };
    a.store.update_issue(&id, patch("mine, not sent yet")).expect("update");
    b.store.update_issue(&id, patch("theirs")).expect("update");
    b.store.update_issue(&id, IssuePatch { points: Some(5), ..IssuePatch::default() }).expect("update");
    round(&mut b, &server).expect("sync");
    a.sync(&server, |s| s.pull()).expect("pull");
    let issue = a.store.issue(&id).expect("issue");
    assert_eq!((issue.title.as_str(), issue.points), ("mine, not sent yet", 5));
    let status = a.sync(&server, |s| s.status(None)).expect("status");
    assert_eq!((status.pending, status.in_step), (1, Some(true)), "the digest looks past it");
}

#[test]
fn more_than_a_batch_goes_out_in_batches() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let mut a = linked(dir.path(), 1);
    for n in 0..600 {
        a.store.create_issue(titled(&format!("issue number {n}"))).expect("create");
    }
    let pushed = a.sync(&server, |s| s.push()).expect("push");
    assert_eq!((pushed.accepted, server.largest.get()), (600, 500));
}

#[test]
fn one_event_the_server_refuses_is_recorded_and_stops_no_other() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let mut a = linked(dir.path(), 1);
    let ids: Vec<String> = (0..7)
        .map(|n| a.store.create_issue(titled(&format!("issue number {n}"))).expect("create").id)
        .collect();
    *server.poison.borrow_mut() = Some(ids[3].clone());
    let pushed = a.sync(&server, |s| s.push()).expect("push");
    assert_eq!((pushed.accepted, pushed.rejected), (6, 1));
    assert!(a.sync(&server, |s| s.push()).expect("push").is_nothing(), "not sent for ever");
    round(&mut a, &server).expect("sync");
    let status = a.sync(&server, |s| s.status(None)).expect("status");
    assert_eq!(status.rejected.len(), 1);
    assert_eq!(status.rejected[0].entity_id, ids[3]);
    assert_eq!(status.in_step, Some(true), "what was never taken is not part of the log's state");
    assert!(a.store.issue(&ids[3]).is_ok(), "and it stays here");
}

#[test]
fn a_restored_server_is_refused_before_anything_is_sent() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let epoch = |c: char| Epoch::parse(&c.to_string().repeat(32)).expect("epoch");
    *server.epoch.borrow_mut() = Some(epoch('a'));
    let mut a = linked(dir.path(), 1);
    a.store.create_issue(titled("before the restore")).expect("create");
    round(&mut a, &server).expect("sync");
    assert_eq!(a.device_file().epoch, Some(epoch('a')), "remembered");

    a.store.create_issue(titled("after it")).expect("create");
    *server.epoch.borrow_mut() = Some(epoch('b'));
    let error = round(&mut a, &server).expect_err("another history");
    assert!(matches!(error, SyncError::EpochChanged { .. }), "{error}");
    assert!(error.remedy("tds").contains("`tds resync`"));
    assert_eq!(server.events.borrow().len(), 1);

    *server.epoch.borrow_mut() = Some(epoch('a'));
    server.events.borrow_mut().clear();
    let error = round(&mut a, &server).expect_err("a shorter log");
    assert!(matches!(error, SyncError::LogEndsBefore { .. }), "{error}");
}

#[test]
fn a_sync_of_another_program_is_noticed() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let mut a = linked(dir.path(), 1);
    a.store.create_issue(titled("one of ours")).expect("create");
    round(&mut a, &server).expect("sync");
    let tx = a.store.begin().expect("tx");
    tx.conn().execute("UPDATE sync_state SET last_pulled_server_seq = 40", []).expect("update");
    tx.commit().expect("commit");
    assert!(matches!(round(&mut a, &server), Err(SyncError::ForeignSync { .. })));
}

#[test]
fn nothing_syncs_while_somebody_holds_the_pause() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let mut a = linked(dir.path(), 1);
    a.sync(&server, |s| {
        let pause = s.pause()?;
        assert!(matches!(s.round(), Err(SyncError::Paused)));
        drop(pause);
        s.round().map(drop)
    })
    .expect("after the pause");
}

#[test]
fn a_watch_syncs_until_it_is_cancelled_and_survives_a_cut_cable() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let mut a = linked(dir.path(), 1);
    a.store.create_issue(titled("watched")).expect("create");
    server.cable.set(Cable::Cut);
    let (cancel, mut rounds) = (Cancel::default(), 0);
    a.sync(&server, |s| {
        s.watch(std::time::Duration::from_millis(1), &cancel, |round| {
            rounds += 1;
            match rounds {
                1 => assert!(round.as_ref().expect_err("cut").is_offline()),
                2 => cancel.cancel(),
                _ => panic!("cancelled"),
            }
            server.cable.set(Cable::Whole);
        })
    })
    .expect("watch");
    assert_eq!(server.events.borrow().len(), 1);
}
