//! Users, and what is written behind about everybody's use.

use super::{stamp, time};
use crate::control::{Change, ControlError, Usage, User};
use crate::secret;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeSet;
use td_engine::time::ClientTime;

/// Cursors kept of one project, those seen last: a reader chooses the names (server-protocol W14).
const MOST_CURSORS: i64 = 1_000;

const COLUMNS: &str = "SELECT id, email, is_admin, created_at FROM users";

pub(super) fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get("id")?,
        email: row.get("email")?,
        is_admin: row.get("is_admin")?,
        created_at: time(row, "created_at")?,
    })
}

/// Addresses are one account whatever their case (server-protocol 2.9).
fn canonical(email: &str) -> String {
    email.trim().to_lowercase()
}

pub(super) fn by_email(c: &Connection, email: &str) -> Result<Option<User>, ControlError> {
    let mut q = c.prepare_cached(&format!("{COLUMNS} WHERE email = ?1"))?;
    Ok(q.query_row([canonical(email)], user).optional()?)
}

pub(super) fn by_id(c: &Connection, id: &str) -> Result<Option<User>, ControlError> {
    let mut q = c.prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?;
    Ok(q.query_row([id], user).optional()?)
}

pub(super) fn all(c: &Connection) -> Result<Vec<User>, ControlError> {
    let mut q = c.prepare_cached(&format!("{COLUMNS} ORDER BY created_at, id"))?;
    Ok(q.query_map([], user)?.collect::<Result<_, _>>()?)
}

pub(super) fn ensure(
    c: &Connection,
    email: &str,
    first_is_admin: bool,
    now: ClientTime,
) -> Result<(User, bool), ControlError> {
    if let Some(known) = by_email(c, email)? {
        return Ok((known, false));
    }
    let id = secret::id("u_")?;
    // In the reference the first user of an empty table becomes an admin, whatever path made it (W30).
    c.execute(
        "INSERT INTO users (id, email, created_at, updated_at, is_admin)
         VALUES (?1, ?2, ?3, ?3, ?4 AND NOT EXISTS (SELECT 1 FROM users))",
        params![id, canonical(email), stamp(now), first_is_admin],
    )?;
    let made = by_id(c, &id)?.ok_or_else(|| ControlError::Storage("the new user is not there".into()))?;
    Ok((made, true))
}

pub(super) fn admins(c: &Connection) -> Result<i64, ControlError> {
    Ok(c.query_row("SELECT count(*) FROM users WHERE is_admin", [], |row| row.get(0))?)
}

pub(super) fn set_admin(
    c: &Connection,
    id: &str,
    admin: bool,
    now: ClientTime,
) -> Result<Change, ControlError> {
    let Some(user) = by_id(c, id)? else { return Ok(Change::Unknown) };
    if !admin && user.is_admin && admins(c)? == 1 {
        return Ok(Change::Last);
    }
    c.execute(
        "UPDATE users SET is_admin = ?2, updated_at = ?3 WHERE id = ?1",
        params![id, admin, stamp(now)],
    )?;
    Ok(Change::Done)
}

pub(super) fn record(c: &Connection, usage: &Usage, now: ClientTime) -> Result<(), ControlError> {
    let mut used = c.prepare_cached("UPDATE api_keys SET last_used_at = ?2 WHERE id = ?1")?;
    for (key, at) in &usage.keys {
        if used.execute(params![key, stamp(*at)])? == 0 {
            super::tokens::used(c, key, *at)?;
        }
    }
    // A cursor of a project that is gone meanwhile is dropped by the SELECT instead of failing the whole write.
    let mut cursor = c.prepare_cached(
        "INSERT INTO sync_cursors (project_id, client_id, last_event_id, last_sync_at)
         SELECT id, ?2, ?3, ?4 FROM projects WHERE id = ?1
         ON CONFLICT (project_id, client_id) DO UPDATE
         SET last_event_id = max(last_event_id, excluded.last_event_id), last_sync_at = excluded.last_sync_at",
    )?;
    for ((project, client), seq) in &usage.cursors {
        cursor.execute(params![project, client, seq.0, stamp(now)])?;
    }
    let mut trim = c.prepare_cached(
        "DELETE FROM sync_cursors WHERE project_id = ?1 AND client_id IN
         (SELECT client_id FROM sync_cursors WHERE project_id = ?1 ORDER BY last_sync_at DESC LIMIT -1 OFFSET ?2)",
    )?;
    let projects: BTreeSet<&String> = usage.cursors.keys().map(|(project, _)| project).collect();
    for project in projects {
        trim.execute(params![project, MOST_CURSORS])?;
    }
    let mut count =
        c.prepare_cached("UPDATE projects SET event_count = ?2, last_event_at = ?3 WHERE id = ?1")?;
    for (project, (events, last)) in &usage.counts {
        count.execute(params![project, events, last.map(stamp)])?;
    }
    let mut audit = c.prepare_cached(
        "INSERT INTO tdsync_audit (at, kind, actor, project_id, detail) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for a in &usage.audit {
        audit.execute(params![stamp(now), a.kind, a.actor, a.project_id, a.detail])?;
    }
    let mut refused = c.prepare_cached(
        "INSERT INTO rate_limit_events (key_id, ip, endpoint_class, created_at) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for r in &usage.refused {
        // The one table whose times have no zone (server-protocol 6.4).
        refused.execute(params![r.key_id, r.client, r.class, r.at.sql_utc()])?;
    }
    Ok(())
}
