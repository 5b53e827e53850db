//! Marks of late events, in a table of ours beside the reference's.
//!
//! Duty: remember in the commit of an event that its own device gets it back.
//! Invariant: the table is made with the first mark, so a log without late events is exactly the reference's file; the
//! reference ignores it where it is. Readers are told of it after the commit that made it.

use crate::log::place::Earlier;
use rusqlite::{CachedStatement, Connection};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use td_engine::event::NewEvent;
use td_engine::id::Seq;
use td_engine::time::ClientTime;

use super::reader;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS tdsync_late (
    server_seq   INTEGER PRIMARY KEY,
    entity_type  TEXT NOT NULL,
    entity_id    TEXT NOT NULL,
    device_id    TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS tdsync_late_entity ON tdsync_late(entity_type, entity_id, device_id);
";
const IS_THERE: &str = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'tdsync_late'";
const IS_MARKED: &str =
    "SELECT 1 FROM tdsync_late WHERE entity_type = ?1 AND entity_id = ?2 AND device_id = ?3";
const MARK: &str = "INSERT INTO tdsync_late VALUES (?1, ?2, ?3, ?4)";
/// Newest first; stepped only as far as it is needed.
const BEFORE: &str = "SELECT device_id, action_type, payload, client_timestamp FROM events \
                      WHERE entity_type = ?1 AND entity_id = ?2 AND server_seq < ?3 ORDER BY server_seq DESC";

/// Whether a log has marks at all, for its readers.
#[derive(Clone, Default)]
pub(super) struct HasMarks(Arc<AtomicBool>);

impl HasMarks {
    pub fn get(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// As the file has it.
    pub fn look(&self, conn: &Connection) -> rusqlite::Result<()> {
        self.0.store(conn.prepare_cached(IS_THERE)?.exists([])?, Ordering::SeqCst);
        Ok(())
    }
}

/// The marks inside the transaction of a group.
pub(super) struct Marks<'c> {
    conn: &'c Connection,
    are_there: Cell<bool>,
}

impl<'c> Marks<'c> {
    pub fn of(conn: &'c Connection, known: &HasMarks) -> Self {
        Self { conn, are_there: Cell::new(known.get()) }
    }

    /// A push was undone, and its first mark with it.
    pub fn rolled_back(&self) -> rusqlite::Result<()> {
        self.are_there.set(self.conn.prepare_cached(IS_THERE)?.exists([])?);
        Ok(())
    }

    /// After the commit.
    pub fn committed(&self, known: &HasMarks) {
        known.0.store(self.are_there.get(), Ordering::SeqCst);
    }

    pub fn has(&self, event: &NewEvent, device: &str) -> rusqlite::Result<bool> {
        if !self.are_there.get() {
            return Ok(false);
        }
        let of = (event.entity_type.as_str(), &event.entity_id, device);
        self.conn.prepare_cached(IS_MARKED)?.exists(of)
    }

    pub fn add(&self, event: &NewEvent, device: &str, seq: Seq) -> rusqlite::Result<()> {
        if !self.are_there.get() {
            self.conn.execute_batch(SCHEMA)?;
            self.are_there.set(true);
        }
        let row = (seq.0, event.entity_type.as_str(), &event.entity_id, device);
        self.conn.prepare_cached(MARK)?.execute(row).map(drop)
    }

    pub fn before(
        &self,
        event: &NewEvent,
        device: &str,
        seq: Seq,
        each: &mut dyn FnMut(Earlier) -> ControlFlow<()>,
    ) -> rusqlite::Result<()> {
        let mut ask: CachedStatement<'_> = self.conn.prepare_cached(BEFORE)?;
        let mut rows = ask.query((event.entity_type.as_str(), &event.entity_id, seq.0))?;
        while let Some(row) = rows.next()? {
            let time: String = row.get(3)?;
            let earlier = Earlier {
                is_own: row.get_ref(0)?.as_str().is_ok_and(|d| d == device),
                action: row.get(1)?,
                payload: reader::payload(row, 2)?,
                // A time that is none shows in nobody's payload either.
                client_time: ClientTime::parse_stored(&time).unwrap_or(event.client_time),
            };
            if each(earlier).is_break() {
                break;
            }
        }
        Ok(())
    }
}
