//! Replacing payloads in a log that nobody has open.
//!
//! Danger: SQLite leaves what was overwritten in free pages and in the WAL. The file is written anew and the WAL emptied,
//! or somebody with the file would still read it.

use super::{CheckpointPolicy, Options, SqliteLog, file, reader};
use crate::log::{LogError, Rewrite, Rewritten};
use rusqlite::{Connection, params};
use std::path::Path;

const ALL: &str = "SELECT server_seq, device_id, session_id, client_action_id, action_type, entity_type, entity_id, payload,
    client_timestamp FROM events ORDER BY server_seq";

impl SqliteLog {
    /// See [`Logs::rewrite`](crate::log::Logs::rewrite). Needs room for the log once more. Readers of ours have to be
    /// gone; a stranger's makes it [`LogError::InUse`], when everything but emptying the files is done.
    pub fn rewrite(path: &Path, options: &Options, by: &dyn Rewrite) -> Result<(), LogError> {
        let io = |e: std::io::Error| LogError::Storage(e.to_string());
        let (conn, _) = file::open_writer(path, options)?;
        let mut found = Vec::new();
        each(&conn, by, |row, _| {
            found.push(row);
            Ok(())
        })?;
        by.begin(&found).map_err(io)?;
        let change = conn.unchecked_transaction().map_err(file::storage)?;
        let put = "UPDATE events SET payload = ?2 WHERE server_seq = ?1";
        // Updating the row that a statement stands on is safe where the key that it walks along stays.
        each(&conn, by, |row, payload| {
            let mut put = conn.prepare_cached(put).map_err(file::storage)?;
            put.execute(params![row.seq.0, payload.as_bytes()]).map_err(file::storage)?;
            Ok(())
        })?;
        change.commit().map_err(file::storage)?;
        let emptied = conn.execute_batch("VACUUM").map_err(file::storage);
        let emptied = emptied.and_then(|()| empty_wal(&conn, options));
        // Also where the file keeps it: the log has lost it, and what was made from the log must not outlast that.
        by.end().map_err(io)?;
        emptied
    }
}

fn each(
    conn: &Connection,
    by: &dyn Rewrite,
    mut found: impl FnMut(Rewritten, &str) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let mut all = conn.prepare(ALL).map_err(file::storage)?;
    let mut rows = all.query([]).map_err(file::storage)?;
    while let Some(row) = rows.next().map_err(file::storage)? {
        let event = reader::event(row)?;
        if let Some(payload) = by.change(&event) {
            found(Rewritten::of(&event), payload.as_str())?;
        }
    }
    Ok(())
}

/// A replicator beside the server empties the WAL itself, with its next checkpoint.
fn empty_wal(conn: &Connection, options: &Options) -> Result<(), LogError> {
    if options.checkpoint == CheckpointPolicy::Sidecar {
        return Ok(());
    }
    let is_busy: bool =
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(file::storage)?;
    if is_busy {
        return Err(LogError::InUse);
    }
    Ok(())
}
