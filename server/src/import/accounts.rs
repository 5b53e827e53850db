//! `server.db`: people, keys, projects, members, and what is pending.
//!
//! Duty: carry it over into a fresh file of our schema, from any schema the reference ever had, and say what in it needs
//! an operator's eye.
//! Danger: keys. Their hashes are copied as they are; nothing here can see or make one.

use super::events::HIGHEST;
use super::look::{Unreadable, damage};
use super::plan::Left;
use super::table::{TABLES, TableFacts, carry, columns};
use crate::control::{CONTROL_SCHEMA, SCHEMA};
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

/// What `server.db` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Accounts {
    /// Schema of the source.
    pub schema: u32,
    /// Every table that is carried over.
    pub tables: Vec<TableFacts>,
    /// Addresses of the admins.
    pub admins: Vec<String>,
    /// Invitations nobody has answered, as `dora@test.local to garden as reader`.
    pub invitations: Vec<String>,
    /// Logins that wait for a mail to be answered.
    pub pending_logins: u64,
    /// Logins of the reference's old kind that wait: they cannot be finished here.
    pub pending_old_logins: u64,
    /// Keys with which an admin looks at projects as somebody else.
    pub view_as_keys: u64,
}

/// A row of `projects`.
pub(super) struct ProjectRow {
    pub id: String,
    pub name: String,
    pub is_deleted: bool,
    pub event_count: i64,
    /// The highest number any client says it has seen.
    pub cursor: i64,
}

/// What was found.
pub(super) struct Found {
    pub accounts: Accounts,
    pub projects: Vec<ProjectRow>,
    /// Objects of the file that are not ours to carry.
    pub left: Vec<Left>,
    /// Whether tables of ours stand in it.
    pub is_ours: bool,
}

/// Whether the file holds tables that only this program makes.
pub(super) fn has_own_tables(conn: &Connection) -> rusqlite::Result<bool> {
    let ask = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name GLOB 'tdsync_*')";
    conn.query_row(ask, [], |row| row.get(0))
}

/// Carries everything from one file into another, which must be empty.
pub(super) fn adopt(from: &Connection, to: &Connection, left_out: &[String]) -> Result<Found, Unreadable> {
    if let Some(damage) = damage(from)? {
        return Err(Unreadable::new("damaged", format!("is damaged: {damage}")));
    }
    let version = version(from)?;
    to.execute_batch(CONTROL_SCHEMA)?;
    to.pragma_update(None, "foreign_keys", true)?;
    to.execute_batch("BEGIN")?;
    let mut tables = Vec::new();
    for name in TABLES {
        tables.push(carry(from, version, to, name, left_out)?);
        carry_numbering(from, to, name)?;
    }
    to.execute_batch("COMMIT")?;
    let left = left_behind(from)?;
    let count = |sql: &str| to.query_row(sql, [], |row| row.get::<_, i64>(0).map(i64::unsigned_abs));
    let list = |sql: &str| -> rusqlite::Result<Vec<String>> {
        to.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
    };
    let accounts = Accounts {
        schema: version,
        tables,
        admins: list("SELECT email FROM users WHERE is_admin ORDER BY created_at, id")?,
        invitations: list(
            "SELECT i.email || ' to ' || p.name || ' as ' || i.role FROM invitations i
             JOIN projects p ON p.id = i.project_id WHERE i.status = 'pending' ORDER BY i.created_at, i.id",
        )?,
        pending_logins: count(
            "SELECT count(*) FROM auth_email_challenges WHERE status IN ('pending', 'verified')",
        )?,
        pending_old_logins: count(
            "SELECT count(*) FROM auth_requests WHERE status IN ('pending', 'verified')",
        )?,
        view_as_keys: count(
            "SELECT count(*) FROM api_keys WHERE ',' || replace(scopes, ' ', '') || ',' LIKE '%,impersonation:read,%'",
        )?,
    };
    Ok(Found { accounts, projects: projects(to)?, left, is_ours: has_own_tables(from)? })
}

