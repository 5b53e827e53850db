//! Projects and their slugs.

use super::{changed, maybe_time, stamp, time};
use crate::control::slug::{free_slug, slug_stem};
use crate::control::{Change, ControlError, Project};
use rusqlite::{Connection, OptionalExtension, Row, params};
use td_engine::time::ClientTime;

const COLUMNS: &str =
    "SELECT p.id, p.name, p.description, p.slug, p.created_at, p.updated_at, p.deleted_at FROM projects p";

pub(super) fn project(row: &Row<'_>) -> rusqlite::Result<Project> {
    Ok(Project {
        id: row.get("id")?,
        name: row.get("name")?,
        description: row.get("description")?,
        slug: row.get::<_, Option<String>>("slug")?.unwrap_or_default(),
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        deleted_at: maybe_time(row, "deleted_at")?,
    })
}

pub(super) fn get(c: &Connection, id: &str) -> Result<Option<Project>, ControlError> {
    let mut q = c.prepare_cached(&format!("{COLUMNS} WHERE p.id = ?1"))?;
    Ok(q.query_row([id], project).optional()?)
}

pub(super) fn all(c: &Connection) -> Result<Vec<Project>, ControlError> {
    let mut q = c.prepare_cached(&format!("{COLUMNS} ORDER BY p.created_at, p.id"))?;
    Ok(q.query_map([], project)?.collect::<Result<_, _>>()?)
}

pub(super) fn of_user(c: &Connection, user: &str) -> Result<Vec<Project>, ControlError> {
    let mut q = c.prepare_cached(&format!(
        "{COLUMNS} JOIN memberships m ON m.project_id = p.id
         WHERE m.user_id = ?1 AND p.deleted_at IS NULL ORDER BY p.created_at, p.id"
    ))?;
    Ok(q.query_map([user], project)?.collect::<Result<_, _>>()?)
}

pub(super) fn create(
    c: &Connection,
    id: &str,
    name: &str,
    description: &str,
    owner: &str,
    now: ClientTime,
) -> Result<Project, ControlError> {
    let slug = slug_for(c, id, name)?;
    c.execute(
        "INSERT INTO projects (id, name, description, created_at, updated_at, slug) VALUES (?1, ?2, ?3, ?4, ?4, ?5)",
        params![id, name, description, stamp(now), slug],
    )?;
    c.execute(
        "INSERT INTO memberships (project_id, user_id, role, created_at) VALUES (?1, ?2, 'owner', ?3)",
        params![id, owner, stamp(now)],
    )?;
    get(c, id)?.ok_or_else(|| ControlError::Storage("the new project is not there".into()))
}

pub(super) fn update(
    c: &Connection,
    id: &str,
    name: Option<&str>,
    description: Option<&str>,
    now: ClientTime,
) -> Result<Option<Project>, ControlError> {
    let rows = c.execute(
        "UPDATE projects SET name = coalesce(?2, name), description = coalesce(?3, description), updated_at = ?4
         WHERE id = ?1 AND deleted_at IS NULL",
        params![id, name, description, stamp(now)],
    )?;
    if rows == 0 { Ok(None) } else { get(c, id) }
}

pub(super) fn delete(c: &Connection, id: &str, now: ClientTime) -> Result<Change, ControlError> {
    Ok(changed(c.execute(
        "UPDATE projects SET deleted_at = ?2, updated_at = ?2 WHERE id = ?1 AND deleted_at IS NULL",
        params![id, stamp(now)],
    )?))
}

/// A slug nobody has, soft-deleted projects included.
fn slug_for(c: &Connection, id: &str, name: &str) -> Result<String, ControlError> {
    let stem = slug_stem(name);
    let stem = if stem.is_empty() { id } else { &stem };
    let mut taken = c.prepare_cached("SELECT EXISTS (SELECT 1 FROM projects WHERE slug = ?1)")?;
    Ok(free_slug(stem, |slug| taken.query_row([slug], |row| row.get::<_, bool>(0)))?)
}

/// Gives a slug to projects of older releases, oldest first, as the reference does at every start.
pub(super) fn backfill_slugs(c: &mut Connection) -> Result<(), ControlError> {
    let tx = c.transaction()?;
    let bare: Vec<(String, String)> = tx
        .prepare(
            "SELECT id, name FROM projects WHERE slug IS NULL AND deleted_at IS NULL ORDER BY created_at, id",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (id, name) in bare {
        let slug = slug_for(&tx, &id, &name)?;
        tx.execute("UPDATE projects SET slug = ?2 WHERE id = ?1", params![id, slug])?;
    }
    Ok(tx.commit()?)
}
