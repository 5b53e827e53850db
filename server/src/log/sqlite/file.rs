//! The file of a log: schema, connections, and where its numbering stands.
//!
//! Duty: every connection to an `events.db` is made here, so that none checkpoints behind the writer's back.
//! Danger: `NO_CKPT_ON_CLOSE` is what also keeps the WAL file: a connection without it that closes last moves the WAL
//! into the database and removes it, under whoever replicates it.

use super::{CheckpointPolicy, Durability, Options};
use crate::log::{Head, LogError};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use td_engine::id::Seq;
use td_engine::time::ClientTime;

/// As the reference writes it (server-protocol 6.5); it opens our files and we open its.
pub(crate) const SCHEMA: &str = "
CREATE TABLE events (
    server_seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id         TEXT NOT NULL,
    session_id        TEXT NOT NULL,
    client_action_id  INTEGER NOT NULL,
    action_type       TEXT NOT NULL,
    entity_type       TEXT NOT NULL,
    entity_id         TEXT NOT NULL,
    payload           JSON NOT NULL,
    client_timestamp  DATETIME NOT NULL,
    server_timestamp  DATETIME DEFAULT CURRENT_TIMESTAMP,
    UNIQUE(device_id, session_id, client_action_id)
);
CREATE INDEX idx_events_entity ON events(entity_type, entity_id);
";

const WAIT_FOR_OTHERS: Duration = Duration::from_secs(5);

pub(super) fn create(path: &Path, options: &Options) -> Result<(), LogError> {
    let conn = connect(path, options.vfs.as_deref(), OpenFlags::SQLITE_OPEN_CREATE)?;
    tune(&conn, options).and_then(|()| conn.execute_batch(SCHEMA)).map_err(storage)
}

/// The writer's connection and the head it starts from. Ends with a commit of its own: what was in the WAL may have
/// been written but not synced by a process that was killed, and must be on disk before anyone is shown it (law 1).
pub(super) fn open_writer(path: &Path, options: &Options) -> Result<(Connection, Head), LogError> {
    let conn = connect(path, options.vfs.as_deref(), OpenFlags::empty())?;
    tune(&conn, options).map_err(storage)?;
    let head = load_head(&conn).map_err(storage)?;
    seal(&conn, &head).map_err(storage)?;
    Ok((conn, head))
}

/// Syncs the WAL, which SQLite only does with a commit that has something to write. Storing the same number again is
/// nothing to write (a power cut on the fault filesystem showed it), so the row is removed first.
fn seal(conn: &Connection, head: &Head) -> rusqlite::Result<()> {
    // The index is the reference's; a history, and the search for what a device had not seen, would read the whole log
    // where somebody dropped it.
    conn.execute_batch(
        "BEGIN IMMEDIATE; DELETE FROM sqlite_sequence WHERE name = 'events';
         CREATE INDEX IF NOT EXISTS idx_events_entity ON events(entity_type, entity_id)",
    )?;
    save_head(conn, head)?;
    conn.execute_batch("COMMIT")
}

pub(super) fn open_reader(path: &Path, vfs: Option<&str>) -> Result<Connection, LogError> {
    let conn = connect(path, vfs, OpenFlags::empty())?;
    conn.pragma_update(None, "query_only", true).map_err(storage)?;
    conn.pragma_update(None, "cache_size", -1024).map_err(storage)?;
    Ok(conn)
}

/// Numbers that stored nothing are given out too (law 2), so the table alone does not know the highest one. And it would
/// have to be read whole to be counted, at every start of a log; so how many there are, up to which number, stands beside
/// it. The page is written with every commit anyway, and the reference looks at its own row only.
pub(super) fn save_head(conn: &Connection, head: &Head) -> rusqlite::Result<()> {
    let values = [head.allocated.0, head.count, head.seq.0];
    let put = "UPDATE sqlite_sequence SET seq = CASE name WHEN 'events' THEN ?1 WHEN 'tdsync_count' THEN ?2 ELSE ?3 END
               WHERE name IN ('events', 'tdsync_count', 'tdsync_counted')";
    if conn.prepare_cached(put)?.execute(values)? != values.len() {
        conn.execute_batch(
            "DELETE FROM sqlite_sequence WHERE name IN ('events', 'tdsync_count', 'tdsync_counted')",
        )?;
        let put = "INSERT INTO sqlite_sequence (name, seq)
                   VALUES ('events', ?1), ('tdsync_count', ?2), ('tdsync_counted', ?3)";
        conn.execute(put, values)?;
    }
    Ok(())
}

