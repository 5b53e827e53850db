//! The logs of a data directory: `<projects>/<id>/events.db`.
//!
//! Duty: at most one open log per project and a bounded number of them; creation and deletion that are whole or not.
//! Invariant: a project's slot is locked while its log is opened, closed or removed, and the map is not: one slow disk
//! keeps nobody else waiting, and no second writer ever starts beside one that is still closing or rewriting.
//! Danger: an open log is in use while anyone holds its `Arc`. Nothing else keeps it from being closed as idle.

use super::sqlite::{Options, SqliteLog};
use super::{EventLog, Head, LogError, Logs, Rewrite};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};
use td_engine::id::ProjectId;
use tokio::sync::watch;

/// No project id begins with a dot, so these can never be opened as projects.
const NEW: &str = ".new-";
const GONE: &str = ".gone-";
/// How long a rewrite waits for readers under way: a page whose client is slow ends within 50 seconds (20 of waiting,
/// and 30 for the chunk that it then waits for).
const PAGES_END: Duration = Duration::from_secs(75);

/// How to keep the logs.
#[derive(Clone)]
pub struct ProjectsOptions {
    /// The folder that holds one folder per project. Must exist.
    pub dir: PathBuf,
    /// Most logs open at once.
    pub most_open: usize,
    /// For each log.
    pub log: Options,
}

/// All logs below one folder.
pub struct Projects {
    options: ProjectsOptions,
    slots: Mutex<HashMap<ProjectId, Arc<Mutex<Slot>>>>,
}

struct Slot {
    log: Option<Arc<SqliteLog>>,
    used: Instant,
    /// Held while the log is rewritten, which may wait for a minute: whoever opens it does not wait with it. Waiting for
    /// the slot, 500 requests of one project took every thread of the server.
    rewriting: Arc<Mutex<()>>,
    /// Outlives the log, so that whoever waits for news keeps no log open. They are many and quiet; as holders of logs,
    /// 256 of them made every other project unusable.
    head: watch::Sender<Head>,
}

impl Slot {
    /// Handing the log out takes the slot's lock, so nobody can come to hold it while we look.
    fn idle_log(&mut self) -> Option<Arc<SqliteLog>> {
        self.log.take_if(|log| Arc::strong_count(log) == 1)
    }

    /// Ends the log and what is told of it: this project is not there any more, or not as it was.
    fn end(&mut self, why: LogError) {
        if let Some(log) = self.log.take() {
            log.close(why);
        }
        self.head = watch::Sender::default();
    }
}

impl Projects {
    /// Takes over a folder, and finishes what a crash left of creations and deletions.
    pub fn new(options: ProjectsOptions) -> io::Result<Self> {
        for entry in fs::read_dir(&options.dir)? {
            let entry = entry?;
            if [NEW, GONE].iter().any(|prefix| entry.file_name().to_string_lossy().starts_with(prefix)) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Self { options, slots: Mutex::default() })
    }

    /// Where a project's files are.
    pub fn dir(&self, project: &ProjectId) -> PathBuf {
        self.options.dir.join(project.as_str())
    }

    fn aside(&self, prefix: &str, project: &ProjectId) -> PathBuf {
        self.options.dir.join(format!("{prefix}{project}"))
    }

    fn slot(&self, project: &ProjectId) -> Arc<Mutex<Slot>> {
        let new = || {
            let (used, head) = (Instant::now(), watch::Sender::default());
            Arc::new(Mutex::new(Slot { log: None, used, rewriting: Arc::default(), head }))
        };
        lock(&self.slots).entry(project.clone()).or_insert_with(new).clone()
    }

    fn open_in(&self, project: &ProjectId, slot: &mut Slot) -> Result<Arc<dyn EventLog>, LogError> {
        if matches!(slot.rewriting.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(LogError::Closed);
        }
        slot.used = Instant::now();
        let log = match &slot.log {
            Some(log) => log.clone(),
            None => {
                let path = self.dir(project).join("events.db");
                let log = SqliteLog::open_for(&path, self.options.log.clone(), slot.head.clone())?;
                slot.log.insert(Arc::new(log)).clone()
            }
        };
        Ok(log)
    }

    /// Closes idle logs, longest unused first, until one more may be opened. Must not hold any slot.
    fn make_room(&self) -> Result<(), LogError> {
        let mut open: Vec<_> = self
            .slots_now()
            .into_iter()
            .filter_map(|(_, s)| {
                // A slot that is busy opening counts as open and is no candidate.
                let used =
                    s.try_lock().map_or(Some(Instant::now()), |slot| slot.log.is_some().then_some(slot.used));
                used.map(|used| (used, s))
            })
            .collect();
        open.sort_by_key(|(used, _)| *used);
        let mut excess = (open.len() + 1).saturating_sub(self.options.most_open.max(1));
        for (_, slot) in open {
            if excess == 0 {
                return Ok(());
            }
            let closed = slot.try_lock().ok().is_some_and(|mut slot| slot.idle_log().map(close).is_some());
            excess -= usize::from(closed);
        }
        if excess == 0 { Ok(()) } else { Err(LogError::Busy { retry_after: Duration::from_secs(1) }) }
    }

