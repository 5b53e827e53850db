//! Devices on real project folders and a log that can lose answers.

mod door;
mod fake;
mod online;
mod resync;

use fake::{Cable, FakeServer, PROJECT};
use proptest::prelude::*;
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
fn what_our_own_td_recorded_before_the_link_is_published() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let (mut a, mut b) = (new_project(&dir.path().join("a"), 1), linked(&dir.path().join("b"), 2));
    let issue = a.store.create_issue(titled("older than the link")).expect("create");
    a.store.close_issue(&issue.id, None).expect("close");
    assert_eq!(link(&mut a.store, &project()).expect("link"), Linked::First);
    round(&mut a, &server).expect("sync");
    round(&mut b, &server).expect("sync");
    assert_eq!(b.store.issue(&issue.id).expect("arrived").status, "closed");
    assert_eq!(link(&mut a.store, &project()).expect("link"), Linked::Already);
    unlink(&mut a.store).expect("unlink");
    assert_eq!(link(&mut a.store, &project()).expect("link"), Linked::Again);
    assert_eq!(a.sync(&server, |s| s.round()).expect("sync").pulled.events, 0, "it goes on where it was");
    unlink(&mut a.store).expect("unlink");
    let other = ProjectId::parse("p_ffffffffffffffff").expect("id");
    assert!(matches!(link(&mut a.store, &other), Err(SyncError::OtherProject { .. })));
}

#[test]
fn a_database_that_go_wrote_is_refused_by_name_at_the_link() {
    let dir = temp();
    let mut a = new_project(&dir.path().join("rows"), 1);
    let row = "INSERT INTO issues (id, title) VALUES ('td-aaaaaa', 'imported without an action')";
    a.store.begin().expect("tx").conn().execute(row, []).expect("rolled back");
    link(&mut a.store, &project()).expect("nothing foreign in it");
    unlink(&mut a.store).expect("unlink");

    let mut a = new_project(&dir.path().join("row"), 2);
    let tx = a.store.begin().expect("tx");
    tx.conn().execute(row, []).expect("insert");
    tx.commit().expect("commit");
    assert!(
        matches!(link(&mut a.store, &project()), Err(SyncError::WrittenByGo(why)) if why.contains("rows"))
    );

    let mut a = new_project(&dir.path().join("action"), 3);
    go_action(&mut a, "td-bbbbbb");
    assert!(
        matches!(link(&mut a.store, &project()), Err(SyncError::WrittenByGo(why)) if why.contains("1 of its"))
    );

    // Made and used by Go before ours ever opened it.
    let todos = dir.path().join("created/.todos");
    std::fs::create_dir_all(&todos).expect("folder");
    let (path, device) = (todos.join("issues.db"), td_engine::db::Purpose::Device);
    let mut db = td_engine::db::ProjectDb::create(&path, device, ambient(4).now()).expect("create");
    let write = db.write().expect("tx");
    write.conn().execute(row, []).expect("insert");
    write.commit().expect("commit");
    drop(db);
    let mut go = Project::open(&dir.path().join("created"), ambient(4)).expect("open");
    assert!(
        matches!(link(&mut go.store, &project()), Err(SyncError::WrittenByGo(why)) if why.contains("before"))
    );
}

#[test]
fn a_project_that_was_only_initialised_is_ours_whoever_did_it() {
    let dir = temp();
    let todos = dir.path().join(".todos");
    std::fs::create_dir_all(&todos).expect("folder");
    let device = td_engine::db::Purpose::Device;
    // As Go's `init` leaves it, and as ours does when it is killed right after creating the file.
    drop(
        td_engine::db::ProjectDb::create(&todos.join("issues.db"), device, ambient(4).now()).expect("create"),
    );
    let mut project_folder = Project::open(dir.path(), ambient(5)).expect("open");
    assert_eq!(link(&mut project_folder.store, &project()).expect("link"), Linked::First);
}

