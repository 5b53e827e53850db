//! What this machine knows about servers: our own login file, and Go's files read beside it (DESIGN 6.1).
//!
//! Duty: decide which server and which key a command uses, and say where both came from.
//! Invariant: Go's files are only read. Ours keeps keys it does not know.

mod go;
mod logins;
mod secret;

pub use go::{GoAuth, GoFiles};
pub(crate) use logins::check_format;
pub use logins::{Login, LoginFile, Logins};
pub use secret::Secret;

use crate::server_url::{BadUrl, ServerUrl};
use std::path::PathBuf;

/// Why a settings file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The operating system refused.
    #[error("{path}: {why}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// Not the JSON it should be.
    #[error("{path} is not readable: {why}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: serde_json::Error,
    },
    /// Written by a newer release.
    #[error("{path} has format {found}; this program knows formats up to {known}")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// An address that is none.
    #[error(transparent)]
    Url(#[from] BadUrl),
}

impl ConfigError {
    /// Stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "config_file",
            Self::Damaged { .. } => "config_damaged",
            Self::Newer { .. } => "config_newer",
            Self::Url(_) => "invalid_input",
        }
    }
}

/// What the caller's environment says; the CLI fills it from `TD_SYNC_URL` and `TD_AUTH_KEY`.
#[derive(Clone, Default)]
pub struct Overrides {
    /// Server address that wins over every file.
    pub url: Option<String>,
    /// Key that wins over every file.
    pub key: Option<Secret>,
}

/// Where a decision came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The environment.
    Environment,
    /// The project's own file.
    Project,
    /// Our login file.
    Ours,
    /// Go's files.
    Go,
}

impl Source {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "the environment",
            Self::Project => "this project",
            Self::Ours => "td-sync.json",
            Self::Go => "Go td's files",
        }
    }
}

/// The server and login a command uses.
#[derive(Clone)]
pub struct Choice {
    /// Where.
    pub url: ServerUrl,
    /// Who decided that.
    pub url_source: Source,
    /// With which key.
    pub key: Option<Secret>,
    /// `user:<id>` or `agent:<id>`; `user:local` without a login.
    pub actor: String,
    /// Address of the person, if known.
    pub email: Option<String>,
    /// Our entry for this server.
    pub login: Option<Login>,
}

/// Environment, then the project's server, then ours, then Go's. `None` if nobody names a server.
///
/// A key from a file is used only for the server it belongs to.
pub fn choose(
    overrides: &Overrides,
    project_server: Option<&ServerUrl>,
    ours: &LoginFile,
    go: &GoFiles,
) -> Result<Option<Choice>, ConfigError> {
    let auth = go.auth()?;
    let auth_url =
        auth.as_ref().filter(|a| !a.api_key.is_empty()).and_then(|a| ServerUrl::parse(&a.server_url).ok());
    let (url, url_source) = if let Some(text) = overrides.url.as_deref().filter(|t| !t.is_empty()) {
        (ServerUrl::parse(text)?, Source::Environment)
    } else if let Some(url) = project_server {
        (url.clone(), Source::Project)
    } else if let Some(url) = &ours.default {
        (url.clone(), Source::Ours)
    } else if let Some(text) = go.sync_url()? {
        (ServerUrl::parse(&text)?, Source::Go)
    } else if let Some(url) = auth_url.clone() {
        (url, Source::Go)
    } else {
        return Ok(None);
    };
    let login = ours.servers.get(&url).cloned();
    let go_login = auth.filter(|a| !a.api_key.is_empty() && auth_url.as_ref() == Some(&url));
    let mut choice = Choice {
        url,
        url_source,
        key: overrides.key.clone(),
        actor: "user:local".into(),
        email: None,
        login: login.clone(),
    };
    if let Some(token) = overrides.key.as_ref().and_then(|k| k.reveal().strip_prefix("td_agent_")) {
        // Whose agent it is, the server knows; here it is named by what `td auth token list` shows of it.
        choice.actor = format!("agent:{}", token.chars().take(8).collect::<String>());
    } else if let Some(login) = login.filter(|l| l.api_key.is_some()) {
        choice.key = choice.key.or(login.api_key.clone());
        choice.actor = login.actor();
        choice.email = login.email;
    } else if let Some(auth) = go_login {
        choice.key = choice.key.or(Some(Secret::new(auth.api_key)));
        choice.actor = format!("user:{}", auth.user_id);
        choice.email = Some(auth.email);
    }
    Ok(Some(choice))
}