    fn slots_now(&self) -> Vec<(ProjectId, Arc<Mutex<Slot>>)> {
        lock(&self.slots).iter().map(|(project, slot)| (project.clone(), slot.clone())).collect()
    }

    /// Forgets slots without a log that nobody is about to use or waits for.
    fn tidy(&self) {
        lock(&self.slots).retain(|_, slot| {
            let is_used = |slot: MutexGuard<'_, Slot>| slot.log.is_some() || slot.head.receiver_count() > 0;
            Arc::strong_count(slot) > 1 || slot.try_lock().map_or(true, is_used)
        });
    }

    pub(super) fn is_open(&self, project: &ProjectId) -> bool {
        let slot = lock(&self.slots).get(project).cloned();
        slot.is_some_and(|slot| lock(&slot).log.is_some())
    }
}

impl Logs for Projects {
    fn create(&self, project: &ProjectId) -> Result<Arc<dyn EventLog>, LogError> {
        self.make_room()?;
        let slot = self.slot(project);
        let mut slot = lock(&slot);
        let (dir, new) = (self.dir(project), self.aside(NEW, project));
        if dir.try_exists().map_err(files)? {
            return Err(LogError::Exists);
        }
        remove_tree(&new).map_err(files)?;
        fs::create_dir(&new).map_err(files)?;
        SqliteLog::create(&new.join("events.db"), &self.options.log)?;
        let whole =
            sync_dir(&new).and_then(|()| fs::rename(&new, &dir)).and_then(|()| sync_dir(&self.options.dir));
        whole.map_err(files)?;
        self.open_in(project, &mut slot)
    }

    fn open(&self, project: &ProjectId) -> Result<Arc<dyn EventLog>, LogError> {
        if !self.is_open(project) {
            self.make_room()?;
        }
        let opened = {
            let slot = self.slot(project);
            self.open_in(project, &mut lock(&slot))
        };
        if opened.is_err() {
            self.tidy();
        }
        opened
    }

    fn delete(&self, project: &ProjectId) -> Result<(), LogError> {
        let result = {
            let slot = self.slot(project);
            let rewriting = Arc::clone(&lock(&slot).rewriting);
            let _alone = lock(&rewriting);
            let mut slot = lock(&slot);
            slot.end(LogError::Missing);
            self.remove(project).map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => LogError::Missing,
                _ => files(e),
            })
        };
        self.tidy();
        result
    }

    fn rewrite(&self, project: &ProjectId, by: &dyn Rewrite) -> Result<(), LogError> {
        let slot = self.slot(project);
        let rewriting = Arc::clone(&lock(&slot).rewriting);
        // Locked to the end, so that nobody opens the file meanwhile.
        let _alone = lock(&rewriting);
        let log = {
            let mut slot = lock(&slot);
            let log = slot.log.clone();
            slot.end(LogError::Closed);
            log
        };
        // Each reads the file as it was and keeps it so; found out behind the commit, it was too late.
        if log.is_some_and(|log| !log.wait_for_readers(PAGES_END)) {
            return Err(LogError::InUse);
        }
        SqliteLog::rewrite(&self.dir(project).join("events.db"), &self.options.log, by)
    }

    fn close_idle(&self, idle: Duration) -> usize {
        let mut closed = 0;
        for (_, slot) in self.slots_now() {
            let Ok(mut slot) = slot.try_lock() else { continue };
            if slot.used.elapsed() >= idle {
                closed += usize::from(slot.idle_log().map(close).is_some());
            }
        }
        self.tidy();
        closed
    }

    fn close_all(&self) {
        for (_, slot) in self.slots_now() {
            let rewriting = Arc::clone(&lock(&slot).rewriting);
            let _alone = lock(&rewriting);
            lock(&slot).end(LogError::Closed);
        }
        self.tidy();
    }
}

impl Projects {
    /// The rename is the tombstone: once it is durable the project is gone, whatever happens to the files after it.
    fn remove(&self, project: &ProjectId) -> io::Result<()> {
        let gone = self.aside(GONE, project);
        remove_tree(&gone)?;
        fs::rename(self.dir(project), &gone)?;
        sync_dir(&self.options.dir)?;
        // What cannot be removed now is removed at the next start.
        let _ = fs::remove_dir_all(&gone);
        Ok(())
    }
}

fn close(log: Arc<SqliteLog>) {
    log.close(LogError::Closed);
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn files(e: io::Error) -> LogError {
    LogError::Storage(e.to_string())
}

/// Locks what no panic can leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
