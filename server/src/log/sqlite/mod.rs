//! A log in a SQLite file, `events.db`, in the reference's schema.
//!
//! Duty: one writer thread per open log with group commit; readers beside it that never wait for it.
//! Invariant: while a [`SqliteLog`] is open, nothing else writes or checkpoints its file (the data directory's `LOCK`
//! and [`Projects`](super::Projects) see to it), because the next number is in the writer's memory.
//! Danger: the file is shared with the reference. Names, types and value forms are a contract (server-protocol 6.3, 6.5).

mod file;
mod inspect;
mod late;
mod reader;
mod rewrite;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use file::SCHEMA as EVENTS_SCHEMA;
pub(crate) use reader::event as stored_event;

use super::{
    Clock, CommitGate, EventLog, Filter, Head, HistoryQuery, Inspected, LogError, RawEvent, ReadQuery, Ticket,
};
use crate::metrics::Histogram;
use late::HasMarks;
use reader::Readers;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;
use td_engine::event::{LogEvent, Push};
use td_engine::id::DeviceId;
use td_engine::taxonomy::{Schema, TdSchema};
use tokio::sync::{oneshot, watch};
use writer::{Job, Writer};

/// Pushes that may wait for one log's writer.
const QUEUE: usize = 256;
/// Bytes of payload that may wait for it; one push may always wait.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// How much a commit must be worth. Only configuration may choose less than `Full`, and then health and metrics say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Every commit is synced: survives power loss.
    #[default]
    Full,
    /// Synced at checkpoints only: survives the process, not the power.
    Normal,
    /// Never synced: for data that may be thrown away.
    Off,
}

/// Who moves the write-ahead log into the database file. Always at most one party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointPolicy {
    /// The writer itself, when the WAL has grown by `bytes`, or when nothing was pushed for `idle`.
    Own {
        /// Size of the WAL that is checkpointed at once.
        bytes: u64,
        /// Quiet time after which the rest is.
        idle: Duration,
    },
    /// A replicator beside the server (Litestream). We never do.
    Sidecar,
}

impl Default for CheckpointPolicy {
    fn default() -> Self {
        Self::Own { bytes: 64 * 1024 * 1024, idle: Duration::from_secs(2) }
    }
}

/// What a log needs from its server.
#[derive(Clone)]
pub struct Options {
    /// Source of `server_timestamp`.
    pub clock: Clock,
    /// What a commit is worth.
    pub durability: Durability,
    /// Who checkpoints.
    pub checkpoint: CheckpointPolicy,
    /// Shared with all other logs of the server.
    pub gate: Arc<CommitGate>,
    /// Shared with all other logs of the server.
    pub counters: Arc<Counters>,
    /// What events mean, as far as the log has to know it: which of its own events a device must get back.
    pub schema: Arc<dyn Schema>,
    /// A SQLite VFS other than the default, by name. The crash tests put a disk that loses writes under the log.
    pub vfs: Option<String>,
}

impl Options {
    /// Everything as it is by default.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            durability: Durability::default(),
            checkpoint: CheckpointPolicy::default(),
            gate: Arc::default(),
            counters: Arc::default(),
            schema: Arc::new(TdSchema),
            vfs: None,
        }
    }
}

/// What the writers of a server did since it started.
pub struct Counters {
    commits: AtomicU64,
    pushes: AtomicU64,
    events: AtomicU64,
    checkpoints: AtomicU64,
    failures: AtomicU64,
    waiting: AtomicU64,
    /// Pushes per commit.
    pub groups: Histogram,
    /// Microseconds per commit.
    pub durations: Histogram,
}

impl Default for Counters {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            commits: zero(),
            pushes: zero(),
            events: zero(),
            checkpoints: zero(),
            failures: zero(),
            waiting: zero(),
            groups: Histogram::new(&[1, 2, 4, 8, 16, 32, 64, 128, 256]),
            durations: Histogram::new(&[
                500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000,
            ]),
        }
    }
}

/// A reading of [`Counters`]. Pushes per commit is the size of a group. With [`Durability::Full`] each commit is one
/// fsync of a WAL, and each checkpoint one more of it and one of the database file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Groups committed.
    pub commits: u64,
    /// Pushes answered by them.
    pub pushes: u64,
    /// Events stored.
    pub events: u64,
    /// Checkpoints that wrote something.
    pub checkpoints: u64,
    /// Groups that the storage failed.
    pub failures: u64,
    /// Pushes that wait for a commit now, or are in one.
    pub waiting: u64,
}

impl Counters {
    /// The numbers now. Each is exact; they may be a commit apart from each other.
    pub fn read(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            commits: get(&self.commits),
            pushes: get(&self.pushes),
            events: get(&self.events),
            checkpoints: get(&self.checkpoints),
            failures: get(&self.failures),
            waiting: get(&self.waiting),
        }
    }
}

