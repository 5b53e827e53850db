//! `~/.config/td/{config,auth}.json` of the Go program (client-engine 6.1), read only.
//!
//! Danger: Go rewrites these files without keys it does not know, so nothing of ours may live in them.

use super::ConfigError;
use crate::durable;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;

/// The folder with Go's files; `None` where there is no home.
#[derive(Clone, Debug, Default)]
pub struct GoFiles {
    /// `~/.config/td`.
    pub dir: Option<PathBuf>,
}

/// `auth.json`.
#[derive(Clone, Deserialize)]
pub struct GoAuth {
    /// Empty means logged out.
    #[serde(default)]
    pub api_key: String,
    /// Whose.
    #[serde(default)]
    pub user_id: String,
    /// Their address.
    #[serde(default)]
    pub email: String,
    /// The server at login time.
    #[serde(default)]
    pub server_url: String,
}

#[derive(Deserialize, Default)]
struct GoConfig {
    #[serde(default)]
    sync: GoSync,
}

#[derive(Deserialize, Default)]
struct GoSync {
    #[serde(default)]
    url: String,
}

impl GoFiles {
    /// The login, if there is one.
    pub fn auth(&self) -> Result<Option<GoAuth>, ConfigError> {
        self.read("auth.json")
    }

    /// `sync.url`, if set. An unreadable file counts as absent, as in Go.
    pub fn sync_url(&self) -> Result<Option<String>, ConfigError> {
        let config: Option<GoConfig> = self.read("config.json").unwrap_or_default();
        Ok(config.map(|c| c.sync.url).filter(|url| !url.is_empty()))
    }

    /// The text of `associations.json`.
    pub fn associations(&self) -> Option<String> {
        durable::read(&self.dir.as_ref()?.join("associations.json")).ok().flatten()
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ConfigError> {
        let Some(path) = self.dir.as_ref().map(|d| d.join(name)) else { return Ok(None) };
        let text = durable::read(&path).map_err(|why| ConfigError::File { path: path.clone(), why })?;
        let parse =
            |text: String| serde_json::from_str(&text).map_err(|why| ConfigError::Damaged { path, why });
        text.map(parse).transpose()
    }
}
