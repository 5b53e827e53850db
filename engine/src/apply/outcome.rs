//! What became of an event, in words that are the same on every copy.

use crate::db::Row;
use rusqlite::{Error as SqlError, ErrorCode};
use std::fmt;

/// The result of applying one event.
#[derive(Clone, Debug)]
pub struct Applied {
    /// What became of it.
    pub outcome: Outcome,
    /// Every row it changed, cascaded ones included, in the order of change. Empty unless it was applied.
    pub changes: Vec<Change>,
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The rows say what the event says; but for a part of it, if there is a note.
    Applied {
        /// What was left out or had to give way: recorded like a skipped event.
        note: Option<Reason>,
    },
    /// It has no effect on this state, by rule.
    Skipped(Reason),
    /// It can have no effect on any state that this version knows.
    Quarantined(Reason),
}

impl Outcome {
    /// What is to be recorded (law 7).
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Applied { note } => note.as_ref(),
            Self::Skipped(reason) | Self::Quarantined(reason) => Some(reason),
        }
    }
}

/// Why an event, or a part of it, had no effect. The texts are the reference's where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not a type whose events change rows.
    InvalidEntityType(String),
    /// No entity.
    EmptyEntityId(String),
    /// Not one of the five actions.
    UnknownAction(String),
    /// The payload, or the half of it that is needed, is no JSON object.
    UnreadablePayload(String),
    /// No `new_data`.
    NilPayload(String),
    /// `new_data` is empty.
    NoFields(String),
    /// No key of `new_data` is a column.
    NoKnownFields(String),
    /// The table lacks a column that the action needs.
    NoColumn(&'static str),
    /// SQLite refused the row.
    Constraint(String),
    /// A child of something that is not there.
    OrphanedParent(String),
    /// A change of something that is not there.
    MissingRow(String),
    /// The edge would close a dependency cycle and loses against the one that is there.
    CycleEdge,
    /// The edge closed a cycle and won: the reverse edge was removed.
    ReverseEdgeRemoved(String),
    /// Keys that are no columns here were left out.
    UnknownColumns(Vec<String>),
}

impl Reason {
    /// The word in `sync_skipped_events.reason`, which is part of the digest.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OrphanedParent(_) => "orphaned_parent",
            Self::MissingRow(_) => "missing_row",
            Self::CycleEdge | Self::ReverseEdgeRemoved(_) => "cycle_edge",
            Self::UnknownColumns(_) => "unknown_columns",
            _ => "quarantined",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidEntityType(t) => write!(f, "invalid entity type: {t:?}"),
            Self::EmptyEntityId(a) => write!(f, "empty entity ID for {a:?} event"),
            Self::UnknownAction(a) => write!(f, "unknown action type: {a:?}"),
            Self::UnreadablePayload(why) => write!(f, "unmarshal payload: {why}"),
            Self::NilPayload(row) => write!(f, "upsert {row}: nil payload"),
            Self::NoFields(row) => write!(f, "upsert {row}: payload has no fields"),
            Self::NoKnownFields(row) => write!(f, "upsert {row}: no known fields in payload"),
            Self::NoColumn(column) => write!(f, "no such column: {column}"),
            Self::Constraint(text) | Self::OrphanedParent(text) => f.write_str(text),
            Self::MissingRow(row) => write!(f, "{row} is not there"),
            Self::CycleEdge => f.write_str("the dependency would close a cycle; the other edge stays"),
            Self::ReverseEdgeRemoved(edge) => write!(f, "the dependency closed a cycle; {edge} was removed"),
            Self::UnknownColumns(names) => write!(f, "columns not known here: {}", names.join(", ")),
        }
    }
}

/// One row that an event changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its table.
    pub table: String,
    /// Its id.
    pub id: String,
    /// The row before; `None` if there was none.
    pub before: Option<Row>,
    /// What happened to it.
    pub how: How,
}

/// What happened to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// The whole row was written (inserted, or replaced if there is a before-image).
    Row,
    /// These columns were set.
    Fields(Vec<String>),
    /// It was removed.
    Removed(Removal),
}

/// Why a row was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The event says so.
    Deleted,
    /// Its parent was deleted.
    WithParent,
    /// Its parent was replaced: nobody meant to remove this row.
    ByReplace,
    /// Another row took its unique key.
    Displaced,
    /// A reverse dependency edge gave way to the event's.
    Cycle,
}

/// The storage failed. The event is not judged; begin again in a new transaction.
#[derive(Debug, thiserror::Error)]
#[error("the project database failed while events were applied: {0}")]
pub struct ApplyError(#[from] pub rusqlite::Error);

impl ApplyError {
    /// Stable word for `--json`.
    pub fn code(&self) -> &'static str {
        match self.0.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "db_busy",
            Some(ErrorCode::DiskFull) => "disk_full",
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => "db_damaged",
            _ => "db_unavailable",
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self.code() {
            "db_busy" => "another program is writing to the project; run the command again when it is done",
            "disk_full" => "free some space and run the command again; nothing was half-written",
            "db_damaged" => {
                "restore the project from a copy, or move its database away and join again: `td init`, `td sync-project join`, `td sync`"
            }
            _ => {
                "see who owns the project folder and whether its disk is healthy, then run the command again"
            }
        }
    }
}

/// Why a step of applying ended early.
pub(super) enum Stop {
    /// The event's own fault.
    Event(Reason),
    /// The storage's.
    Storage(ApplyError),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Event(reason)
    }
}

impl From<SqlError> for Stop {
    /// By code, never by text: the text may contain what a stranger put into an id.
    fn from(error: SqlError) -> Self {
        match (error.sqlite_error_code(), &error) {
            (Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig), e) => {
                let text = match e {
                    SqlError::SqliteFailure(_, Some(text)) => text.clone(),
                    other => other.to_string(),
                };
                Self::Event(Reason::Constraint(text))
            }
            _ => Self::Storage(ApplyError(error)),
        }
    }
}
