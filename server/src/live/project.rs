//! One project in use.
//!
//! Duty: let the applier write the live view while requests read it, and answer what is asked of a state.
//! Invariant: readers see one commit of the applier each; a view that was built again is opened again.

use super::{Announcements, LiveError, LiveView, Recorded, StateDigest, is_damage, lock};
use crate::log::{EventLog, LogError};
use crate::snapshot::Shelf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use td_engine::db::{Place, ProjectDb};
use td_engine::id::{ProjectId, Seq};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// Requests that may read one live view at once.
const READERS: usize = 4;
/// Before the applier has looked at the file for the first time.
const NOT_YET: Seq = Seq(-1);
/// Connections that are kept for the next reader.
const KEPT: usize = 2;

/// A project in use.
pub struct OpenProject {
    /// Which.
    pub id: ProjectId,
    /// Its log.
    pub log: Arc<dyn EventLog>,
    /// What its watchers are told.
    pub announcements: Arc<Announcements>,
    /// Its snapshots.
    pub shelf: Arc<Shelf>,
    /// `None` once the project was made anew under its users: the file is somebody else's then.
    view: Mutex<Option<LiveView>>,
    place: Place,
    builds: Arc<AtomicU64>,
    applied: watch::Sender<Seq>,
    recorded: Mutex<Recorded>,
    digest: Mutex<Option<StateDigest>>,
    digesting: Arc<tokio::sync::Mutex<()>>,
    hurrying: tokio::sync::Mutex<()>,
    readers: Mutex<Vec<(u64, ProjectDb)>>,
    reading: Semaphore,
    used: Mutex<Instant>,
}

/// Whether a project is open, without keeping it so.
pub(super) struct Alive(watch::Receiver<Seq>);

