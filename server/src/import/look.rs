//! Looking into somebody else's database without leaving a trace.
//!
//! Duty: a connection that shows a database as its last writer left it, WAL and hot journal included.
//! Invariant: not a byte, a time or a name of the source changes. A database with something in its WAL or its journal
//! is copied with them into a private folder, and SQLite recovers the copy.
//! Danger: SQLite makes `-wal` and `-shm` for a mere look into a WAL database, also through a read-only handle, and folds
//! a WAL in and removes it on close: a `SELECT` from a tool has taken a replicator's WAL away.

use super::error::{ImportError, database, io_error};
use super::target::mib;
use crate::disk::free_bytes;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// First bytes of a rollback journal that has something to roll back.
const HOT: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// How long a writer that we did not see may keep us waiting.
const WAIT: Duration = Duration::from_secs(5);
/// Longest row that is read: two of the longest payloads, and room for names.
const LONGEST: i32 = 48 << 20;
/// What private copies leave free.
const SPARE: u64 = 64 << 20;

/// What cannot be looked into, as the end of a sentence that begins with the file.
pub(super) struct Unreadable {
    pub code: &'static str,
    pub why: String,
}

impl Unreadable {
    pub(super) fn new(code: &'static str, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }
}

impl From<rusqlite::Error> for Unreadable {
    fn from(e: rusqlite::Error) -> Self {
        match e.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::new("not_a_database", "is not a SQLite database"),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::new("source_in_use", "is locked by another program")
            }
            _ => Self::new("damaged", format!("cannot be read: {e}")),
        }
    }
}

impl From<io::Error> for Unreadable {
    fn from(e: io::Error) -> Self {
        Self::new("unreadable", format!("cannot be read: {e}"))
    }
}

/// An open database that nothing is written to.
pub(super) struct Look {
    conn: Connection,
    // After the connection, or the folder would go first.
    _scratch: Option<tempfile::TempDir>,
}

impl Deref for Look {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.conn
    }
}

/// Opens a database; private copies, if it needs any, lie in `scratch`.
pub(super) fn look(path: &Path, scratch: &Path) -> Result<Look, Unreadable> {
    if fs::symlink_metadata(path)?.is_symlink() {
        return Err(Unreadable::new("link_in_source", "is a link; links are not followed"));
    }
    let wal = side(path, "-wal")?;
    let journal = side(path, "-journal")?;
    let mut head = [0; 100];
    let mut file = open(path)?;
    match file.read_exact(&mut head) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(Unreadable::new("not_a_database", "is too short for a SQLite database"));
        }
        other => other?,
    }
    if &head[..16] != MAGIC {
        return Err(Unreadable::new("not_a_database", "is not a SQLite database"));
    }
    // Closing a file drops all locks that this process has on it, so before SQLite takes one.
    drop(file);
    let unfinished: Vec<(&str, PathBuf)> = [("-wal", wal.as_ref()), ("-journal", journal.as_ref())]
        .into_iter()
        .filter_map(|(suffix, path)| path.map(|p| (suffix, p.clone())))
        .filter(|(suffix, path)| has_content(suffix, path))
        .collect();
    let (conn, folder) = if unfinished.is_empty() {
        // Without a WAL file SQLite keeps its own locks; with an empty one it would make a shared memory file.
        let how = if wal.is_some() || head[18] == 2 || head[19] == 2 { "immutable=1" } else { "mode=ro" };
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        (Connection::open_with_flags(uri(path, how), flags)?, None)
    } else {
        has_room(path, &unfinished, scratch)?;
        let folder = tempfile::Builder::new().prefix("td-sync-look-").tempdir_in(scratch)?;
        let copy = folder.path().join("db");
        duplicate(path, &copy)?;
        for (suffix, from) in unfinished {
            duplicate(&from, &with_suffix(&copy, suffix))?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        (Connection::open_with_flags(&copy, flags)?, Some(folder))
    };
    distrust(&conn)?;
    conn.pragma_update(None, "query_only", true)?;
    // The first read, so that what is no database is found here.
    conn.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
    Ok(Look { conn, _scratch: folder })
}

/// A copy must not fill the operator's disk, whatever size a stranger gave the file.
fn has_room(path: &Path, beside: &[(&str, PathBuf)], scratch: &Path) -> Result<(), Unreadable> {
    let size = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    let needed = beside.iter().fold(size(path), |sum, (_, path)| sum.saturating_add(size(path)));
    let free = free_bytes(scratch)?;
    if needed.saturating_add(SPARE) <= free {
        return Ok(());
    }
    let why = format!(
        "has an unfinished write beside it, and a private copy of both takes {} MiB; {} has {} MiB free",
        mib(needed),
        scratch.display(),
        mib(free)
    );
    Err(Unreadable::new("no_room", why))
}

/// What a file that a stranger may have made must not do through us.
fn distrust(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(WAIT)?;
    conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "mmap_size", 0).or(Ok(()))
}

/// The first thing that SQLite finds wrong with all of a database.
pub(super) fn damage(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let verdict: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    Ok((verdict != "ok").then(|| verdict.lines().next().unwrap_or_default().to_string()))
}

