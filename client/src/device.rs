//! `.todos/td-sync.json`: who this copy of a project is, and which server it talks to (DESIGN 6.1).
//!
//! Duty: one device id per database (client-engine 11.8), kept over moves, never shared by copies.
//! Invariant: made under a lock, re-read under it; an id is on disk before it is used.
//! Danger: two copies with one device id would take each other's events for their own.

use crate::ambient::{Ambient, fresh_id};
use crate::config::{ConfigError, check_format};
use crate::durable;
use crate::server_url::ServerUrl;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use td_engine::id::{DeviceId, Epoch};

const FORMAT: u64 = 1;

/// The file's content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceFile {
    /// 1.
    pub format: u64,
    /// 32 lower-case hex digits.
    pub device_id: DeviceId,
    /// Where the database lay when the id was made or last seen.
    pub place: Place,
    /// The server of this project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerUrl>,
    /// The history of the server's data that the cursor counts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Keys of a later release.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What tells a copy from a move: a move keeps the inode or the path, a copy has neither.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    path: PathBuf,
    volume: u64,
    inode: u64,
}

impl Place {
    fn of(database: &Path) -> std::io::Result<Self> {
        let meta = std::fs::metadata(database)?;
        Ok(Self { path: std::fs::canonicalize(database)?, volume: meta.dev(), inode: meta.ino() })
    }

    fn is_same_file_as(&self, other: &Self) -> bool {
        self.path == other.path || (self.volume, self.inode) == (other.volume, other.inode)
    }
}

/// The file of a `.todos` folder.
#[derive(Clone, Debug)]
pub struct DevicePath(PathBuf);

impl DevicePath {
    /// In `todos`.
    pub fn in_todos(todos: &Path) -> Self {
        Self(todos.join("td-sync.json"))
    }

    /// The content, if there is one.
    pub fn read(&self) -> Result<Option<DeviceFile>, ConfigError> {
        let path = self.0.clone();
        let text = durable::read(&path).map_err(|why| ConfigError::File { path: path.clone(), why })?;
        let Some(text) = text else { return Ok(None) };
        check_format(&path, &text, FORMAT)?;
        serde_json::from_str(&text).map(Some).map_err(|why| ConfigError::Damaged { path, why })
    }

    /// The identity of the database at `database`, which itself remembers `remembered`. A database that remembers
    /// another device, or none, or that lies elsewhere *as another file*, becomes a new device.
    pub fn identify(
        &self,
        database: &Path,
        remembered: Option<&str>,
        ambient: &dyn Ambient,
    ) -> Result<DeviceFile, ConfigError> {
        let failed = |why| ConfigError::File { path: database.into(), why };
        let place = Place::of(database).map_err(failed)?;
        let _lock = self.lock()?;
        let known = self.read()?;
        match known {
            Some(file)
                if remembered == Some(file.device_id.as_str()) && file.place.is_same_file_as(&place) =>
            {
                if file.place == place {
                    return Ok(file);
                }
                self.write(&DeviceFile { place, ..file })
            }
            known => {
                let text = fresh_id(ambient, "", 32);
                let device_id =
                    DeviceId::new(text).unwrap_or_else(|_| unreachable!("32 digits are not empty"));
                let (server, epoch, extra) =
                    known.map_or((None, None, Map::new()), |k| (k.server, k.epoch, k.extra));
                self.write(&DeviceFile { format: FORMAT, device_id, place, server, epoch, extra })
            }
        }
    }

    /// Changes the file under its lock, starting from what stands there then.
    pub fn update(&self, change: impl FnOnce(&mut DeviceFile)) -> Result<DeviceFile, ConfigError> {
        let _lock = self.lock()?;
        let missing = || ConfigError::File { path: self.0.clone(), why: std::io::ErrorKind::NotFound.into() };
        let mut file = self.read()?.ok_or_else(missing)?;
        change(&mut file);
        self.write(&file)
    }

    fn lock(&self) -> Result<std::fs::File, ConfigError> {
        let path = self.0.with_extension("json.lock");
        durable::lock(&path).map_err(|why| ConfigError::File { path, why })
    }

    fn write(&self, file: &DeviceFile) -> Result<DeviceFile, ConfigError> {
        let text = serde_json::to_string_pretty(file)
            .map_err(|why| ConfigError::Damaged { path: self.0.clone(), why })?;
        durable::write(&self.0, format!("{text}\n").as_bytes(), 0o600)
            .map_err(|why| ConfigError::File { path: self.0.clone(), why })?;
        Ok(file.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::System;
    use std::fs;

    #[test]
    fn a_moved_project_keeps_its_device_and_a_copy_gets_its_own() {
        let root = tempfile::tempdir().expect("folder");
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("a")).expect("folder");
        fs::write(at("a/issues.db"), "x").expect("file");
        let identify = |dir: &str, remembered: Option<&str>| {
            let path = DevicePath::in_todos(&at(dir));
            path.identify(&at(dir).join("issues.db"), remembered, &System).expect("identity").device_id
        };
        let first = identify("a", None);
        assert_eq!(identify("a", Some(first.as_str())), first, "opened again");

        fs::rename(at("a"), at("b")).expect("move");
        assert_eq!(identify("b", Some(first.as_str())), first, "moved");

        fs::create_dir(at("c")).expect("folder");
        for name in ["issues.db", "td-sync.json"] {
            fs::copy(at("b").join(name), at("c").join(name)).expect("copy");
        }
        let copy = identify("c", Some(first.as_str()));
        assert_ne!(copy, first, "copied");
        assert_eq!(identify("c", Some(copy.as_str())), copy);

        assert_ne!(identify("b", None), first, "a database that forgot us was replaced");
    }
}
