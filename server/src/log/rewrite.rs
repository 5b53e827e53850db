//! Replacing payloads of a log where they stand: what a secret that was pushed by mistake needs, and nothing else does.

use std::io;
use td_engine::event::LogEvent;
use td_engine::id::Seq;
use td_engine::payload::Payload;

/// What is replaced, and what has to happen around it while the log is closed.
pub trait Rewrite {
    /// The payload that takes the place of the event's; `None` leaves it. Asked of every event before [`begin`](Self::begin),
    /// and once more behind it.
    fn change(&self, event: &LogEvent) -> Option<Payload>;
    /// Before anything is replaced. An error leaves everything as it is.
    fn begin(&self, found: &[Rewritten]) -> io::Result<()>;
    /// After everything was, also if the log's files could not be emptied of it.
    fn end(&self) -> io::Result<()>;
}

/// An event whose payload is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Its place.
    pub seq: Seq,
    /// Kind of entity, as it is stored.
    pub entity_type: String,
    /// Which entity.
    pub entity_id: String,
}

impl Rewritten {
    pub(super) fn of(event: &LogEvent) -> Self {
        Self {
            seq: event.seq,
            entity_type: event.entity_type.as_str().to_owned(),
            entity_id: event.entity_id.clone(),
        }
    }
}
