//! What the host is, read once per pass (anchors-installer e4.1).
//!
//! Duty: everything a step's wish may depend on besides the answers.
//! Invariant: facts are read, never remembered: a resumed run reads them again.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One reading of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `linux`, `macos`.
    pub os: String,
    /// `x86_64`, `aarch64`.
    pub arch: String,
    /// The machine's own name, for messages only.
    pub hostname: String,
    /// Effective user id.
    pub uid: u32,
    /// `$USER`, for messages only.
    pub user: String,
    /// `$HOME`.
    pub home: PathBuf,
    /// `$XDG_CONFIG_HOME` or `~/.config`.
    pub config_home: PathBuf,
    /// `$XDG_DATA_HOME` or `~/.local/share`.
    pub data_home: PathBuf,
    /// `$XDG_STATE_HOME` or `~/.local/state`.
    pub state_home: PathBuf,
    /// `$XDG_RUNTIME_DIR`, if there is one.
    pub runtime_dir: Option<PathBuf>,
    /// The folders of `$PATH`, in order.
    pub path: Vec<PathBuf>,
    /// Whether process 1 is systemd.
    pub systemd: bool,
    /// Changes with each boot; none where the system has no such number.
    pub boot_id: Option<String>,
    /// The setup program itself; `td-sync` and `td` stand beside it.
    pub program: PathBuf,
}
