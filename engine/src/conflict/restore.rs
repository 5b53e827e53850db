//! Giving a losing side back: an ordinary event, like any other edit.

use super::Conflict;
use crate::db::{Catalog, Row, from_exact_json};
use crate::shape::payload_object;
use crate::taxonomy::Action;
use crate::time::ClientTime;
use rusqlite::Connection;
use serde_json::{Map, Value as Json};

/// What the restoring event says. The caller adds its identity, and sends and applies it like any change of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Restoration {
    /// Update of the row that is there, or create of the row that is gone.
    pub action: Action,
    /// Table.
    pub entity_type: String,
    /// Row.
    pub entity_id: String,
    /// State after.
    pub new: Map<String, Json>,
    /// State before; empty for a create.
    pub previous: Map<String, Json>,
}

/// The event that restores a losing side on the rows as they are. `None` if they already say so.
pub fn compose_restore(
    conn: &Connection,
    catalog: &Catalog,
    conflict: &Conflict,
    now: ClientTime,
) -> rusqlite::Result<Option<Restoration>> {
    let Some(table) = catalog.synced(&conflict.entity_type) else { return Ok(None) };
    let current = table.row(conn, &conflict.entity_id)?;
    let (action, previous, mut row) = match current {
        Some(row) => (Action::Update, payload_object(table, &row), row),
        None => (Action::Create, Map::new(), Row::from_json(table, &conflict.loser)),
    };
    for (field, value) in &conflict.loser {
        if let Some(i) = table.column_index(field).filter(|_| !super::is_bookkeeping(field)) {
            row.0[i] = from_exact_json(value);
        }
    }
    let mut new = payload_object(table, &row);
    if new == previous {
        return Ok(None);
    }
    if action == Action::Update && table.column_index("updated_at").is_some() {
        // Other programs notice a change of an issue by this column alone.
        new.insert("updated_at".into(), now.fixed_utc().into());
    }
    let (entity_type, entity_id) = (conflict.entity_type.clone(), conflict.entity_id.clone());
    Ok(Some(Restoration { action, entity_type, entity_id, new, previous }))
}
