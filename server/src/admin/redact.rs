//! `admin redact`: takes a text out of a project. The text comes through standard input, never as an argument, and is
//! in no reply and no line of the log.

use super::office::{Answer, Office};
use super::{AdminError, Reply, one_line, quarantine};
use crate::control::Audit;
use crate::redact::{RedactError, Redaction, SHORTEST, updates};
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use td_engine::id::ProjectId;
use td_engine::payload::REDACTED;

/// One at a time: a second one would take the first one's mark away.
static TURN: Mutex<()> = Mutex::new(());

fn again(project: &str) -> String {
    format!("td-sync admin redact --project {project} < FILE-WITH-THE-SECRET")
}

fn refusal(e: &RedactError, project: &str) -> AdminError {
    let again = again(project);
    let (code, remedy) = match e {
        RedactError::NotFound => ("text_not_found", "td-sync admin projects list"),
        RedactError::Fixed(_) => ("text_not_free", "td-sync admin redact --help"),
        RedactError::InUse => ("log_in_use", &*again),
        RedactError::Kept(_) => ("file_kept", &*again),
        RedactError::Left(_) => ("text_left", &*again),
        _ => ("redact_failed", "td-sync doctor"),
    };
    AdminError::new(code, e.to_string()).remedy(remedy)
}

impl Office {
    pub(super) fn redact(&self, given: &str, text: &str, dry_run: bool) -> Answer {
        if text.len() < SHORTEST {
            let message = format!(
                "the text has to have {SHORTEST} bytes at least: a shorter one is in too many others"
            );
            return Err(AdminError::new("text_too_short", message).remedy("td-sync admin redact --help"));
        }
        // A deleted project's files are there for a while yet.
        let project = self.project(given).or_else(|e| self.project_among(given, true).map_err(|_| e))?;
        let id =
            ProjectId::parse(&project.id).map_err(|e| AdminError::new("invalid_project", e.to_string()))?;
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (logs, now) = (self.logs()?, self.control().now());
        let evict = || {
            if let Self::Server(app) = self {
                app.projects.evict(&id);
            }
        };
        let refused = |e: RedactError| refusal(&e, &project.id);
        let folder = self.config().projects.join(id.as_str());
        let redaction = Redaction { logs: &*logs, project: &id, folder, evict: &evict };
        let name = one_line(&project.name);
        let mark = Arc::new(redaction.rewrite(Some(text), dry_run).map_err(refused)?);
        if dry_run {
            let said = format!("{} events of {} hold it; nothing was changed\n", mark.events, name);
            return Ok(Reply { text: said, json: json!({"project": project.id, "events": mark.events}) });
        }
        // Begun and written down: whatever fails from here on, the same command does what is left.
        let unfinished = |e: AdminError| e.remedy(again(&project.id));
        let seen = Arc::clone(&mark);
        let events =
            quarantine::look(self, &project, move |db| updates(db, &seen, now)).map_err(unfinished)?;
        let log = logs.open(&id).map_err(|e| unfinished(refused(e.into())))?;
        let told = redaction.tell(&*log, &mark, events).map_err(|e| unfinished(refused(e)))?;
        self.control().audit(Audit {
            kind: "redacted",
            actor: "admin".into(),
            project_id: Some(project.id.clone()),
            detail: json!({"events": mark.events, "updates": told}).to_string(),
        });
        self.control().flush()?;
        redaction.prove(&*log, text).map_err(|e| unfinished(refused(e)))?;
        let mut said = format!(
            "replaced with {REDACTED}: in {} events of {} ({})\n\
             told the devices:      of {told} rows\n\
             still to do:           backups keep it until they expire;\n                       \
             on each device: td sync, td resync, and delete .todos/*.before-resync-*\n",
            mark.events, name, project.id
        );
        if [&project.name, &project.description].iter().any(|s| s.contains(text)) {
            said.push_str("the project's name or description holds it too; a writer changes those\n");
        }
        let json = json!({"project": project.id, "events": mark.events, "updates": told});
        Ok(Reply { text: said, json })
    }
}
