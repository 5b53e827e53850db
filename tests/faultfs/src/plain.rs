//! Files that are touched without SQLite, on the same disk: copied, written, synced, renamed.
//!
//! Every call counts towards a death like SQLite's own, and a long write counts once per piece, so a copy can be cut
//! anywhere.

use crate::Disk;
use crate::disk::{Fault, State};
use std::io;

/// Written at once.
const PIECE: usize = 16 * 1024;

impl Disk {
    /// Names that begin so, sorted; files being nothing but a name included.
    pub fn list(&self, prefix: &str) -> io::Result<Vec<String>> {
        self.lock().list(prefix).map_err(error)
    }

    /// What a file has.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut state = self.lock();
        let handle = state.open(Some(name), false, false).map_err(error)?;
        let mut bytes = vec![0; state.size(&handle).map_err(error)?];
        state.read(&handle, 0, &mut bytes).map_err(error)?;
        Ok(bytes)
    }

    /// Makes a file, or empties it.
    pub fn create(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        let handle = state.open(Some(name), true, false).map_err(error)?;
        state.truncate(&handle, 0).map_err(error)
    }

    /// Writes behind the end of a file.
    pub fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let handle = state.open(Some(name), false, false).map_err(error)?;
        let mut at = state.size(&handle).map_err(error)?;
        for piece in bytes.chunks(PIECE) {
            state.write(&handle, at, piece).map_err(error)?;
            at += piece.len();
        }
        Ok(())
    }

    /// Makes a file's content durable.
    pub fn sync(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        let handle = state.open(Some(name), false, false).map_err(error)?;
        state.sync(&handle).map_err(error)
    }

    /// Gives a file another name, in place of whatever had it.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.lock().rename(from, to).map_err(error)
    }

    /// Removes a file, not durably.
    pub fn unlink(&self, name: &str) -> io::Result<()> {
        self.lock().delete(name, false).map_err(error)
    }

    /// [`Disk::sync_directory`], as something that a death can hit.
    pub fn sync_names(&self) -> io::Result<()> {
        let mut state: std::sync::MutexGuard<'_, State> = self.lock();
        state.tick().map_err(error)?;
        state.sync_directory();
        Ok(())
    }
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::NoFile => io::Error::from(io::ErrorKind::NotFound),
        Fault::Full => io::Error::from(io::ErrorKind::StorageFull),
        Fault::Dead => io::Error::other("the disk is dead"),
        Fault::Sync => io::Error::other("the sync failed"),
    }
}
