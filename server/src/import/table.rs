//! One table of `server.db`, row by row into a fresh file.
//!
//! Duty: carry every value over as it is stored, and measure both sides with one hash.
//! Invariant: the new file's schema is ours, so nothing that a stranger put into the old one (triggers, views, looser
//! constraints) comes along; a column of the old file that we do not know stops the import instead of being dropped.
//! Danger: the reference adds columns with `ALTER TABLE` and notes the version afterwards, without a transaction
//! (server-protocol W49): a file may be ahead of its version, so columns are asked for, not inferred.

use super::look::Unreadable;
use crate::secret;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};
use serde::Serialize;
use sha2::{Digest, Sha256};
use td_engine::time::ClientTime;

/// Parents before children.
pub(super) const TABLES: [&str; 10] = [
    "users",
    "projects",
    "api_keys",
    "memberships",
    "invitations",
    "sync_cursors",
    "auth_requests",
    "auth_events",
    "rate_limit_events",
    "auth_email_challenges",
];

/// What came after the first schema: table, column (empty for all of it), version (server-protocol 6.4).
const LATER: [(&str, &str, u32); 9] = [
    ("auth_requests", "", 2),
    ("users", "is_admin", 3),
    ("projects", "event_count", 3),
    ("projects", "last_event_at", 3),
    ("auth_events", "", 3),
    ("rate_limit_events", "", 3),
    ("auth_email_challenges", "", 4),
    ("invitations", "", 5),
    ("projects", "slug", 6),
];

/// The only table that no request reads. Of any other, one value that is not of its column's kind, or a date that is
/// none, would fail every request that comes across its row.
const UNREAD: &str = "auth_requests";

/// Columns that an import may set right, and that the hash therefore leaves out.
const SET_RIGHT: [(&str, &str); 3] =
    [("projects", "event_count"), ("projects", "last_event_at"), ("projects", "slug")];

/// A table's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableFacts {
    /// Its name.
    pub name: &'static str,
    /// Rows that are carried over.
    pub rows: u64,
    /// SHA-256 over them, column by column in the order of our schema, without what an import sets right.
    pub sha256: String,
    /// Rows that stay behind because what they refer to does not exist.
    pub orphans: u64,
    /// What the hash is over.
    #[serde(skip)]
    pub(super) hashed: Vec<String>,
}

/// Copies a table. `left_out` names projects whose rows stay behind.
pub(super) fn carry(
    from: &Connection,
    version: u32,
    to: &Connection,
    name: &'static str,
    left_out: &[String],
) -> Result<TableFacts, Unreadable> {
    let have = columns_to_carry(from, version, to, name)?;
    let is_hashed: Vec<bool> = have.iter().map(|c| !SET_RIGHT.contains(&(name, c.as_str()))).collect();
    let hashed = have.iter().zip(&is_hashed).filter(|(_, h)| **h).map(|(c, _)| c.clone()).collect();
    let mut facts = TableFacts { name, rows: 0, sha256: String::new(), orphans: 0, hashed };
    let mut hash = Sha256::new();
    if !have.is_empty() {
        let list = join(&have, |c| format!("\"{c}\""));
        let mut source = from.prepare(&format!("SELECT {list} FROM main.\"{name}\" ORDER BY rowid"))?;
        let holes = join(&have, |_| "?".into());
        let mut target = to.prepare(&format!("INSERT INTO \"{name}\" ({list}) VALUES ({holes})"))?;
        let kinds = kinds(to, name, &have)?;
        let project = have.iter().position(|c| is_project_id(name, c));
        let mut rows = source.query([])?;
        while let Some(row) = rows.next()? {
            if project.is_some_and(|i| is_one_of(row, i, left_out)) {
                continue;
            }
            let values = (0..have.len()).map(|i| row.get_ref(i)).collect::<Result<Vec<_>, _>>()?;
            let mut read = have.iter().zip(&kinds).zip(&values).filter(|_| name != UNREAD);
            if let Some(((column, _), _)) = read.find(|((c, kind), v)| !is_read(c, kind, **v)) {
                let why = format!("has a row in {name} whose {column} cannot be read");
                return Err(Unreadable::new("damaged", why));
            }
            match target.execute(params_from_iter(values.iter().map(|v| ToSqlOutput::Borrowed(*v)))) {
                Ok(_) => {
                    facts.rows += 1;
                    hash_row(&mut hash, &values, &is_hashed);
                }
                Err(e) if refers_to_nothing(&e) => facts.orphans += 1,
                Err(e) => {
                    let why = format!("has a row in {name} that does not fit: {e}");
                    return Err(Unreadable::new("damaged", why));
                }
            }
        }
    }
    facts.sha256 = secret::hex(&hash.finalize());
    Ok(facts)
}

