//! A project's database on this device: rows, action log and our bookkeeping about both.
//!
//! Duty: hand out one write transaction at a time, under the project's write lock, with everything a change needs.
//! Invariant: *rows = log state at the cursor + own outstanding events, in order* (decision 1). Every way to change a
//! row goes through [`Tx::record`] or a pull, so it holds between any two transactions.
//! Danger: Go `td` may write beside us. Its actions have no entry in `tdsync_action` and no before-image; they are
//! published and replayed as they are.

use crate::ambient::{Ambient, fresh_id};
use crate::config::ConfigError;
use crate::lock::{LockError, WriteLock};
use crate::session::{self, SessionKey};
use rusqlite::{Connection, OptionalExtension};
use std::path::PathBuf;
use std::sync::Arc;
use td_engine::apply::ApplyError;
use td_engine::db::{OpenError, ProjectDb, Write};
use td_engine::id::{DeviceId, SessionId};
use td_engine::time::ClientTime;

/// Tables of ours beside the engine's. `tdsync_action`: what an action row of ours carries besides Go's columns, and
/// under which key an action was sent. `tdsync_device`: single values.
const OWN_TABLES: &str = "
    CREATE TABLE IF NOT EXISTS tdsync_device (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS tdsync_action (
        action_id TEXT PRIMARY KEY,
        meta TEXT,      -- payload.meta; NULL: the action was written by Go td
        device TEXT,    -- the key it was or will be pushed under, fixed before the first attempt
        session TEXT,
        rejected TEXT   -- why the server will never take it
    ) WITHOUT ROWID;";

/// Who acts through a store.
#[derive(Clone, Debug)]
pub struct Device {
    /// This database.
    pub id: DeviceId,
    /// The acting session, which is also the pushing one.
    pub session: SessionId,
    /// `user:<id>`, `agent:<id>`; `user:local` before a login.
    pub actor: String,
    /// Program: `td`, `td-demo`, `canary`.
    pub origin: String,
}

/// Why a project's database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Refused or not there.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Somebody else is writing.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The storage failed; the transaction was rolled back.
    #[error(transparent)]
    Storage(#[from] ApplyError),
    /// A settings file of the project.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// SQLite finds fault with the file.
    #[error("local database is corrupt; sync aborted before making changes: {0}")]
    Corrupt(String),
    /// A file of the project.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(ApplyError(error))
    }
}

impl StoreError {
    /// Stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Open(_) | Self::Storage(_) | Self::Corrupt(_) => "database_error",
            Self::Lock(_) => "locked",
            Self::Config(e) => e.code(),
            Self::File { .. } => "file_error",
        }
    }

    /// What to do, `td` being the name this program is installed as.
    pub fn remedy(&self, td: &str) -> String {
        match self {
            Self::Open(OpenError::Missing { .. }) => format!("run `{td} init` first"),
            Self::Open(e) => e.remedy().replace("`td ", &format!("`{td} ")),
            Self::Storage(e) => e.remedy().replace("`td ", &format!("`{td} ")),
            Self::Corrupt(_) => "restore .todos/issues.db from a copy, then sync".into(),
            Self::Lock(_) => "try again when the other command is done".into(),
            Self::Config(_) | Self::File { .. } => {
                format!("see what is wrong with the file, then `{td} doctor`")
            }
        }
    }
}

/// An open project database with the device that uses it.
pub struct Store {
    db: ProjectDb,
    device: Device,
    ambient: Arc<dyn Ambient>,
    lock: Option<PathBuf>,
}

impl Store {
    /// Around an open database. `lock` is the project's `db.lock`; `None` for a database nobody else can reach.
    pub fn new(
        mut db: ProjectDb,
        device: Device,
        ambient: Arc<dyn Ambient>,
        lock: Option<PathBuf>,
    ) -> Result<Self, StoreError> {
        if value(db.conn(), "device")?.as_deref() != Some(device.id.as_str()) {
            let _lock = lock.as_ref().map(|path| WriteLock::acquire(path, ambient.now())).transpose()?;
            let blank = is_blank(&db, ambient.now())?;
            let write = db.write()?;
            write.conn().execute_batch(OWN_TABLES)?;
            set_value(write.conn(), "device", device.id.as_str())?;
            if value(write.conn(), "origin")?.is_none() {
                set_value(write.conn(), "origin", if blank { OURS } else { "go" })?;
            }
            write.commit()?;
        }
        Ok(Self { db, device, ambient, lock })
    }

