//! What an operator may ask, in one shape, whoever asks: a command that holds the data directory itself, or one that
//! speaks to the running server.
//!
//! Duty: [`Request`] in, [`Reply`] or [`AdminError`] out; the words of the replies are the reference's where it has the
//! verb (server-protocol 9.1), because scripts read them.
//! Invariant: whoever can ask has the operating system's permission to (the socket is 0600, the directory is ours).
//! Danger: replies may hold a fresh key or link; they go to the asker only, never to the log.

mod backup;
mod devices;
mod logins;
mod mail;
mod office;
mod projects;
mod quarantine;
mod reach;
mod redact;
mod socket;
mod tls;
mod users;

pub use office::{Alone, Office};
pub use reach::{ReachError, ask, ask_running};
pub use socket::Socket;

use crate::visible::is_hidden;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Request {
    /// Makes an account.
    CreateUser {
        /// Its address.
        email: String,
    },
    /// Gives the admin flag.
    Grant {
        /// Whom.
        email: String,
    },
    /// Takes the admin flag.
    Revoke {
        /// From whom.
        email: String,
    },
    /// Makes a key of an admin.
    CreateKey {
        /// Whose.
        email: String,
        /// What it is called.
        name: String,
        /// Comma separated.
        scopes: String,
    },
    /// Forgets a key, as the reference spells it.
    RevokeKey {
        /// Whose it is said to be; must exist.
        email: String,
        /// Which.
        key_id: String,
    },
    /// Lists accounts.
    UsersList,
    /// Ends an account.
    UsersDelete {
        /// Its id or address.
        user: String,
        /// Also deletes the projects that nobody else owns.
        with_projects: bool,
    },
    /// Lists keys.
    KeysList {
        /// One account's only.
        email: Option<String>,
    },
    /// Forgets a key.
    KeysRevoke {
        /// Which.
        key_id: String,
    },
    /// Lists everything that signs in.
    DevicesList {
        /// One account's only.
        email: Option<String>,
    },
    /// Ends one of them, or all of an account.
    DevicesRevoke {
        /// Which.
        id: Option<String>,
        /// Whose.
        all_of: Option<String>,
    },
    /// Lists projects.
    ProjectsList {
        /// Only deleted ones, with the time their files go.
        #[serde(default)]
        deleted: bool,
    },
    /// Marks a project as deleted.
    ProjectsDelete {
        /// Id, slug or name.
        project: String,
    },
    /// Brings a deleted project back.
    ProjectsUndelete {
        /// Id, slug or name.
        project: String,
        /// Who becomes an owner.
        owner: Option<String>,
    },
    /// Takes a deleted project's files away now.
    ProjectsPurge {
        /// Id, slug or name.
        project: String,
    },
    /// Takes a text out of a project.
    Redact {
        /// Id, slug or name.
        project: String,
        /// What must go. Never logged.
        text: String,
        /// Counts only.
        dry_run: bool,
    },
    /// Makes an enrolment link.
    EnrollCreate {
        /// For whom; the oldest admin if not said.
        email: Option<String>,
        /// Project to join: id, slug or name.
        project: Option<String>,
        /// Role there.
        role: Option<String>,
        /// How long the link works.
        ttl_seconds: u64,
    },
    /// Lists enrolment links.
    EnrollList,
    /// Lists logins that wait for approval.
    LoginsList,
    /// Approves a login, or ends it.
    LoginsDecide {
        /// As the list shows it.
        id: String,
        /// Which of the two.
        approve: bool,
    },
    /// Maintenance mode.
    Maintenance {
        /// On, off, or just asked.
        turn: Turn,
    },
    /// Copies every database.
    BackupExport {
        /// Absolute folder.
        to: PathBuf,
    },
    /// Sends a mail, to see whether it arrives.
    MailTest {
        /// To whom.
        to: String,
    },
    /// What certificate there is.
    TlsStatus,
    /// Asks for a certificate, or reads the files again, now.
    TlsRenew,
    /// Shows the events of a project that did not simply apply.
    QuarantineList {
        /// Id, slug or name.
        project: String,
        /// Only those above this sequence.
        after: i64,
        /// At most so many.
        limit: usize,
    },
    /// Builds a project's live view again from its log.
    QuarantineReplay {
        /// Id, slug or name.
        project: String,
    },
    /// What only a running server knows, for the doctor.
    Standing,
}

impl Request {
    /// Whether it may be the first thing that happens to a data directory.
    fn may_begin(&self) -> bool {
        matches!(self, Self::CreateUser { .. } | Self::EnrollCreate { .. })
    }
}

/// What to do with maintenance mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    /// Hold writes.
    On,
    /// Let them through.
    Off,
    /// Say which.
    Status,
}

/// A name or an id that somebody else chose, for a line of an operator's terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// An answer for people and for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// For standard output.
    pub text: String,
    /// For `--json`.
    pub json: Value,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct AdminError {
    /// Stable word for programs.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What helps.
    pub remedy: Option<String>,
}

impl AdminError {
    /// A refusal.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), remedy: None }
    }

    /// With what helps.
    pub fn remedy(self, command: impl Into<String>) -> Self {
        Self { remedy: Some(command.into()), ..self }
    }
}

impl From<crate::control::ControlError> for AdminError {
    fn from(e: crate::control::ControlError) -> Self {
        Self::new(e.code(), e.to_string()).remedy(e.remedy())
    }
}
