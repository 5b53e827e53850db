//! Making the directory that a plan from the reference describes.
//!
//! Invariant: everything is made in the half-made directory, measured there, and held against the plan before it gets
//! its name.

use super::accounts;
use super::error::{ImportError, database, io_error};
use super::held::Stamps;
use super::look::{copy, look, unsynced};
use super::plan::{Done, Plan, ProjectDone, ProjectPlan};
use super::rest;
use super::target::Half;
use super::{Adopted, Origin};
use super::{Options, Progress, REPORT, compare};
use crate::control::SqliteControl;
use crate::datadir::DataDir;
use crate::identity::Identity;
use crate::live::{LiveError, LiveView};
use crate::log::{Durability, EventLog, LogError, Options as LogOptions, SqliteLog};
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};
use std::time::Duration;
use td_engine::db::ProjectDb;
use td_engine::event::NewEvent;
use td_engine::id::SessionId;

pub(super) fn run(
    options: &Options,
    plan: &Plan,
    origin: Origin,
    stamps: &Stamps,
    progress: &mut Progress<'_>,
) -> Result<Done, ImportError> {
    let half = Half::begin(&options.into)?;
    let dir = DataDir::take(half.dir(), Duration::ZERO)?;
    Identity::load(&dir)?;
    progress("copying server.db");
    let path = server_db(options, plan, &origin.server_db, half.dir())?;
    // As the server will open it: our own tables, and slugs for projects of older releases.
    drop(SqliteControl::open(&path, &dir)?);
    settle(&path)?;
    compare::accounts(&path, plan)?;
    let mut done = Done { plan: plan.clone(), epoch: Some(dir.epoch().to_string()), projects: Vec::new() };
    for (project, adopted) in plan.projects.iter().zip(origin.projects) {
        if project.has_log {
            progress(&format!("copying {} and building its live view", project.id));
            let folder = half.folder(&format!("projects/{}", project.id), 0o700)?;
            done.projects.push(project_of(options, project, adopted, &folder)?);
        }
    }
    half.folder("projects", 0o700)?;
    write_report(half.dir(), &done)?;
    half.permit(0o700, 0o600)?;
    stamps.check()?;
    progress("syncing everything to disk");
    half.publish()?;
    Ok(done)
}

/// Carries `server.db` over, with the counts set right.
pub(super) fn server_db(
    options: &Options,
    plan: &Plan,
    from: &Path,
    half: &Path,
) -> Result<PathBuf, ImportError> {
    let path = half.join("server.db");
    let changed = |_| ImportError::Changed { path: from.to_path_buf() };
    let source = look(from, half).map_err(changed)?;
    let made = unsynced(&path).map_err(database(&path))?;
    let found = accounts::adopt(&source, &made, &options.leave_out).map_err(changed)?;
    if Some(&found.accounts) != plan.accounts.as_ref() {
        return Err(ImportError::Changed { path: from.to_path_buf() });
    }
    set_counts(&made, plan, options).map_err(database(&path))?;
    made.close().map_err(|(_, e)| database(&path)(e))?;
    Ok(path)
}

/// Writes down what the logs hold, where a row says otherwise.
fn set_counts(made: &Connection, plan: &Plan, options: &Options) -> rusqlite::Result<()> {
    let set =
        "UPDATE projects SET event_count = ?2, last_event_at = coalesce(?3, last_event_at) WHERE id = ?1";
    for project in plan.projects.iter().filter(|p| p.has_log && p.event_count.was != p.event_count.becomes) {
        let newest = match project.promoted.is_empty() {
            true => project.log.last_event_at.clone(),
            false => Some((options.clock)().utc().canonical()),
        };
        made.execute(set, params![project.id, project.event_count.becomes, newest])?;
    }
    Ok(())
}