    /// For reading.
    pub fn conn(&self) -> &Connection {
        self.db.conn()
    }

    /// The database.
    pub fn db(&self) -> &ProjectDb {
        &self.db
    }

    /// The database, for what replaces its whole content.
    pub(crate) fn db_mut(&mut self) -> &mut ProjectDb {
        &mut self.db
    }

    /// The project's `db.lock`.
    pub(crate) fn lock_path(&self) -> Option<&std::path::Path> {
        self.lock.as_deref()
    }

    /// Who acts.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The clock and the random source.
    pub fn ambient(&self) -> &Arc<dyn Ambient> {
        &self.ambient
    }

    /// Lets the session of `key` act from now on.
    pub fn adopt_session(&mut self, key: &SessionKey) -> Result<(), StoreError> {
        let ambient = self.ambient.clone();
        let tx = self.begin()?;
        let session = session::adopt(tx.conn(), key, &*ambient)?;
        tx.commit()?;
        self.device.session = session;
        Ok(())
    }

    /// Sets who the actions of this store are attributed to.
    pub fn set_actor(&mut self, actor: impl Into<String>) {
        self.device.actor = actor.into();
    }

    /// Begins a write: takes the lock, then a transaction. Dropping it undoes everything.
    pub fn begin(&mut self) -> Result<Tx<'_>, StoreError> {
        let now = self.ambient.now();
        let lock = self.lock.as_ref().map(|path| WriteLock::acquire(path, now)).transpose()?;
        let write = self.db.write()?;
        Ok(Tx { write, _lock: lock, now, device: &self.device, ambient: &*self.ambient })
    }

    /// SQLite's own check of the file, names of at most five faults.
    pub fn quick_check(&self) -> Result<(), StoreError> {
        let mut ask = self.conn().prepare("PRAGMA quick_check(5)")?;
        let found: Vec<String> = ask.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?;
        if found == ["ok"] { Ok(()) } else { Err(StoreError::Corrupt(found.join("; "))) }
    }

    /// Whether the database was blank when this program first met it.
    pub(crate) fn is_ours(&self) -> rusqlite::Result<bool> {
        Ok(value(self.conn(), "origin")?.as_deref() == Some(OURS))
    }
}

const OURS: &str = "td-sync";

/// Whether nothing was ever recorded here: a file that we (or a crash of ours, or Go's `init`) have just created. From
/// then on every row is explained by an event.
fn is_blank(db: &ProjectDb, now: ClientTime) -> Result<bool, StoreError> {
    let used = "SELECT EXISTS (SELECT 1 FROM action_log) OR EXISTS (SELECT 1 FROM sync_state)";
    let used: bool = db.conn().query_row(used, [], |r| r.get(0))?;
    Ok(!used && db.digest()? == ProjectDb::in_memory(now)?.digest()?)
}

/// An open write transaction under the project's lock. Fields drop in order: first the transaction, then the lock.
pub struct Tx<'s> {
    pub(crate) write: Write<'s>,
    _lock: Option<WriteLock>,
    pub(crate) now: ClientTime,
    pub(crate) device: &'s Device,
    ambient: &'s dyn Ambient,
}

impl Tx<'_> {
    /// The connection inside the transaction.
    pub fn conn(&self) -> &Connection {
        self.write.conn()
    }

    /// When the transaction began.
    pub fn now(&self) -> ClientTime {
        self.now
    }

    /// Who acts.
    pub fn device(&self) -> &Device {
        self.device
    }

    /// A random id (client-engine 1.8).
    pub fn fresh_id(&self, prefix: &str, digits: usize) -> String {
        fresh_id(self.ambient, prefix, digits)
    }

    /// Makes everything durable.
    pub fn commit(self) -> Result<(), StoreError> {
        Ok(self.write.commit()?)
    }
}

/// A single value of ours; `None` also where our tables are missing.
pub(crate) fn value(conn: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    if !has_own_tables(conn)? {
        return Ok(None);
    }
    let mut ask = conn.prepare_cached("SELECT value FROM tdsync_device WHERE key = ?1")?;
    ask.query_row([key], |r| r.get(0)).optional()
}

pub(crate) fn set_value(conn: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    let mut put = conn.prepare_cached("INSERT OR REPLACE INTO tdsync_device (key, value) VALUES (?1, ?2)")?;
    put.execute([key, value]).map(drop)
}

fn has_own_tables(conn: &Connection) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'tdsync_action'")?
        .exists([])
}
