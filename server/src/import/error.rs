//! What stands in the way of an import, and what went wrong in the middle of one.

use super::plan::Plan;
use crate::control::ControlError;
use crate::datadir::DataDirError;
use crate::live::LiveError;
use crate::log::LogError;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

/// Something that has to be settled before an import can run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Stable word for programs.
    pub code: &'static str,
    /// What is in the way.
    pub message: String,
    /// What helps.
    pub remedy: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code, message: message.into(), remedy: remedy.into() }
    }
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The plan has refusals.
    #[error("{}", refused(.0))]
    Refused(Box<Plan>),
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
    /// A database that was being made failed.
    #[error("{} failed while it was made: {source}", .path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// What happened.
        source: rusqlite::Error,
    },
    /// Somebody wrote to the source meanwhile.
    #[error("{} changed while it was read: something still writes to it", .path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// The result is not what the plan says.
    #[error("{what} came out as {found}, the plan says {planned}")]
    Differs {
        /// Of what.
        what: String,
        /// As planned from the source.
        planned: String,
        /// As found in the result.
        found: String,
    },
    /// The new data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The new control store.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A new log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A new live view.
    #[error(transparent)]
    Live(#[from] LiveError),
}

impl ImportError {
    /// Stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => "import_refused",
            Self::Io { .. } => "import_io",
            Self::Database { .. } => "import_database",
            Self::Changed { .. } => "source_changed",
            Self::Differs { .. } => "import_differs",
            Self::DataDir(e) => e.code(),
            Self::Control(e) => e.code(),
            Self::Log(_) => "import_log",
            Self::Live(_) => "import_live_view",
        }
    }

    /// What helps. Nothing was made in any of these cases.
    pub fn remedy(&self) -> String {
        match self {
            Self::Refused(_) => "settle these, then run the same command again".into(),
            Self::Changed { .. } => {
                "stop whatever uses the directory, then run the same command again".into()
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room, or set TMPDIR to a folder with more of it, then run the same command again".into()
            }
            Self::Io { .. } | Self::Database { .. } => {
                "see whether the disk is full and who owns the folders, then run the same command again"
                    .into()
            }
            Self::DataDir(e) => e.remedy(),
            Self::Differs { .. } | Self::Control(_) | Self::Log(_) | Self::Live(_) => {
                "nothing was made and the source is as it was; keep using it and report this".into()
            }
        }
    }
}

fn refused(plan: &Plan) -> String {
    let all: Vec<_> = plan.refusals.iter().map(|r| r.message.as_str()).collect();
    all.join("\n       ")
}

pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImportError {
    move |source| ImportError::Io { what, path: path.to_path_buf(), source }
}

pub(super) fn database(path: &Path) -> impl Fn(rusqlite::Error) -> ImportError {
    move |source| ImportError::Database { path: path.to_path_buf(), source }
}
