//! Projects: which there are, and how one ends.

use super::office::{Answer, Office};
use super::{AdminError, Reply, one_line};
use crate::clock::later;
use crate::control::{Audit, Change, Undeleted};
use crate::ending::{Ending, EndingError, Return};
use crate::log::{Logs, Options, Projects, ProjectsOptions};
use serde_json::json;
use std::fmt::Write;
use std::sync::Arc;

/// Logs that a command on its own may open at once.
const MOST_OPEN: usize = 4;

impl From<EndingError> for AdminError {
    fn from(e: EndingError) -> Self {
        match e {
            EndingError::Control(e) => e.into(),
            EndingError::Files { .. } => Self::new("project_files", e.to_string()).remedy("td-sync doctor"),
        }
    }
}

impl Office {
    pub(super) fn projects(&self, deleted: bool) -> Answer {
        let mut projects = self.control().store().projects()?;
        if deleted {
            projects.retain(|p| p.deleted_at.is_some());
        }
        let (mut text, mut all) = (String::new(), Vec::new());
        for p in &projects {
            let until = p.deleted_at.map(|at| later(at, self.config().operating.grace).rfc3339s_utc());
            let _ = writeln!(text, "{}  {:<24}  {}", p.id, p.slug, one_line(&p.name));
            if let Some(until) = &until {
                let _ = writeln!(text, "    deleted; its files go {until}");
            }
            let mut shown = json!(p);
            if deleted {
                shown["files_go_at"] = until.into();
            }
            all.push(shown);
        }
        Ok(Reply { text, json: json!(all) })
    }

    /// As its owner would: marked, out of everybody's sight, to be brought back for a while.
    pub(super) fn delete_project(&self, given: &str) -> Answer {
        let (project, now) = (self.project(given)?, self.control().now());
        match self.control().change_now(|s| s.delete_project(&project.id, now))? {
            Change::Done => {}
            // Somebody was faster.
            Change::Unknown | Change::Last => return Err(gone(given)),
        }
        self.control().audit(Audit {
            kind: "project_deleted",
            actor: "admin".into(),
            project_id: Some(project.id.clone()),
            detail: "{}".into(),
        });
        self.control().flush()?;
        let until = later(now, self.config().operating.grace).rfc3339s_utc();
        let text = format!(
            "deleted project {} ({}); its files go {until}\nuntil then: td-sync admin projects undelete {}\n",
            one_line(&project.name),
            project.id,
            project.id
        );
        Ok(Reply { text, json: json!({"id": project.id, "deleted": true, "files_go_at": until}) })
    }

    pub(super) fn undelete_project(&self, given: &str, owner: Option<&str>) -> Answer {
        let project = self.project_among(given, true)?;
        let owner = owner.map(|email| self.user(email)).transpose()?;
        let back =
            self.with_ending(|e| e.bring_back(&project.id, owner.as_ref().map(|u| u.id.as_str()), "admin"))?;
        self.control().flush()?;
        match back {
            Return::Said(Undeleted::Done(project)) => {
                let text = format!("project {} ({}) is back\n", one_line(&project.name), project.id);
                Ok(Reply { text, json: json!({"id": project.id, "deleted": false}) })
            }
            Return::Said(Undeleted::Ownerless) => {
                let message = format!("nobody would own {} ({})", one_line(&project.name), project.id);
                let command = format!("td-sync admin projects undelete {} --owner ADDRESS", project.id);
                Err(AdminError::new("no_owner", message).remedy(command))
            }
            Return::Said(Undeleted::Unknown | Undeleted::Alive) => Err(gone(given)),
            Return::FilesGone => {
                let message =
                    format!("the files of {} ({}) are gone already", one_line(&project.name), project.id);
                Err(AdminError::new("files_gone", message)
                    .remedy("look for it in a copy: td-sync backup check DIR"))
            }
        }
    }

    /// Ends a deleted project now, whatever is left of its time.
    pub(super) fn purge_project(&self, given: &str) -> Answer {
        let project = self.project_among(given, true)?;
        // Anything deleted until now.
        let moment = later(self.control().now(), std::time::Duration::from_nanos(1));
        if !self.with_ending(|e| e.purge(&project.id, moment))? {
            return Err(gone(given));
        }
        self.control().flush()?;
        let text = format!(
            "project {} ({}) is gone for good; copies of it in backups stay\n",
            one_line(&project.name),
            project.id
        );
        Ok(Reply { text, json: json!({"id": project.id, "purged": true}) })
    }

    fn with_ending<T>(&self, act: impl FnOnce(&Ending) -> Result<T, EndingError>) -> Result<T, AdminError> {
        match self {
            Self::Server(app) => Ok(act(&app.ending)?),
            Self::Alone(alone) => {
                let logs = self.logs()?;
                Ok(act(&Ending::new(alone.control.clone(), logs, alone.config.projects.clone()))?)
            }
        }
    }

    /// The logs: the server's, or opened for the moment of a command.
    pub(super) fn logs(&self) -> Result<Arc<dyn Logs>, AdminError> {
        if let Self::Server(app) = self {
            return Ok(Arc::clone(&app.logs));
        }
        let dir = self.config().projects.clone();
        let options = ProjectsOptions {
            dir: dir.clone(),
            most_open: MOST_OPEN,
            log: Options::new(crate::clock::system()),
        };
        let opened = std::fs::create_dir_all(&dir).and_then(|()| Projects::new(options));
        let failed = |e| AdminError::new("projects_io", format!("{} cannot be used: {e}", dir.display()));
        Ok(Arc::new(opened.map_err(|e| failed(e).remedy("td-sync doctor"))?))
    }
}

fn gone(given: &str) -> AdminError {
    AdminError::new("project_not_found", format!("no such project any more: {given}"))
        .remedy("td-sync admin projects list --deleted")
}
