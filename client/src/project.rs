//! A project folder: `.todos` with its database, its lock and its device file.
//!
//! Duty: create and open it, and put together what a sync needs.
//! Invariant: the device id is on disk before the database uses it.

use crate::ambient::{Ambient, fresh_id};
use crate::config::ConfigError;
use crate::device::{DeviceFile, DevicePath};
use crate::place::{TODOS, git_top};
use crate::server_url::ServerUrl;
use crate::store::{Device, Store, StoreError, value};
use crate::sync::{Gate, Resynced, Sync, SyncError, resync};
use crate::transport::Transport;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use td_engine::db::{OpenError, ProjectDb, Purpose};
use td_engine::id::SessionId;

/// An open project folder.
pub struct Project {
    base: PathBuf,
    file: DeviceFile,
    /// Its database.
    pub store: Store,
}

impl Project {
    /// Makes `base` a project. `true`: it was none before.
    pub fn init(base: &Path, ambient: Arc<dyn Ambient>) -> Result<(Self, bool), StoreError> {
        let todos = base.join(TODOS);
        let failed = |path: &Path, why| StoreError::File { path: path.into(), why };
        std::fs::create_dir_all(&todos).map_err(|why| failed(&todos, why))?;
        let database = todos.join("issues.db");
        let created = match ProjectDb::create(&database, Purpose::Device, ambient.now()) {
            Ok(db) => Some(db),
            Err(OpenError::Exists { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let is_new = created.is_some();
        if is_new {
            ignore_in_git(base).map_err(|why| failed(&base.join(".gitignore"), why))?;
        }
        let db = match created {
            Some(db) => db,
            None => ProjectDb::open(&database, Purpose::Device)?,
        };
        Ok((Self::with(base, db, ambient)?, is_new))
    }

    /// Opens the project in `base`.
    pub fn open(base: &Path, ambient: Arc<dyn Ambient>) -> Result<Self, StoreError> {
        let db = ProjectDb::open(&base.join(TODOS).join("issues.db"), Purpose::Device)?;
        Self::with(base, db, ambient)
    }

    /// Whether this program has used the project in `base` before. Changes nothing.
    pub fn is_known(base: &Path) -> Result<bool, StoreError> {
        let db = ProjectDb::open_read_only(&base.join(TODOS).join("issues.db"))?;
        Ok(value(db.conn(), "device")?.is_some())
    }

    fn with(base: &Path, db: ProjectDb, ambient: Arc<dyn Ambient>) -> Result<Self, StoreError> {
        let todos = base.join(TODOS);
        let remembered = value(db.conn(), "device")?;
        let path = DevicePath::in_todos(&todos);
        let file = path.identify(&todos.join("issues.db"), remembered.as_deref(), &*ambient)?;
        let session = SessionId::new(fresh_id(&*ambient, "ses_", 6));
        let device = Device {
            id: file.device_id.clone(),
            // Replaced by `Store::adopt_session`; a caller that has no terminal gets a session of its own.
            session: session.unwrap_or_else(|_| unreachable!("it has a prefix")),
            actor: "user:local".into(),
            origin: "td".into(),
        };
        let store = Store::new(db, device, ambient, Some(todos.join("db.lock")))?;
        Ok(Self { base: base.into(), file, store })
    }

    /// Its folder.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Its device file, as last read or written.
    pub fn device_file(&self) -> &DeviceFile {
        &self.file
    }

    /// Remembers which server this project talks to. Another server has another history.
    pub fn set_server(&mut self, url: &ServerUrl) -> Result<(), ConfigError> {
        self.update(|file| {
            if file.server.as_ref() != Some(url) {
                file.server = Some(url.clone());
                file.epoch = None;
            }
        })
    }

    /// What keeps two syncs of this folder apart.
    pub fn gate(&self) -> Gate {
        Gate::File(self.base.join(TODOS).join("td-sync.lock"))
    }

    /// Opens the sync of this project over `transport` and hands it to `work`. A history seen for the first time is
    /// remembered, whether `work` succeeds or not.
    pub fn sync<T: Transport, R>(
        &mut self,
        transport: T,
        work: impl FnOnce(&mut Sync<'_, T>) -> Result<R, SyncError>,
    ) -> Result<R, SyncError> {
        let (gate, known) = (self.gate(), self.file.epoch.clone());
        let mut sync = Sync::open(&mut self.store, transport, gate, known.clone())?;
        let result = work(&mut sync);
        let seen = sync.epoch().cloned();
        if seen != known {
            self.update(|file| file.epoch = seen).map_err(StoreError::from)?;
        }
        result
    }

    /// Rebuilds the rows from the server's log ([`resync`]). Returns also where the former state is kept.
    pub fn resync<T: Transport>(&mut self, transport: T) -> Result<(Resynced, PathBuf), SyncError> {
        let todos = self.base.join(TODOS);
        let kept = self.keep_former(&todos)?;
        let gate = self.gate();
        let done = resync(&mut self.store, transport, &gate, &todos.join("td-sync.resync.db"));
        if done.is_err() {
            // Nothing changed, so the copy is of no use. One that cannot be removed harms nobody.
            let _ = std::fs::remove_file(&kept);
        }
        let done = done?;
        let epoch = done.epoch.clone();
        self.update(|file| file.epoch = epoch).map_err(StoreError::from)?;
        Ok((done, kept))
    }

    /// A copy of the database under the first free name.
    fn keep_former(&self, todos: &Path) -> Result<PathBuf, StoreError> {
        let name = |n: u32| todos.join(format!("issues.db.before-resync-{n}"));
        let path = (1..).map(name).find(|p| !p.exists()).unwrap_or_else(|| name(0));
        self.store.db().copy_to(&path)?;
        Ok(path)
    }

    fn update(&mut self, change: impl FnOnce(&mut DeviceFile)) -> Result<(), ConfigError> {
        self.file = DevicePath::in_todos(&self.base.join(TODOS)).update(change)?;
        Ok(())
    }
}

/// Adds `.todos/` to `.gitignore` inside a repository, unless it is there.
fn ignore_in_git(base: &Path) -> io::Result<()> {
    if git_top(base).is_none() {
        return Ok(());
    }
    let path = base.join(".gitignore");
    let text = crate::durable::read(&path)?.unwrap_or_default();
    if text.lines().any(|line| [".todos", ".todos/", "/.todos", "/.todos/"].contains(&line.trim())) {
        return Ok(());
    }
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    std::fs::write(path, format!("{text}{gap}.todos/\n"))
}