/// A row and an action row as Go `td` writes them.
fn go_action(project: &mut Project, id: &str) {
    let tx = project.store.begin().expect("tx");
    tx.conn()
        .execute("INSERT INTO issues (id, title, status) VALUES (?1, 'by Go', 'open')", [id])
        .expect("row");
    tx.conn()
        .execute(
            "INSERT INTO action_log (id, session_id, action_type, entity_type, entity_id, new_data, timestamp) \
             VALUES (?1, 'ses_go', 'create', 'issue', ?2, ?3, '2026-11-21T09:53:18.5Z')",
            (
                format!("al-{}", &id[3..]),
                id,
                format!(r#"{{"id":"{id}","title":"by Go","status":"open","type":"task","priority":"P2","points":0,"implementer_session":"","creator_session":"ses_go","reviewer_session":"","created_at":"2026-11-21T09:53:18.5Z","updated_at":"2026-11-21T09:53:18.5Z","minor":false,"defer_count":0}}"#),
            ),
        )
        .expect("action");
    tx.commit().expect("commit");
}

#[test]
fn what_go_writes_beside_us_after_the_link_is_published_too() {
    let (dir, server) = (temp(), FakeServer::new(2));
    let (mut a, mut b) = (linked(&dir.path().join("a"), 1), linked(&dir.path().join("b"), 2));
    a.store.create_issue(titled("ours before")).expect("create");
    go_action(&mut a, "td-cccccc");
    a.store
        .update_issue("td-cccccc", IssuePatch { title: Some("ours on Go's".into()), ..IssuePatch::default() })
        .expect("update");
    b.store.create_issue(titled("another device's")).expect("create");
    round(&mut b, &server).expect("sync");
    round(&mut a, &server).expect("sync");
    round(&mut b, &server).expect("sync");
    assert_eq!(rows(&a), rows(&b));
    assert_eq!(b.store.issue("td-cccccc").expect("arrived").title, "ours on Go's");
}

#[test]
fn a_bad_row_of_go_is_recorded_and_stops_no_other() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let mut a = linked(dir.path(), 1);
    go_action(&mut a, "td-dddddd");
    let tx = a.store.begin().expect("tx");
    tx.conn().execute("UPDATE action_log SET new_data = 'not json'", []).expect("update");
    tx.conn()
        .execute(
            "INSERT INTO action_log (id, session_id, action_type, entity_type, entity_id) \
             VALUES ('al-1', 's', 'create', 'git_snapshots', 'gs-1')",
            [],
        )
        .expect("local-only");
    tx.commit().expect("commit");
    a.store.create_issue(titled("a good one")).expect("create");
    let pushed = a.sync(&server, |s| s.push()).expect("push");
    assert_eq!((pushed.accepted, pushed.rejected), (1, 1));
    let status = a.sync(&server, |s| s.status(None)).expect("status");
    assert_eq!(status.pending, 0, "what stays here by design does not wait");
}

#[test]
fn closing_the_last_child_closes_its_epics_and_frees_what_waited_for_them() {
    let (dir, other, server) = (temp(), temp(), FakeServer::new(1000));
    let (mut a, mut b) = (linked(dir.path(), 1), linked(other.path(), 2));
    let epic = |title: &str, parent: &str| NewIssue {
        kind: Some("epic".into()),
        parent_id: parent.into(),
        ..titled(title)
    };
    let top = a.store.create_issue(epic("the whole garden", "")).expect("create");
    let bed = a.store.create_issue(epic("the vegetable bed", &top.id)).expect("create");
    let child = |title: &str| NewIssue { parent_id: bed.id.clone(), ..titled(title) };
    let (dig, sow) = (
        a.store.create_issue(child("dig it over")).expect("create"),
        a.store.create_issue(child("sow the beans")).expect("create"),
    );
    let eat = a.store.create_issue(titled("eat the beans")).expect("create");
    let blocked = IssuePatch { status: Some("blocked".into()), ..IssuePatch::default() };
    a.store.update_issue(&eat.id, blocked).expect("block");
    for (n, on) in [&sow.id, &bed.id].into_iter().enumerate() {
        let id = format!("dep_{n:016x}");
        let row = serde_json::json!({"id": id, "issue_id": eat.id, "depends_on_id": on, "relation_type": "depends_on"});
        let tx = a.store.begin().expect("tx");
        tx.record(&Change {
            verb: "add_dependency".into(),
            ..Change::create("issue_dependencies", &id, row)
        })
        .expect("depends");
        tx.commit().expect("commit");
    }
    assert_eq!(a.store.close_issue(&dig.id, None).expect("close").followed, []);
    let closed = a.store.close_issue(&sow.id, Some("sown")).expect("close");
    let followed: Vec<_> = closed.followed.iter().map(|i| (i.id.as_str(), i.status.as_str())).collect();
    assert_eq!(
        followed,
        [(bed.id.as_str(), "closed"), (top.id.as_str(), "closed"), (eat.id.as_str(), "open")]
    );
    assert!(closed.followed[0].closed_by_session.is_empty() && closed.followed[0].closed_at.is_some());
    let said = |id: &str| a.store.log_lines(id).expect("log").pop().expect("a line").message;
    assert_eq!(said(&top.id), "Auto-cascaded to closed (all children complete)");
    assert_eq!(said(&eat.id), format!("Auto-unblocked (dependency {} closed)", sow.id));
    round(&mut a, &server).expect("sync");
    round(&mut b, &server).expect("sync");
    assert_eq!(rows(&a), rows(&b));
}