/// The columns that the old file has, in the order of ours; all of ours that its version should have.
fn columns_to_carry(
    from: &Connection,
    version: u32,
    to: &Connection,
    name: &str,
) -> Result<Vec<String>, Unreadable> {
    let (mut wanted, there) = (columns(to, name)?, columns(from, name)?);
    if let Some(unknown) = there.iter().find(|c| !wanted.contains(c)) {
        let why =
            format!("has a column {name}.{unknown} that schema {} does not have", crate::control::SCHEMA);
        return Err(Unreadable::new("foreign_schema", why));
    }
    let is_due = |c: &&String| !there.contains(c) && !may_be_missing(name, c, there.is_empty(), version);
    if let Some(column) = wanted.iter().find(is_due) {
        let why = format!("says it has schema {version}, but lacks {name}.{column}");
        return Err(Unreadable::new("damaged", why));
    }
    wanted.retain(|c| there.contains(c));
    Ok(wanted)
}

/// The number of rows and the hash of a table that was carried over.
pub(super) fn measure(conn: &Connection, planned: &TableFacts) -> rusqlite::Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut count = 0;
    if !planned.hashed.is_empty() {
        let list = join(&planned.hashed, |c| format!("\"{c}\""));
        let hashed = vec![true; planned.hashed.len()];
        let mut all =
            conn.prepare(&format!("SELECT {list} FROM main.\"{}\" ORDER BY rowid", planned.name))?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            let values = (0..hashed.len()).map(|i| row.get_ref(i)).collect::<Result<Vec<_>, _>>()?;
            hash_row(&mut hash, &values, &hashed);
            count += 1;
        }
    }
    Ok((count, secret::hex(&hash.finalize())))
}

/// Columns as declared; empty if there is no such table. A view is none.
pub(super) fn columns(conn: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut ask = conn.prepare(
        "SELECT c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c
         WHERE m.type = 'table' AND m.name = ?1 ORDER BY c.cid",
    )?;
    ask.query_map([table], |row| row.get(0))?.collect()
}

/// The declared kinds of some columns.
fn kinds(conn: &Connection, table: &str, columns: &[String]) -> rusqlite::Result<Vec<String>> {
    let mut ask = conn.prepare("SELECT type FROM pragma_table_info(?1) WHERE name = ?2")?;
    columns.iter().map(|column| ask.query_row([table, column], |row| row.get(0))).collect()
}

fn may_be_missing(table: &str, column: &str, is_all_missing: bool, version: u32) -> bool {
    LATER.iter().any(|(t, c, since)| {
        *t == table && version < *since && (*c == column || c.is_empty() && is_all_missing)
    })
}

fn is_read(column: &str, kind: &str, value: ValueRef<'_>) -> bool {
    match value {
        ValueRef::Blob(_) | ValueRef::Real(_) => false,
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).is_ok_and(|text| match kind {
            "DATETIME" => ClientTime::parse_stored(text).is_ok(),
            kind => kind == "TEXT",
        }),
        ValueRef::Integer(_) => ["INTEGER", "BIGINT", "BOOLEAN"].contains(&kind),
        // The journals' schema would let it be missing, and whoever lists them would not.
        ValueRef::Null => column != "created_at",
    }
}

fn is_project_id(table: &str, column: &str) -> bool {
    match table {
        "projects" => column == "id",
        "memberships" | "invitations" | "sync_cursors" => column == "project_id",
        _ => false,
    }
}

fn is_one_of(row: &Row<'_>, column: usize, names: &[String]) -> bool {
    matches!(row.get_ref(column), Ok(ValueRef::Text(id)) if names.iter().any(|n| n.as_bytes() == id))
}

fn refers_to_nothing(e: &rusqlite::Error) -> bool {
    matches!(e, rusqlite::Error::SqliteFailure(f, _)
        if f.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY)
}

/// Kind, length and bytes of each value, so that no two rows read alike.
fn hash_row(hash: &mut Sha256, values: &[ValueRef<'_>], hashed: &[bool]) {
    for value in values.iter().zip(hashed).filter(|(_, h)| **h).map(|(v, _)| v) {
        match value {
            ValueRef::Null => hash.update(b"n"),
            ValueRef::Integer(i) => hash.update(format!("i{i} ")),
            ValueRef::Real(r) => hash.update(format!("r{:016x} ", r.to_bits())),
            ValueRef::Text(bytes) => {
                hash.update(format!("t{}:", bytes.len()));
                hash.update(bytes);
            }
            ValueRef::Blob(bytes) => {
                hash.update(format!("b{}:", bytes.len()));
                hash.update(bytes);
            }
        }
    }
    hash.update(b"\n");
}

fn join<T>(items: &[T], each: impl Fn(&T) -> String) -> String {
    items.iter().map(each).collect::<Vec<_>>().join(", ")
}