/// An open log in a file. Dropping it closes it; see [`SqliteLog::close`].
pub struct SqliteLog {
    queue: RwLock<Result<SyncSender<Job>, LogError>>,
    queued: Arc<AtomicUsize>,
    writer: Mutex<Option<JoinHandle<()>>>,
    head: watch::Receiver<Head>,
    readers: Readers,
    late: HasMarks,
    counters: Arc<Counters>,
}

impl SqliteLog {
    /// Makes the file of an empty log. Its directory entry is durable only after the caller has synced the directory.
    pub fn create(path: &Path, options: &Options) -> Result<(), LogError> {
        file::create(path, options)
    }

    /// Opens an existing file, [`LogError::Missing`] if there is none. A file of the reference is switched to WAL.
    pub fn open(path: &Path, options: Options) -> Result<Self, LogError> {
        Self::open_for(path, options, watch::Sender::default())
    }

    /// As [`SqliteLog::open`], telling the head to watchers that may have been there before.
    pub fn open_for(path: &Path, options: Options, head_in: watch::Sender<Head>) -> Result<Self, LogError> {
        let path: Arc<PathBuf> = Arc::new(path.to_owned());
        let readers = Readers::new(path.clone(), &options);
        let head = head_in.subscribe();
        let late = HasMarks::default();
        let counters = Arc::clone(&options.counters);
        let writer = Writer::open(path, options, head_in, late.clone())?;
        let (queue, jobs) = std::sync::mpsc::sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run(&jobs))
            .map_err(|e| LogError::Storage(format!("no thread for the writer: {e}")))?;
        let (queue, writer) = (RwLock::new(Ok(queue)), Mutex::new(Some(thread)));
        Ok(Self { queue, queued: Arc::default(), writer, head, readers, late, counters })
    }

    /// Refuses further pushes and reads with `why`, lets the writer commit and answer what is queued, and closes the
    /// file. Blocks until then.
    pub fn close(&self, why: LogError) {
        let mut queue = self.queue.write().unwrap_or_else(PoisonError::into_inner);
        // Dropping the sender ends the writer once the queue is empty.
        *queue = Err(why.clone());
        drop(queue);
        if let Some(writer) = lock(&self.writer).take() {
            let _ = writer.join();
        }
        self.readers.close(why);
    }

    /// Waits until the readers of a closed log are gone; `false` if some are there after `limit`.
    pub fn wait_for_readers(&self, limit: Duration) -> bool {
        self.readers.wait_until_gone(limit)
    }
}

impl SqliteLog {
    /// The statement for a page, and its values.
    fn page<'q>(&self, query: &'q ReadQuery) -> (&'static str, (i64, Option<&'q str>, i64)) {
        let exclude = query.exclude.as_ref().map(DeviceId::as_str);
        let page = if exclude.is_some() && self.late.get() { reader::PAGE_WITH_LATE } else { reader::PAGE };
        (page, (query.after.0, exclude, limit(query.limit)))
    }
}

impl EventLog for SqliteLog {
    fn append_at_most(&self, push: Push, most_new: i64) -> Ticket {
        let (reply, ticket) = oneshot::channel();
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner);
        let busy = LogError::Busy { retry_after: Duration::from_secs(1) };
        let job = Job::new(push, most_new, reply, &self.queued, &self.counters);
        let refused = match queue.as_ref() {
            Err(why) => Some((job, why.clone())),
            Ok(_) if job.overloads(QUEUE_BYTES) => Some((job, busy)),
            Ok(queue) => match queue.try_send(job) {
                Ok(()) => None,
                Err(TrySendError::Full(job)) => Some((job, busy)),
                // Only a writer that panicked leaves its queue while we hold the other end.
                Err(TrySendError::Disconnected(job)) => Some((job, LogError::Closed)),
            },
        };
        if let Some((job, why)) = refused {
            // The receiver is in our own hand, so sending cannot fail.
            let _ = job.reply.send(Err(why));
        }
        ticket
    }

    fn read(
        &self,
        query: &ReadQuery,
        each: &mut dyn FnMut(LogEvent) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        let (page, values) = self.page(query);
        self.readers.read(page, values, each)
    }

    fn read_raw(
        &self,
        query: &ReadQuery,
        each: &mut dyn FnMut(&RawEvent<'_>) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        let (page, values) = self.page(query);
        self.readers.read_raw(page, values, each)
    }

    fn history(
        &self,
        query: &HistoryQuery,
        each: &mut dyn FnMut(LogEvent) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        let of = (query.entity_type.as_str(), &query.entity_id, query.after.0, limit(query.limit));
        self.readers.read_out(reader::HISTORY, of, each)
    }

    fn inspect(
        &self,
        filter: &Filter,
        each: &mut dyn FnMut(Inspected) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        self.readers.inspect(filter, each)
    }

    fn head(&self) -> Head {
        *self.head.borrow()
    }

    fn watch(&self) -> watch::Receiver<Head> {
        self.head.clone()
    }
}

impl Drop for SqliteLog {
    fn drop(&mut self) {
        self.close(LogError::Closed);
    }
}

fn limit(events: usize) -> i64 {
    i64::try_from(events).unwrap_or(i64::MAX)
}

/// Locks what no panic can leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
