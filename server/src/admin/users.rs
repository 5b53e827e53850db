//! Accounts: who there is, and how one ends.

use super::office::{Answer, Office};
use super::{AdminError, Reply, one_line};
use crate::control::{Audit, Project, User, UserDeleted};
use serde_json::json;
use std::fmt::Write;

impl Office {
    pub(super) fn users(&self) -> Answer {
        let users = self.control().store().users()?;
        let mut text = String::new();
        for u in &users {
            let _ = writeln!(text, "{}  {:<5}  {}", u.id, if u.is_admin { "admin" } else { "" }, u.email);
        }
        Ok(Reply { text, json: json!(users) })
    }

    /// Ends an account, named by its id or address.
    pub(super) fn delete_user(&self, given: &str, with_projects: bool) -> Answer {
        let user = self.named(given)?;
        let now = self.control().now();
        let done = self.control().change_now(|s| s.delete_user(&user.id, with_projects, now))?;
        let projects = match done {
            UserDeleted::Done(projects) => projects,
            UserDeleted::Unknown => return Err(unknown(given)),
            UserDeleted::LastAdmin => {
                let message = format!("{} is the last admin", user.email);
                return Err(
                    AdminError::new("last_admin", message).remedy("td-sync admin grant --email ADDRESS")
                );
            }
            UserDeleted::Owns(projects) => {
                let message = format!("{} is the only owner of {}", user.email, names(&projects));
                let command = format!("td-sync admin users delete {} --with-projects", user.id);
                return Err(AdminError::new("owns_projects", message)
                    .remedy(format!("make somebody else an owner of each first, or: {command}")));
            }
        };
        tracing::info!(uid = user.id, projects = projects.len(), "an account was deleted");
        self.control().audit(Audit {
            kind: "user_deleted",
            actor: "admin".into(),
            project_id: None,
            detail:
                json!({"user_id": user.id, "projects": projects.iter().map(|p| &p.id).collect::<Vec<_>>()})
                    .to_string(),
        });
        self.control().flush()?;
        let mut text =
            format!("deleted user {} ({}) with keys, memberships and invitations\n", user.email, user.id);
        for p in &projects {
            let _ = writeln!(
                text,
                "deleted project {} ({}); until its files go: td-sync admin projects undelete {} --owner ADDRESS",
                one_line(&p.name),
                p.id,
                p.id
            );
        }
        let ids: Vec<&String> = projects.iter().map(|p| &p.id).collect();
        Ok(Reply {
            text,
            json: json!({"id": user.id, "email": user.email, "deleted": true, "projects": ids}),
        })
    }

    fn named(&self, given: &str) -> Result<User, AdminError> {
        let by_id = self.control().store().users()?.into_iter().find(|u| u.id == given);
        by_id.map_or_else(|| self.user(given), Ok)
    }
}

fn unknown(given: &str) -> AdminError {
    AdminError::new("user_not_found", format!("user not found: {given}")).remedy("td-sync admin users list")
}

fn names(projects: &[Project]) -> String {
    projects.iter().map(|p| format!("{} ({})", one_line(&p.name), p.id)).collect::<Vec<_>>().join(", ")
}
