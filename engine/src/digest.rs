//! The digest: one hash over everything in a copy that is a function of the log. Format: `docs/digest-format.md`.
//!
//! Duty: two copies that mean the same have the same digest, however they spell it; any other difference in a synced
//! column, a conflict or the quarantine shows.
//! Danger: a change here is a new format number, or old and new programs accuse each other of divergence.

use crate::apply::ApplyError;
use crate::conflict::{self, Conflict};
use crate::db::{Catalog, Column, Meaning, ProjectDb, Row, Table, from_exact_json, meaning};
use crate::{before, replay};
use rusqlite::Connection;
use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Version of the written format.
pub const FORMAT: u32 = 1;

/// SHA-256 of a state.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ProjectDb {
    /// Digest of the log's state at the cursor: local changes are taken back, looked past, and stand as before.
    pub fn digest_at_cursor(&mut self) -> Result<Digest, ApplyError> {
        if !before::has_images(&self.conn)? {
            return Ok(self.digest()?);
        }
        let write = self.write()?;
        drop(write.restore_before()?);
        let digest = of(write.conn(), write.catalog())?;
        // Dropping the transaction rolls back.
        Ok(digest)
    }

    /// Digest of the rows as they stand, local changes included.
    pub fn digest(&self) -> rusqlite::Result<Digest> {
        of(&self.conn, self.catalog())
    }

    /// The very lines that [`ProjectDb::digest`] hashes: to see in what two copies differ.
    pub fn digest_lines(&self) -> rusqlite::Result<Vec<String>> {
        let mut lines = Vec::new();
        walk(&self.conn, self.catalog(), &mut |bytes| {
            lines.push(String::from_utf8_lossy(bytes).into_owned());
        })?;
        Ok(lines)
    }
}

fn of(conn: &Connection, catalog: &Catalog) -> rusqlite::Result<Digest> {
    let mut hash = Sha256::new();
    walk(conn, catalog, &mut |bytes| hash.update(bytes))?;
    Ok(Digest(hash.finalize().into()))
}

/// Columns that differ between copies of one state.
fn is_local(table: &Table, column: &Column) -> bool {
    column.kept && table.name != "boards" || table.name == "boards" && column.name == "last_viewed_at"
}

fn walk(conn: &Connection, catalog: &Catalog, sink: &mut dyn FnMut(&[u8])) -> rusqlite::Result<()> {
    sink(format!("td-sync digest {FORMAT}\n").as_bytes());
    let mut synced: Vec<&Table> = catalog.synced_tables().collect();
    synced.sort_by(|a, b| a.name.cmp(&b.name));
    for table in &synced {
        rows(conn, table, sink)?;
    }
    sink(b"quarantine\n");
    for event in replay::list_skipped(conn)? {
        sink(format!("{} {}\n", event.seq, event.reason).as_bytes());
    }
    sink(b"conflicts\n");
    for c in conflict::list_conflicts(conn)? {
        if let Some(table) = synced.iter().find(|t| t.name == c.entity_type) {
            sink(&conflict_line(table, &c));
        }
    }
    Ok(())
}

fn rows(conn: &Connection, table: &Table, sink: &mut dyn FnMut(&[u8])) -> rusqlite::Result<()> {
    let mut order: Vec<usize> = (0..table.columns.len()).collect();
    order.retain(|i| !is_local(table, &table.columns[*i]));
    order.sort_by(|a, b| table.columns[*a].name.cmp(&table.columns[*b].name));
    let names: Vec<_> = order.iter().map(|i| table.columns[*i].name.as_str()).collect();
    sink(format!("table {} {}\n", table.name, names.join(" ")).as_bytes());
    let mut ask = conn.prepare_cached(&table.list)?;
    let mut rows = ask.query([])?;
    let mut line = Vec::new();
    while let Some(r) = rows.next()? {
        let row = Row::read(r, table.columns.len())?;
        line.clear();
        for i in &order {
            value(&meaning(&table.columns[*i], &row.0[*i]), &mut line);
        }
        line.push(b'\n');
        sink(&line);
    }
    Ok(())
}

/// One value. The length before a text makes the line unambiguous.
fn value(meaning: &Meaning<'_>, line: &mut Vec<u8>) {
    match meaning {
        Meaning::Null => line.extend_from_slice(b"n "),
        Meaning::Integer(i) => line.extend_from_slice(format!("i{i} ").as_bytes()),
        Meaning::Real(bits) => line.extend_from_slice(format!("r{bits:016x} ").as_bytes()),
        Meaning::Instant(nanos) => line.extend_from_slice(format!("@{nanos} ").as_bytes()),
        Meaning::Text(text) => {
            line.extend_from_slice(format!("t{}:", text.len()).as_bytes());
            line.extend_from_slice(text);
            line.push(b' ');
        }
    }
}

fn conflict_line(table: &Table, c: &Conflict) -> Vec<u8> {
    let mut line = format!("{} {} {} {} ", c.id, c.winner_seq, c.loser_seq, c.kind.as_str()).into_bytes();
    for text in [&c.entity_type, &c.entity_id, &c.winner_device, &c.loser_device] {
        value(&Meaning::Text(text.as_bytes()), &mut line);
    }
    for (mark, side) in [('l', &c.loser), ('w', &c.winner)] {
        line.extend_from_slice(format!("{mark} ").as_bytes());
        fields(table, side, &mut line);
    }
    line.push(b'\n');
    line
}

fn fields(table: &Table, side: &Map<String, Json>, line: &mut Vec<u8>) {
    for (name, json) in side {
        let Some(column) = table.columns.iter().find(|c| c.name == *name && !is_local(table, c)) else {
            continue;
        };
        line.extend_from_slice(format!("{name}=").as_bytes());
        value(&meaning(column, &from_exact_json(json)), line);
    }
}
