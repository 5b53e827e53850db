//! Creating and opening, and refusing without a trace.
//!
//! Danger: a plain look into a SQLite file can already change it (a WAL file is checkpointed on close, a journal is
//! rolled back, side files appear). So the version is read first, from a handle that writes nothing.

use super::{Catalog, Place, ProjectDb, set_meta};
use crate::time::ClientTime;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The schema this program reads and writes.
pub const SCHEMA_VERSION: i64 = 38;

const SCHEMA: &str = include_str!("schema.sql");
/// Makes the indexes that only searches use, where they are missing.
pub const SEARCHES: &str = include_str!("searches.sql");
const OWN_TABLES: &str = include_str!("own.sql");
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What a database is for, which decides how it is journalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A person's project folder, shared with other programs: TRUNCATE journal, `synchronous=NORMAL`.
    Device,
    /// A server's `project.db`: computed from the log, so it may lose its newest commits; has the reference's table
    /// `applied_events`, and none of the indexes that only searches use. WAL, so that readers do not wait.
    LiveView,
    /// A file being built to be sent away: journal in memory (an event that fails is rolled back), no fsync. Whoever
    /// builds it syncs and renames it, or throws it away.
    Snapshot,
}

/// Why a project database was not opened. The file is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing is there.
    #[error("there is no project database at {path}")]
    Missing {
        /// Where we looked.
        path: PathBuf,
    },
    /// Something is there already.
    #[error("a file is already at {path}; a new project database is not written over it")]
    Exists {
        /// Where it would have gone.
        path: PathBuf,
    },
    /// Not a SQLite file.
    #[error("{path} is not a SQLite database")]
    NotSqlite {
        /// The file.
        path: PathBuf,
    },
    /// A SQLite file of something else.
    #[error("{path} is a SQLite database, but not a td project (it has no schema version)")]
    NotAProject {
        /// The file.
        path: PathBuf,
    },
    /// Written by an older `td`.
    #[error("{path} has project schema {found}; this program reads schema {SCHEMA_VERSION}")]
    Older {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
    },
    /// Written by a newer `td`.
    #[error("{path} has project schema {found}, newer than {SCHEMA_VERSION}, the newest this program knows")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
    },
    /// It says schema 38 and is not.
    #[error("{path} says it has schema {SCHEMA_VERSION}, but lacks {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was not found.
        what: String,
    },
    /// The file system said no.
    #[error("{path} could not be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite said no: locked for longer than five seconds, no permission, disk full.
    #[error("the project database could not be opened: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl OpenError {
    /// Stable word for `--json`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "db_missing",
            Self::Exists { .. } => "db_exists",
            Self::NotSqlite { .. } => "db_not_sqlite",
            Self::NotAProject { .. } => "db_foreign",
            Self::Older { .. } => "db_older",
            Self::Newer { .. } => "db_newer",
            Self::Damaged { .. } => "db_damaged",
            Self::Io { .. } | Self::Sqlite(_) => "db_unavailable",
        }
    }

    /// What to do about it. Command names are those of the standard installation.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "run `td init` in the project folder, or pass it with --work-dir",
            Self::Exists { .. } => "use it as it is, or move it away first",
            Self::NotSqlite { .. } | Self::NotAProject { .. } => {
                "nothing was changed; move the file away and run `td init`, or restore it from a copy"
            }
            Self::Older { .. } => {
                "nothing was changed; open the project once with the Go td 0.62, which migrates it"
            }
            Self::Newer { .. } => "nothing was changed; install a newer td-sync",
            Self::Damaged { .. } => {
                "nothing was changed; restore the file from a copy, or move it away and join the project again: `td init`, `td sync-project join`, `td sync`"
            }
            Self::Io { .. } | Self::Sqlite(_) => {
                "see whether another program holds the file, whether the disk is full and who owns the folder"
            }
        }
    }
}

