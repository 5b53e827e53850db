//! Where a project database is: a file of the system, or a file of another SQLite filesystem.
//!
//! Duty: every connection of [`super::open`] is made here, so that a test can put a disk that forgets under live views
//! and snapshots as it does under logs.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file that is, or will be, a project database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    vfs: Option<String>,
}

impl Place {
    /// On the system's own filesystem.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), vfs: None }
    }

    /// On the SQLite filesystem (VFS) of that name.
    pub fn on(vfs: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), vfs: Some(vfs.into()) }
    }

    /// Its name there.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether plain file calls find the file.
    pub(super) fn is_on_system(&self) -> bool {
        self.vfs.is_none()
    }

    pub(super) fn connect(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        match &self.vfs {
            None => Connection::open_with_flags(&self.path, flags),
            Some(vfs) => Connection::open_with_flags_and_vfs(&self.path, flags, vfs.as_str()),
        }
    }

    /// Removes the database and what stands beside it. A missing one is fine. Nobody may have it open for writing.
    pub fn remove(&self) -> io::Result<()> {
        if !self.is_on_system() {
            return self.empty().map_err(io::Error::other);
        }
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut name = self.path.as_os_str().to_os_string();
            name.push(suffix);
            match fs::remove_file(&name) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// Only SQLite reaches these files, and it does not remove databases. An empty one counts as none.
    fn empty(&self) -> rusqlite::Result<()> {
        let conn = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, true)?;
        conn.execute_batch("VACUUM")?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, false).map(drop)
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::new(path)
    }
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self::new(path)
    }
}
