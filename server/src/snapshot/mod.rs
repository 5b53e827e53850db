//! Snapshots: a project database at a sequence, for bootstrapping a device.
//!
//! Invariant: built by the same routine as the live view, foreign keys on (server-protocol W4), from the log alone, so
//! a device that starts from one equals a device that replayed everything.
//! Danger: a half-made file. It is built beside its place, synced, and renamed.

use crate::live::{LiveError, apply, remove_database};
use crate::log::EventLog;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use td_engine::db::{OpenError, ProjectDb, Purpose};
use td_engine::id::Seq;
use td_engine::time::ClientTime;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The log has nothing yet.
    #[error("no events to snapshot")]
    Empty,
    /// The log could not be read or applied.
    #[error(transparent)]
    Build(#[from] LiveError),
    /// The file could not be moved to its place.
    #[error("{path} cannot be finished: {source}")]
    Finish {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Builds the state after `at` (the head, if not given) as a database at `path`, replacing what is there. `now` dates
/// the built-in board, which is no part of the state. Blocks. Returns the sequence.
pub fn build(
    log: &dyn EventLog,
    at: Option<Seq>,
    path: &Path,
    now: ClientTime,
) -> Result<Seq, SnapshotError> {
    let target = at.unwrap_or_else(|| log.head().seq);
    if target <= Seq(0) {
        return Err(SnapshotError::Empty);
    }
    let mut half = path.as_os_str().to_os_string();
    half.push(".half");
    let half = PathBuf::from(half);
    remove_database(&half)?;
    let mut db =
        ProjectDb::create(&half, Purpose::Snapshot, now).map_err(|e: OpenError| LiveError::from(e))?;
    apply(&mut db, log, Seq(0), target)?;
    drop(db);
    let finish = || -> io::Result<()> {
        File::open(&half)?.sync_all()?;
        fs::rename(&half, path)?;
        File::open(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
    };
    finish().map_err(|source| SnapshotError::Finish { path: path.to_path_buf(), source })?;
    Ok(target)
}