impl Alive {
    /// Returns when nobody has it open any more.
    pub(super) async fn ended(&mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

impl OpenProject {
    pub(super) fn new(
        id: ProjectId,
        log: Arc<dyn EventLog>,
        view: LiveView,
        shelf: Arc<Shelf>,
        announcements: Arc<Announcements>,
    ) -> Self {
        Self {
            id,
            log,
            shelf,
            announcements,
            place: view.place().clone(),
            builds: view.builds(),
            view: Mutex::new(Some(view)),
            applied: watch::Sender::new(NOT_YET),
            recorded: Mutex::default(),
            digest: Mutex::default(),
            digesting: Arc::default(),
            hurrying: Default::default(),
            readers: Mutex::default(),
            reading: Semaphore::new(READERS),
            used: Mutex::new(Instant::now()),
        }
    }

    /// Follows whether anybody has it open.
    pub(super) fn alive(&self) -> Alive {
        Alive(self.applied.subscribe())
    }

    /// How far the live view is.
    pub fn applied(&self) -> Seq {
        (*self.applied.borrow()).max(Seq(0))
    }

    /// What the live view holds that did not simply apply.
    pub fn recorded(&self) -> Recorded {
        *lock(&self.recorded)
    }

    /// Where the live view is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn touch(&self) {
        *lock(&self.used) = Instant::now();
    }

    pub(super) fn unused_for(&self) -> Duration {
        lock(&self.used).elapsed()
    }

    /// Sees to it that the live view has what the log has now, without waiting for the applier's next round; `false` if
    /// that takes longer, or fails (which the applier reports).
    pub async fn caught_up(self: &Arc<Self>, patience: Duration) -> bool {
        self.applied_to(self.log.head().seq, patience).await
    }

    /// Sees to it that the live view has reached a sequence that the log has; `false` if that takes longer, or fails.
    pub async fn applied_to(self: &Arc<Self>, seq: Seq, patience: Duration) -> bool {
        let there = |at: &Seq| *at >= seq;
        let mut applied = self.applied.subscribe();
        if there(&applied.borrow_and_update()) {
            return true;
        }
        let hurry = async {
            // One of all who wait does the work; the others find it done.
            let _turn = self.hurrying.lock().await;
            if there(&self.applied.borrow()) {
                return true;
            }
            let open = Arc::clone(self);
            matches!(tokio::task::spawn_blocking(move || open.catch_up()).await, Ok(Ok(())))
        };
        timeout(patience, async {
            tokio::select! {
                reached = applied.wait_for(there) => reached.is_ok(),
                done = hurry => done,
            }
        })
        .await
        .unwrap_or(false)
    }

    /// Reads the rows beside the applier, from one moment. What `look` reads should be bounded: the applier's log of
    /// changes cannot start over meanwhile.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl FnOnce(&ProjectDb) -> Result<T, LiveError> + Send + 'static,
    ) -> Result<T, LiveError> {
        // Never closed.
        let _turn = self.reading.acquire().await;
        let open = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let build = open.builds.load(Ordering::SeqCst);
            open.read_now(look).inspect_err(|e| {
                if is_damage(e) {
                    open.heal(build, e);
                }
            })
        });
        read.await.unwrap_or_else(|e| Err(LiveError::Lost(e.to_string())))
    }

    /// Damage that a reader finds is no better than damage that the applier finds (law 5): whoever asks next gets a view
    /// that was built again. Blocks; the first of all who found it does the work.
    fn heal(&self, build: u64, found: &LiveError) {
        let discarded = {
            let mut view = lock(&self.view);
            if self.builds.load(Ordering::SeqCst) != build {
                return;
            }
            let Some(view) = view.as_mut() else { return };
            tracing::warn!(pid = %self.id, cause = %found, "the live view is built again from the log");
            self.applied.send_replace(NOT_YET);
            view.discard()
        };
        *lock(&self.digest) = None;
        if let Err(e) = discarded.and_then(|()| self.catch_up()) {
            tracing::error!(pid = %self.id, cause = %e, "the live view could not be built again");
        }
    }

    fn read_now<T>(&self, look: impl FnOnce(&ProjectDb) -> Result<T, LiveError>) -> Result<T, LiveError> {
        let build = self.builds.load(Ordering::SeqCst);
        let known = {
            let mut readers = lock(&self.readers);
            readers.retain(|(of, _)| *of == build);
            readers.pop()
        };
        let reader = match known {
            Some((_, db)) => db,
            None => ProjectDb::open_read_only_at(&self.place)?,
        };
        let moment = reader.conn().unchecked_transaction()?;
        let seen = look(&reader)?;
        moment.finish()?;
        let mut readers = lock(&self.readers);
        if readers.len() < KEPT {
            readers.push((build, reader));
        }
        Ok(seen)
    }

    /// The digest of the state that the live view is at, computed once per state, however many ask.
    pub async fn digest(self: &Arc<Self>) -> Result<StateDigest, LiveError> {
        let turn = Arc::clone(&self.digesting).lock_owned().await;
        // Computed by whoever had the turn before.
        let known = lock(&self.digest).clone();
        if let Some(known) = known.filter(|d| d.seq == self.applied()) {
            return Ok(known);
        }
        let open = Arc::clone(self);
        self.read(move |db| {
            // With the turn, for whoever asked may be gone before it is done.
            let _turn = turn;
            let digest = StateDigest::of_moment(db)?;
            *lock(&open.digest) = Some(digest.clone());
            Ok(digest)
        })
        .await
    }

    /// Applies everything up to the head. Blocks; gives way to others between two pages.
    pub(super) fn catch_up(&self) -> Result<(), LiveError> {
        let head = self.log.head().seq;
        loop {
            let cursor = {
                let mut view = lock(&self.view);
                let view = view.as_mut().ok_or(LogError::Closed)?;
                let cursor = view.step(&*self.log)?;
                *lock(&self.recorded) = view.recorded();
                self.applied.send_replace(cursor);
                if cursor >= head {
                    view.release();
                }
                cursor
            };
            if cursor >= head {
                return Ok(());
            }
        }
    }

    /// Closes what only the next event needs. Blocks.
    pub(super) fn rest(&self) {
        if let Some(view) = lock(&self.view).as_mut() {
            view.rest();
        }
        lock(&self.readers).clear();
    }

    /// Lets go of the live view for good. Whoever still has the project open is told that its log is closed. Blocks.
    pub(super) fn end(&self) {
        *lock(&self.view) = None;
    }

    /// Builds the live view again from the log's beginning, and throws away the snapshots that were made before. Blocks
    /// until it is done; whoever asks for the state meanwhile is told to come back.
    pub fn build_again(&self) -> Result<(), LiveError> {
        {
            let mut view = lock(&self.view);
            view.as_mut().ok_or(LogError::Closed)?.discard()?;
            self.applied.send_replace(NOT_YET);
        }
        *lock(&self.digest) = None;
        self.shelf.clear();
        self.catch_up()
    }
}
