//! `td connect LINK`: from an enrolment link to a login (DESIGN 6.1).
//!
//! Duty: check the server against the link's fingerprint, use the secret up, remember login, identity and epoch.
//! Invariant: the secret is sent only to a server that proved to own the key the link names.
//! Danger: a link works once. Everything that can be checked without it is checked before.

use crate::ambient::Ambient;
use crate::config::{ConfigError, Login, Logins, Secret};
use crate::http::Server;
use crate::identity::{self, IdentityError};
use crate::server_url::{BadUrl, ServerUrl};
use crate::transport::TransportError;
use std::path::PathBuf;
use td_engine::id::ProjectId;

/// `<base URL>/connect#<secret>.<fingerprint>`.
#[derive(Clone, Debug)]
pub struct Link {
    /// The server.
    pub url: ServerUrl,
    /// Good for one enrolment.
    pub secret: Secret,
    /// Of the server's identity.
    pub fingerprint: String,
}

/// A text that is no enrolment link. Never holds the text: it may hold a secret.
#[derive(Debug, thiserror::Error)]
pub enum BadLink {
    /// The part before `#` is no address ending in `/connect`.
    #[error(
        "an enrolment link looks like https://HOST/connect#SECRET.FINGERPRINT; its first part is not that"
    )]
    Address,
    /// The address itself.
    #[error("the link's address is not usable: {0}")]
    Url(#[from] BadUrl),
    /// The part after `#` is missing or cut off.
    #[error("the link's part after # is not complete; quote the whole link, '#' included")]
    Fragment,
}

impl Link {
    /// Takes a link apart.
    pub fn parse(text: &str) -> Result<Self, BadLink> {
        let (address, fragment) = text.trim().split_once('#').ok_or(BadLink::Fragment)?;
        let base = address.strip_suffix("/connect").ok_or(BadLink::Address)?;
        let (secret, fingerprint) = fragment.split_once('.').ok_or(BadLink::Fragment)?;
        let base32 = |b: u8| b.is_ascii_alphabetic() || (b'2'..=b'7').contains(&b);
        let whole = secret.len() == 26 && secret.bytes().all(base32);
        let known = fingerprint.len() == 16 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit());
        if !whole || !known {
            return Err(BadLink::Fragment);
        }
        Ok(Self {
            url: ServerUrl::parse(base)?,
            secret: Secret::new(secret),
            fingerprint: fingerprint.to_ascii_lowercase(),
        })
    }
}

/// Why connecting failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The link itself.
    #[error(transparent)]
    Link(#[from] BadLink),
    /// The server is not the one the link names, or cannot be asked.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The link was used before, or its time is over.
    #[error("the link was used before or has expired")]
    UsedUp,
    /// The server knows no such link.
    #[error("the server does not know this link")]
    Unknown,
    /// The server refused, or vanished half-way: then the link may be used up.
    #[error(transparent)]
    Transport(TransportError),
    /// The login could not be stored.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The link names a project in a form that is none.
    #[error("the server named a project that is none: {0:?}")]
    Project(String),
}

impl ConnectError {
    /// Stable word for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::Link(_) => "invalid_input",
            Self::Identity(IdentityError::Transport(e)) | Self::Transport(e) => e.code(),
            Self::Identity(_) => "identity_mismatch",
            Self::UsedUp => "link_used",
            Self::Unknown => "link_unknown",
            Self::Config(e) => e.code(),
            Self::Project(_) => "foreign_answer",
        }
    }

    /// Whether nothing answered at all, so that trying later is the whole remedy.
    pub fn is_offline(&self) -> bool {
        matches!(
            self,
            Self::Transport(TransportError::Offline { .. })
                | Self::Identity(IdentityError::Transport(TransportError::Offline { .. }))
        )
    }
}

/// What connecting led to.
#[derive(Clone, Debug)]
pub struct Connected {
    /// Where.
    pub url: ServerUrl,
    /// Whose login it is.
    pub user_id: String,
    /// Their address.
    pub email: String,
    /// The project the link invites to.
    pub project: Option<ProjectId>,
}

/// Enrols this machine. `ca_file` is remembered with the login. The new server becomes the default one.
pub fn connect(
    link: &Link,
    logins: &Logins,
    ambient: &dyn Ambient,
    device_name: &str,
    ca_file: Option<PathBuf>,
) -> Result<Connected, ConnectError> {
    // Before anything is used up: can we store what we are about to get?
    logins.update(|_| ())?;
    let server = Server::new(link.url.clone(), ca_file.as_deref(), None).map_err(ConnectError::Transport)?;
    let key = identity::expect(&server, ambient, &link.fingerprint)?;
    let enrolled = server.enroll(&link.secret, device_name).map_err(|e| match e {
        TransportError::Refused { status: 410, .. } => ConnectError::UsedUp,
        TransportError::Refused { status: 404, .. } => ConnectError::Unknown,
        other => ConnectError::Transport(other),
    })?;
    let epoch = server.epoch();
    logins.update(|file| {
        let entry = file.servers.entry(link.url.clone()).or_default();
        *entry = Login {
            public_key: Some(key.as_str().into()),
            epoch,
            api_key: Some(enrolled.api_key.clone()),
            user_id: Some(enrolled.user_id.clone()),
            email: Some(enrolled.email.clone()).filter(|e| !e.is_empty()),
            expires_at: enrolled.expires_at.clone(),
            ca_file: ca_file.or(entry.ca_file.take()),
            canary: entry.canary.take(),
            extra: std::mem::take(&mut entry.extra),
            key_kind: None,
        };
        file.default = Some(link.url.clone());
    })?;
    // The login stands by now; a project that cannot be read must not undo it.
    let project = enrolled.project_id.filter(|p| !p.is_empty());
    let project = project.map(|p| ProjectId::parse(&p).map_err(|_| ConnectError::Project(p))).transpose()?;
    Ok(Connected { url: link.url.clone(), user_id: enrolled.user_id, email: enrolled.email, project })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "abcdefghijklmnopqrstuvwxyz";

    #[test]
    fn a_link_comes_apart_into_server_secret_and_fingerprint() {
        let link = Link::parse(&format!("https://sync.example.org/td/connect#{SECRET}.00112233445566FF\n"))
            .expect("link");
        assert_eq!(link.url.as_str(), "https://sync.example.org/td");
        assert_eq!(link.secret.reveal(), SECRET);
        assert_eq!(link.fingerprint, "00112233445566ff");
        assert!(!format!("{link:?}").contains(SECRET), "a secret is never printed");
    }

    #[test]
    fn a_cut_link_is_refused_without_repeating_it() {
        for bad in [
            "https://h/connect".to_string(),
            format!("https://h/connect#{SECRET}"),
            format!("https://h/connect#{SECRET}.0011"),
            format!("https://h/#{SECRET}.00112233445566ff"),
            format!("https://h/connect#{}1.00112233445566ff", &SECRET[1..]),
        ] {
            let error = Link::parse(&bad).expect_err(&bad);
            assert!(!error.to_string().contains(&SECRET[1..]), "{error}");
        }
    }
}
