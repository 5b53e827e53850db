//! Projects in use: each log with the live view that follows it.
//!
//! Duty: hand out open projects without asking the disk each time, and run one applier per project, behind the
//! acknowledgements and never in their way.
//! Invariant: an applier reads the log by sequence from its own cursor, so what it has applied is a prefix (W1, W2).
//! Danger: an entry here keeps its log open. Entries go when nobody used them for [`IDLE`], or when there are too many.

mod announce;
mod view;

pub use announce::{Announcements, Missed, refresh};
pub use view::{LiveError, LiveView, PAGE, StateDigest};
pub(crate) use view::{apply, remove_database};

use crate::log::{Clock, EventLog, Head, LogError, Logs};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use td_engine::id::{ProjectId, Seq};
use tokio::sync::watch;

/// An entry that nobody asked for during this time is closed.
pub const IDLE: Duration = Duration::from_secs(600);
/// Least time between two rounds of an applier. Under load a round then applies thousands of events in one transaction;
/// one transaction per commit of the log took 40 % of a core away from the pushes, and its writes held up their fsync.
/// Whoever needs the view sooner catches up itself.
const ROUND: Duration = Duration::from_secs(1);
/// How long an applier that failed waits before it tries again.
const RETRY: Duration = Duration::from_secs(5);

/// A project in use.
pub struct OpenProject {
    /// Which.
    pub id: ProjectId,
    /// Its log.
    pub log: Arc<dyn EventLog>,
    /// What its watchers are told.
    pub announcements: Announcements,
    view: Mutex<LiveView>,
    applied: watch::Sender<Seq>,
    used: Mutex<Instant>,
}

impl OpenProject {
    /// How far the live view is.
    pub fn applied(&self) -> Seq {
        *self.applied.borrow()
    }

    /// The digest of the state at the head. Blocks.
    pub fn digest(&self) -> Result<StateDigest, LiveError> {
        let digest = lock(&self.view).digest(&*self.log)?;
        self.applied.send_replace(digest.seq);
        Ok(digest)
    }

    fn catch_up(&self) -> Result<(), LiveError> {
        let cursor = lock(&self.view).catch_up(&*self.log)?;
        self.applied.send_replace(cursor);
        Ok(())
    }
}

/// All projects in use.
pub struct OpenProjects {
    logs: Arc<dyn Logs>,
    dir: PathBuf,
    clock: Clock,
    most: usize,
    open: Mutex<HashMap<ProjectId, Arc<OpenProject>>>,
}

impl OpenProjects {
    /// Over all logs. `dir` holds a folder per project for `project.db`; `most` bounds what is kept open.
    pub fn new(logs: Arc<dyn Logs>, dir: PathBuf, clock: Clock, most: usize) -> Arc<Self> {
        Arc::new(Self { logs, dir, clock, most, open: Mutex::default() })
    }

    /// The project, opened if need be.
    pub async fn open(self: &Arc<Self>, project: &ProjectId) -> Result<Arc<OpenProject>, LogError> {
        if let Some(open) = self.known(project) {
            return Ok(open);
        }
        let (all, project) = (Arc::clone(self), project.clone());
        let log = {
            let project = project.clone();
            let opened = tokio::task::spawn_blocking(move || all.logs.open(&project)).await;
            opened.map_err(|e| LogError::Storage(e.to_string()))??
        };
        let (open, new) = self.enter(&project, log);
        if new {
            tokio::spawn(follow(Arc::downgrade(&open), Arc::downgrade(self)));
        }
        Ok(open)
    }

    /// What is open now, with applied cursor and head.
    pub fn lag(&self) -> Vec<(ProjectId, Seq, Head)> {
        lock(&self.open).values().map(|p| (p.id.clone(), p.applied(), p.log.head())).collect()
    }

    /// Forgets what nobody uses; requests that still hold an entry finish with it.
    pub fn close_idle(&self, idle: Duration) {
        lock(&self.open).retain(|_, p| lock(&p.used).elapsed() < idle);
    }

    fn known(&self, project: &ProjectId) -> Option<Arc<OpenProject>> {
        let open = lock(&self.open).get(project).cloned()?;
        *lock(&open.used) = Instant::now();
        Some(open)
    }

    fn enter(&self, project: &ProjectId, log: Arc<dyn EventLog>) -> (Arc<OpenProject>, bool) {
        let mut all = lock(&self.open);
        if let Some(known) = all.get(project) {
            return (Arc::clone(known), false);
        }
        if all.len() >= self.most {
            let oldest = all.values().min_by_key(|p| *lock(&p.used)).map(|p| p.id.clone());
            oldest.and_then(|id| all.remove(&id));
        }
        let path = self.dir.join(project.as_str()).join("project.db");
        let open = Arc::new(OpenProject {
            id: project.clone(),
            log,
            announcements: Announcements::default(),
            view: Mutex::new(LiveView::new(path, Arc::clone(&self.clock))),
            applied: watch::Sender::new(Seq(0)),
            used: Mutex::new(Instant::now()),
        });
        all.insert(project.clone(), Arc::clone(&open));
        (open, true)
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
async fn follow(project: Weak<OpenProject>, all: Weak<OpenProjects>) {
    let Some(mut head) = project.upgrade().map(|p| p.log.watch()) else { return };
    loop {
        head.mark_unchanged();
        let Some(open) = project.upgrade() else { return };
        let begun = tokio::time::Instant::now();
        let applied =
            tokio::task::spawn_blocking(move || open.catch_up().map_err(|e| (open.id.clone(), e))).await;
        match applied {
            Ok(Ok(())) => {}
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
        if head.changed().await.is_err() {
            break;
        }
    }
    if let (Some(open), Some(all)) = (project.upgrade(), all.upgrade()) {
        all.forget(&open);
    }
}

/// What is guarded here is replaced whole or rebuilt, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
