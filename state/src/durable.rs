//! Writing files so that a crash leaves the old or the new, never a part.

use crate::error::StateError;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Replaces a file (0600): a private temporary in the same folder, synced, renamed over, folder synced.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let op = "write";
    let mut temp = tempfile::Builder::new()
        .prefix(".td-tmp-")
        .tempfile_in(dir)
        .map_err(|e| StateError::io(op, path, e))?;
    temp.write_all(bytes)
        .and_then(|()| temp.as_file().sync_all())
        .map_err(|e| StateError::io(op, path, e))?;
    temp.persist(path).map_err(|e| StateError::io(op, path, e.error))?;
    sync_dir(dir)
}

/// As [`replace`], but leaves a file alone that already holds these bytes. Says whether it wrote.
pub fn replace_if_different(path: &Path, bytes: &[u8]) -> Result<bool, StateError> {
    if read(path)?.as_deref() == Some(bytes) {
        return Ok(false);
    }
    replace(path, bytes).map(|()| true)
}

/// The whole file; none if there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StateError::io("read", path, e)),
    }
}

/// Makes a name in a folder durable.
pub fn sync_dir(dir: &Path) -> Result<(), StateError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| StateError::io("sync", dir, e))
}
