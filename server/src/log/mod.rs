//! The event log of one project: the contract every backend keeps.
//!
//! Duty: give each event its place in one order and never lose an acknowledged one.
//! Invariants: the laws on [`EventLog`]; the crate `tests/laws` runs them against every backend.
//! Danger: an answer that leaves before its commit is on disk breaks law 1 without any test on a healthy disk seeing it
//! (hence `tests/faultfs`).

mod gate;
mod inspect;
mod late;
mod memory;
mod place;
mod projects;
mod raw;
mod rewrite;
mod sqlite;

pub use gate::CommitGate;
pub use inspect::{Filter, Inspected};
pub use memory::{MemoryLog, MemoryLogs};
pub use projects::{Projects, ProjectsOptions};
pub use raw::RawEvent;
pub use rewrite::{Rewrite, Rewritten};
pub use sqlite::{CheckpointPolicy, Counters, Counts, Durability, Options, SqliteLog};
pub(crate) use sqlite::{EVENTS_SCHEMA, stored_event};

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use td_engine::event::{LogEvent, Push};
use td_engine::id::{DeviceId, ProjectId, Seq};
use td_engine::taxonomy::EntityType;
use td_engine::time::ClientTime;
use tokio::sync::{oneshot, watch};

/// Where a log takes `server_timestamp` from. Called once per group commit.
pub type Clock = Arc<dyn Fn() -> ClientTime + Send + Sync>;

/// The largest payload a log takes. Above every body the routes let in; a guard, not a limit that a person meets.
pub const MAX_PAYLOAD_BYTES: usize = 16 * 1024 * 1024;

/// What became of one pushed event, at the same index as in the push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Stored now, at this place. `moved` when the key was taken by another event and this one was stored under session
    /// `<session>~<digest8>` instead (law 4): to be audited.
    Accepted {
        /// Its place in the log.
        seq: Seq,
        /// Whether it was stored under a derived session.
        moved: bool,
    },
    /// The same event is already there, at this place. An event without a payload is never stored (server-protocol
    /// W12): it gets the place of whatever holds its key, `None` if nothing does.
    Duplicate {
        /// Place of the event that was there first.
        seq: Option<Seq>,
    },
    /// Not stored, with the wire's reason (`empty entity_id`). Consumes no number.
    Rejected {
        /// Reason as it stands in the answer.
        reason: &'static str,
    },
}

/// The newest durable state of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Highest sequence ever given out here, also if that number stored nothing. Never goes back.
    pub allocated: Seq,
    /// Sequence of the newest stored event; 0 for an empty log.
    pub seq: Seq,
    /// Number of stored events.
    pub count: i64,
    /// `server_timestamp` of the newest event, whole seconds.
    pub last_time: Option<ClientTime>,
}

/// Which part of a log to read.
#[derive(Clone, Debug)]
pub struct ReadQuery {
    /// Only events above this sequence.
    pub after: Seq,
    /// At most so many events.
    pub limit: usize,
    /// Leave out this device's events, but for its late ones.
    pub exclude: Option<DeviceId>,
}

/// Which events of one entity to read.
#[derive(Clone, Debug)]
pub struct HistoryQuery {
    /// Its kind.
    pub entity_type: EntityType,
    /// Which one.
    pub entity_id: String,
    /// Only events above this sequence.
    pub after: Seq,
    /// At most so many events.
    pub limit: usize,
}

/// Why a log did not do what was asked. None of these leaves a partial effect but [`InUse`](LogError::InUse).
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The queue is full, or too many logs or readers are in use; try again after the given time.
    #[error("too much is asked of the log at once")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The project's log does not exist here (deleted, or never created).
    #[error("this project has no log")]
    Missing,
    /// A log with this project's name exists already.
    #[error("this project has a log already")]
    Exists,
    /// The log was closed (shutdown, eviction) before the request was taken.
    #[error("the log is closed")]
    Closed,
    /// The push would have stored more events than its sender may.
    #[error("the push holds more new events than are left")]
    TooMany,
    /// The storage refuses this push (a value too large, a constraint); the other pushes of its group stand.
    #[error("the log refused the push: {0}")]
    Refused(String),
    /// Somebody reads the log. A rewrite that meets its own readers changes nothing; one that meets a stranger's behind
    /// its commit has done everything but empty the files, and doing it again does that.
    #[error("somebody reads the log")]
    InUse,
    /// A row cannot be read as an event: the file was damaged, or written by something else.
    #[error("event {seq} in the log is damaged: {what}")]
    Damaged {
        /// Which row.
        seq: Seq,
        /// What is wrong with it.
        what: String,
    },
    /// The storage failed; the whole group was rolled back.
    #[error("storage failed: {0}")]
    Storage(String),
}

/// The answer to an append that has been queued. Resolves after the commit is on disk. Await it, or block on it
/// outside an async runtime. A ticket whose other side vanished (`RecvError`) says nothing: the push may or may not be
/// in the log, and sending it again finds out.
pub type Ticket = oneshot::Receiver<Result<Vec<Outcome>, LogError>>;

