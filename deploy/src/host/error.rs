//! What can go wrong on a host.

use crate::error::{Remedy, Situation};
use std::path::PathBuf;
use std::time::Duration;
use td_state::shell;

/// One variant per situation a person can meet.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No permission.
    #[error("{op} {path}: permission denied")]
    Denied {
        /// What was tried, as `write`.
        op: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// The parent is missing, or the path to act on is.
    #[error("{op} {path}: no such file or directory")]
    Missing {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// Something else stands where ours should be.
    #[error("{op} {path}: {found} is in the way")]
    InTheWay {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// What stands there, as `a directory`.
        found: &'static str,
    },
    /// No space, or no quota.
    #[error("{op} {path}: no space left")]
    Full {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// The file system is read-only.
    #[error("{op} {path}: read-only file system")]
    ReadOnly {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// Larger than the reader is ready for.
    #[error("{path} has {size} bytes, more than the {limit} that are allowed here")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The program is not there or cannot be executed.
    #[error("cannot start {program}: {why}")]
    NoProgram {
        /// Which.
        program: PathBuf,
        /// The system's words.
        why: String,
    },
    /// The program did not end in time and was killed.
    #[error("{shown} did not end within {limit:?} and was stopped")]
    TimedOut {
        /// The command line.
        shown: String,
        /// The limit.
        limit: Duration,
        /// Its last lines.
        tail: Vec<String>,
    },
    /// Any other answer of the system.
    #[error("{op} {path}: {why}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// The in-memory host does not model this; a test has to.
    #[error("the model host does not know: {0}")]
    Unmodelled(String),
}

impl Situation for HostError {
    fn code(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "E-HOST-DENIED",
            Self::Missing { .. } => "E-HOST-MISSING",
            Self::InTheWay { .. } => "E-HOST-IN-THE-WAY",
            Self::Full { .. } => "E-HOST-FULL",
            Self::ReadOnly { .. } => "E-HOST-READ-ONLY",
            Self::TooLarge { .. } => "E-HOST-TOO-LARGE",
            Self::NoProgram { .. } => "E-HOST-NO-PROGRAM",
            Self::TimedOut { .. } => "E-HOST-TIMED-OUT",
            Self::Io { .. } => "E-HOST-IO",
            Self::Unmodelled(_) => "E-HOST-UNMODELLED",
        }
    }

    fn means(&self) -> String {
        match self {
            Self::Denied { .. } => "this user may not do that there",
            Self::Missing { .. } => "something setup had put there, or expected there, is gone",
            Self::InTheWay { .. } => "setup replaces only what it made itself",
            Self::Full { .. } => "the disk or the quota is used up; what was there before is untouched",
            Self::ReadOnly { .. } => "nothing can be written there",
            Self::TooLarge { .. } => "this is not the file setup knows",
            Self::NoProgram { .. } => {
                "a program that belongs to setup is missing or was built for another machine"
            }
            Self::TimedOut { .. } => "the program hangs, or the machine is very busy",
            Self::Io { .. } => "the operating system refused",
            Self::Unmodelled(_) => "the test is incomplete",
        }
        .into()
    }

    fn remedy(&self) -> Remedy {
        match self {
            Self::Denied { path, .. } => Remedy::run(
                "see who owns it, then run setup as that user",
                format!("ls -ld {}", shell::path(path)),
            ),
            Self::Missing { path, .. } => Remedy::run(
                "look at what is there, then run setup again",
                format!("ls -la {}", shell::path(path.parent().unwrap_or(path))),
            ),
            Self::InTheWay { path, .. } => {
                Remedy::run("move it away, then run setup again", format!("ls -la {}", shell::path(path)))
            }
            Self::Full { path, .. } => Remedy::run(
                "make room, then run setup again",
                format!("df -h {}", shell::path(path.parent().unwrap_or(path))),
            ),
            Self::ReadOnly { .. } => {
                Remedy::say("choose another folder, or mount it writable, then run setup again")
            }
            Self::TooLarge { path, .. } => Remedy::run(
                "see what it is; move it away if it is not needed",
                format!("ls -la {}", shell::path(path)),
            ),
            Self::NoProgram { .. } => Remedy::say("install again from the archive or the source folder"),
            Self::TimedOut { .. } => Remedy::say("run setup again; it continues where it stopped"),
            Self::Io { .. } => Remedy::say("run setup again; it continues where it stopped"),
            Self::Unmodelled(_) => Remedy::say("teach the model this operation"),
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }

    fn evidence(&self) -> Vec<String> {
        if let Self::TimedOut { tail, .. } = self { tail.clone() } else { Vec::new() }
    }
}
