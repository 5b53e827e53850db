//! Where each event of a push goes: the numbering and idempotency rules, over whatever holds the rows.
//!
//! Duty: decide accepted, duplicate, moved or rejected, event by event, matched by position (server-protocol W3).
//! Invariant: numbers only grow; an event that is answered as a duplicate has been compared, not only found.
//! Danger: both backends decide here. A second copy of these rules would let them drift apart.

use super::{MAX_PAYLOAD_BYTES, Outcome, late};
use std::borrow::Cow;
use std::ops::ControlFlow;
use td_engine::event::{NewEvent, Push, digest8};
use td_engine::id::{ActionId, Seq};
use td_engine::payload::Payload;
use td_engine::taxonomy::Schema;
use td_engine::time::ClientTime;

/// The row that holds a key already.
pub(super) struct Taken {
    pub seq: Seq,
    pub action: String,
    pub entity_type: String,
    pub entity_id: String,
    pub payload: Payload,
}

/// An earlier event of the same entity.
pub(super) struct Earlier {
    /// Whether the pushing device wrote it.
    pub is_own: bool,
    pub action: String,
    pub payload: Payload,
    pub client_time: ClientTime,
}

/// The rows of one log and one device, inside a transaction.
pub(super) trait Rows {
    type Error;

    /// Stores the event under the session unless its key is taken. Returns whether it did.
    fn insert(
        &mut self,
        seq: Seq,
        session: &str,
        event: &NewEvent,
        payload: &Payload,
    ) -> Result<bool, Self::Error>;

    /// What holds a key.
    fn find(&mut self, session: &str, action: ActionId) -> Result<Option<Taken>, Self::Error>;

    /// Whether an event of the device on this entity is marked as late already.
    fn is_marked(&mut self, event: &NewEvent) -> Result<bool, Self::Error>;

    /// Hands over the events of the entity before `seq`, the newest first, until `each` has enough.
    fn before(
        &mut self,
        event: &NewEvent,
        seq: Seq,
        each: &mut dyn FnMut(Earlier) -> ControlFlow<()>,
    ) -> Result<(), Self::Error>;

    /// Marks the event at `seq` as late.
    fn mark(&mut self, event: &NewEvent, seq: Seq) -> Result<(), Self::Error>;
}

/// The effect of one push.
pub(super) struct Placed {
    /// One per event, in the order of the push.
    pub outcomes: Vec<Outcome>,
    /// The highest number given out so far.
    pub allocated: Seq,
    /// How many events were stored.
    pub stored: i64,
    /// The last of them.
    pub newest: Option<Seq>,
}

/// Places the events of a push above `allocated`.
pub(super) fn place<R: Rows>(
    push: &Push,
    allocated: Seq,
    schema: &dyn Schema,
    rows: &mut R,
) -> Result<Placed, R::Error> {
    let mut placed =
        Placed { outcomes: Vec::with_capacity(push.events.len()), allocated, stored: 0, newest: None };
    for event in &push.events {
        if event.entity_id.is_empty() {
            placed.outcomes.push(Outcome::Rejected { reason: "empty entity_id" });
            continue;
        }
        placed.allocated = Seq(placed.allocated.0 + 1);
        let outcome = match &event.payload {
            Some(payload) => one(push.session.as_str(), event, payload, placed.allocated, schema, rows)?,
            None => Outcome::Duplicate {
                seq: rows.find(push.session.as_str(), event.action_id)?.map(|taken| taken.seq),
            },
        };
        if let Outcome::Accepted { seq, .. } = outcome {
            placed.stored += 1;
            placed.newest = Some(seq);
            if late::is_late(event, seq, schema, rows)? {
                rows.mark(event, seq)?;
            }
        }
        placed.outcomes.push(outcome);
    }
    Ok(placed)
}

/// Why a push cannot be placed at all: checked before anything is written, the same on every backend.
pub(super) fn oversize(push: &Push) -> Option<String> {
    let size = |e: &NewEvent| e.payload.as_ref().map_or(0, |p| p.as_str().len());
    let (index, bytes) =
        push.events.iter().map(size).enumerate().find(|(_, bytes)| *bytes > MAX_PAYLOAD_BYTES)?;
    Some(format!("the payload of event {index} has {bytes} bytes, more than {MAX_PAYLOAD_BYTES}"))
}

/// Ends because the session grows with every turn and the log is finite; one turn is the rule, two are an honest
/// client's key collision, three need an eight-digit hash collision on top.
fn one<R: Rows>(
    session: &str,
    event: &NewEvent,
    payload: &Payload,
    seq: Seq,
    schema: &dyn Schema,
    rows: &mut R,
) -> Result<Outcome, R::Error> {
    let mut session = Cow::Borrowed(session);
    loop {
        if rows.insert(seq, &session, event, payload)? {
            return Ok(Outcome::Accepted { seq, moved: matches!(session, Cow::Owned(_)) });
        }
        if let Some(taken) = rows.find(&session, event.action_id)?.filter(|t| t.is(event, payload, schema)) {
            return Ok(Outcome::Duplicate { seq: Some(taken.seq) });
        }
        let digest = digest8(event.action.as_str(), &event.entity_type, &event.entity_id, payload);
        session = Cow::Owned(format!("{session}~{digest}"));
    }
}

impl Taken {
    fn is(&self, event: &NewEvent, payload: &Payload, schema: &dyn Schema) -> bool {
        // An old reference stored what is scrubbed today, out of the row as out of the push.
        let was = || match schema.scrub(&self.entity_type, self.payload.as_str()) {
            Some(scrubbed) => scrubbed.was(payload),
            None => self.payload.was(payload),
        };
        self.action == event.action.as_str()
            && self.entity_type == event.entity_type.as_str()
            && self.entity_id == event.entity_id
            && was()
    }
}