/// A project's log.
///
/// Laws (numbers as in `docs/ARCHITECTURE.md`; each has a test in `tests/laws`):
/// 1. *Durable, then visible, then acknowledged*: a ticket resolves, [`head`](EventLog::head) moves and
///    [`read`](EventLog::read) shows an event only after its commit is on disk; it survives kill -9 and power loss.
/// 2. Sequences are given in commit order, grow, and are never reused, also not after deletions or a restart. Whoever
///    saw sequence n has seen every lower one that will ever exist. A duplicate or payload-less event consumes one
///    number, an empty entity id or a refused push none; gaps are legal.
/// 3. A push is idempotent on (device, session, action id), compared on action, entity and canonical payload: the same
///    event is a [`Outcome::Duplicate`] with its old sequence, another one is stored under session
///    `<session>~<digest8>`, and repeating that finds it again.
/// 4. A read begun after an acknowledgement sees what was acknowledged.
/// 5. One failing push does not take its neighbours in the same commit with it.
/// 6. A watcher always ends with the newest head, though it may see some heads twice or not at all.
/// 7. Deleted means gone, also after a restart.
/// 8. A device that leaves out its own events gets its late ones: from the first event of it on an entity that did not
///    know what another device had changed there, every event of it on this entity but creates. What is late is decided
///    in the commit and never changes.
///
/// [`append`](EventLog::append), [`head`](EventLog::head) and [`watch`](EventLog::watch) may be called from async code;
/// [`read`](EventLog::read) blocks. Whoever holds the `Arc` keeps the log open, so a watcher holds it too: the channel
/// of a closed log ends, and only a log opened anew moves again.
pub trait EventLog: Send + Sync {
    /// Queues one push. Errors that are known at once (`Busy`, `Closed`) also arrive through the ticket.
    fn append(&self, push: Push) -> Ticket {
        self.append_at_most(push, i64::MAX)
    }

    /// As [`append`](EventLog::append), for a sender who may store so many events: a push with more new ones is
    /// refused whole ([`LogError::TooMany`]). What is stored already does not count, so a push that was answered is
    /// answered the same again (law 3), whatever is left.
    fn append_at_most(&self, push: Push, most_new: i64) -> Ticket;

    /// Hands the matching events to `each` in order of sequence, from one consistent moment. `each` may stop the page
    /// early. Returns how many were handed over.
    fn read(
        &self,
        query: &ReadQuery,
        each: &mut dyn FnMut(LogEvent) -> ControlFlow<()>,
    ) -> Result<usize, LogError>;

    /// As [`read`](EventLog::read), for whoever only passes the events on: they come as they lie in the log, and a row is
    /// taken for an event where it could be one.
    fn read_raw(
        &self,
        query: &ReadQuery,
        each: &mut dyn FnMut(&RawEvent<'_>) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        self.read(query, &mut |event| each(&RawEvent::from(&event)))
    }

    /// As [`read`](EventLog::read), of one entity. Costs what is handed over, however long the log is.
    fn history(
        &self,
        query: &HistoryQuery,
        each: &mut dyn FnMut(LogEvent) -> ControlFlow<()>,
    ) -> Result<usize, LogError>;

    /// Hands the events that the filter admits to `each` in order of sequence, with the time they came; as
    /// [`read`](EventLog::read) otherwise. Looks at the whole log where nothing in the filter names an entity or a device.
    fn inspect(
        &self,
        filter: &Filter,
        each: &mut dyn FnMut(Inspected) -> ControlFlow<()>,
    ) -> Result<usize, LogError>;

    /// The newest durable head. Costs no query.
    fn head(&self) -> Head;

    /// Follows the head. Copy the value out of `borrow()` at once: while a borrow is held the writer waits for it, and
    /// [`head`](EventLog::head) on the same thread may wait for the writer (a test of ours once hung on that).
    ///
    /// It does not keep the log open, and goes on when the log is closed as idle and opened again; it ends when the
    /// project is deleted or its log is rewritten.
    fn watch(&self) -> watch::Receiver<Head>;
}

/// All logs of one server, by project. Handlers reach logs only through this, so no handler opens a database.
pub trait Logs: Send + Sync {
    /// Makes a new, empty log. Durable when it returns; [`LogError::Exists`] if there is one.
    fn create(&self, project: &ProjectId) -> Result<Arc<dyn EventLog>, LogError>;

    /// The log of a project; never creates one. Two callers get the same log, and it stays open while either holds it.
    fn open(&self, project: &ProjectId) -> Result<Arc<dyn EventLog>, LogError>;

    /// Removes a log for good. What was queued before is committed and answered first; whoever still holds the log gets
    /// [`LogError::Missing`]. Durable when it returns.
    fn delete(&self, project: &ProjectId) -> Result<(), LogError>;

    /// Replaces payloads where they stand, as [`Rewrite`] says. Sequences, keys and times stay. The log is closed
    /// meanwhile: whoever holds it or opens it gets [`LogError::Closed`] and is not kept waiting. Waits itself for pages
    /// under way, and is [`LogError::InUse`] if they do not end. When it returns, no file of the log has what was replaced; what a
    /// crash leaves is either log, and doing it again finishes it.
    fn rewrite(&self, project: &ProjectId, by: &dyn Rewrite) -> Result<(), LogError>;

    /// Closes the logs that nobody holds and nobody asked for during `idle`. Returns how many.
    fn close_idle(&self, idle: Duration) -> usize;

    /// Closes every log after what is queued has been committed and answered. For shutdown.
    fn close_all(&self);
}

/// `server_timestamp` as it is stored, UTC whole seconds (server-protocol 5.3), and as the head shows it.
fn stamp(now: ClientTime) -> (String, Option<ClientTime>) {
    let text = now.sql_utc();
    let shown = ClientTime::parse_stored(&text).ok();
    (text, shown)
}
