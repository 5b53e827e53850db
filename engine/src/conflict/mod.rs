//! Conflicts: what one device's change took away from another's, kept so that it can be restored (law 8).
//!
//! Duty: from the log alone, find for every event the values it overwrote that its author had not seen.
//! Invariant: a conflict is a function of the log: same id, same content on the server and on every device.
//! Danger: only events of the log may come here ([`crate::replay`]); a local change is not a winner yet.
//!
//! Who wrote a field last stands in `tdsync_register`. The author had seen that value if its `meta.base_seq` reaches the
//! writer's sequence, or if its `previous_data` shows the value. No evidence counts as not seen.

mod record;
mod register;
mod restore;

pub(crate) use record::record;
pub use restore::{Restoration, compose_restore};

use crate::db::has_table;
use crate::id::Seq;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::ops::ControlFlow;

/// How the losing side lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Another value was written into the field.
    Edit,
    /// The whole row was written over.
    Replace,
    /// The row went with another row: its parent was replaced or deleted, or its place was taken.
    Cascade,
    /// The row was deleted.
    Delete,
}

impl Kind {
    /// The word in the table and in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Replace => "replace",
            Self::Cascade => "cascade",
            Self::Delete => "delete",
        }
    }

    fn from_word(word: &str) -> Self {
        [Self::Edit, Self::Replace, Self::Delete]
            .into_iter()
            .find(|k| k.as_str() == word)
            .unwrap_or(Self::Cascade)
    }
}

/// One losing side.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// 16 hex digits over winner and loser sequence.
    pub id: String,
    /// The event that took the value away.
    pub winner_seq: Seq,
    /// The event that had written it.
    pub loser_seq: Seq,
    /// Table.
    pub entity_type: String,
    /// Row.
    pub entity_id: String,
    /// How.
    pub kind: Kind,
    /// Author of the winner.
    pub winner_device: String,
    /// Author of the loser.
    pub loser_device: String,
    /// What was lost: the fields of an edit or replace, the whole row of a cascade or delete, as stored.
    pub loser: Map<String, Json>,
    /// What stands in those fields instead; empty if the row is gone.
    pub winner: Map<String, Json>,
}

impl Conflict {
    /// Names of the fields that were lost.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.loser.keys().map(String::as_str)
    }
}

/// Every conflict that the log has led to, oldest winner first. Empty where our tables are missing.
pub fn list_conflicts(conn: &Connection) -> rusqlite::Result<Vec<Conflict>> {
    let mut all = Vec::new();
    each_conflict(conn, None, &mut |conflict| {
        all.push(conflict);
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

/// A conflict's place in the list of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place(pub Seq, pub Seq, pub String, pub String);

impl Conflict {
    /// Where it stands.
    pub fn place(&self) -> Place {
        Place(self.winner_seq, self.loser_seq, self.entity_type.clone(), self.entity_id.clone())
    }
}

/// The conflicts behind a place, oldest winner first, until `each` has enough. Costs what is handed over.
pub fn each_conflict(
    conn: &Connection,
    after: Option<&Place>,
    each: &mut dyn FnMut(Conflict) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    if !has_table(conn, "tdsync_conflict")? {
        return Ok(());
    }
    let mut ask = conn.prepare_cached(
        "SELECT id, winner_seq, loser_seq, entity_type, entity_id, kind, winner_device, loser_device, loser, winner
         FROM tdsync_conflict WHERE (winner_seq, loser_seq, entity_type, entity_id) > (?1, ?2, ?3, ?4)
         ORDER BY winner_seq, loser_seq, entity_type, entity_id",
    )?;
    let from = after.map_or((i64::MIN, i64::MIN, "", ""), |p| (p.0.0, p.1.0, &p.2, &p.3));
    let object = |text: String| serde_json::from_str(&text).unwrap_or_default();
    let mut rows = ask.query(from)?;
    while let Some(r) = rows.next()? {
        let conflict = Conflict {
            id: r.get(0)?,
            winner_seq: Seq(r.get(1)?),
            loser_seq: Seq(r.get(2)?),
            entity_type: r.get(3)?,
            entity_id: r.get(4)?,
            kind: Kind::from_word(&r.get::<_, String>(5)?),
            winner_device: r.get(6)?,
            loser_device: r.get(7)?,
            loser: object(r.get(8)?),
            winner: object(r.get(9)?),
        };
        if each(conflict).is_break() {
            break;
        }
    }
    Ok(())
}

/// Fields that say when a program touched a row, or belong to one device, but hold nothing that a person wrote: losing
/// one is no loss. They have no register either.
pub(crate) fn is_bookkeeping(field: &str) -> bool {
    matches!(field, "id" | "updated_at" | "added_at" | "linked_at" | "tagged_at" | "last_viewed_at")
}
