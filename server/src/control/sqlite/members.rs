//! Memberships. A project never loses its last owner.

use super::{changed, stamp, time};
use crate::auth::Role;
use crate::control::{Added, Change, ControlError, Member, Membership};
use rusqlite::{Connection, OptionalExtension, params};
use td_engine::time::ClientTime;

pub(super) fn get(c: &Connection, project: &str, user: &str) -> Result<Option<Membership>, ControlError> {
    let mut q = c.prepare_cached(
        "SELECT m.role, p.deleted_at IS NOT NULL FROM memberships m JOIN projects p ON p.id = m.project_id
         WHERE m.project_id = ?1 AND m.user_id = ?2",
    )?;
    let row = q.query_row([project, user], |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).optional()?;
    // The schema's CHECK admits the three words only.
    Ok(row.and_then(|(word, deleted)| Some(Membership { role: Role::parse(&word)?, deleted })))
}

pub(super) fn add(
    c: &Connection,
    project: &str,
    user: &str,
    role: Role,
    invited_by: &str,
    now: ClientTime,
) -> Result<Added, ControlError> {
    if super::invitations::is_unproven(c, user, invited_by)? {
        return Ok(Added::Unproven);
    }
    // Selected, not tried: a refused insert would have dirtied the pages of a transaction that changes nothing.
    let rows = c.execute(
        "INSERT INTO memberships (project_id, user_id, role, invited_by, created_at)
         SELECT p.id, u.id, ?3, ?4, ?5 FROM projects p, users u
         WHERE p.id = ?1 AND p.deleted_at IS NULL AND u.id = ?2
         AND NOT EXISTS (SELECT 1 FROM memberships m WHERE m.project_id = p.id AND m.user_id = u.id)",
        params![project, user, role.as_str(), invited_by, stamp(now)],
    )?;
    Ok(if rows == 0 { Added::Refused } else { Added::Since(now) })
}

pub(super) fn list(c: &Connection, project: &str) -> Result<Vec<Member>, ControlError> {
    let mut q = c.prepare_cached(
        "SELECT m.project_id, m.user_id, u.email, m.role, m.invited_by, m.created_at
         FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.project_id = ?1 ORDER BY m.created_at, m.rowid",
    )?;
    let rows = q.query_map([project], |row| {
        Ok(Member {
            project_id: row.get("project_id")?,
            user_id: row.get("user_id")?,
            email: row.get("email")?,
            role: row.get("role")?,
            invited_by: row.get("invited_by")?,
            created_at: time(row, "created_at")?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn set_role(c: &Connection, project: &str, user: &str, to: Role) -> Result<Change, ControlError> {
    if to != Role::Owner && is_last_owner(c, project, user)? {
        return Ok(Change::Last);
    }
    let rows = c.execute(
        "UPDATE memberships SET role = ?3 WHERE project_id = ?1 AND user_id = ?2",
        params![project, user, to.as_str()],
    )?;
    Ok(changed(rows))
}

pub(super) fn remove(c: &Connection, project: &str, user: &str) -> Result<Change, ControlError> {
    if is_last_owner(c, project, user)? {
        return Ok(Change::Last);
    }
    super::tokens::forget_grants(c, project, user)?;
    Ok(changed(c.execute("DELETE FROM memberships WHERE project_id = ?1 AND user_id = ?2", [project, user])?))
}

fn is_last_owner(c: &Connection, project: &str, user: &str) -> Result<bool, ControlError> {
    let (owners, is_one): (i64, bool) = c.query_row(
        "SELECT count(*), coalesce(max(user_id = ?2), 0) FROM memberships WHERE project_id = ?1 AND role = 'owner'",
        [project, user],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(is_one && owners == 1)
}
