//! Back from us to the reference.
//!
//! Invariant: what the reference reads is what it would have written: its tables and no others, rollback journals, the
//! same events.
//! Danger: the reference builds a missing `project.db` from the log, and numbers its REST writes from 1 again. A number
//! that is in the log already makes such a write a duplicate, and it is lost (server-protocol W11). So a project that was
//! ever written to over REST gets a `project.db` in which those numbers are taken.

use super::accounts::ProjectRow;
use super::adopt::{id_of, log_missing, plan_of};
use super::error::{ImportError, database};
use super::events::examine;
use super::held::Stamps;
use super::look::{look, unsynced};
use super::make::{copy_log, drop_named, log_options, server_db, settle};
use super::plan::{Done, Plan, ProjectDone, ProjectPlan};
use super::rest::DEVICE;
use super::source::{self, Source, bytes, refuse_file};
use super::target::Half;
use super::tree::shown;
use super::{Adopted, Options, Origin, Progress, compare};
use crate::datadir::{DataDir, holder};
use crate::live::LiveView;
use crate::log::SqliteLog;
use rusqlite::{Connection, params};
use std::path::Path;
use std::time::Duration;
use td_engine::db::SEARCHES;

/// Says so if a server of ours runs there.
pub(super) fn holder_of(source: &Source, plan: &mut Plan) -> Result<(), ImportError> {
    if let Some(pid) = holder(&source.dir)? {
        let message = format!("{} is in use: td-sync runs on it as process {pid}", shown(&plan.source));
        source::refuse(plan, "source_in_use", message, source::STOP);
    }
    Ok(())
}

/// Plans a project. `None` if it stands in the way.
pub(super) fn project(
    options: &Options,
    source: &Source,
    row: &ProjectRow,
    plan: &mut Plan,
) -> Option<Adopted> {
    let id = id_of(row, plan)?;
    let mut made = plan_of(row);
    let path = source.tree.folders.get(&id).and_then(|f| f.events.clone());
    if path.is_none() && !row.is_deleted {
        log_missing(row, plan);
        return None;
    }
    if let Some(path) = &path {
        plan.bytes_needed += 2 * bytes(path) + (1 << 20);
        let written_over_rest = "SELECT EXISTS (SELECT 1 FROM events WHERE device_id = ?1)";
        let measured = look(path, &options.scratch).and_then(|log| {
            let has_rest = log.query_row(written_over_rest, [DEVICE], |r| r.get(0))?;
            Ok((examine(&log)?.0, has_rest))
        });
        match measured {
            Ok((facts, has_rest)) => {
                plan.bytes_needed += if has_rest { 3 * bytes(path) } else { 0 };
                made.event_count.becomes = facts.events;
                made.numbers_after = facts.high_water;
                (made.log, made.has_log, made.makes_project_db) = (facts, true, has_rest);
            }
            Err(e) => {
                refuse_file(plan, path, e, Some(&made.id));
                return None;
            }
        }
    }
    plan.projects.push(made);
    Some(Adopted { log: path, pending: Vec::new() })
}

/// What the reference has no place for, and what it gets that it would make differently.
pub(super) fn what_ends(plan: &mut Plan) {
    let own = plan.left_behind.iter().filter(|l| l.what.starts_with("server.db: table tdsync_"));
    let names: Vec<_> = own.map(|l| l.what.trim_start_matches("server.db: table ").to_string()).collect();
    if !names.is_empty() {
        plan.warnings.push(format!(
            "What the reference has no place for ends here: agents' tokens, public links, enrolment links and the audit \
             journal ({}). Whoever holds such a token gets 401.",
            names.join(", ")
        ));
    }
    if plan.projects.iter().any(|p| p.has_log && !p.makes_project_db) {
        plan.changes.push(
            "project.db: left out; the reference builds it from the log when the project is first used."
                .into(),
        );
    }
    for project in plan.projects.iter().filter(|p| p.makes_project_db) {
        plan.changes.push(format!(
            "{}: gets a project.db, with the folder .todos in which the reference locks it, because it was written to over \
             REST: in a new one the reference would give the same numbers again and take the next writes for old ones.",
            project.name
        ));
    }
    plan.warnings.push(
        "Devices with our td have pinned this server's identity, which the reference cannot prove: they refuse it until \
         they are connected anew."
            .into(),
    );
}

