//! The project database: a device's `issues.db`, a server's live view, a snapshot.
//!
//! Duty: the only door to these files. Creates schema 38, opens nothing else, and hands out one write transaction at a
//! time.
//! Invariant: a file that is refused is left byte for byte as it was.
//! Danger: other programs share the file. Journal mode TRUNCATE and foreign keys on are part of the format.

mod catalog;
mod open;
mod place;
mod row;

pub use catalog::{Catalog, Column, Table};
pub(crate) use catalog::{Default, quoted};
pub use open::{OpenError, Purpose, SCHEMA_VERSION, SEARCHES};
pub use place::Place;
pub use row::{Meaning, Row, meaning};
pub(crate) use row::{exact_json, from_exact_json};

use crate::id::Seq;
use crate::time::ClientTime;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use std::path::Path;

/// Version of the apply rules, raised with every change of what an event does to a row, a conflict or the quarantine.
/// Rows made by other rules are computed again from the log (`docs/decisions/`, "Retry after an upgrade").
pub const RULES: u32 = 3;

/// An open project database.
#[derive(Debug)]
pub struct ProjectDb {
    pub(crate) conn: Connection,
    catalog: Catalog,
}

/// How far the rows follow the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The rows are the log up to here, and local changes on top.
    At(Seq),
    /// Reset the database ([`ProjectDb::reset`]) and apply the log from the beginning.
    Rebuild(RebuildReason),
}

/// Why rows cannot be continued from where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebuildReason {
    /// Another version of the rules made them: what it could not apply may apply now (law 7).
    RulesChanged {
        /// That version.
        from: u32,
    },
    /// Our tables are missing or incomplete: another program replaced the file, or wrote it all along.
    OwnTablesMissing,
}

impl ProjectDb {
    /// A new database with the built-in board, dated `now`. The file must not exist (or be empty, as a crashed
    /// creation leaves it); its folder must.
    pub fn create(path: &Path, purpose: Purpose, now: ClientTime) -> Result<Self, OpenError> {
        Self::create_at(&path.into(), purpose, now)
    }

    /// [`ProjectDb::create`], wherever it is.
    pub fn create_at(place: &Place, purpose: Purpose, now: ClientTime) -> Result<Self, OpenError> {
        open::create(place, purpose, now)
    }

    /// Opens an existing database of schema 38 for writing.
    pub fn open(path: &Path, purpose: Purpose) -> Result<Self, OpenError> {
        Self::open_at(&path.into(), purpose)
    }

    /// [`ProjectDb::open`], wherever it is.
    pub fn open_at(place: &Place, purpose: Purpose) -> Result<Self, OpenError> {
        open::open(place, purpose)
    }

    /// Opens an existing database of schema 38; every write through it fails.
    pub fn open_read_only(path: &Path) -> Result<Self, OpenError> {
        Self::open_read_only_at(&path.into())
    }

    /// [`ProjectDb::open_read_only`], wherever it is.
    pub fn open_read_only_at(place: &Place) -> Result<Self, OpenError> {
        open::open_read_only(place)
    }

    /// A new database that lives as long as the value.
    pub fn in_memory(now: ClientTime) -> Result<Self, OpenError> {
        open::in_memory(now)
    }

    /// For reading. Writes go through [`ProjectDb::write`].
    pub fn conn(&self) -> &Connection {
        &self.conn
    }

