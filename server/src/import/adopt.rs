//! From the reference to us: the plan.

use super::accounts::{self, Found, ProjectRow};
use super::error::{ImportError, database};
use super::events::{LogFacts, examine};
use super::lines::EventLines;
use super::look::look;
use super::numbers::{Trace, numbering};
use super::plan::{Direction, EventCount, Plan, ProjectPlan};
use super::rest::{self, Foreseen, Pending};
use super::source::{self, Source, bytes, refuse, refuse_file};
use super::tree::Folder;
use super::{Adopted, Options, Progress, notes};
use rusqlite::Connection;
use td_engine::id::ProjectId;

/// Converts `server.db` into a database without a name, which finds everything that the real conversion would.
pub(super) fn accounts_of(
    options: &Options,
    source: &Source,
    plan: &mut Plan,
    progress: &mut Progress<'_>,
) -> Result<Option<Found>, ImportError> {
    let Some(path) = &source.tree.server_db else { return Ok(None) };
    progress("reading server.db");
    plan.bytes_needed += 2 * bytes(path) + (1 << 20);
    let nameless = Connection::open("").map_err(database(path))?;
    let found = look(path, &options.scratch).and_then(|from| {
        let found = accounts::adopt(&from, &nameless, &options.leave_out)?;
        for id in &options.leave_out {
            let ask = "SELECT EXISTS (SELECT 1 FROM projects WHERE id = ?1)";
            if !from.query_row(ask, [id], |row| row.get(0))? {
                let message = format!("--leave-out {}: server.db has no such project", id.escape_default());
                refuse(plan, "unknown_project", message, "leave the flag out");
            }
        }
        Ok(found)
    });
    match found {
        Ok(found) if found.is_ours && plan.direction == Direction::FromReference => {
            source::refuse_ours(plan, &super::tree::shown(&options.source));
            Ok(None)
        }
        Ok(mut found) => {
            plan.left_behind.append(&mut found.left);
            Ok(Some(found))
        }
        Err(e) => {
            refuse_file(plan, path, e, None);
            Ok(None)
        }
    }
}

/// Plans a project. `None` if it stands in the way.
pub(super) fn project(
    options: &Options,
    source: &Source,
    row: &ProjectRow,
    plan: &mut Plan,
) -> Result<Option<Adopted>, ImportError> {
    let Some(id) = id_of(row, plan) else { return Ok(None) };
    let nothing = Folder::default();
    let folder = source.tree.folders.get(&id).unwrap_or(&nothing);
    let mut made = plan_of(row);
    let Some(path) = &folder.events else {
        if !without_log(row, plan) {
            return Ok(None);
        }
        made.has_log = !row.is_deleted;
        made.makes_project_db = made.has_log;
        if made.has_log {
            made.log.sha256_of_event_lines = EventLines::default().hex();
        }
        plan.projects.push(made);
        return Ok(Some(Adopted { log: None, pending: Vec::new() }));
    };
    plan.bytes_needed += 3 * bytes(path) + (1 << 20);
    let measured = look(path, &options.scratch).and_then(|log| {
        let (facts, beside) = examine(&log)?;
        notes::beside(plan, &id, &beside);
        let pending = pending(options, folder, &log);
        let traces = [
            Trace { number: pending.highest_seq, whose: "project.db" },
            Trace { number: folder.snapshot, whose: "a kept snapshot" },
            Trace { number: row.cursor, whose: "a device's cursor" },
        ];
        let numbering = numbering(facts.high_water, &traces);
        let promoted = rest::foresee(&log, numbering.from, &pending.events)?;
        Ok((facts, pending, numbering, promoted))
    });
    let (facts, pending, numbering, promoted) = match measured {
        Ok(measured) => measured,
        Err(e) => {
            refuse_file(plan, path, e, Some(id.as_str()));
            return Ok(None);
        }
    };
    let stored = promoted.iter().filter(|p| matches!(p.foreseen, Foreseen::Stored { .. })).count();
    made.event_count.becomes = facts.events + i64::try_from(stored).unwrap_or(i64::MAX);
    made.log = facts;
    (made.has_log, made.makes_project_db) = (true, true);
    made.numbers_after = numbering.from;
    made.promoted = promoted;
    made.unsent = pending.unsent;
    made.project_db = folder.state.is_some().then_some(pending.facts);
    notes::of_project(plan, &made, &numbering);
    plan.projects.push(made);
    Ok(Some(Adopted { log: Some(path.clone()), pending: pending.events }))
}

pub(super) fn id_of(row: &ProjectRow, plan: &mut Plan) -> Option<ProjectId> {
    let id = ProjectId::parse(&row.id);
    if id.is_err() {
        let shown = row.id.escape_default();
        let message = format!("server.db has a project with the id \"{shown}\", which no server gives");
        refuse(plan, "bad_project_id", message, format!("go on without it: --leave-out '{shown}'"));
    }
    id.ok()
}

pub(super) fn plan_of(row: &ProjectRow) -> ProjectPlan {
    ProjectPlan {
        id: row.id.clone(),
        name: row.name.clone(),
        is_deleted: row.is_deleted,
        log: LogFacts::default(),
        has_log: false,
        numbers_after: 0,
        event_count: EventCount { was: row.event_count, becomes: row.event_count },
        promoted: Vec::new(),
        unsent: Vec::new(),
        project_db: None,
        makes_project_db: false,
    }
}

/// Whether a project can come without its log.
fn without_log(row: &ProjectRow, plan: &mut Plan) -> bool {
    if !row.is_deleted && row.event_count.max(row.cursor) > 0 {
        log_missing(row, plan);
        return false;
    }
    if !row.is_deleted {
        plan.changes.push(format!("{}: it has no log and no events; it gets an empty log.", row.name));
    }
    true
}

/// Says that a log is lost.
pub(super) fn log_missing(row: &ProjectRow, plan: &mut Plan) {
    let (id, name, lost) = (&row.id, &row.name, row.event_count.max(row.cursor));
    let message = format!(
        "projects/{id}/events.db is missing; server.db knows of {lost} events of the project {name:?}"
    );
    let remedy = format!(
        "put it back (litestream restore -o PATH REPLICA, or from a backup), or go on without it: --leave-out {id}"
    );
    refuse(plan, "log_missing", message, remedy);
}

fn pending(options: &Options, folder: &Folder, log: &Connection) -> Pending {
    let Some(path) = &folder.state else { return Pending::default() };
    look(path, &options.scratch).and_then(|state| rest::pending(&state, log)).unwrap_or_else(|e| Pending {
        facts: rest::ProjectDbFacts { integrity: e.why, ..Default::default() },
        ..Pending::default()
    })
}
