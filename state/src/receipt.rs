//! What stands now: `receipt.json`, a picture of the ledger.
//!
//! Duty: let a person, and later a mirror on the server, see the result without reading journals.
//! Invariant: it is written whole or not at all, and not written when nothing but time has passed.
//! Danger: it is never a source of what may be undone (that is the journal); it only betrays a journal that is gone.

use crate::dir::TargetDir;
use crate::durable;
use crate::error::StateError;
use crate::ledger::Ledger;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

const SCHEMA: i64 = 1;

/// The picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Format number.
    pub schema: i64,
    /// The target.
    pub target: String,
    /// The newest record it shows.
    pub seq: u64,
    /// Steps and what may be undone.
    #[serde(flatten)]
    pub ledger: Ledger,
}

/// Writes the picture if it shows something new. Says whether it wrote.
pub fn save(dir: &TargetDir, ledger: &Ledger) -> Result<bool, StateError> {
    if load(dir)?.is_some_and(|old| old.ledger.steps == ledger.steps && old.ledger.undo == ledger.undo) {
        return Ok(false);
    }
    let receipt =
        Receipt { schema: SCHEMA, target: dir.id().into(), seq: ledger.seq, ledger: ledger.clone() };
    let mut text = serde_json::to_string_pretty(&receipt)
        .map_err(|e| StateError::Unreadable { path: dir.receipt(), why: e.to_string() })?;
    text.push('\n');
    durable::replace(&dir.receipt(), text.as_bytes()).map(|()| true)
}

/// Reads it; none if there is none.
pub fn load(dir: &TargetDir) -> Result<Option<Receipt>, StateError> {
    let path = dir.receipt();
    durable::read(&path)?.map(|bytes| parse(&path, &bytes)).transpose()
}

/// Reads the content of a receipt.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Receipt, StateError> {
    let unreadable = |e: serde_json::Error| StateError::Unreadable { path: path.into(), why: e.to_string() };
    let value: Value = serde_json::from_slice(bytes).map_err(unreadable)?;
    match value.get("schema").and_then(Value::as_i64) {
        Some(found) if found > SCHEMA => Err(StateError::Newer { path: path.into(), found, known: SCHEMA }),
        _ => serde_json::from_value(value).map_err(unreadable),
    }
}
