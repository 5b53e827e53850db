//! What can be wrong with the files setup remembers in.
//!
//! Duty: one variant per situation a person can meet, each with a stable code and a remedy (DESIGN law 18).

use crate::shell;
use std::io;
use std::path::{Path, PathBuf};

/// A state file that cannot be used, or not now.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another run holds the lock.
    #[error("another run is at work on this target: {owner}")]
    Locked {
        /// What the lock file says about it.
        owner: String,
    },
    /// The file system cannot lock, so two runs could not be kept apart.
    #[error("{path} is on a file system without locks")]
    NoLocks {
        /// The lock file.
        path: PathBuf,
    },
    /// The folder or a file in it belongs to somebody else.
    #[error("{op} {path}: permission denied")]
    Denied {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// No space for what has to be written before anything may change.
    #[error("no space in {dir}: {bytes} bytes are needed before anything may change")]
    Full {
        /// The folder.
        dir: PathBuf,
        /// How many bytes were to be written.
        bytes: usize,
    },
    /// The file system is mounted read-only.
    #[error("{op} {path}: read-only file system")]
    ReadOnly {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// Any other answer of the system.
    #[error("{op} {path}: {why}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        why: io::Error,
    },
    /// Written by a newer version.
    #[error("{path} has format {found}, this version knows {known} and older")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its number.
        found: i64,
        /// The newest we know.
        known: i64,
    },
    /// Not what it should be, as a whole.
    #[error("{path} cannot be read: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A journal line that is not the last is damaged.
    #[error("{path}, line {line}, is damaged: {why}")]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Why.
        why: String,
    },
    /// A journal says something no version of setup could have done.
    #[error("{path}, line {line}: {why}")]
    Illegal {
        /// The journal.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What does not follow from what; the line is quoted.
        why: String,
    },
    /// Journals that the receipt knows of are gone.
    #[error("{dir}: the receipt knows of record {receipt}, the journals end at {journal}")]
    JournalLost {
        /// The folder of the target.
        dir: PathBuf,
        /// The receipt's newest record.
        receipt: u64,
        /// The journals' newest record.
        journal: u64,
    },
    /// The journal could not be written earlier in this run.
    #[error("the journal of this run could not be written; nothing more will be changed")]
    JournalClosed,
    /// A record that may not follow (a bug in the engine); nothing was written.
    #[error("a {record} of {step} may not follow {state}")]
    BadMove {
        /// The step.
        step: String,
        /// The state it is in.
        state: &'static str,
        /// What was to be recorded.
        record: &'static str,
    },
}

impl StateError {
    /// Stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "E-STATE-LOCKED",
            Self::NoLocks { .. } => "E-STATE-NO-LOCKS",
            Self::Denied { .. } => "E-STATE-DENIED",
            Self::Full { .. } => "E-STATE-FULL",
            Self::ReadOnly { .. } => "E-STATE-READ-ONLY",
            Self::Io { .. } => "E-STATE-IO",
            Self::Newer { .. } => "E-STATE-NEWER",
            Self::Unreadable { .. } => "E-STATE-UNREADABLE",
            Self::Damaged { .. } => "E-JOURNAL-DAMAGED",
            Self::Illegal { .. } => "E-JOURNAL-ILLEGAL",
            Self::JournalLost { .. } => "E-JOURNAL-LOST",
            Self::JournalClosed => "E-JOURNAL-CLOSED",
            Self::BadMove { .. } => "E-JOURNAL-MOVE",
        }
    }

    /// What it means.
    pub fn means(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "only one run may change a target at a time",
            Self::NoLocks { .. } => "two runs at once could not be kept apart there",
            Self::Denied { .. } => "an earlier run under another user may have made it",
            Self::Full { .. } | Self::ReadOnly { .. } | Self::Io { .. } | Self::JournalClosed => {
                "what cannot be recorded is not done, so nothing was changed"
            }
            Self::Newer { .. } => {
                "a newer version of setup was used on this target; this one would lose what it wrote"
            }
            Self::Unreadable { .. } => "it was edited by hand, or the disk lost part of it",
            Self::Damaged { .. } | Self::Illegal { .. } => {
                "what was done cannot be told for certain, and setup does not guess"
            }
            Self::JournalLost { .. } => "without them setup cannot tell what is its own and may be undone",
            Self::BadMove { .. } => "this is a bug in setup; nothing was changed by it",
        }
    }

    /// What to do: a sentence, and a command where there is one.
    pub fn remedy(&self) -> (String, Option<String>) {
        match self {
            Self::Locked { .. } => ("wait for it, or watch it".into(), Some("td-sync-setup status".into())),
            Self::NoLocks { .. } => ("set XDG_STATE_HOME to a folder on a local disk".into(), None),
            Self::Denied { path, .. } => (
                "make it yours again".into(),
                Some(format!("sudo chown -R \"$(id -u)\" {}", shell::path(path))),
            ),
            Self::Full { dir, .. } => {
                ("make room, then run setup again".into(), Some(format!("df -h {}", shell::path(dir))))
            }
            Self::ReadOnly { .. } => ("set XDG_STATE_HOME to a folder that can be written".into(), None),
            Self::Io { path, .. } => (
                "look at the folder, then run setup again".into(),
                Some(format!("ls -la {}", shell::path(parent(path)))),
            ),
            Self::Newer { .. } => ("use the newer td-sync-setup".into(), None),
            Self::Unreadable { path, .. } => (
                "mend it, or move it away and answer again".into(),
                Some(format!("mv {0} {0}.old", shell::path(path))),
            ),
            Self::Damaged { path, line, .. } | Self::Illegal { path, line, .. } => (
                "look at that line; put back a copy of the file from a backup".into(),
                Some(format!("sed -n {line}p {}", shell::path(path))),
            ),
            Self::JournalLost { dir, .. } => (
                "put back the runs folder from a backup".into(),
                Some(format!("ls -la {}", shell::path(dir))),
            ),
            Self::JournalClosed | Self::BadMove { .. } => (
                "run setup again; it looks first and continues from there".into(),
                Some("td-sync-setup".into()),
            ),
        }
    }

    /// Sorts an answer of the system.
    pub(crate) fn io(op: &'static str, path: &Path, e: io::Error) -> Self {
        let path = path.to_path_buf();
        match e.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied { op, path },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { op, path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { dir: parent(&path).to_path_buf(), bytes: 4096 }
            }
            _ => Self::Io { op, path, why: e },
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