fn version(conn: &Connection) -> Result<u32, Unreadable> {
    if columns(conn, "schema_info")?.is_empty() || columns(conn, "users")?.is_empty() {
        return Err(Unreadable::new("foreign_schema", "is a SQLite database, but not a server.db"));
    }
    let ask = "SELECT CAST(value AS TEXT) FROM schema_info WHERE key = 'version'";
    let text: Option<String> = conn.query_row(ask, [], |row| row.get(0)).optional()?;
    match text.as_deref().map(str::parse::<u32>) {
        Some(Ok(version)) if (1..=SCHEMA).contains(&version) => Ok(version),
        Some(Ok(version)) if version > SCHEMA => {
            let why = format!("has schema {version}, newer than {SCHEMA}, the newest this program knows");
            Err(Unreadable::new("schema_newer", why))
        }
        _ => Err(Unreadable::new("foreign_schema", "does not say which schema it has")),
    }
}

/// Numbers of rows that were deleted are not given out again. A journal without numbers left takes no row, and with it goes
/// whatever is noted there: nobody could sign in.
fn carry_numbering(from: &Connection, to: &Connection, table: &str) -> Result<(), Unreadable> {
    let ask = "SELECT max(CAST(seq AS INTEGER)) FROM sqlite_sequence WHERE name = ?1";
    let last = |conn: &Connection| conn.query_row(ask, [table], |row| row.get::<_, Option<i64>>(0));
    let given = if columns(from, "sqlite_sequence")?.is_empty() { None } else { last(from)? };
    let known = last(to)?;
    if let Some(highest) = given.max(known).filter(|highest| *highest > HIGHEST) {
        return Err(Unreadable::new("damaged", format!("has used the numbers of {table} up to {highest}")));
    }
    match (given, known) {
        (None, _) => {}
        (Some(given), None) => {
            to.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)", (table, given))?;
        }
        (Some(given), Some(_)) => {
            to.execute("UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1", (table, given))?;
        }
    }
    Ok(())
}

fn projects(conn: &Connection) -> rusqlite::Result<Vec<ProjectRow>> {
    let mut ask = conn.prepare(
        "SELECT p.id, p.name, p.deleted_at IS NOT NULL, p.event_count,
                (SELECT max(last_event_id) FROM sync_cursors c WHERE c.project_id = p.id)
         FROM projects p ORDER BY p.created_at, p.id",
    )?;
    let number = |v: rusqlite::types::Value| if let rusqlite::types::Value::Integer(i) = v { i } else { 0 };
    let rows = ask.query_map([], |row| {
        Ok(ProjectRow {
            id: row.get(0)?,
            name: row.get(1)?,
            is_deleted: row.get(2)?,
            event_count: number(row.get(3)?),
            cursor: number(row.get(4)?),
        })
    })?;
    rows.collect()
}

fn left_behind(conn: &Connection) -> rusqlite::Result<Vec<Left>> {
    let mut ask = conn.prepare(
        "SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view', 'trigger')
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name",
    )?;
    let objects: Vec<(String, String)> =
        ask.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let mut left = Vec::new();
    for (kind, name) in objects {
        if kind == "table" && (name == "schema_info" || TABLES.contains(&name.as_str())) {
            continue;
        }
        let why = if name.starts_with("_litestream") {
            "Litestream's own".into()
        } else if kind == "table" {
            let quoted = name.replace('"', "\"\"");
            let rows: i64 =
                conn.query_row(&format!("SELECT count(*) FROM \"{quoted}\""), [], |r| r.get(0))?;
            format!("not part of the reference's schema, {rows} rows")
        } else {
            "not part of the reference's schema".into()
        };
        left.push(Left { what: format!("server.db: {kind} {name}"), why });
    }
    Ok(left)
}
