//! Before-images: how a device gets from "log and my own changes" back to "log" (decision: own events are replayed).
//!
//! Duty: [`Write::apply_local`] remembers each row as the log has it before a local change touches it;
//! [`Write::restore_before`] puts all of them back, so that the next page is applied to exactly the log's rows.
//! Invariant: after a restore, rows = the log at the cursor, and no image is left.
//! Danger: a plain delete-and-insert of a parent would take its children along; parents are updated in place.

use crate::apply::{ApplyError, Change, EventRef, Outcome};
use crate::db::{Catalog, Row, Table, Write, quoted};
use rusqlite::{Connection, params, params_from_iter};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// What only this device knows about rows that a restore removed (git snapshots, history, worktree columns). Hand it to
/// [`Write::put_back`] after the local changes have been applied again.
#[derive(Debug, Default)]
#[must_use = "local rows are lost unless they are put back"]
pub struct LocalRows {
    rows: Vec<(String, Row)>,
    kept: Vec<(String, String, Row)>,
}

impl Write<'_> {
    /// Applies a change of this device, and saves the rows it touches as they were.
    pub fn apply_local(&self, event: EventRef<'_>) -> Result<Outcome, ApplyError> {
        let applied = self.apply(event)?;
        save(self.conn(), self.catalog(), &applied.changes)?;
        Ok(applied.outcome)
    }

    /// Takes every local change back.
    pub fn restore_before(&self) -> Result<LocalRows, ApplyError> {
        Ok(restore(self.conn(), self.catalog())?)
    }

    /// Puts back what only this device knows, where the row it belongs to is there again.
    pub fn put_back(&self, local: LocalRows) -> Result<(), ApplyError> {
        Ok(put_back(self.conn(), self.catalog(), &local)?)
    }
}

/// Whether local changes stand on top of the log.
pub(crate) fn has_images(conn: &Connection) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT 1 FROM tdsync_before LIMIT 1")?.exists([])
}

fn save(conn: &Connection, catalog: &Catalog, changes: &[Change]) -> rusqlite::Result<()> {
    // The oldest image is the log's; a later change finds it and leaves it.
    let mut put = conn.prepare_cached("INSERT OR IGNORE INTO tdsync_before VALUES (?1, ?2, ?3)")?;
    for change in changes {
        let Some(table) = catalog.table(&change.table) else { continue };
        let image = change.before.as_ref().map(|row| row.to_json(table).to_string());
        put.execute(params![change.table, change.id, image])?;
    }
    Ok(())
}

type Images = BTreeMap<String, Option<Row>>;

fn restore(conn: &Connection, catalog: &Catalog) -> rusqlite::Result<LocalRows> {
    let mut local = LocalRows::default();
    if !has_images(conn)? {
        return Ok(local);
    }
    let mut images: Vec<(&Table, Images)> = Vec::new();
    for table in &catalog.tables {
        images.push((table, read_images(conn, table)?));
    }
    // The catalog lists parents before children: take away from the end, put back from the start.
    for (table, images) in images.iter().rev() {
        for (id, image) in images {
            if image.is_none() {
                stash(conn, catalog, table, id, &mut local)?;
            }
            if image.is_none() || table.children.is_empty() {
                conn.prepare_cached(&table.remove)?.execute([id])?;
            }
        }
    }
    for (table, images) in &images {
        for row in images.values().flatten() {
            put_row(conn, table, row)?;
        }
    }
    conn.execute("DELETE FROM tdsync_before", [])?;
    Ok(local)
}

fn read_images(conn: &Connection, table: &Table) -> rusqlite::Result<Images> {
    let mut ask = conn.prepare_cached("SELECT entity_id, image FROM tdsync_before WHERE entity_type = ?1")?;
    let rows = ask.query_map([&table.name], |r| {
        let image: Option<String> = r.get(1)?;
        let row = image.map(|text| {
            let object: Map<String, Json> = serde_json::from_str(&text).map_err(|e| {
                rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(e))
            })?;
            Ok::<_, rusqlite::Error>(Row::from_json(table, &object))
        });
        Ok((r.get(0)?, row.transpose()?))
    })?;
    rows.collect()
}

/// Remembers what hangs on a row that is about to go and is in no event.
fn stash(
    conn: &Connection,
    catalog: &Catalog,
    table: &Table,
    id: &str,
    local: &mut LocalRows,
) -> rusqlite::Result<()> {
    for key in &table.children {
        let child = &catalog.tables[key.table];
        if child.synced {
            continue;
        }
        let width = child.columns.len();
        let mut ask = conn.prepare_cached(&key.find)?;
        for row in ask.query_map([id], |r| Row::read(r, width))? {
            local.rows.push((child.name.clone(), row?));
        }
    }
    if table.columns.iter().any(|c| c.kept)
        && let Some(row) = table.row(conn, id)?
    {
        local.kept.push((table.name.clone(), id.into(), row));
    }
    Ok(())
}

/// Inserts the row, or sets it in place without a cascade and without touching local columns.
fn put_row(conn: &Connection, table: &Table, row: &Row) -> rusqlite::Result<()> {
    let list: Vec<_> = table.columns.iter().map(|c| quoted(&c.name)).collect();
    let sets: Vec<_> = table
        .columns
        .iter()
        .filter(|c| !c.kept && c.name != "id")
        .map(|c| format!("{0} = excluded.{0}", quoted(&c.name)))
        .collect();
    let sql = format!(
        "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT(id) DO UPDATE SET {}",
        quoted(&table.name),
        list.join(", "),
        vec!["?"; list.len()].join(", "),
        sets.join(", ")
    );
    conn.prepare_cached(&sql)?.execute(params_from_iter(&row.0)).map(drop)
}

fn put_back(conn: &Connection, catalog: &Catalog, local: &LocalRows) -> rusqlite::Result<()> {
    for (name, row) in &local.rows {
        let Some(child) = catalog.table(name) else { continue };
        let mut has_parents = true;
        for key in &child.parents {
            let parent = &catalog.tables[key.table];
            has_parents &= conn.prepare_cached(&parent.exists)?.exists([&row.0[key.column]])?;
        }
        if has_parents {
            put_row(conn, child, row)?;
        }
    }
    for (name, id, row) in &local.kept {
        let Some(table) = catalog.table(name) else { continue };
        for (column, value) in table.columns.iter().zip(&row.0).filter(|(c, _)| c.kept) {
            let sql = format!("UPDATE {} SET {} = ?1 WHERE id = ?2", quoted(name), quoted(&column.name));
            conn.prepare_cached(&sql)?.execute(params![value, id])?;
        }
    }
    Ok(())
}
