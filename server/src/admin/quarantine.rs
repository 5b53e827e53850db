//! `admin quarantine`: the events of a project that did not simply apply (law 7), and trying them again.
//!
//! An event is never applied at a later place than its own (decision 6): trying again means to build the live view from
//! the log's beginning. It helps where the rules have changed, or where the file was not what it should be; otherwise
//! the same events are recorded again, and the answer says so.

use super::office::{Alone, Office};
use super::{AdminError, Reply, one_line};
use crate::clock;
use crate::control::Project;
use crate::live::{LiveError, LiveView, OpenProject};
use crate::log::{LogError, Logs, Options, Projects, ProjectsOptions};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use td_engine::db::ProjectDb;
use td_engine::id::{ProjectId, Seq};
use td_engine::replay::{SkippedEvent, each_skipped};
use tokio::runtime::Handle;

/// Most events of one answer.
const MOST: usize = 1000;
/// How long an answer waits for the live view to have what the log has.
const CATCH_UP: Duration = Duration::from_secs(60);

type Answer = Result<Reply, AdminError>;
/// What is recorded: sequence and reason.
type Recorded = BTreeMap<Seq, String>;

pub(super) fn list(office: &Office, project: &Project, after: Seq, limit: usize) -> Answer {
    let limit = limit.clamp(1, MOST);
    let events = look(office, project, move |db| {
        let mut events = Vec::new();
        each_skipped(db.conn(), after, &mut |event| {
            events.push(event);
            if events.len() > limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(events)
    })?;
    let more = events.len() > limit;
    let shown: Vec<&SkippedEvent> = events.iter().take(limit).collect();
    let mut text = String::new();
    for e in &shown {
        let SkippedEvent { seq, device, action, entity_type, entity_id, reason, error } = e;
        let line = format!("{seq}  {reason:<15}  {action} {entity_type}/{entity_id} by {device}: {error}");
        let _ = writeln!(text, "{}", one_line(&line));
    }
    let next = shown.last().filter(|_| more).map(|e| e.seq);
    match next {
        Some(next) => drop(writeln!(
            text,
            "more: td-sync admin quarantine list --project {} --after {next}",
            project.id
        )),
        None if shown.is_empty() => text.push_str("every event applied\n"),
        None => {}
    }
    Ok(Reply { text, json: json!({"project": project.id, "events": shown, "next": next}) })
}

pub(super) fn replay(office: &Office, project: &Project) -> Answer {
    let before = look(office, project, recorded)?;
    match office {
        Office::Server(app) => {
            let id = id(project)?;
            let open = Handle::current().block_on(app.projects.open(&id)).map_err(log_failed)?;
            open.build_again().map_err(failed)?;
        }
        Office::Alone(alone) => {
            let (logs, id) = logs(alone, project)?;
            let log = logs.open(&id).map_err(log_failed)?;
            let mut view = view(alone, &id);
            view.discard().and_then(|()| view.catch_up(&*log)).map_err(failed)?;
            // They are derived like the view; the next one is made from it.
            let snapshots = alone.config.projects.join(id.as_str()).join("snap");
            match std::fs::remove_dir_all(&snapshots) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
                _ => {}
            }
        }
    }
    let after = look(office, project, recorded)?;
    let apply_now: Vec<Seq> = before.keys().filter(|seq| !after.contains_key(seq)).copied().collect();
    let text = format!(
        "built the live view of {} again: {} events were recorded, {} are now; {} apply now that did not\n",
        project.id,
        before.len(),
        after.len(),
        apply_now.len()
    );
    let json =
        json!({"project": project.id, "before": before.len(), "after": after.len(), "apply_now": apply_now});
    Ok(Reply { text, json })
}

fn recorded(db: &ProjectDb) -> Result<Recorded, LiveError> {
    let mut all = Recorded::new();
    each_skipped(db.conn(), Seq(i64::MIN), &mut |event| {
        all.insert(event.seq, event.reason);
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

/// Looks at the live view once it has what the log has.
pub(super) fn look<T: Send + 'static>(
    office: &Office,
    project: &Project,
    look: impl FnOnce(&ProjectDb) -> Result<T, LiveError> + Send + 'static,
) -> Result<T, AdminError> {
    match office {
        Office::Server(app) => {
            let id = id(project)?;
            Handle::current().block_on(async {
                let open: Arc<OpenProject> = app.projects.open(&id).await.map_err(log_failed)?;
                if !open.caught_up(CATCH_UP).await {
                    return Err(AdminError::new("catching_up", "the live view is still catching up")
                        .remedy("td-sync doctor --only server.apply"));
                }
                open.read(look).await.map_err(failed)
            })
        }
        Office::Alone(alone) => {
            let (logs, id) = logs(alone, project)?;
            let log = logs.open(&id).map_err(log_failed)?;
            let mut view = view(alone, &id);
            view.catch_up(&*log).map_err(failed)?;
            let db = ProjectDb::open_read_only_at(view.place()).map_err(|e| failed(LiveError::from(e)))?;
            look(&db).map_err(failed)
        }
    }
}

fn logs(alone: &Alone, project: &Project) -> Result<(Projects, ProjectId), AdminError> {
    let log = Options::new(clock::system());
    let options = ProjectsOptions { dir: alone.config.projects.clone(), most_open: 1, log };
    Ok((Projects::new(options).map_err(failed)?, id(project)?))
}

fn view(alone: &Alone, id: &ProjectId) -> LiveView {
    LiveView::new(alone.config.projects.join(id.as_str()).join("project.db"), clock::system())
}

fn id(project: &Project) -> Result<ProjectId, AdminError> {
    ProjectId::parse(&project.id).map_err(|e| AdminError::new("invalid_project", e.to_string()))
}

fn log_failed(e: LogError) -> AdminError {
    AdminError::new("log_failed", e.to_string()).remedy("td-sync doctor")
}

fn failed(e: impl ToString) -> AdminError {
    AdminError::new("live_view_failed", e.to_string()).remedy("td-sync doctor")
}
