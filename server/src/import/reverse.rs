//! Back from us to the reference.
//!
//! Invariant: what the reference reads is what it would have written: its tables and no others, rollback journals, the
//! same events.
//! Danger: the reference builds a missing `project.db` from the log, and numbers its REST writes from 1 again. A number
//! that is in the log already makes such a write a duplicate, and it is lost (server-protocol W11). So a project that was
//! ever written to over REST gets a `project.db` in which those numbers are taken.

use super::adopt::{accounts_of, id_of, plan_of};
use super::error::{ImportError, Refusal, database};
use super::events::examine;
use super::held::Stamps;
use super::look::{Unreadable, copy, look};
use super::make::{make_ours, set_counts, settle};
use super::plan::{Direction, Done, Plan, ProjectDone, ProjectPlan};
use super::rest::DEVICE;
use super::source::{self, bytes, refuse_file};
use super::target::Half;
use super::tree::shown;
use super::{Options, Progress, accounts, compare, notes};
use crate::datadir::{DataDir, holder};
use crate::live::LiveView;
use crate::log::{Options as LogOptions, SqliteLog};
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where to read.
pub(super) struct Reversal {
    data_dir: PathBuf,
    server_db: PathBuf,
    logs: Vec<Option<PathBuf>>,
}

pub(super) fn prepare(
    options: &Options,
    progress: &mut Progress<'_>,
) -> Result<(Plan, Reversal, Stamps), ImportError> {
    let mut plan = Plan::new(Direction::ToReference, options.source.clone(), options.into.clone());
    let mut reversal =
        Reversal { data_dir: options.source.clone(), server_db: PathBuf::new(), logs: Vec::new() };
    let Some(source) = source::open(options, &mut plan)? else {
        return Ok((plan, reversal, Stamps::take([])));
    };
    if let Some(pid) = holder(&source.dir)? {
        plan.refusals.push(Refusal::new(
            "source_in_use",
            format!("{} is in use: td-sync runs on it as process {pid}", shown(&options.source)),
            "stop it, then run the same command again",
        ));
    }
    if let Some(found) = accounts_of(options, &source, &mut plan, progress)? {
        reversal.data_dir = source.dir.clone();
        reversal.server_db = source.tree.server_db.clone().unwrap_or_default();
        for row in found.projects {
            progress(&format!("reading {}", row.id));
            let Some(id) = id_of(&row, &mut plan) else { continue };
            let path = source.tree.folders.get(&id).and_then(|f| f.events.clone());
            if let Some(made) = project(options, plan_of(&row), path.as_deref(), &mut plan) {
                plan.projects.push(made);
                reversal.logs.push(path);
            }
        }
        plan.accounts = Some(found.accounts);
    }
    source::stray_folders(&source, options, &mut plan);
    notes::of_accounts(&mut plan);
    what_ends(&mut plan);
    source::look_at_target(options, &source, &mut plan);
    if plan.refusals.is_empty() {
        source.stamps.check()?;
    }
    Ok((plan, reversal, source.stamps))
}

fn project(
    options: &Options,
    mut made: ProjectPlan,
    path: Option<&Path>,
    plan: &mut Plan,
) -> Option<ProjectPlan> {
    let Some(path) = path else { return Some(made) };
    plan.bytes_needed += 2 * bytes(path) + (1 << 20);
    let measured = look(path, &options.scratch).and_then(|log| {
        let (facts, _) = examine(&log)?;
        let has_rest: bool =
            log.query_row("SELECT EXISTS (SELECT 1 FROM events WHERE device_id = ?1)", [DEVICE], |r| {
                r.get(0)
            })?;
        Ok::<_, Unreadable>((facts, has_rest))
    });
    match measured {
        Ok((facts, has_rest)) => {
            if has_rest {
                plan.bytes_needed += 3 * bytes(path);
            }
            made.event_count.becomes = facts.events;
            made.numbers_after = facts.high_water;
            (made.log, made.has_log, made.makes_project_db) = (facts, true, has_rest);
            Some(made)
        }
        Err(e) => {
            refuse_file(plan, path, e, Some(&made.id));
            None
        }
    }
}

fn what_ends(plan: &mut Plan) {
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
            "{}: gets a project.db, because it was written to over REST: in a new one the reference would give the same \
             numbers again and take the next writes for old ones.",
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
    reversal: Reversal,
    stamps: &Stamps,
    progress: &mut Progress<'_>,
) -> Result<Done, ImportError> {
    // Nobody may start a server on it until the other directory is whole.
    let _held = DataDir::take(&reversal.data_dir, Duration::ZERO)?;
    stamps.check()?;
    let half = Half::begin(&options.into)?;
    progress("copying server.db");
    server_db(options, plan, &reversal.server_db, half.dir())?;
    let mut done = Done { plan: plan.clone(), epoch: None, projects: Vec::new() };
    for (project, from) in plan.projects.iter().zip(&reversal.logs) {
        if let Some(from) = from {
            progress(&format!("copying {}", project.id));
            let folder = half.folder(&format!("projects/{}", project.id), 0o755)?;
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

fn server_db(options: &Options, plan: &Plan, from: &Path, half: &Path) -> Result<(), ImportError> {
    let changed = |_| ImportError::Changed { path: from.to_path_buf() };
    let path = half.join("server.db");
    let source = look(from, half).map_err(changed)?;
    let made = Connection::open(&path).map_err(database(&path))?;
    let found = accounts::adopt(&source, &made, &options.leave_out).map_err(changed)?;
    if Some(&found.accounts) != plan.accounts.as_ref() {
        return Err(ImportError::Changed { path: from.to_path_buf() });
    }
    // What was counted last may not have been written down before the server stopped.
    set_counts(&made, plan, options).map_err(database(&path))?;
    made.close().map_err(|(_, e)| database(&path)(e))?;
    plan.accounts.as_ref().map_or(Ok(()), |planned| compare::accounts(&path, planned))
}

fn log(
    options: &Options,
    project: &ProjectPlan,
    from: &Path,
    folder: &Path,
) -> Result<ProjectDone, ImportError> {
    let path = folder.join("events.db");
    let source = look(from, folder).map_err(|_| ImportError::Changed { path: from.to_path_buf() })?;
    let made = copy(&source, &path)?;
    drop(source);
    make_ours(&made, project.numbers_after).map_err(database(&path))?;
    made.close().map_err(|(_, e)| database(&path)(e))?;
    let mut done = ProjectDone {
        id: project.id.clone(),
        log: project.log.clone(),
        sha256_of_planned_lines: String::new(),
        state_digest: None,
        issues: None,
        skipped: None,
        conflicts: None,
    };
    if project.makes_project_db {
        let view = folder.join("project.db");
        let log = SqliteLog::open(&path, LogOptions::new(options.clock.clone()))?;
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
    let mut state = Connection::open(view)?;
    state.pragma_update(None, "foreign_keys", false)?;
    let log = Connection::open(log)?;
    let tx = state.transaction()?;
    let own: Vec<String> = tx
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'tdsync_*'")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for name in own {
        tx.execute_batch(&format!("DROP TABLE \"{name}\""))?;
    }
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
