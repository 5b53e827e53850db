//! Which of a device's own events it must get back although it asked for others' only (DESIGN 5).
//!
//! Duty: decide in the commit, by one look-up by entity, whether an event is *late*: made on a state that lacked what
//! another device had changed before it. A stock client that hides its own events from its pulls keeps "mine, then theirs"
//! there, where everybody else has "theirs, then mine"; it gets the late ones back, and from the first late one of an
//! entity on all of its later ones.
//! Invariant: never a create. Replaying it would wipe the children that the device has.
//! Danger: a device that only talks to itself must not pay for this: its own newest event ends the search.

use super::place::{Earlier, Rows};
use std::ops::ControlFlow;
use td_engine::apply::EventRef;
use td_engine::event::NewEvent;
use td_engine::id::Seq;
use td_engine::taxonomy::{Action, Schema};

/// How far back another device's event is looked for. Behind so many own creates of one entity in a row nobody else has
/// had a hand in it for long.
const FAR: usize = 64;

/// Whether the event, just stored at `seq`, is late.
pub(super) fn is_late<R: Rows>(
    event: &NewEvent,
    seq: Seq,
    schema: &dyn Schema,
    rows: &mut R,
) -> Result<bool, R::Error> {
    if event.action == Action::Create {
        return Ok(false);
    }
    if rows.is_marked(event)? {
        return Ok(true);
    }
    let (mut looked_at, mut late) = (0, false);
    rows.before(event, seq, &mut |earlier| {
        looked_at += 1;
        match verdict(event, &earlier, schema) {
            Some(verdict) => {
                late = verdict;
                ControlFlow::Break(())
            }
            None if looked_at == FAR => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    })?;
    Ok(late)
}

/// What an earlier event says about it; `None`: an older one has to be asked.
fn verdict(event: &NewEvent, earlier: &Earlier, schema: &dyn Schema) -> Option<bool> {
    if earlier.is_own {
        // It was judged itself and found in time, or this one would be marked: the device had seen what was before it,
        // and has seen it now. A create was not judged.
        return (earlier.action != Action::Create.as_str()).then_some(false);
    }
    let other = EventRef {
        action: &earlier.action,
        entity_type: event.entity_type.as_str(),
        entity_id: &event.entity_id,
        payload: Some(&earlier.payload),
        client_time: earlier.client_time,
    };
    Some(!schema.shows(event.into(), other))
}
