//! The end of deleted projects: brought back, or their files taken away for good.
//!
//! Invariant: the files go first, durably, and the row after them: whatever a crash leaves is a deleted project whose end
//! is tried again, never files that nobody knows of, and never a living project without files.
//! Danger: bringing a project back while its files go. Both happen under [`Ending`], one at a time.

use crate::control::{Audit, Change, Control, ControlError, Undeleted};
use crate::log::{LogError, Logs};
use serde_json::json;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use td_engine::id::ProjectId;
use td_engine::time::ClientTime;

/// Why an end did not come.
#[derive(Debug, thiserror::Error)]
pub enum EndingError {
    /// The control store.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The files.
    #[error("the files of project {project} cannot be removed: {source}")]
    Files {
        /// Which project.
        project: String,
        /// Why.
        source: LogError,
    },
}

/// How bringing a project back ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Return {
    /// As the control store says.
    Said(Undeleted),
    /// Its files are gone already.
    FilesGone,
}

/// Ends projects. One per server.
pub struct Ending {
    control: Control,
    logs: Arc<dyn Logs>,
    dir: PathBuf,
    one_at_a_time: Mutex<()>,
}

impl Ending {
    /// Over the control store, the logs and the folder they are in.
    pub fn new(control: Control, logs: Arc<dyn Logs>, dir: PathBuf) -> Self {
        Self { control, logs, dir, one_at_a_time: Mutex::default() }
    }

    /// Takes away the files of a project that was deleted before `moment`, then its row. `false` if it was not.
    pub fn purge(&self, project: &str, moment: ClientTime) -> Result<bool, EndingError> {
        let _alone = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked again, under the lock: it may have been brought back meanwhile.
        let deleted_at = self.control.store().project(project)?.and_then(|p| p.deleted_at);
        if deleted_at.is_none_or(|at| at.unix_nanos() >= moment.unix_nanos()) {
            return Ok(false);
        }
        // A row of a foreign file with a name that is no project id has no files of ours.
        if let Ok(id) = ProjectId::parse(project) {
            match self.logs.delete(&id) {
                // A crash came between the files and the row.
                Ok(()) | Err(LogError::Missing) => {}
                Err(source) => return Err(EndingError::Files { project: project.into(), source }),
            }
        }
        let gone = self.control.change_now(|s| s.forget_project(project))? == Change::Done;
        if gone {
            tracing::info!(pid = project, "a deleted project's files and row are gone for good");
            self.note("project_purged", project);
        }
        Ok(gone)
    }

    /// Takes a deletion back, if the files are still there.
    pub fn bring_back(&self, project: &str, owner: Option<&str>, by: &str) -> Result<Return, EndingError> {
        let _alone = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.control.store().project(project)?;
        if known.is_some_and(|p| p.deleted_at.is_some()) && !self.dir.join(project).join("events.db").exists()
        {
            return Ok(Return::FilesGone);
        }
        let now = self.control.now();
        let said = self.control.change_now(|s| s.undelete_project(project, owner, now))?;
        if matches!(said, Undeleted::Done(_)) {
            tracing::info!(pid = project, by, "a deleted project is back");
            self.note("project_undeleted", project);
        }
        Ok(Return::Said(said))
    }

    fn note(&self, kind: &'static str, project: &str) {
        self.control.audit(Audit {
            kind,
            actor: "admin".into(),
            project_id: Some(project.into()),
            detail: json!({}).to_string(),
        });
    }
}
