//! What the supervisor is told, as a file that the step `server.units` writes.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use td_templates::env_file::EnvFile;

/// The one format there is.
const FORMAT: u32 = 1;

/// A server to keep running. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Format of this file: 1.
    pub format: u32,
    /// `td-sync-setup`, which becomes the server after it has prepared its process (see `exec_server`).
    pub launcher: PathBuf,
    /// The server, through the `current` link, so that a restart picks up another release.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment; nothing is inherited.
    pub env_file: PathBuf,
    /// Its working directory.
    pub directory: PathBuf,
    /// Addresses to listen on, handed over in this order.
    pub listen: Vec<SocketAddr>,
    /// Folder of lock and control socket.
    pub state: PathBuf,
    /// Output of server and supervisor.
    pub log: PathBuf,
    /// Size from which the log is moved to `<log>.1`.
    pub log_limit: u64,
    /// Seconds a server may drain before it is killed. Longer than its own time-out.
    pub stop_limit: u64,
}

/// Why a specification cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A file could not be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not this format.
    #[error("{path} is not a supervisor specification of format {FORMAT}: {why}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The environment file is not strict `NAME=value`.
    #[error("{path}: {source}")]
    Env {
        /// Which file.
        path: PathBuf,
        /// Line and reason.
        source: td_templates::env_file::EnvError,
    },
}

impl Spec {
    /// A specification of the current format with everything that is the same for each server.
    #[must_use]
    pub fn new(launcher: PathBuf, program: PathBuf, listen: Vec<SocketAddr>) -> Self {
        Self {
            format: FORMAT,
            launcher,
            program,
            args: vec!["serve".into()],
            env_file: PathBuf::new(),
            directory: PathBuf::from("/"),
            listen,
            state: PathBuf::new(),
            log: PathBuf::new(),
            log_limit: 8 << 20,
            stop_limit: 45,
        }
    }

    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let format = |why: String| SpecError::Format { path: path.to_owned(), why };
        let spec: Self = serde_json::from_str(&read(path)?).map_err(|error| format(error.to_string()))?;
        if spec.format != FORMAT {
            return Err(format(format!("it says {}", spec.format)));
        }
        let paths = [&spec.launcher, &spec.program, &spec.env_file, &spec.directory, &spec.state, &spec.log];
        if let Some(relative) = paths.into_iter().find(|path| !path.is_absolute()) {
            return Err(format(format!("{} is not absolute", relative.display())));
        }
        Ok(spec)
    }

    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The server's environment.
    pub fn environment(&self) -> Result<EnvFile, SpecError> {
        let path = &self.env_file;
        EnvFile::parse(&read(path)?).map_err(|source| SpecError::Env { path: path.clone(), source })
    }

    /// Hash over all that a running server was started from: this specification, its environment file and the release
    /// behind the `current` link. A server whose hash is another one needs a restart.
    pub fn origin(&self) -> Result<String, SpecError> {
        let resolved = |path: &Path| {
            path.canonicalize().map_err(|source| SpecError::Read { path: path.to_owned(), source })
        };
        let mut hash = Sha256::new();
        for part in [
            self.to_text(),
            read(&self.env_file)?,
            resolved(&self.program)?.display().to_string(),
            resolved(&self.launcher)?.display().to_string(),
        ] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn read(path: &Path) -> Result<String, SpecError> {
    std::fs::read_to_string(path).map_err(|source| SpecError::Read { path: path.to_owned(), source })
}
