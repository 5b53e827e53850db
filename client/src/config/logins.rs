//! `$XDG_CONFIG_HOME/td/td-sync.json`: per server its address, pinned identity, epoch and login.
//!
//! Duty: the machine's one memory of servers, 0600, changed only under a lock and re-read under it.
//! Invariant: a pinned identity is replaced only by a caller who checked the new one and was told to.

use super::{ConfigError, Secret};
use crate::durable;
use crate::server_url::ServerUrl;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use td_engine::id::{Epoch, ProjectId};

const FORMAT: u64 = 1;

/// The file's place.
#[derive(Clone, Debug)]
pub struct Logins {
    path: PathBuf,
}

/// The file's content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoginFile {
    /// 1.
    pub format: u64,
    /// The server of projects that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<ServerUrl>,
    /// By address.
    #[serde(default)]
    pub servers: BTreeMap<ServerUrl, Login>,
    /// Keys of a later release.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What is known about one server. Logging out clears the login and keeps the pinned identity.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Login {
    /// Pinned Ed25519 key, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// The history this machine last saw there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// `user` or `agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_kind: Option<String>,
    /// Address of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// File with certificate authorities (PEM) that replaces the bundled ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The hidden project of the canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<ProjectId>,
    /// Keys of a later release.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Login {
    /// Who acts with this login, as `payload.meta` names it.
    pub fn actor(&self) -> String {
        let kind = if self.key_kind.as_deref() == Some("agent") { "agent" } else { "user" };
        format!("{kind}:{}", self.user_id.as_deref().unwrap_or("local"))
    }

    /// Forgets key and person.
    pub fn log_out(&mut self) {
        let kept = Login {
            public_key: self.public_key.take(),
            epoch: self.epoch.take(),
            ca_file: self.ca_file.take(),
            canary: self.canary.take(),
            extra: std::mem::take(&mut self.extra),
            ..Login::default()
        };
        *self = kept;
    }
}

impl Default for LoginFile {
    fn default() -> Self {
        Self { format: FORMAT, default: None, servers: BTreeMap::new(), extra: Map::new() }
    }
}

impl Logins {
    /// The file in `dir` (`$XDG_CONFIG_HOME/td`).
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self { path: dir.into().join("td-sync.json") }
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Its content; an absent file is an empty one.
    pub fn read(&self) -> Result<LoginFile, ConfigError> {
        let path = self.path.clone();
        let text = durable::read(&path).map_err(|why| ConfigError::File { path: path.clone(), why })?;
        let Some(text) = text else { return Ok(LoginFile::default()) };
        check_format(&path, &text, FORMAT)?;
        serde_json::from_str(&text).map_err(|why| ConfigError::Damaged { path, why })
    }

    /// Changes it under its lock, starting from what stands there then.
    pub fn update<R>(&self, change: impl FnOnce(&mut LoginFile) -> R) -> Result<R, ConfigError> {
        let failed = |why| ConfigError::File { path: self.path.clone(), why };
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        let _lock = durable::lock(&self.path.with_extension("json.lock")).map_err(failed)?;
        let mut file = self.read()?;
        let result = change(&mut file);
        let text = serde_json::to_string_pretty(&file)
            .map_err(|why| ConfigError::Damaged { path: self.path.clone(), why })?;
        durable::write(&self.path, format!("{text}\n").as_bytes(), 0o600).map_err(failed)?;
        Ok(result)
    }
}

/// Refuses a file of a newer format before its shape is looked at.
pub(crate) fn check_format(path: &std::path::Path, text: &str, known: u64) -> Result<(), ConfigError> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        format: u64,
    }
    let head: Head =
        serde_json::from_str(text).map_err(|why| ConfigError::Damaged { path: path.into(), why })?;
    if head.format > known {
        return Err(ConfigError::Newer { path: path.into(), found: head.format, known });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_login_file_is_private_and_keeps_what_it_does_not_know() {
        let dir = tempfile::tempdir().expect("folder");
        let logins = Logins::in_dir(dir.path().join("td"));
        let url = ServerUrl::parse("http://127.0.0.1:8470").expect("url");
        logins
            .update(|f| f.servers.entry(url.clone()).or_default().api_key = Some(Secret::new("k")))
            .expect("write");
        let mode = std::fs::metadata(logins.path()).expect("file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let mut value: Value =
            serde_json::from_str(&std::fs::read_to_string(logins.path()).expect("read")).expect("json");
        value["later"] = serde_json::json!({"a": 1});
        value["servers"][url.as_str()]["colour"] = "green".into();
        std::fs::write(logins.path(), value.to_string()).expect("write");
        logins.update(|f| f.servers.get_mut(&url).expect("entry").log_out()).expect("write");
        let after: Value =
            serde_json::from_str(&std::fs::read_to_string(logins.path()).expect("read")).expect("json");
        assert_eq!(after["later"]["a"], 1);
        assert_eq!(after["servers"][url.as_str()], serde_json::json!({"colour": "green"}));
    }

    #[test]
    fn a_newer_file_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("folder");
        let logins = Logins::in_dir(dir.path());
        let text = r#"{"format":2,"servers":[]}"#;
        std::fs::write(logins.path(), text).expect("write");
        assert!(matches!(logins.read(), Err(ConfigError::Newer { found: 2, .. })));
        assert!(logins.update(|_| ()).is_err());
        assert_eq!(std::fs::read_to_string(logins.path()).expect("read"), text);
    }
}
