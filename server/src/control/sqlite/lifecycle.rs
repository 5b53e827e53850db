//! Ends of projects and people, each one transaction.

use super::{SqliteControl, changed, projects, stamp, users};
use crate::control::{Change, ControlError, Lifecycle, Project, Undeleted, UserDeleted};
use rusqlite::{Connection, params};
use td_engine::time::ClientTime;

impl Lifecycle for SqliteControl {
    fn undelete_project(
        &self,
        id: &str,
        owner: Option<&str>,
        now: ClientTime,
    ) -> Result<Undeleted, ControlError> {
        self.write(|tx| {
            match projects::get(tx, id)? {
                None => return Ok(Undeleted::Unknown),
                Some(project) if project.deleted_at.is_none() => return Ok(Undeleted::Alive),
                Some(_) => {}
            }
            let owned: bool = tx.query_row(
                "SELECT EXISTS (SELECT 1 FROM memberships WHERE project_id = ?1 AND role = 'owner')",
                [id],
                |row| row.get(0),
            )?;
            if !owned && owner.is_none() {
                return Ok(Undeleted::Ownerless);
            }
            if let Some(owner) = owner {
                tx.execute(
                    "INSERT INTO memberships (project_id, user_id, role, created_at) VALUES (?1, ?2, 'owner', ?3)
                     ON CONFLICT (project_id, user_id) DO UPDATE SET role = excluded.role",
                    params![id, owner, stamp(now)],
                )?;
            }
            tx.execute(
                "UPDATE projects SET deleted_at = NULL, updated_at = ?2 WHERE id = ?1",
                params![id, stamp(now)],
            )?;
            Ok(projects::get(tx, id)?.map_or(Undeleted::Unknown, Undeleted::Done))
        })
    }

    fn deleted_before(&self, moment: ClientTime, most: usize) -> Result<Vec<Project>, ControlError> {
        // Compared as moments, not in SQL as text: the reference's rows are spelled in their own way.
        let mut gone: Vec<(i128, Project)> = self
            .read(projects::all)?
            .into_iter()
            .filter_map(|p| Some((p.deleted_at?.unix_nanos(), p)))
            .filter(|(at, _)| *at < moment.unix_nanos())
            .collect();
        gone.sort_by_key(|(at, _)| *at);
        Ok(gone.into_iter().take(most).map(|(_, project)| project).collect())
    }

    fn forget_project(&self, id: &str) -> Result<Change, ControlError> {
        self.write(|tx| {
            // Cursors are the one table of the reference that does not follow its project by itself.
            tx.execute(
                "DELETE FROM sync_cursors WHERE project_id IN
                 (SELECT id FROM projects WHERE id = ?1 AND deleted_at IS NOT NULL)",
                [id],
            )?;
            Ok(changed(tx.execute("DELETE FROM projects WHERE id = ?1 AND deleted_at IS NOT NULL", [id])?))
        })
    }

    fn delete_user(
        &self,
        user: &str,
        with_projects: bool,
        now: ClientTime,
    ) -> Result<UserDeleted, ControlError> {
        self.write(|tx| {
            let Some(known) = users::by_id(tx, user)? else { return Ok(UserDeleted::Unknown) };
            if known.is_admin && users::admins(tx)? == 1 {
                return Ok(UserDeleted::LastAdmin);
            }
            let alone = owned_alone(tx, user)?;
            if !alone.is_empty() && !with_projects {
                return Ok(UserDeleted::Owns(alone));
            }
            for project in &alone {
                projects::delete(tx, &project.id, now)?;
            }
            tx.execute("DELETE FROM users WHERE id = ?1", [user])?;
            Ok(UserDeleted::Done(alone))
        })
    }
}

/// Projects, not deleted, of which this person is the only owner.
fn owned_alone(c: &Connection, user: &str) -> Result<Vec<Project>, ControlError> {
    let mut q = c.prepare_cached(
        "SELECT project_id FROM memberships m WHERE role = 'owner' GROUP BY project_id
         HAVING count(*) = 1 AND max(user_id) = ?1",
    )?;
    let ids: Vec<String> = q.query_map([user], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let found = ids.iter().map(|id| projects::get(c, id)).collect::<Result<Vec<_>, _>>()?;
    Ok(found.into_iter().flatten().filter(|p| p.deleted_at.is_none()).collect())
}
