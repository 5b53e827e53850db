//! What a command says, to people and to programs, and how it ends.
//!
//! Invariant: with `--json` standard output holds exactly one JSON value, also on failure.

use serde::Serialize;
use serde_json::{Value, json};
use std::io::Write;
use td_client::config::ConfigError;
use td_client::connect::ConnectError;
use td_client::identity::IdentityError;
use td_client::store::StoreError;
use td_client::sync::{SyncError, transport_remedy};
use td_client::transport::TransportError;
use td_client::write::WriteError;

/// Where answers go.
#[derive(Clone, Debug)]
pub struct Out {
    pub json: bool,
    /// Name this program is installed as.
    pub td: String,
}

/// Why a command failed, for people and programs.
#[derive(Debug)]
pub struct Failure {
    pub code: String,
    pub message: String,
    pub remedy: Option<String>,
    pub exit: u8,
}

pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;
pub const OFFLINE: u8 = 3;

impl Out {
    /// `value` for programs, `text` for people.
    pub fn say(&self, text: impl AsRef<str>, value: &impl Serialize) {
        if self.json {
            print(&serde_json::to_string_pretty(value).unwrap_or_else(|_| "null".into()));
        } else if !text.as_ref().is_empty() {
            print(text.as_ref().trim_end_matches('\n'));
        }
    }

    /// A hint that does not stop the command.
    pub fn warn(&self, text: impl AsRef<str>) {
        eprintln!("Warning: {}", text.as_ref());
    }

    /// What happened besides what was asked for.
    pub fn note(&self, text: impl AsRef<str>) {
        eprintln!("{}", text.as_ref());
    }

    /// Says what went wrong; the exit code.
    pub fn fail(&self, failure: &Failure) -> u8 {
        if self.json {
            let mut error = json!({"code": failure.code, "message": failure.message});
            if let (Some(remedy), Value::Object(map)) = (&failure.remedy, &mut error) {
                map.insert("remedy".into(), json!(remedy));
            }
            print(&json!({ "error": error }).to_string());
        } else {
            eprintln!("ERROR: {}", failure.message);
            if let Some(remedy) = &failure.remedy {
                eprintln!("  {remedy}");
            }
        }
        failure.exit
    }

    /// A failure that is part of an answer already given: told on standard error, so that JSON stays one value.
    pub fn after_answer(&self, message: &str, remedy: &str) -> Failure {
        eprintln!("ERROR: {message}\n  {remedy}");
        Failure { code: String::new(), message: message.into(), remedy: None, exit: FAILED }
    }

    pub fn usage(&self, message: impl Into<String>, remedy: Option<String>) -> Failure {
        Failure { code: "invalid_input".into(), message: message.into(), remedy, exit: USAGE }
    }

    pub fn store(&self, error: &StoreError) -> Failure {
        self.failure(error.code(), error, Some(error.remedy(&self.td)))
    }

    pub fn write(&self, error: &WriteError) -> Failure {
        let remedy = match error {
            WriteError::Store(e) => Some(e.remedy(&self.td)),
            WriteError::NotFound(_) => Some(format!("see `{} list --all` for what there is", self.td)),
            WriteError::Stale { id, .. } | WriteError::StatusChanged { id, .. } => {
                Some(format!("look at it with `{} show {id}`, then decide", self.td))
            }
            WriteError::Invalid { .. } | WriteError::NoEffect(_) => None,
        };
        let failure = self.failure(error.code(), error, remedy);
        let is_usage = matches!(error, WriteError::Invalid { .. });
        Failure { exit: if is_usage { USAGE } else { FAILED }, ..failure }
    }

    pub fn sync(&self, error: &SyncError) -> Failure {
        let failure = self.failure(error.code(), error, Some(error.remedy(&self.td)));
        Failure { exit: if error.is_offline() { OFFLINE } else { FAILED }, ..failure }
    }

    pub fn transport(&self, error: &TransportError) -> Failure {
        let failure = self.failure(error.code(), error, Some(transport_remedy(error, &self.td)));
        let offline = matches!(error, TransportError::Offline { .. });
        Failure { exit: if offline { OFFLINE } else { FAILED }, ..failure }
    }

    pub fn identity(&self, error: &IdentityError) -> Failure {
        match error {
            IdentityError::Transport(e) => self.transport(e),
            other => self.failure(
                "identity_mismatch",
                other,
                Some(format!("if the server was replaced on purpose, run `{} resync`", self.td)),
            ),
        }
    }

    pub fn connect(&self, error: &ConnectError) -> Failure {
        let remedy = match error {
            ConnectError::Link(_) => {
                format!("quote the whole link: {} connect 'https://…/connect#…'", self.td)
            }
            ConnectError::UsedUp | ConnectError::Unknown => {
                "ask for a new link (`td-sync admin enroll create` on the server)".into()
            }
            ConnectError::Identity(IdentityError::Transport(e)) | ConnectError::Transport(e) => {
                return self.transport(e);
            }
            ConnectError::Identity(_) => {
                "do not use this link; ask for a new one by a channel you trust".into()
            }
            ConnectError::Config(_) => format!("see what is wrong with the file, then `{} doctor`", self.td),
            ConnectError::Project(_) => format!("run `{} sync-project list`", self.td),
        };
        let failure = self.failure(error.code(), error, Some(remedy));
        let is_usage = matches!(error, ConnectError::Link(_));
        Failure { exit: if is_usage { USAGE } else { FAILED }, ..failure }
    }

    pub fn config(&self, error: &ConfigError) -> Failure {
        self.failure(
            error.code(),
            error,
            Some(format!("see what is wrong with the file, then `{} doctor`", self.td)),
        )
    }

    fn failure(&self, code: &str, error: &impl std::fmt::Display, remedy: Option<String>) -> Failure {
        Failure { code: code.into(), message: error.to_string(), remedy, exit: FAILED }
    }
}

/// One answer to standard output. A reader that went away (`td show … | head`) has seen what it wanted.
pub fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Text somebody else wrote, made harmless for a terminal: no control characters but line feeds and tabs.
pub fn plain(text: &str) -> String {
    text.replace("\r\n", "\n")
        .replace('\r', "\n")
        .chars()
        .filter(|c| !c.is_control() || "\n\t".contains(*c))
        .collect()
}

/// As [`plain`], on one line.
pub fn one_line(text: &str) -> String {
    plain(text).replace('\n', " ")
}