fn connect(path: &Path, vfs: Option<&str>, more: OpenFlags) -> Result<Connection, LogError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let opened = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
        None => Connection::open_with_flags(path, flags),
    };
    let conn = opened.map_err(|e| match e.sqlite_error_code() {
        // A file that was to be made is not there either way, and that is not why it could not be.
        Some(ErrorCode::CannotOpen) if more.contains(OpenFlags::SQLITE_OPEN_CREATE) => cannot_open(path, &e),
        Some(ErrorCode::CannotOpen) if vfs.is_some() || matches!(path.try_exists(), Ok(false)) => {
            LogError::Missing
        }
        Some(ErrorCode::CannotOpen) => cannot_open(path, &e),
        _ => storage(e),
    })?;
    let ready = (|| {
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // Or SQLite plans every read anew, because its limit is another.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        conn.busy_timeout(WAIT_FOR_OTHERS)?;
        conn.pragma_update(None, "wal_autocheckpoint", 0)
    })();
    ready.map_err(storage)?;
    Ok(conn)
}

/// SQLite does not say why a file cannot be opened. What stops it mostly (no descriptor left, no such folder, not ours)
/// stops opening the folder as well, and that is told. Not the file: closing it here would drop the locks that other
/// connections of this process have on it.
fn cannot_open(path: &Path, e: &rusqlite::Error) -> LogError {
    let why = path.parent().and_then(|folder| File::open(folder).err());
    LogError::Storage(why.map_or_else(|| e.to_string(), |why| format!("{e}: {why}")))
}

fn tune(conn: &Connection, options: &Options) -> rusqlite::Result<()> {
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            Some(format!("the file could not be switched to WAL, it stays in {mode} mode")),
        ));
    }
    conn.pragma_update(None, "synchronous", options.durability.pragma())?;
    // A group of thousands of events writes as many pages of the index on entities. Those that have no room are written
    // out, read back and written again; given back when nobody pushes.
    conn.pragma_update(None, "cache_size", -16384)?;
    if let CheckpointPolicy::Own { bytes, .. } = options.checkpoint {
        conn.pragma_update(None, "journal_size_limit", i64::try_from(bytes).unwrap_or(i64::MAX))?;
    }
    Ok(())
}

impl Durability {
    fn pragma(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
            Self::Off => "OFF",
        }
    }
}

fn load_head(conn: &Connection) -> rusqlite::Result<Head> {
    let noted = |name: &str| -> rusqlite::Result<Option<i64>> {
        conn.query_row("SELECT MAX(seq) FROM sqlite_sequence WHERE name = ?1", [name], |row| row.get(0))
    };
    let given = noted("events")?;
    let newest: Option<(i64, Option<String>)> = conn
        .query_row(
            "SELECT server_seq, server_timestamp FROM events ORDER BY server_seq DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let seq = newest.as_ref().map_or(0, |(seq, _)| *seq);
    // What the reference has added since is counted; what was noted of other rows than these is not believed.
    let (known, up_to) = match (noted("tdsync_count")?, noted("tdsync_counted")?) {
        (Some(known), Some(up_to)) if (0..=seq).contains(&up_to) && known >= 0 => (known, up_to),
        _ => (0, i64::MIN),
    };
    let more = "SELECT COUNT(*) FROM events WHERE server_seq > ?1";
    let count = known + conn.query_row(more, [up_to], |row| row.get::<_, i64>(0))?;
    Ok(Head {
        allocated: Seq(given.unwrap_or(0).max(seq)),
        seq: Seq(seq),
        count,
        last_time: newest.and_then(|(_, time)| ClientTime::parse_stored(&time?).ok()),
    })
}

pub(super) fn storage(e: rusqlite::Error) -> LogError {
    LogError::Storage(e.to_string())
}