fn project_of(
    options: &Options,
    project: &ProjectPlan,
    adopted: Adopted,
    folder: &Path,
) -> Result<ProjectDone, ImportError> {
    let path = folder.join("events.db");
    let log_options = log_options(options);
    match &adopted.log {
        Some(from) => {
            copy_log(from, &path, project.numbers_after)?;
        }
        None => SqliteLog::create(&path, &log_options)?,
    }
    let log = SqliteLog::open(&path, log_options)?;
    promote(&log, project, &adopted.pending)?;
    let view_path = folder.join("project.db");
    let digest = LiveView::new(view_path.clone(), options.clock.clone()).digest(&log)?;
    drop(log);
    settle(&path)?;
    let (facts, lines) = compare::log(&path, project)?;
    let view = ProjectDb::open_read_only(&view_path).map_err(LiveError::from)?;
    let count = |table: &str| -> Result<i64, ImportError> {
        let ask = format!("SELECT count(*) FROM {table}");
        view.conn().query_row(&ask, [], |row| row.get(0)).map_err(database(&view_path))
    };
    let done = ProjectDone {
        id: project.id.clone(),
        log: facts,
        sha256_of_planned_lines: lines,
        state_digest: Some(digest.hex),
        issues: Some(count("issues")?),
        skipped: Some(count("sync_skipped_events")?),
        conflicts: Some(count("tdsync_conflict")?),
    };
    drop(view);
    settle(&view_path)?;
    Ok(done)
}

/// For a log in a half-made directory.
pub(super) fn log_options(options: &Options) -> LogOptions {
    LogOptions { durability: Durability::Off, ..LogOptions::new(options.clock.clone()) }
}

/// Copies a log without what others keep in it, makes the index that an old file may lack, and moves the numbers on.
pub(super) fn copy_log(from: &Path, to: &Path, numbers_after: i64) -> Result<(), ImportError> {
    let scratch = to.parent().unwrap_or(Path::new("."));
    let source = look(from, scratch).map_err(|_| ImportError::Changed { path: from.to_path_buf() })?;
    let log = copy(&source, to)?;
    let settled = || -> rusqlite::Result<()> {
        drop_named(&log, &["_litestream_*", "tdsync_*"])?;
        log.execute_batch(
            "CREATE INDEX IF NOT EXISTS idx_events_entity ON events(entity_type, entity_id);
             DELETE FROM sqlite_sequence",
        )?;
        log.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?1)", [numbers_after])?;
        Ok(())
    };
    settled().map_err(database(to))?;
    log.close().map_err(|(_, e)| database(to)(e))
}

/// Drops the tables and indexes whose names match.
pub(super) fn drop_named(conn: &Connection, patterns: &[&str]) -> rusqlite::Result<()> {
    for pattern in patterns {
        let ask = "SELECT type, name FROM sqlite_master WHERE type IN ('table', 'index') AND name GLOB ?1";
        let found = conn
            .prepare(ask)?
            .query_map([pattern], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<(String, String)>, _>>()?;
        for (kind, name) in found {
            // An index goes with its table, which may have been named first.
            conn.execute_batch(&format!("DROP {kind} IF EXISTS \"{}\"", name.replace('"', "\"\"")))?;
        }
    }
    Ok(())
}

fn promote(
    log: &SqliteLog,
    project: &ProjectPlan,
    pending: &[(i64, SessionId, NewEvent)],
) -> Result<(), ImportError> {
    for ((_, session, event), planned) in pending.iter().zip(&project.promoted) {
        let Some(push) = rest::push(session, event) else { continue };
        let answer = log.append(push).blocking_recv().unwrap_or(Err(LogError::Closed))?;
        if !answer.first().is_some_and(|outcome| planned.foreseen.is(outcome)) {
            return Err(ImportError::Differs {
                what: format!("row {} of the action log of {}", planned.row, project.id),
                planned: format!("{:?}", planned.foreseen),
                found: format!("{answer:?}"),
            });
        }
    }
    Ok(())
}

/// One file, with nothing beside it.
pub(super) fn settle(path: &Path) -> Result<(), ImportError> {
    let settled = unsynced(path).and_then(|conn| {
        conn.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
        conn.close().map_err(|(_, e)| e)
    });
    settled.map_err(database(path))
}

fn write_report(dir: &Path, done: &Done) -> Result<(), ImportError> {
    let path = dir.join(REPORT);
    let text = serde_json::to_string_pretty(done).map_err(std::io::Error::from);
    text.and_then(|text| std::fs::write(&path, text + "\n")).map_err(io_error("write", &path))
}
