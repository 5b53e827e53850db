//! Projects in use: each log with the live view that follows it.
//!
//! Duty: hand out open projects without asking the disk each time, and run one applier per project, behind the
//! acknowledgements and never in their way.
//! Invariant: an applier reads the log by sequence from its own cursor, so what it has applied is a prefix (W1, W2).
//! Danger: an entry here keeps its log open. Entries go when nobody used them for [`IDLE`], or when there are too many,
//! and then before the next log is opened: once entries nobody used kept every log from being closed, and each project
//! that was not among them was refused for ten minutes.

mod announce;
mod project;
mod view;

pub use announce::{Announcements, Missed, refresh};
pub use project::OpenProject;
pub use view::{LiveError, LiveView, PAGE, Recorded, StateDigest};
pub(crate) use view::{apply, is_damage};

use crate::log::{Clock, EventLog, Head, LogError, Logs};
use crate::snapshot::{Shelf, Shelves};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use td_engine::id::{Epoch, ProjectId, Seq};
use tokio::sync::Semaphore;

/// An entry that nobody asked for during this time is closed.
pub const IDLE: Duration = Duration::from_secs(600);
/// Least time between two rounds of an applier. Under load a round then applies thousands of events in one transaction;
/// one transaction per commit of the log took 40 % of a core away from the pushes, and its writes held up their fsync.
/// Rounds of a second cost no less, and left the view a second further behind. Whoever needs the view sooner catches up
/// itself.
const ROUND: Duration = Duration::from_millis(500);
/// Silence after which a live view is closed: open, each costs nearly half a megabyte, and a server has hundreds.
const REST: Duration = Duration::from_secs(2);
/// Most live views that are open only for the next event.
const AWAKE: usize = 50;
/// How long an applier that failed waits before it tries again.
const RETRY: Duration = Duration::from_secs(5);

/// How far a project in use is.
#[derive(Clone, Debug)]
pub struct Lag {
    /// Which.
    pub project: ProjectId,
    /// Cursor of its live view.
    pub applied: Seq,
    /// Head of its log.
    pub head: Head,
    /// What its live view recorded.
    pub recorded: Recorded,
}

/// All projects in use.
pub struct OpenProjects {
    logs: Arc<dyn Logs>,
    dir: PathBuf,
    clock: Clock,
    most: usize,
    open: Mutex<HashMap<ProjectId, Arc<OpenProject>>>,
    /// Projects that are being opened: one at a time each, so that a crowd takes one thread.
    turns: Mutex<HashMap<ProjectId, Weak<tokio::sync::Mutex<()>>>>,
    shelves: Shelves,
    /// Of projects that are watched, whether they are in use or not.
    rings: Mutex<HashMap<ProjectId, Weak<Announcements>>>,
    /// Live views that are kept open for the next event.
    awake: Arc<Semaphore>,
}

impl OpenProjects {
    /// Over all logs. `dir` holds a folder per project for `project.db` and its snapshots; `history` is the one the data
    /// belongs to; `most` bounds what is kept open.
    pub fn new(logs: Arc<dyn Logs>, dir: PathBuf, history: &Epoch, clock: Clock, most: usize) -> Arc<Self> {
        let shelves = Shelves::new(dir.clone(), history, clock.clone());
        let awake = Arc::new(Semaphore::new(AWAKE));
        Arc::new(Self {
            logs,
            dir,
            clock,
            most,
            open: Mutex::default(),
            turns: Mutex::default(),
            shelves,
            rings: Mutex::default(),
            awake,
        })
    }

    /// The project, opened if need be.
    pub async fn open(self: &Arc<Self>, project: &ProjectId) -> Result<Arc<OpenProject>, LogError> {
        if let Some(open) = self.known(project) {
            return Ok(open);
        }
        let mut turn = shared(&self.turns, project).lock_owned().await;
        // Opened by whoever had the turn before.
        if let Some(open) = self.known(project) {
            return Ok(open);
        }
        while self.is_full() && self.close_oldest() {}
        let opened = loop {
            let (logs, id) = (Arc::clone(&self.logs), project.clone());
            // The thread has the turn, for whoever asked may be gone before it is done.
            let opened = tokio::task::spawn_blocking(move || (logs.open(&id), turn)).await;
            let (opened, back) = opened.map_err(|e| LogError::Storage(e.to_string()))?;
            turn = back;
            // Logs that others have in use besides ours may be what is too many; ours can go.
            if !matches!(opened, Err(LogError::Busy { .. })) || !self.close_oldest() {
                break opened;
            }
        };
        let open = self.enter(project, opened?)?;
        tokio::spawn(follow(Arc::downgrade(&open), Arc::downgrade(self), Arc::clone(&self.awake)));
        Ok(open)
    }

    /// What is open now, and how far.
    pub fn lag(&self) -> Vec<Lag> {
        let lag = |p: &Arc<OpenProject>| Lag {
            project: p.id.clone(),
            applied: p.applied(),
            head: p.log.head(),
            recorded: p.recorded(),
        };
        lock(&self.open).values().map(lag).collect()
    }