/// Copies what `from` shows to a new file at `to`: one file, in rollback mode.
pub(super) fn copy(from: &Look, to: &Path) -> Result<Connection, ImportError> {
    let failed = database(to);
    // The file of `from` is open read-only, or private: only what is made is written to.
    from.pragma_update(None, "query_only", false).map_err(&failed)?;
    let name = ToSqlOutput::Borrowed(ValueRef::Text(to.as_os_str().as_bytes()));
    from.execute("VACUUM INTO ?1", [name]).map_err(&failed)?;
    let made = unsynced(to).map_err(&failed)?;
    distrust(&made).map_err(&failed)?;
    Ok(made)
}

/// Opens a file of a half-made directory: that is synced as a whole before it gets its name.
pub(super) fn unsynced(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.pragma_update(None, "synchronous", "off")?;
    Ok(conn)
}

/// A file beside a database, if it is there.
pub(super) fn side(path: &Path, suffix: &str) -> Result<Option<PathBuf>, Unreadable> {
    let path = with_suffix(path, suffix);
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() => Ok(Some(path)),
        Ok(_) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Err(Unreadable::new("not_a_file", format!("has a {name} beside it that is no regular file")))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

/// A journal whose head was cleared, as after a commit, has nothing to say.
fn has_content(suffix: &str, path: &Path) -> bool {
    let Ok(mut file) = open(path) else { return true };
    let mut head = [0; 8];
    match file.read_exact(&mut head) {
        Ok(()) => suffix == "-wal" || head == HOT,
        Err(_) => false,
    }
}

/// Regular files only, and never through a link.
fn open(path: &Path) -> io::Result<File> {
    // Not blocking: somebody may have put a pipe there.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok(file)
}

fn duplicate(from: &Path, to: &Path) -> Result<(), Unreadable> {
    let copied = open(from).and_then(|mut source| io::copy(&mut source, &mut File::create(to)?));
    let what = |e: io::Error| format!("could not be copied to {}: {e}", to.display());
    copied.map(drop).map_err(|e| Unreadable::new("unreadable", what(e)))
}

/// Every byte that could mean something in a URI is spelt in hex.
fn uri(path: &Path, how: &str) -> OsString {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                uri.push(char::from(*byte))
            }
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    // Two slashes in front would be read as a host name.
    let uri = uri.replacen("file://", "file:///", 1);
    format!("{uri}?{how}").into()
}

/// Flushes a file that is complete.
pub(super) fn sync(path: &Path) -> Result<(), ImportError> {
    File::open(path).and_then(|f| f.sync_all()).map_err(io_error("sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<OsString> {
        let mut all: Vec<_> =
            fs::read_dir(dir).expect("dir").map(|e| e.expect("entry").file_name()).collect();
        all.sort();
        all
    }

    #[test]
    fn what_stands_only_in_the_wal_is_seen_and_the_source_stays_as_it_is() {
        let (dir, scratch) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
        let (live, path) = (dir.path().join("live.db"), dir.path().join("odd %?# name.db"));
        let writer = Connection::open(&live).expect("open");
        writer.pragma_update(None, "journal_mode", "wal").expect("wal");
        writer.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (41), (42)").expect("rows");
        for suffix in ["", "-wal"] {
            fs::copy(with_suffix(&live, suffix), with_suffix(&path, suffix)).expect("copy");
        }
        drop(writer);
        fs::remove_file(&live).expect("remove");
        let before = names(dir.path());
        let bytes = |suffix| fs::read(with_suffix(&path, suffix)).expect("read");
        let content = (bytes(""), bytes("-wal"));
        let seen = look(&path, scratch.path()).map_err(|e| e.why).expect("look");
        let sum: i64 = seen.query_row("SELECT sum(x) FROM t", [], |r| r.get(0)).expect("sum");
        assert_eq!(sum, 83);
        assert!(seen.execute("INSERT INTO t VALUES (1)", []).is_err());
        drop(seen);
        assert_eq!((names(dir.path()), (bytes(""), bytes("-wal"))), (before, content));
        assert!(names(scratch.path()).is_empty(), "the private copy is gone");
    }

    #[test]
    fn links_pipes_and_other_files_are_told_apart() {
        let dir = tempfile::tempdir().expect("dir");
        let at = |name: &str| dir.path().join(name);
        Connection::open(at("real")).and_then(|c| c.execute_batch("CREATE TABLE t(x)")).expect("database");
        std::os::unix::fs::symlink(at("real"), at("link")).expect("link");
        fs::write(at("text"), "x".repeat(200)).expect("text");
        fs::write(at("short"), "x").expect("short");
        fs::create_dir(at("folder")).expect("folder");
        let code = |name| look(&at(name), dir.path()).err().map(|e| e.code);
        assert_eq!(code("real"), None);
        assert_eq!(
            ["link", "text", "short", "folder", "nothing"].map(code),
            [
                Some("link_in_source"),
                Some("not_a_database"),
                Some("not_a_database"),
                Some("unreadable"),
                Some("unreadable")
            ]
        );
    }
}
