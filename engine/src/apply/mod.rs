//! The one apply routine: what an event does to the rows.
//!
//! Duty: server view, snapshot, pulled page and local change all go through `apply_event`, and get what a stock peer
//! gets from the same event (replace with cascades, partial diff, orphan rule, cycle rule).
//! Invariant: the result depends on the rows and the event alone. An event that fails leaves nothing behind.
//! Danger: foreign keys must be on; `INSERT OR REPLACE` takes children along, on every copy or on none.

mod cycle;
mod outcome;
mod parts;
mod seen;
mod value;
mod write;

pub use outcome::{Applied, ApplyError, Change, How, Outcome, Reason, Removal};
pub(crate) use parts::{Half, Parts};
pub use seen::shows;
pub(crate) use value::stored_value;

use crate::db::{Catalog, Table, Write};
use crate::event::{LogEvent, NewEvent};
use crate::payload::Payload;
use crate::taxonomy::Action;
use crate::time::ClientTime;
use outcome::Stop;
use rusqlite::Connection;
use write::Writer;

/// What the routine needs to know of an event.
#[derive(Clone, Copy, Debug)]
pub struct EventRef<'e> {
    /// Action word, canonical if we know it.
    pub action: &'e str,
    /// Table name.
    pub entity_type: &'e str,
    /// Row.
    pub entity_id: &'e str,
    /// Body; an event without one reads as `null`.
    pub payload: Option<&'e Payload>,
    /// When the author says it happened.
    pub client_time: ClientTime,
}

impl<'e> From<&'e LogEvent> for EventRef<'e> {
    fn from(e: &'e LogEvent) -> Self {
        Self {
            action: &e.action,
            entity_type: e.entity_type.as_str(),
            entity_id: &e.entity_id,
            payload: Some(&e.payload),
            client_time: e.client_time,
        }
    }
}

impl<'e> From<&'e NewEvent> for EventRef<'e> {
    fn from(e: &'e NewEvent) -> Self {
        Self {
            action: e.action.as_str(),
            entity_type: e.entity_type.as_str(),
            entity_id: &e.entity_id,
            payload: e.payload.as_ref(),
            client_time: e.client_time,
        }
    }
}

impl Write<'_> {
    /// Applies one event and keeps no books about it. Most callers want [`Write::apply_page`] (events of the log) or
    /// [`Write::apply_local`] (changes of this device).
    pub fn apply(&self, event: EventRef<'_>) -> Result<Applied, ApplyError> {
        apply_event(self.conn(), self.catalog(), event)
    }
}

/// Applies one event inside the open transaction, whole or not at all.
///
/// `Err` means the storage failed: the transaction is not to be continued. Everything that is the event's own fault is
/// an [`Outcome`].
pub(crate) fn apply_event(
    conn: &Connection,
    catalog: &Catalog,
    event: EventRef<'_>,
) -> Result<Applied, ApplyError> {
    let mut writer = Writer { conn, catalog, event, changes: Vec::new(), note: None, has_savepoint: false };
    let outcome = match dispatch(&mut writer) {
        Ok(outcome) => outcome,
        Err(Stop::Event(reason)) => {
            if writer.has_savepoint {
                conn.prepare_cached("ROLLBACK TO event")?.execute([])?;
            }
            writer.changes.clear();
            Outcome::Quarantined(reason)
        }
        Err(Stop::Storage(error)) => return Err(error),
    };
    if writer.has_savepoint {
        conn.prepare_cached("RELEASE event")?.execute([])?;
    }
    Ok(Applied { outcome, changes: writer.changes })
}

fn dispatch(writer: &mut Writer<'_>) -> Result<Outcome, Stop> {
    let event = writer.event;
    let parts = Parts::read(event.payload)?;
    let table: &Table = writer
        .catalog
        .synced(event.entity_type)
        .ok_or_else(|| Reason::InvalidEntityType(event.entity_type.into()))?;
    if event.entity_id.is_empty() {
        return Err(Reason::EmptyEntityId(event.action.into()).into());
    }
    match Action::from_stored(event.action) {
        Some(Action::Create) => {
            if table.name == "issue_dependencies" && cycle::drops(writer, &parts)? {
                return Ok(Outcome::Skipped(Reason::CycleEdge));
            }
            writer.upsert(table, parts.new_half(&table.name))
        }
        Some(Action::Update) => writer.update(table, &parts),
        Some(Action::Delete) => writer.delete(table),
        Some(Action::SoftDelete) => writer.set_deleted(table, true),
        Some(Action::Restore) => writer.set_deleted(table, false),
        None => Err(Reason::UnknownAction(event.action.into()).into()),
    }
}
