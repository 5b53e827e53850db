//! Copies of databases that are proven to open again.
//!
//! Duty: copy live SQLite databases and small files into a folder, with a manifest that lets anybody check the copy
//! later without the original.
//! Invariant: the folder appears complete under its name or not at all; each copy is one consistent moment of its
//! database, taken without holding its writer up.
//! Danger: a backup that was never opened. Every copy is opened, checked and measured before the manifest is written.

mod check;
mod export;
mod manifest;

pub use check::{Checked, check};
pub use export::{Database, Export, export};
pub use manifest::{Manifest, StoredDatabase, StoredFile};

use std::io;
use std::path::PathBuf;

/// Why there is no backup, or why one is not good.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The folder to write is there already and not empty.
    #[error("{} is there already", .path.display())]
    TargetExists {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A database could not be copied or read.
    #[error("database {name} failed: {source}")]
    Sqlite {
        /// Its name in the manifest.
        name: String,
        /// What happened.
        source: rusqlite::Error,
    },
    /// There is no readable manifest.
    #[error("{} is not a manifest of ours: {why}", .path.display())]
    NoManifest {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A copy is not what the manifest says.
    #[error("the copy of {name} is damaged: {why}")]
    Damaged {
        /// Its name in the manifest.
        name: String,
        /// What does not agree.
        why: String,
    },
}

impl BackupError {
    /// Stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TargetExists { .. } => "backup_target_exists",
            Self::Io { .. } => "backup_io",
            Self::Sqlite { .. } => "backup_database",
            Self::NoManifest { .. } => "backup_no_manifest",
            Self::Damaged { .. } => "backup_damaged",
        }
    }

    /// What helps.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::TargetExists { .. } => "give another folder: td-sync backup export --to DIR",
            Self::Damaged { .. } | Self::NoManifest { .. } => {
                "keep this copy for inspection and make a new one: td-sync backup export --to DIR"
            }
            Self::Io { .. } | Self::Sqlite { .. } => "td-sync doctor",
        }
    }
}

fn io_error(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.into();
    move |source| BackupError::Io { what, path, source }
}

fn sqlite(name: &str) -> impl Fn(rusqlite::Error) -> BackupError {
    let name = name.to_string();
    move |source| BackupError::Sqlite { name: name.clone(), source }
}
