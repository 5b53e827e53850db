//! Projects in use: how many are kept open, and that a crowd at one of them costs the others nothing.

mod support;

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::log::{Log, clock};
use support::wait_until;
use td_engine::db::{Place, ProjectDb};
use td_engine::event::{LogEvent, NewEvent, Push};
use td_engine::id::{ActionId, DeviceId, Epoch, ProjectId, Seq, SessionId};
use td_engine::payload::Payload;
use td_engine::taxonomy::{Action, Schema, TdSchema};
use td_server::live::{Announcements, OpenProjects};
use td_server::log::{
    EventLog, Filter, Head, HistoryQuery, Inspected, LogError, Logs, MemoryLog, Options, Projects,
    ProjectsOptions, ReadQuery, Rewrite, Ticket,
};
use td_server::redact::Redaction;
use td_server::snapshot::{Blob, BlobStore, Folder, Shelf, Version};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking, yield_now};
use tokio::time::timeout;

/// More than anything here takes.
const LONG: Duration = Duration::from_secs(20);

/// Twenty who ask, each as far as it comes without waiting.
async fn crowd<F>(ask: impl Fn() -> F) -> Vec<JoinHandle<F::Output>>
where
    F: Future<Output: Send> + Send + 'static,
{
    let all = (0..20).map(|_| tokio::spawn(ask())).collect();
    for _ in 0..20 {
        yield_now().await;
    }
    all
}

/// Few threads, so that whoever takes one too many is noticed.
fn runtime(threads: usize) -> Runtime {
    Builder::new_current_thread().enable_all().max_blocking_threads(threads).build().expect("runtime")
}

fn id(n: usize) -> ProjectId {
    ProjectId::parse(&format!("p_{n:016x}")).expect("id")
}

fn logs(dir: &Path, most_open: usize) -> Arc<dyn Logs> {
    let options = ProjectsOptions { dir: dir.to_path_buf(), most_open, log: Options::new(clock()) };
    Arc::new(Projects::new(options).expect("a folder"))
}

fn open_projects(dir: &Path, logs: Arc<dyn Logs>, most: usize) -> Arc<OpenProjects> {
    OpenProjects::new(logs, dir.to_path_buf(), &history(), clock(), most)
}

fn history() -> Epoch {
    Epoch::parse(&"a".repeat(32)).expect("epoch")
}

fn issue(n: i64, title: &str) -> Push {
    let json = format!(r#"{{"new_data":{{"id":"td-{n:06}","title":"{title}","status":"open"}}}}"#);
    let event = NewEvent {
        action_id: ActionId(n),
        action: Action::Create,
        entity_type: TdSchema.entity_type("issues").expect("type"),
        entity_id: format!("td-{n:06}"),
        payload: Payload::parse(&json).ok(),
        client_time: clock()(),
    };
    let (device, session) = (DeviceId::new("dev").expect("id"), SessionId::new("ses").expect("id"));
    Push { device, session, events: vec![event] }
}

async fn append(log: &dyn EventLog, push: Push) {
    log.append(push).await.expect("answered").expect("stored");
}

type Then = dyn Fn(&dyn Logs, &ProjectId) + Send + Sync;

/// Logs with something that happens whenever one was opened.
struct Told {
    logs: Arc<dyn Logs>,
    opened: AtomicUsize,
    then: Box<Then>,
}

impl Told {
    fn new(logs: Arc<dyn Logs>, then: impl Fn(&dyn Logs, &ProjectId) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { logs, opened: AtomicUsize::new(0), then: Box::new(then) })
    }
}

impl Logs for Told {
    fn create(&self, project: &ProjectId) -> Result<Arc<dyn EventLog>, LogError> {
        self.logs.create(project)
    }
    fn open(&self, project: &ProjectId) -> Result<Arc<dyn EventLog>, LogError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let log = self.logs.open(project);
        (self.then)(&*self.logs, project);
        log
    }
    fn delete(&self, project: &ProjectId) -> Result<(), LogError> {
        self.logs.delete(project)
    }
    fn rewrite(&self, project: &ProjectId, by: &dyn Rewrite) -> Result<(), LogError> {
        self.logs.rewrite(project, by)
    }
    fn close_idle(&self, idle: Duration) -> usize {
        self.logs.close_idle(idle)
    }
    fn close_all(&self) {
        self.logs.close_all();
    }
}

/// A log that is read when the test lets it.
struct Slow(MemoryLog, Mutex<Receiver<()>>);

impl EventLog for Slow {
    fn append_at_most(&self, push: Push, most_new: i64) -> Ticket {
        self.0.append_at_most(push, most_new)
    }
    fn read(
        &self,
        query: &ReadQuery,
        each: &mut dyn FnMut(LogEvent) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        let _ = self.1.lock().expect("gate").recv();
        self.0.read(query, each)
    }
    fn history(
        &self,
        query: &HistoryQuery,
        each: &mut dyn FnMut(LogEvent) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        self.0.history(query, each)
    }
    fn inspect(
        &self,
        filter: &Filter,
        each: &mut dyn FnMut(Inspected) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        self.0.inspect(filter, each)
    }
    fn head(&self) -> Head {
        self.0.head()
    }
    fn watch(&self) -> watch::Receiver<Head> {
        self.0.watch()
    }
}

