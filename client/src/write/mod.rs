//! Local changes: composed as the event that will be sent, and made by applying that very event (client-engine 11.16).
//!
//! Duty: one transaction holds the action row, what only we know about it, and the rows it changes (law 6).
//! Invariant: the event that is applied is read back from the action row, so what is sent later is what was applied.
//! Danger: an event that has no effect must not exist: it is rolled back and refused.

mod cascade;
pub mod issue;
mod verbs;

pub use verbs::{Closed, Comment, IssuePatch, LogLine, NewIssue};

use crate::pending;
use crate::store::{StoreError, Tx};
use serde_json::Value;
use td_engine::apply::{ApplyError, Outcome};
use td_engine::id::ActionId;
use td_engine::payload::Meta;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such issue.
    #[error("issue not found: {0}")]
    NotFound(String),
    /// A value outside of its vocabulary.
    #[error("invalid {what}: {value:?} (valid: {valid})")]
    Invalid {
        /// Which field.
        what: &'static str,
        /// What was given.
        value: String,
        /// What may be given.
        valid: String,
    },
    /// Somebody changed the issue since it was read. The text is the reference's.
    #[error(
        "issue {id} was modified after it was loaded (loaded updated_at={loaded}, current updated_at={current})"
    )]
    Stale {
        /// Which.
        id: String,
        /// What the caller saw.
        loaded: String,
        /// What stands there.
        current: String,
    },
    /// The status is not what the caller took it for.
    #[error("issue {id} status changed from {from} to {to}")]
    StatusChanged {
        /// Which.
        id: String,
        /// What the caller saw.
        from: String,
        /// What stands there.
        to: String,
    },
    /// The event would change nothing.
    #[error("the change has no effect: {0}")]
    NoEffect(String),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<ApplyError> for WriteError {
    fn from(error: ApplyError) -> Self {
        Self::Store(error.into())
    }
}

impl WriteError {
    /// Stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(e) => e.code(),
            Self::NotFound(_) => "not_found",
            Self::Invalid { .. } | Self::NoEffect(_) => "invalid_input",
            Self::Stale { .. } | Self::StatusChanged { .. } => "conflict",
        }
    }
}

/// One change as the action log spells it (client-engine 2.1).
#[derive(Clone, Debug)]
pub struct Change {
    /// Local verb: `create`, `update`, `close`, `link_file`, …
    pub verb: String,
    /// Local entity type: `issue`, `comments`, …
    pub entity_type: String,
    /// Entity.
    pub entity_id: String,
    /// The row before.
    pub previous: Option<Value>,
    /// The row after.
    pub new: Option<Value>,
}

impl Change {
    /// A new row.
    pub fn create(entity_type: &str, entity_id: &str, new: Value) -> Self {
        Self {
            verb: "create".into(),
            entity_type: entity_type.into(),
            entity_id: entity_id.into(),
            previous: None,
            new: Some(new),
        }
    }

    /// A changed row. `verb` says why.
    pub fn update(verb: &str, entity_type: &str, entity_id: &str, previous: Value, new: Value) -> Self {
        Self {
            verb: verb.into(),
            entity_type: entity_type.into(),
            entity_id: entity_id.into(),
            previous: Some(previous),
            new: Some(new),
        }
    }
}

impl Tx<'_> {
    /// Writes the action row of `change` and applies its event. An event without effect is an error, and the caller's
    /// transaction must then be dropped.
    pub fn record(&self, change: &Change) -> Result<ActionId, WriteError> {
        let conn = self.conn();
        let base_seq = pending::cursor(conn)?.0;
        let device = self.device();
        let meta = Meta { v: 1, actor: device.actor.clone(), origin: device.origin.clone(), base_seq };
        let meta = serde_json::to_string(&meta).map_err(|e| WriteError::NoEffect(e.to_string()))?;
        let text = |half: &Option<Value>| half.as_ref().map(Value::to_string).unwrap_or_default();
        let id = self.fresh_id("al-", 8);
        conn.prepare_cached(
            "INSERT INTO action_log (rowid, id, session_id, action_type, entity_type, entity_id, previous_data, \
             new_data, timestamp) VALUES ((SELECT max(coalesce((SELECT max(rowid) FROM action_log), 0), \
             coalesce((SELECT CAST(value AS INTEGER) FROM tdsync_device WHERE key = 'action'), 0)) + 1), \
             ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute((
            &id,
            device.session.as_str(),
            &change.verb,
            &change.entity_type,
            &change.entity_id,
            text(&change.previous),
            text(&change.new),
            self.now().fixed_utc(),
        ))?;
        let rowid = conn.last_insert_rowid();
        // A rowid is half of the key under which the server knows this event: never use one twice, even if the row
        // that had it is gone (client-engine 11.7).
        crate::store::set_value(conn, "action", &rowid.to_string())?;
        conn.prepare_cached("INSERT INTO tdsync_action (action_id, meta) VALUES (?1, ?2)")?
            .execute((&id, &meta))?;

        let action =
            pending::one(conn, rowid)?.ok_or_else(|| WriteError::NoEffect("its row is gone".into()))?;
        let event = action.event().map_err(|why| WriteError::NoEffect(why.to_string()))?;
        match self.write.apply_local((&event).into())? {
            Outcome::Applied { .. } => Ok(ActionId(rowid)),
            Outcome::Skipped(reason) | Outcome::Quarantined(reason) => {
                Err(WriteError::NoEffect(reason.to_string()))
            }
        }
    }
}
