//! Snapshots: a project database at a sequence, for bootstrapping a device.
//!
//! Invariant: built by the same routine as the live view, foreign keys on (server-protocol W4), from the log alone, so
//! a device that starts from one equals a device that replayed everything.
//! Danger: a half-made file. It is made beside its place, synced, and renamed.

mod build;
mod kept;
mod name;
mod refresh;
mod shelf;
mod store;

pub use kept::Kept;
pub use name::{Name, Version};
pub use refresh::{FAR_BEHIND, fresh};
pub use shelf::{Shelf, Shelves};
pub use store::{Blob, BlobStore, Files, Folder};

use crate::live::LiveError;
use crate::log::EventLog;
use build::Base;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use td_engine::db::Place;
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
    /// The place where snapshots are kept did not do something.
    #[error("snapshots cannot be kept: {0}")]
    Store(#[from] io::Error),
    /// Somebody else's attempt, which was waited for, failed.
    #[error("the snapshot that was waited for failed: {0}")]
    Joined(String),
    /// It takes too long for a request; it is still being made.
    #[error("the snapshot is still being made")]
    Late,
}

/// Builds the state after `at` (the head, if not given) as a database at `path`, replacing what is there, from the first
/// event on. `now` dates the built-in board, which is no part of the state. Blocks. Returns the sequence.
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
    let half = Place::new(half);
    let cannot = |source| SnapshotError::Finish { path: path.to_path_buf(), source };
    half.remove().map_err(cannot)?;
    build::make(log, &Base::Nothing(now), &half, target)?;
    let finish = || -> io::Result<()> {
        File::open(half.path())?.sync_all()?;
        fs::rename(half.path(), path)?;
        store::sync_dir(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
    };
    finish().map_err(cannot)?;
    Ok(target)
}
