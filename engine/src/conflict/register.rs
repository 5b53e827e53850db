//! Who wrote which field of a row last: `tdsync_register`.
//!
//! Invariant: field '' speaks for every field without an entry of its own, so a create costs one row, not twenty.

use crate::id::{DeviceId, Seq};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

/// A writer. Ordered by sequence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub seq: Seq,
    pub device: DeviceId,
}

/// The registers of one row.
pub(super) struct Registers<'r> {
    pub conn: &'r Connection,
    pub entity_type: &'r str,
    pub entity_id: &'r str,
}

impl Registers<'_> {
    pub fn read(&self) -> rusqlite::Result<BTreeMap<String, Entry>> {
        let mut ask = self.conn.prepare_cached(
            "SELECT field, seq, device FROM tdsync_register WHERE entity_type = ?1 AND entity_id = ?2",
        )?;
        let mut rows = ask.query([self.entity_type, self.entity_id])?;
        let mut entries = BTreeMap::new();
        while let Some(r) = rows.next()? {
            // Only device ids of log events are stored here, and those are not empty.
            if let Ok(device) = DeviceId::new(r.get::<_, String>(2)?) {
                entries.insert(r.get(0)?, Entry { seq: Seq(r.get(1)?), device });
            }
        }
        Ok(entries)
    }

    pub fn assert_row(&self, writer: &Entry) -> rusqlite::Result<()> {
        self.assert_field("", writer)
    }

    pub fn assert_field(&self, field: &str, writer: &Entry) -> rusqlite::Result<()> {
        let mut put =
            self.conn.prepare_cached("INSERT OR REPLACE INTO tdsync_register VALUES (?1, ?2, ?3, ?4, ?5)")?;
        put.execute(params![self.entity_type, self.entity_id, field, writer.seq.0, writer.device.as_str()])?;
        Ok(())
    }

    pub fn clear(&self) -> rusqlite::Result<()> {
        let mut remove = self
            .conn
            .prepare_cached("DELETE FROM tdsync_register WHERE entity_type = ?1 AND entity_id = ?2")?;
        remove.execute([self.entity_type, self.entity_id]).map(drop)
    }
}