    /// What the tables look like.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Begins a write transaction (`BEGIN IMMEDIATE`, waiting up to the busy timeout). Dropping it rolls back.
    pub fn write(&mut self) -> rusqlite::Result<Write<'_>> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        Ok(Write { tx, catalog: &self.catalog })
    }

    /// Whether the rows can be continued, and from where.
    pub fn standing(&self) -> rusqlite::Result<Standing> {
        standing(&self.conn)
    }

    /// Empties everything that is computed from the log, and our own bookkeeping, and sets all cursors to 0. Rows that
    /// only this device has (`action_log`, sessions, git snapshots, history) stay; those whose issue does not come back
    /// are removed by [`Write::drop_orphans`].
    pub fn reset(&mut self) -> rusqlite::Result<()> {
        // Off, or emptying a table would take the local rows along. The pragma has no effect inside a transaction.
        self.conn.pragma_update(None, "foreign_keys", false)?;
        let done = self.reset_without_keys();
        self.conn.pragma_update(None, "foreign_keys", true)?;
        done
    }

    /// A copy of everything at `path`, where there must be nothing yet. On disk when it returns.
    pub fn copy_to(&self, path: &std::path::Path) -> rusqlite::Result<()> {
        let mut copy = Connection::open(path)?;
        // On a file that nobody else knows a commit per step would only cost time.
        copy.pragma_update(None, "synchronous", "full")?;
        whole(&self.conn, &mut copy)
    }

    /// Becomes a copy of `source`, in one transaction: whoever opens this database sees all of the old or all of the
    /// new content, also after a crash.
    pub fn become_copy_of(&mut self, source: &Self) -> rusqlite::Result<()> {
        self.conn.flush_prepared_statement_cache();
        whole(&source.conn, &mut self.conn)
    }

    fn reset_without_keys(&mut self) -> rusqlite::Result<()> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for table in self.catalog.tables.iter().filter(|t| t.synced && t.name != "boards") {
            tx.execute(&format!("DELETE FROM {}", quoted(&table.name)), [])?;
        }
        tx.execute("DELETE FROM boards WHERE NOT is_builtin", [])?;
        tx.execute(
            "INSERT INTO boards (id, name, is_builtin) SELECT 'bd-all-issues', 'All Issues', 1
             WHERE NOT EXISTS (SELECT 1 FROM boards WHERE is_builtin)",
            [],
        )?;
        tx.execute("DELETE FROM sync_skipped_events", [])?;
        if self.catalog.has_applied_events {
            tx.execute("DELETE FROM applied_events", [])?;
        }
        tx.execute_batch(
            "DELETE FROM tdsync_register; DELETE FROM tdsync_conflict; DELETE FROM tdsync_before;
             UPDATE sync_state SET last_pulled_server_seq = 0",
        )?;
        set_meta(&tx, "rules", &RULES.to_string())?;
        set_meta(&tx, "cursor", "0")?;
        tx.commit()
    }
}

/// All pages in one step, which SQLite's backup makes one transaction of the destination.
fn whole(from: &Connection, to: &mut Connection) -> rusqlite::Result<()> {
    use rusqlite::backup::{Backup, StepResult};
    match Backup::new(from, to)?.step(-1)? {
        StepResult::Done => Ok(()),
        // Somebody else holds one of the two: nothing was copied.
        _ => Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None)),
    }
}

/// An open write transaction: holding it proves that everything done through it stands or falls together.
#[derive(Debug)]
pub struct Write<'db> {
    tx: Transaction<'db>,
    catalog: &'db Catalog,
}

impl Write<'_> {
    /// The connection inside the transaction, for what the engine does not do itself (action log, `sync_state`).
    pub fn conn(&self) -> &Connection {
        &self.tx
    }

    /// What the tables look like.
    pub fn catalog(&self) -> &Catalog {
        self.catalog
    }

    /// Makes everything durable.
    pub fn commit(self) -> rusqlite::Result<()> {
        self.tx.commit()
    }

    /// Removes local rows that a [`ProjectDb::reset`] kept and whose issue did not come back. Returns how many.
    pub fn drop_orphans(&self) -> rusqlite::Result<usize> {
        let mut dropped = 0;
        for child in self.catalog.tables.iter().filter(|t| !t.synced) {
            for parent in &child.parents {
                dropped += self.tx.execute(
                    &format!(
                        "DELETE FROM {} WHERE {} NOT IN (SELECT id FROM {})",
                        quoted(&child.name),
                        quoted(&child.columns[parent.column].name),
                        quoted(&self.catalog.tables[parent.table].name)
                    ),
                    [],
                )?;
            }
        }
        Ok(dropped)
    }
}

pub(crate) fn standing(conn: &Connection) -> rusqlite::Result<Standing> {
    let missing = Ok(Standing::Rebuild(RebuildReason::OwnTablesMissing));
    if !has_table(conn, "tdsync_meta")? {
        return missing;
    }
    let (Some(rules), Some(cursor)) = (meta(conn, "rules")?, meta(conn, "cursor")?) else { return missing };
    let (Ok(rules), Ok(cursor)) = (rules.parse(), cursor.parse()) else { return missing };
    Ok(if rules == RULES {
        Standing::At(Seq(cursor))
    } else {
        Standing::Rebuild(RebuildReason::RulesChanged { from: rules })
    })
}

pub(crate) fn has_table(conn: &Connection, name: &str) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT 1 FROM sqlite_master WHERE type='table' AND name=?1")?.exists([name])
}

fn meta(conn: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    let mut ask = conn.prepare_cached("SELECT value FROM tdsync_meta WHERE key = ?1")?;
    ask.query_row([key], |r| r.get(0)).optional()
}

pub(crate) fn set_meta(conn: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    let mut put = conn.prepare_cached("INSERT OR REPLACE INTO tdsync_meta (key, value) VALUES (?1, ?2)")?;
    put.execute([key, value]).map(drop)
}