pub(super) fn run(
    options: &Options,
    plan: &Plan,
    origin: Origin,
    stamps: &Stamps,
    progress: &mut Progress<'_>,
) -> Result<Done, ImportError> {
    // Nobody may start a server on it until the other directory is whole.
    let _held = DataDir::take(&origin.dir, Duration::ZERO)?;
    stamps.check()?;
    let half = Half::begin(&options.into)?;
    progress("copying server.db");
    // What was counted last may not have been written down before the server stopped.
    let path = server_db(options, plan, &origin.server_db, half.dir())?;
    compare::accounts(&path, plan)?;
    let mut done = Done { plan: plan.clone(), epoch: None, projects: Vec::new() };
    for (project, adopted) in plan.projects.iter().zip(&origin.projects) {
        if let Some(from) = &adopted.log {
            progress(&format!("copying {}", project.id));
            let folder = half.folder(&format!("projects/{}", project.id), 0o755)?;
            if project.makes_project_db {
                // Where its writes over REST take their lock: the reference makes it only when it makes project.db.
                half.folder(&format!("projects/{}/.todos", project.id), 0o755)?;
            }
            done.projects.push(log(options, project, from, &folder)?);
        }
    }
    half.folder("projects", 0o755)?;
    half.permit(0o755, 0o644)?;
    stamps.check()?;
    progress("syncing everything to disk");
    half.publish()?;
    Ok(done)
}

fn log(
    options: &Options,
    project: &ProjectPlan,
    from: &Path,
    folder: &Path,
) -> Result<ProjectDone, ImportError> {
    let path = folder.join("events.db");
    copy_log(from, &path, project.numbers_after)?;
    let mut done = ProjectDone { id: project.id.clone(), ..Default::default() };
    if project.makes_project_db {
        let view = folder.join("project.db");
        let log = SqliteLog::open(&path, log_options(options))?;
        done.state_digest = Some(LiveView::new(view.clone(), options.clock.clone()).digest(&log)?.hex);
        drop(log);
        settle(&path)?;
        done.issues = Some(as_the_reference_has_it(&view, &path).map_err(database(&view))?);
        settle(&view)?;
    }
    (done.log, done.sha256_of_planned_lines) = compare::log(&path, project)?;
    Ok(done)
}

/// Drops our tables and gives every write over REST its row in the action log, under its old number. Returns how many
/// issues there are.
fn as_the_reference_has_it(view: &Path, log: &Path) -> rusqlite::Result<i64> {
    let mut state = unsynced(view)?;
    state.pragma_update(None, "foreign_keys", false)?;
    let log = Connection::open(log)?;
    log.execute_batch("DELETE FROM sqlite_sequence WHERE name <> 'events'")?;
    let tx = state.transaction()?;
    drop_named(&tx, &["tdsync_*"])?;
    tx.execute_batch(SEARCHES)?;
    let mut ask = log.prepare(
        "SELECT client_action_id, session_id, action_type, entity_type, entity_id,
                CASE WHEN json_valid(text) THEN coalesce(json_extract(text, '$.previous_data'), '') ELSE '' END,
                CASE WHEN json_valid(text) THEN coalesce(json_extract(text, '$.new_data'), '') ELSE '' END,
                client_timestamp, server_timestamp, server_seq
         FROM (SELECT *, CAST(payload AS TEXT) AS text FROM events WHERE device_id = ?1) ORDER BY server_seq",
    )?;
    let mut put = tx.prepare(
        "INSERT OR REPLACE INTO action_log (rowid, id, session_id, action_type, entity_type, entity_id, previous_data,
                                            new_data, timestamp, undone, synced_at, server_seq)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, ?10, ?11)",
    )?;
    let mut rows = ask.query([DEVICE])?;
    while let Some(row) = rows.next()? {
        let text = |column: usize| row.get::<_, String>(column);
        let seq: i64 = row.get(9)?;
        let number: i64 = row.get(0)?;
        put.execute(params![
            number,
            format!("al-{seq:016x}"),
            text(1)?,
            text(2)?,
            text(3)?,
            text(4)?,
            text(5)?,
            text(6)?,
            text(7)?,
            row.get::<_, Option<String>>(8)?,
            seq
        ])?;
    }
    drop((rows, put));
    let issues = tx.query_row("SELECT count(*) FROM issues", [], |row| row.get(0))?;
    tx.commit()?;
    state.close().map_err(|(_, e)| e)?;
    Ok(issues)
}