pub(super) fn create(place: &Place, purpose: Purpose, now: ClientTime) -> Result<ProjectDb, OpenError> {
    let path = place.path();
    let is_there = match place.is_on_system() {
        true => fs::metadata(path).is_ok_and(|m| m.len() > 0),
        false => place.connect(OpenFlags::SQLITE_OPEN_READ_WRITE).is_ok(),
    };
    if is_there && !was_cut_off(place)? {
        return Err(OpenError::Exists { path: path.into() });
    }
    let conn = place.connect(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    configure(&conn, purpose)?;
    fill(conn, purpose, now, path)
}

/// The schema is one transaction, so a creation that was cut off leaves an empty file, or one that its journal empties.
fn was_cut_off(place: &Place) -> Result<bool, OpenError> {
    if place.is_on_system() && !has_side_file(place.path()) {
        return Ok(false);
    }
    let conn = place.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    conn.busy_timeout(Duration::from_secs(5))?;
    Ok(conn.query_row("SELECT COUNT(*) = 0 FROM sqlite_master", [], |r| r.get(0))?)
}

pub(super) fn in_memory(now: ClientTime) -> Result<ProjectDb, OpenError> {
    let conn = Connection::open_in_memory()?;
    conn.pragma_update(None, "foreign_keys", true)?;
    fill(conn, Purpose::Device, now, Path::new(":memory:"))
}

fn fill(
    mut conn: Connection,
    purpose: Purpose,
    now: ClientTime,
    path: &Path,
) -> Result<ProjectDb, OpenError> {
    let tx = conn.transaction()?;
    tx.execute_batch(SCHEMA)?;
    tx.execute("INSERT INTO schema_info VALUES ('version', ?1)", [SCHEMA_VERSION.to_string()])?;
    tx.execute(
        "INSERT INTO boards (id, name, created_at, updated_at, is_builtin) VALUES ('bd-all-issues', 'All Issues', ?1, ?1, 1)",
        [now.sql_utc()],
    )?;
    complete(&tx, purpose)?;
    set_meta(&tx, "rules", &super::RULES.to_string())?;
    set_meta(&tx, "cursor", "0")?;
    tx.commit()?;
    finish(conn, path)
}

pub(super) fn open(place: &Place, purpose: Purpose) -> Result<ProjectDb, OpenError> {
    examine(place)?;
    let conn = place.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    configure(&conn, purpose)?;
    // Only if one is missing: looking at a project must not wait for whoever writes to it.
    if !is_complete(&conn, purpose)? {
        // Before ours is made on one of the reference's tables: a file that lacks it is damaged, not unavailable.
        Catalog::read(&conn)?.map_err(|what| OpenError::Damaged { path: place.path().into(), what })?;
        let tx = rusqlite::Transaction::new_unchecked(&conn, rusqlite::TransactionBehavior::Immediate)?;
        complete(&tx, purpose)?;
        tx.commit()?;
    }
    finish(conn, place.path())
}

pub(super) fn open_read_only(place: &Place) -> Result<ProjectDb, OpenError> {
    examine(place)?;
    let conn = place.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    conn.busy_timeout(Duration::from_secs(5))?;
    finish(conn, place.path())
}

fn configure(conn: &Connection, purpose: Purpose) -> rusqlite::Result<()> {
    // First, so that the journal mode below waits for a writer instead of failing.
    conn.busy_timeout(Duration::from_secs(5))?;
    let (journal, synchronous) = match purpose {
        Purpose::Device => ("TRUNCATE", "NORMAL"),
        Purpose::LiveView => ("WAL", "NORMAL"),
        Purpose::Snapshot => ("MEMORY", "OFF"),
    };
    conn.pragma_update_and_check(None, "journal_mode", journal, |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", synchronous)?;
    if purpose == Purpose::LiveView {
        // A checkpoint syncs the file, and the default of 4 MiB made one every few hundred events under load: 64 MiB, as
        // in the log. The pages that one transaction of thousands of events touches have room in memory, or they are
        // written, read back and written again; the server gives them back when it has caught up.
        conn.pragma_update(None, "wal_autocheckpoint", 16384)?;
        conn.pragma_update(None, "cache_size", -32768)?;
    }
    conn.pragma_update(None, "foreign_keys", true)
}

/// Whether it has everything that its purpose asks for beside the tables of schema 38. Of indexes that are made together
/// one is looked for.
fn is_complete(conn: &Connection, purpose: Purpose) -> rusqlite::Result<bool> {
    let own = ["tdsync_meta", "tdsync_register", "tdsync_conflict", "tdsync_before", "tdsync_dependents"];
    let more = if purpose == Purpose::LiveView { "applied_events" } else { "idx_issues_status" };
    let mut find = conn.prepare_cached("SELECT 1 FROM sqlite_master WHERE name = ?1")?;
    for name in own.into_iter().chain([more]) {
        if !find.exists([name])? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn complete(conn: &Connection, purpose: Purpose) -> rusqlite::Result<()> {
    conn.execute_batch(OWN_TABLES)?;
    conn.execute_batch(match purpose {
        Purpose::LiveView => {
            "CREATE TABLE IF NOT EXISTS applied_events (server_seq INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)"
        }
        Purpose::Device | Purpose::Snapshot => SEARCHES,
    })
}

fn finish(conn: Connection, path: &Path) -> Result<ProjectDb, OpenError> {
    // Or SQLite plans a cached statement anew whenever another value is bound to it.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(256);
    let catalog = Catalog::read(&conn)?.map_err(|what| OpenError::Damaged { path: path.into(), what })?;
    Ok(ProjectDb { conn, catalog })
}

/// Refuses everything that is not a project of schema 38, without changing a byte of it.
fn examine(place: &Place) -> Result<(), OpenError> {
    let path = place.path();
    if place.is_on_system() {
        examine_head(path)?;
    }
    match stored_version(place)? {
        None => Err(OpenError::NotAProject { path: path.into() }),
        Some(found) if found < SCHEMA_VERSION => Err(OpenError::Older { path: path.into(), found }),
        Some(found) if found > SCHEMA_VERSION => Err(OpenError::Newer { path: path.into(), found }),
        Some(_) => Ok(()),
    }
}

/// The first bytes, without SQLite: an empty file is an empty database to it; to a person it is not one.
fn examine_head(path: &Path) -> Result<(), OpenError> {
    let mut head = [0; 16];
    match fs::File::open(path).and_then(|mut file| file.read_exact(&mut head)) {
        Ok(()) if &head == MAGIC => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(OpenError::Missing { path: path.into() }),
        Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => {
            Err(OpenError::Io { path: path.into(), source: e })
        }
        _ => Err(OpenError::NotSqlite { path: path.into() }),
    }
}

fn stored_version(place: &Place) -> Result<Option<i64>, OpenError> {
    let path = place.path();
    if place.is_on_system() && !has_side_file(path) {
        // `immutable`: no lock, no side file, no recovery. Right as long as nobody writes; a reader that meets a
        // writer half-way gets an error at worst, and asks again below.
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(immutable_uri(path), flags)?;
        if let Ok(version) = read_version(&conn) {
            return Ok(version);
        }
    }
    // Content in a WAL or a hot journal: the main file alone does not tell. SQLite has to look, and may roll an
    // interrupted write back; it must not fold the WAL in when this handle closes.
    let conn = match place.connect(OpenFlags::SQLITE_OPEN_READ_WRITE) {
        Err(e) if !place.is_on_system() && e.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {
            return Err(OpenError::Missing { path: path.into() });
        }
        other => other?,
    };
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    read_version(&conn).map_err(|e| match e.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotSqlite { path: path.into() },
        _ => e.into(),
    })
}

fn read_version(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    if !super::has_table(conn, "schema_info")? {
        return Ok(None);
    }
    let ask = "SELECT value FROM schema_info WHERE key = 'version'";
    let text: Option<String> = conn.query_row(ask, [], |r| r.get(0)).optional()?;
    Ok(text.and_then(|t| t.trim().parse().ok()))
}

fn has_side_file(path: &Path) -> bool {
    ["-wal", "-journal"].iter().any(|suffix| {
        let mut name = OsString::from(path);
        name.push(suffix);
        fs::metadata(name).is_ok_and(|m| m.len() > 0)
    })
}

fn immutable_uri(path: &Path) -> OsString {
    let mut uri = OsString::from("file:");
    match path.to_str() {
        Some(text) => {
            let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            // `//` at the start would be read as a host name.
            uri.push(if escaped.starts_with("//") { &escaped[1..] } else { &escaped });
        }
        // Not UTF-8: the three characters above would be ASCII bytes in it; rare enough to go without escaping.
        None => uri.push(path),
    }
    uri.push("?immutable=1");
    uri
}