/// Kept snapshots that are read when the test lets them.
struct SlowStore(Folder, Mutex<Receiver<()>>);

impl BlobStore for SlowStore {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn workplace(&self, work: &str) -> io::Result<Place> {
        self.0.workplace(work)
    }
    fn start_from(&self, from: &str, work: &str) -> io::Result<()> {
        self.0.start_from(from, work)
    }
    fn write(&self, work: &str) -> io::Result<Box<dyn io::Write>> {
        self.0.write(work)
    }
    fn publish(&self, work: &str, name: &str) -> io::Result<()> {
        self.0.publish(work, name)
    }
    fn place(&self, name: &str) -> Place {
        let _ = self.1.lock().expect("gate").recv();
        self.0.place(name)
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn Blob>> {
        self.0.open(name)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
}

/// Entries were closed one per entry that came, and none came before a log could be opened for it.
#[test]
fn what_was_in_use_all_at_once_keeps_nobody_out_afterwards() {
    let dir = tempfile::tempdir().expect("dir");
    let logs = logs(dir.path(), 4);
    (0..6).for_each(|n| drop(logs.create(&id(n)).expect("room")));
    let projects = open_projects(dir.path(), logs, 2);
    runtime(8).block_on(async {
        let mut held = Vec::new();
        for n in 0..4 {
            held.push(projects.open(&id(n)).await.expect("room"));
        }
        assert!(matches!(projects.open(&id(4)).await, Err(LogError::Busy { .. })), "all are in use");
        drop(held);
        let opens = async {
            // Their appliers may still be at work.
            for n in (0..6).cycle() {
                if projects.open(&id(n)).await.is_ok() && projects.lag().len() <= 2 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LONG, opens).await.expect("nobody uses the others");
    });
}

#[test]
fn a_crowd_that_opens_one_project_takes_one_thread() {
    let dir = tempfile::tempdir().expect("dir");
    let logs = logs(dir.path(), 4);
    drop(logs.create(&id(1)).expect("room"));
    let (release, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let told = Told::new(logs, move |_, _| {
        let _ = gate.lock().expect("gate").recv();
    });
    let projects = open_projects(dir.path(), told.clone(), 2);
    runtime(4).block_on(async move {
        let crowd = crowd(|| {
            let projects = Arc::clone(&projects);
            async move { projects.open(&id(1)).await.map(drop) }
        })
        .await;
        timeout(LONG, spawn_blocking(|| ())).await.expect("a thread is free").expect("ran");
        drop(release);
        for one in crowd {
            one.await.expect("no panic").expect("opened");
        }
        assert_eq!(told.opened.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_log_that_ended_while_it_was_opened_is_nobodys() {
    let dir = tempfile::tempdir().expect("dir");
    let logs = logs(dir.path(), 4);
    drop(logs.create(&id(1)).expect("room"));
    let told = Told::new(logs, |logs, project| logs.delete(project).expect("deleted"));
    let projects = open_projects(dir.path(), told, 2);
    runtime(4).block_on(async {
        assert!(matches!(projects.open(&id(1)).await, Err(LogError::Closed)));
        assert!(projects.lag().is_empty());
    });
}

/// Two appliers of one file took each other's work away.
#[test]
fn whoever_has_a_project_that_was_made_anew_does_not_touch_its_view_any_more() {
    let dir = tempfile::tempdir().expect("dir");
    let logs = logs(dir.path(), 4);
    let log = logs.create(&id(1)).expect("room");
    let projects = open_projects(dir.path(), logs, 2);
    runtime(4).block_on(async {
        append(&*log, issue(1, "one")).await;
        let open = projects.open(&id(1)).await.expect("room");
        assert!(open.caught_up(LONG).await);
        projects.evict(&id(1));
        fs::remove_file(open.place().path()).expect("a view");
        append(&*log, issue(2, "two")).await;
        assert!(!open.caught_up(LONG).await);
        assert!(open.build_again().is_err());
        assert!(!open.place().path().exists());
        let anew = projects.open(&id(1)).await.expect("room");
        assert!(anew.caught_up(LONG).await && anew.place().path().exists());
    });
}

/// Its applier had found out first and forgotten the project, so that nobody told it.
#[test]
fn whoever_has_a_project_open_for_long_does_not_take_the_new_view_away() {
    let dir = tempfile::tempdir().expect("dir");
    let logs = logs(dir.path(), 4);
    let log = logs.create(&id(1)).expect("room");
    let projects = open_projects(dir.path(), Arc::clone(&logs), 2);
    runtime(4).block_on(async {
        append(&*log, issue(1, "the secret is out")).await;
        drop(log);
        let open = projects.open(&id(1)).await.expect("room");
        assert!(open.caught_up(LONG).await);
        let (all, folder) = (Arc::clone(&projects), dir.path().join(id(1).as_str()));
        let redact = move || {
            let evict = || {
                wait_until("its applier has found out", || all.lag().is_empty());
                all.evict(&id(1));
            };
            let redaction = Redaction { logs: &*logs, project: &id(1), folder, evict: &evict };
            redaction.rewrite(Some("the secret"), false).expect("found");
        };
        spawn_blocking(redact).await.expect("redacted");
        let anew = projects.open(&id(1)).await.expect("room");
        assert!(anew.caught_up(LONG).await);
        assert!(open.build_again().is_err());
        let issues =
            |db: &ProjectDb| Ok(db.conn().query_row("SELECT count(*) FROM issues", [], |r| r.get(0))?);
        assert_eq!(anew.read::<i64>(issues).await.expect("a whole view"), 1);
    });
}

/// Asked again behind the end, whoever had opened the new log meanwhile left half a view to the next one.
#[test]
fn a_redaction_makes_the_users_of_a_project_let_go_once() {
    let dir = tempfile::tempdir().expect("dir");
    let logs = logs(dir.path(), 4);
    let log = logs.create(&id(1)).expect("room");
    runtime(1).block_on(append(&*log, issue(1, "the secret is out")));
    drop(log);
    let evicted = AtomicUsize::new(0);
    let evict = || {
        evicted.fetch_add(1, Ordering::SeqCst);
    };
    let folder = dir.path().join(id(1).as_str());
    let redaction = Redaction { logs: &*logs, project: &id(1), folder, evict: &evict };
    for only_look in [true, false] {
        let mark = redaction.rewrite(Some("the secret"), only_look).expect("found");
        assert_eq!((mark.events, evicted.swap(0, Ordering::SeqCst)), (1, 1), "{only_look}");
    }
}

#[test]
fn all_watchers_of_a_project_read_on_one_thread() {
    let (release, gate) = channel::<()>();
    let log: Arc<dyn EventLog> = Arc::new(Slow(MemoryLog::new(clock()), Mutex::new(gate)));
    let (ring, schema): (Arc<Announcements>, Arc<dyn Schema>) = (Arc::default(), Arc::new(TdSchema));
    runtime(4).block_on(async move {
        let watch = |cursor| {
            let (ring, log, schema) = (Arc::clone(&ring), Arc::clone(&log), Arc::clone(&schema));
            async move { ring.after(cursor, log, schema, clock()()).await }
        };
        let here = watch(Seq(i64::MAX)).await.expect("read").cursor;
        append(&*log, issue(1, "one")).await;
        let watchers = crowd(|| watch(here)).await;
        timeout(LONG, spawn_blocking(|| ())).await.expect("a thread is free").expect("ran");
        drop(release);
        for watcher in watchers {
            assert_eq!(watcher.await.expect("no panic").expect("read").frames.len(), 1);
        }
        assert!(ring.reaches(here).await);
    });
}

/// Three tasks take turns on one thread: two ask for a digest, and between them the file is changed behind our back. The
/// second digest is another one only if it was computed again.
#[test]
fn a_digest_that_is_asked_for_twice_at_once_is_computed_once() {
    let dir = tempfile::tempdir().expect("dir");
    let logs = logs(dir.path(), 4);
    let log = logs.create(&id(1)).expect("room");
    let projects = open_projects(dir.path(), logs, 2);
    runtime(1).block_on(async {
        append(&*log, issue(1, "one")).await;
        let open = projects.open(&id(1)).await.expect("room");
        assert!(open.caught_up(LONG).await);
        let (first, second) = (Arc::clone(&open), Arc::clone(&open));
        let first = tokio::spawn(async move { first.digest().await });
        let changed = tokio::spawn(changed(open.place().path().to_path_buf()));
        let second = tokio::spawn(async move { second.digest().await });
        changed.await.expect("changed");
        let first = first.await.expect("no panic").expect("computed");
        assert_eq!(second.await.expect("no panic").expect("computed"), first);
    });
}

async fn changed(path: std::path::PathBuf) {
    let change = move || {
        let conn = rusqlite::Connection::open(path).expect("a file");
        conn.execute("UPDATE issues SET title = 'another'", []).expect("changed");
    };
    spawn_blocking(change).await.expect("changed");
}

#[test]
fn all_who_ask_for_the_digest_of_a_snapshot_take_one_thread() {
    let dir = tempfile::tempdir().expect("dir");
    let (release, gate) = channel::<()>();
    let store = SlowStore(Folder::new(dir.path().join("snap")), Mutex::new(gate));
    let shelf = Shelf::new(Arc::new(store), Version::current(&history()), clock());
    let log = Log::new();
    log.issues(1, 3);
    let kept = shelf.make(&log.0, None).expect("made");
    runtime(4).block_on(async move {
        let all = crowd(|| {
            let kept = Arc::clone(&kept);
            async move { kept.digest_once().await }
        })
        .await;
        timeout(LONG, spawn_blocking(|| ())).await.expect("a thread is free").expect("ran");
        drop(release);
        for one in all {
            assert_eq!(one.await.expect("no panic").expect("computed").seq, Seq(3));
        }
    });
}
