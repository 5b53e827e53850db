//! Opening a backup again: the only thing that makes it one (law 14).

use crate::manifest::{Manifest, hash_file};
use crate::{BackupError, sqlite};
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use std::path::Path;

/// What a good backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// When it was made.
    pub made_at: String,
    /// History that it belongs to.
    pub epoch: String,
    /// Databases opened.
    pub databases: usize,
    /// Rows counted in all measured databases.
    pub rows: i64,
    /// Other files compared.
    pub files: usize,
}

/// Opens and measures every copy and compares everything with the manifest.
pub fn check(dir: &Path) -> Result<Checked, BackupError> {
    let manifest = Manifest::read(dir)?;
    let mut rows = 0;
    for db in &manifest.databases {
        let path = dir.join(&db.name);
        same(&db.name, "sha256", &hash_file(&path)?.0, &db.sha256)?;
        let copy = open_copy(&path, &db.name)?;
        let measured = measure(&copy, db.measure.as_deref(), &db.name)?;
        same(&db.name, "head and count", &measured, &db.head.zip(db.count))?;
        rows += db.count.unwrap_or(0);
    }
    for file in &manifest.files {
        same(&file.name, "sha256", &hash_file(&dir.join(&file.name))?.0, &file.sha256)?;
    }
    Ok(Checked {
        made_at: manifest.made_at,
        epoch: manifest.epoch,
        databases: manifest.databases.len(),
        rows,
        files: manifest.files.len(),
    })
}

fn same<T: PartialEq + std::fmt::Debug>(
    name: &str,
    what: &str,
    found: &T,
    said: &T,
) -> Result<(), BackupError> {
    if found == said {
        return Ok(());
    }
    let why = format!("its {what} is {found:?}, the manifest says {said:?}");
    Err(BackupError::Damaged { name: name.into(), why })
}

/// Opens a copy without changing a byte of it, and lets SQLite check it.
pub(crate) fn open_copy(path: &Path, name: &str) -> Result<Connection, BackupError> {
    let failed = sqlite(name);
    let copy = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(&failed)?;
    let verdict: String = copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(&failed)?;
    if verdict != "ok" {
        return Err(BackupError::Damaged { name: name.into(), why: verdict });
    }
    Ok(copy)
}

/// Head and count, as the SQL says.
pub(crate) fn measure(
    db: &Connection,
    sql: Option<&str>,
    name: &str,
) -> Result<Option<(i64, i64)>, BackupError> {
    let ask = |sql| db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
    sql.map(ask).transpose().map_err(sqlite(name))
}