    /// Forgets what nobody uses. An entry that a request still holds stays: a second one beside it would be a second
    /// applier of one file.
    pub fn close_idle(&self, idle: Duration) {
        lock(&self.open).retain(|_, p| p.unused_for() < idle || Arc::strong_count(p) > 1);
    }

    /// Forgets a project, whoever uses it, and what is kept of its snapshots: the next use reads everything anew. Blocks
    /// until its applier has let go of the file.
    pub fn evict(&self, project: &ProjectId) {
        let gone = lock(&self.open).remove(project);
        if let Some(gone) = gone {
            gone.end();
        }
        self.shelves.of(project).clear();
    }

    fn known(&self, project: &ProjectId) -> Option<Arc<OpenProject>> {
        let open = lock(&self.open).get(project).cloned()?;
        open.touch();
        Some(open)
    }

    fn is_full(&self) -> bool {
        lock(&self.open).len() >= self.most
    }

    /// Forgets the entry that is unused for the longest time; `false` if all are in use.
    fn close_oldest(&self) -> bool {
        let mut all = lock(&self.open);
        let free = all.values().filter(|p| Arc::strong_count(p) == 1);
        let oldest = free.max_by_key(|p| p.unused_for()).map(|p| p.id.clone());
        let closed = oldest.and_then(|id| all.remove(&id));
        drop(all);
        closed.is_some()
    }

    /// For whoever has the project's turn.
    fn enter(&self, project: &ProjectId, log: Arc<dyn EventLog>) -> Result<Arc<OpenProject>, LogError> {
        let mut all = lock(&self.open);
        if log.watch().has_changed().is_err() {
            // Rewritten or deleted since it was opened; whoever did that has looked for entries already.
            return Err(LogError::Closed);
        }
        let place = self.dir.join(project.as_str()).join("project.db");
        let view = LiveView::new(place, Arc::clone(&self.clock));
        let shelf: Arc<Shelf> = self.shelves.of(project);
        let ring = shared(&self.rings, project);
        let open = Arc::new(OpenProject::new(project.clone(), log, view, shelf, ring));
        all.insert(project.clone(), Arc::clone(&open));
        Ok(open)
    }

    /// Removes an entry whose log was closed under it, so that the next request opens it anew.
    fn forget(&self, gone: &OpenProject) {
        let mut all = lock(&self.open);
        if all.get(&gone.id).is_some_and(|p| std::ptr::eq(&**p, gone)) {
            all.remove(&gone.id);
        }
    }
}

/// The applier of one project: ends when the project is no longer in use. Holds it only while it applies.
async fn follow(project: Weak<OpenProject>, all: Weak<OpenProjects>, awake: Arc<Semaphore>) {
    let Some((mut head, mut alive)) = project.upgrade().map(|p| (p.log.watch(), p.alive())) else { return };
    loop {
        head.mark_unchanged();
        let Some(open) = project.upgrade() else { return };
        let begun = tokio::time::Instant::now();
        let applied =
            tokio::task::spawn_blocking(move || open.catch_up().map_err(|e| (open.id.clone(), e))).await;
        match applied {
            Ok(Ok(())) => {}
            Ok(Err((_, LiveError::Log(LogError::Closed | LogError::Missing)))) => break,
            Ok(Err((id, e))) => {
                tracing::error!(pid = %id, cause = %e, "events could not be applied to the live view");
                tokio::time::sleep(RETRY).await;
                continue;
            }
            Err(e) => {
                tracing::error!(cause = %e, "the applier was lost; the next use of the project starts another");
                break;
            }
        }
        tokio::time::sleep_until(begun + ROUND).await;
        // Without a place it closes at once, unless there is something to apply already.
        let place = awake.try_acquire();
        let patience = if place.is_ok() { REST } else { Duration::ZERO };
        let moved = match tokio::time::timeout(patience, head.changed()).await {
            Ok(moved) => moved,
            Err(_) => {
                drop(place);
                if let Some(open) = project.upgrade() {
                    // Whether it was done does not matter.
                    let _ = tokio::task::spawn_blocking(move || open.rest()).await;
                }
                tokio::select! {
                    moved = head.changed() => moved,
                    // Nobody has the project open any more, and a log that is closed may never move again.
                    () = alive.ended() => return,
                }
            }
        };
        if moved.is_err() {
            break;
        }
    }
    if let (Some(open), Some(all)) = (project.upgrade(), all.upgrade()) {
        // Before it is forgotten: whoever makes the view anew would not find it, and a request that has it could build
        // the new one again, or take it away.
        let gone = Arc::clone(&open);
        let _ = tokio::task::spawn_blocking(move || gone.end()).await;
        all.forget(&open);
    }
}

/// What all who are busy with a project share, for as long as one of them has it.
fn shared<T: Default>(of: &Mutex<HashMap<ProjectId, Weak<T>>>, project: &ProjectId) -> Arc<T> {
    let mut all = lock(of);
    if let Some(known) = all.get(project).and_then(Weak::upgrade) {
        return known;
    }
    all.retain(|_, one| one.strong_count() > 0);
    let new = Arc::default();
    all.insert(project.clone(), Arc::downgrade(&new));
    new
}

/// What is guarded here is replaced whole or rebuilt, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