#[test]
fn an_issue_that_is_its_own_parent_can_be_closed() {
    let dir = temp();
    let mut a = new_project(dir.path(), 1);
    let epic =
        a.store.create_issue(NewIssue { kind: Some("epic".into()), ..titled("a knot") }).expect("create");
    let knot = IssuePatch { parent_id: Some(epic.id.clone()), ..IssuePatch::default() };
    a.store.update_issue(&epic.id, knot).expect("knot");
    assert_eq!(a.store.close_issue(&epic.id, None).expect("close").followed, []);
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

#[test]
fn a_change_made_on_an_older_copy_is_refused_when_the_issue_moved_on() {
    let dir = temp();
    let mut a = new_project(dir.path(), 1);
    let issue = a.store.create_issue(titled("edited twice")).expect("create");
    let patch = |loaded: &str| IssuePatch {
        title: Some("new".into()),
        loaded: Some(loaded.into()),
        ..IssuePatch::default()
    };
    let after = a.store.update_issue(&issue.id, patch(&issue.updated_at)).expect("fresh");
    assert!(after.updated_at > issue.updated_at);
    let error = a.store.update_issue(&issue.id, patch(&issue.updated_at)).expect_err("stale");
    assert!(error.to_string().contains("was modified after it was loaded"), "{error}");
}

#[test]
fn a_failed_change_leaves_neither_row_nor_event() {
    let dir = temp();
    let mut a = new_project(dir.path(), 1);
    assert!(a.store.comment("td-ffffff", "to nobody").is_err());
    assert!(a.store.create_issue(NewIssue { points: 4, ..titled("bad points") }).is_err());
    let actions: i64 =
        a.store.conn().query_row("SELECT count(*) FROM action_log", [], |r| r.get(0)).expect("count");
    assert_eq!(actions, 0);
}

#[test]
fn a_change_without_effect_is_refused_and_leaves_no_event() {
    let dir = temp();
    let mut a = new_project(dir.path(), 1);
    let tx = a.store.begin().expect("tx");
    let orphan = serde_json::json!({"issue_id": "td-ffffff", "session_id": "s", "text": "to nobody"});
    let refused = tx.record(&Change::create("comments", "cm-00000000", orphan));
    assert!(matches!(refused, Err(WriteError::NoEffect(_))), "{refused:?}");
    drop(tx);
    let actions: i64 =
        a.store.conn().query_row("SELECT count(*) FROM action_log", [], |r| r.get(0)).expect("count");
    assert_eq!(actions, 0);
}

#[test]
fn every_event_says_who_made_it_and_what_they_had_seen() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let mut a = linked(dir.path(), 1);
    a.store.create_issue(titled("before the login")).expect("create");
    round(&mut a, &server).expect("sync");
    a.store.set_actor("agent:u_1");
    a.store.create_issue(titled("after it")).expect("create");
    round(&mut a, &server).expect("sync");
    let events = server.events.borrow();
    let meta = |n: usize| events[n].payload.value().expect("json")["meta"].clone();
    assert_eq!(meta(0), serde_json::json!({"v": 1, "actor": "user:local", "origin": "td", "base_seq": 0}));
    assert_eq!(meta(1)["actor"], "agent:u_1");
    assert_eq!(meta(1)["base_seq"], events[0].seq.0);
}

#[test]
fn the_files_of_a_project_are_private_where_they_name_a_device() {
    use std::os::unix::fs::PermissionsExt;
    let dir = temp();
    drop(new_project(dir.path(), 1));
    let mode = |name: &str| {
        std::fs::metadata(dir.path().join(".todos").join(name)).expect(name).permissions().mode() & 0o777
    };
    assert_eq!(mode("td-sync.json"), 0o600);
    assert_eq!(mode("db.lock"), 0o600);
}

#[test]
fn a_payload_of_ours_is_the_engines_shape_of_the_row() {
    let dir = temp();
    let mut a = new_project(dir.path(), 1);
    let new = NewIssue {
        labels: vec!["x".into(), "y".into()],
        description: "d".into(),
        points: 3,
        minor: true,
        ..titled("compared with the row")
    };
    let id = a.store.create_issue(new).expect("create").id;
    let closed = a.store.close_issue(&id, None).expect("close").issue;
    let table = a.store.db().catalog().synced("issues").expect("table");
    let columns: Vec<_> = table.columns.iter().map(|c| c.name.as_str()).collect();
    let sql = format!("SELECT {} FROM issues WHERE id = ?1", columns.join(", "));
    let values = a.store.conn().query_row(&sql, [&id], |r| (0..columns.len()).map(|i| r.get(i)).collect());
    let row = td_engine::db::Row(values.expect("row"));
    let shape = td_engine::shape::payload_object(table, &row);
    assert_eq!(serde_json::to_value(closed).expect("json"), serde_json::Value::Object(shape));
}

