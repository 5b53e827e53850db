//! `admin redact`: takes a text out of a project. The text comes through standard input, never as an argument, and is
//! in no reply and no line of the log.

use super::office::{Answer, Office};
use super::{AdminError, Reply, quarantine};
use crate::control::Audit;
use crate::redact::{INSTEAD, RedactError, Redaction, SHORTEST, updates};
use serde_json::json;
use std::sync::Arc;
use td_engine::id::ProjectId;

impl From<RedactError> for AdminError {
    fn from(e: RedactError) -> Self {
        let remedy = match &e {
            RedactError::Left(_) => "td-sync admin projects purge PROJECT",
            _ => "td-sync doctor",
        };
        Self::new("redact_failed", e.to_string()).remedy(remedy)
    }
}

impl Office {
    pub(super) fn redact(&self, given: &str, text: &str) -> Answer {
        if text.len() < SHORTEST {
            let message = format!(
                "the text has to have {SHORTEST} bytes at least: a shorter one is in too many others"
            );
            return Err(AdminError::new("text_too_short", message));
        }
        let project = self.project(given)?;
        let id =
            ProjectId::parse(&project.id).map_err(|e| AdminError::new("invalid_project", e.to_string()))?;
        let (logs, now) = (self.logs()?, self.control().now());
        let evict = || {
            if let Self::Server(app) = self {
                app.projects.evict(&id);
            }
        };
        let folder = self.config().projects.join(id.as_str());
        let redaction = Redaction { logs: &*logs, project: &id, folder, evict: &evict };
        let mark = Arc::new(redaction.rewrite(Some(text))?);
        let seen = Arc::clone(&mark);
        let events = quarantine::look(self, &project, move |db| updates(db, &seen, now))?;
        let log = logs.open(&id).map_err(RedactError::from)?;
        let told = redaction.tell(&*log, &mark, events)?;
        redaction.prove(text)?;
        self.control().audit(Audit {
            kind: "redacted",
            actor: "admin".into(),
            project_id: Some(project.id.clone()),
            detail: json!({"events": mark.events, "updates": told}).to_string(),
        });
        self.control().flush()?;
        let mut said = format!(
            "replaced it with {INSTEAD} in {} events of {} ({}), built the live view and told devices of {told} rows\n\
             still to do: backups keep it until they expire; on each device: td resync\n",
            mark.events, project.name, project.id
        );
        let shown = [&project.name, &project.description];
        if shown.iter().any(|s| s.contains(text)) {
            said.push_str("the project's name or description holds it too; an owner changes those\n");
        }
        let json = json!({"project": project.id, "events": mark.events, "updates": told});
        Ok(Reply { text: said, json })
    }
}
