//! The event log of one project: the contract every backend keeps.
//!
//! Duty: give each event its place in one order and never lose an acknowledged one.
//! Invariants: the laws on [`EventLog`]; the crate `tests/laws` runs them against every backend.
//! Danger: an answer that leaves before its commit is on disk breaks law 1 without any test on a healthy disk seeing it
//! (hence `tests/faultfs`).

use std::ops::ControlFlow;
use std::time::Duration;
use td_engine::event::{LogEvent, Push};
use td_engine::id::{DeviceId, Seq};
use td_engine::time::ClientTime;
use tokio::sync::{oneshot, watch};

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
    /// The same event is already there, at this place. `None` for an event without a payload, which is never stored
    /// (server-protocol W12).
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
    /// At most so many events (1 to 10,000).
    pub limit: usize,
    /// Leave out this device's events.
    pub exclude: Option<DeviceId>,
}

/// Why a log did not do what was asked. None of these leaves a partial effect.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The queue is full; try again after the given time.
    #[error("the project's write queue is full")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The project's log does not exist here (deleted, or never created).
    #[error("this project has no log")]
    Missing,
    /// The log was closed (shutdown, eviction) before the request was taken.
    #[error("the log is closed")]
    Closed,
    /// The storage failed; the whole group was rolled back.
    #[error("storage failed: {0}")]
    Storage(String),
}

/// The answer to an append that has been queued. Resolves after the commit is on disk. Await it, or block on it
/// outside an async runtime.
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
pub trait EventLog: Send + Sync {
    /// Queues one push. Errors that are known at once (`Busy`, `Closed`) also arrive through the ticket.
    fn append(&self, push: Push) -> Ticket;

    /// Hands the matching events to `each` in order of sequence, from one consistent moment. `each` may stop the page
    /// early. Returns how many were handed over.
    fn read(
        &self,
        query: &ReadQuery,
        each: &mut dyn FnMut(LogEvent) -> ControlFlow<()>,
    ) -> Result<usize, LogError>;

    /// The newest durable head. Costs no query.
    fn head(&self) -> Head;

    /// Follows the head.
    fn watch(&self) -> watch::Receiver<Head>;
}