#[derive(Clone, Debug)]
enum Step {
    Create(usize),
    Edit(usize, usize, u8),
    Comment(usize, usize),
    Close(usize, usize),
    Delete(usize, usize),
    Push(usize),
    Pull(usize),
    Cut(Cable),
    Reopen(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let device = 0..2_usize;
    let issue = 0..6_usize;
    prop_oneof![
        3 => device.clone().prop_map(Step::Create),
        6 => (device.clone(), issue.clone(), any::<u8>()).prop_map(|(d, i, v)| Step::Edit(d, i, v)),
        2 => (device.clone(), issue.clone()).prop_map(|(d, i)| Step::Comment(d, i)),
        1 => (device.clone(), issue.clone()).prop_map(|(d, i)| Step::Close(d, i)),
        1 => (device.clone(), issue).prop_map(|(d, i)| Step::Delete(d, i)),
        3 => device.clone().prop_map(Step::Push),
        3 => device.clone().prop_map(Step::Pull),
        2 => prop_oneof![Just(Cable::Whole), Just(Cable::Cut), Just(Cable::DropsAnswers)].prop_map(Step::Cut),
        1 => device.prop_map(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn two_devices_converge_under_any_interleaving(
        steps in proptest::collection::vec(step(), 1..60), page in 1_u32..5
    ) {
        let (dir, server) = (temp(), FakeServer::new(page));
        let folders = [dir.path().join("a"), dir.path().join("b")];
        let mut devices = [linked(&folders[0], 1), linked(&folders[1], 2)];
        let mut made = 0;
        for step in steps {
            act(&mut devices, &folders, &server, step, &mut made);
        }
        server.cable.set(Cable::Whole);
        for who in [0, 1, 0, 1] {
            // Rows before a push and the pull of nothing but own events are rows after it.
            round(&mut devices[who], &server).expect("sync");
        }
        let truth = server.replayed();
        for device in &mut devices {
            prop_assert_eq!(rows(device), truth.digest_lines().expect("lines"));
            let status = device.sync(&server, |s| s.status(None)).expect("status");
            prop_assert_eq!(status.pending, 0);
            prop_assert_eq!(status.in_step, Some(true));
        }
        prop_assert_eq!(server.events.borrow().len(), made, "every action is in the log exactly once");
    }
}

fn act(
    devices: &mut [Project; 2],
    folders: &[std::path::PathBuf; 2],
    server: &FakeServer,
    step: Step,
    made: &mut usize,
) {
    let pick = |project: &Project, n: usize| {
        let all = project.store.issues(&[]).expect("list");
        (!all.is_empty()).then(|| all[n % all.len()].id.clone())
    };
    match step {
        Step::Create(d) => {
            devices[d].store.create_issue(titled(&format!("issue number {made}"))).expect("create");
            *made += 1;
        }
        Step::Edit(d, n, value) => {
            let Some(id) = pick(&devices[d], n) else { return };
            let patch = match value % 3 {
                0 => IssuePatch { title: Some(format!("title {value}")), ..IssuePatch::default() },
                1 => IssuePatch { priority: Some(format!("P{}", value % 5)), ..IssuePatch::default() },
                _ => IssuePatch { labels: Some(vec![format!("l{value}")]), ..IssuePatch::default() },
            };
            devices[d].store.update_issue(&id, patch).expect("update");
            *made += 1;
        }
        Step::Comment(d, n) => {
            let Some(id) = pick(&devices[d], n) else { return };
            devices[d].store.comment(&id, "text").expect("comment");
            *made += 1;
        }
        Step::Close(d, n) => {
            let Some(id) = pick(&devices[d], n) else { return };
            devices[d].store.close_issue(&id, None).expect("close");
            *made += 2;
        }
        Step::Delete(d, n) => {
            let Some(id) = pick(&devices[d], n) else { return };
            devices[d].store.delete_issue(&id).expect("delete");
            *made += 1;
        }
        Step::Push(d) => drop(devices[d].sync(server, |s| s.push())),
        Step::Pull(d) => drop(devices[d].sync(server, |s| s.pull())),
        Step::Cut(cable) => server.cable.set(cable),
        Step::Reopen(d) => {
            devices[d] = Project::open(&folders[d], ambient(100 + *made as u64)).expect("open")
        }
    }
}
