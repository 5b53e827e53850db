//! Making the directory that a plan from the reference describes.
//!
//! Invariant: everything is made in the half-made directory, measured there, and held against the plan before it gets
//! its name.

use super::accounts;
use super::adopt::{Adopted, Adoption};
use super::error::{ImportError, database, io_error};
use super::held::Stamps;
use super::look::{Unreadable, copy, look};
use super::plan::{Done, Plan, ProjectDone, ProjectPlan};
use super::rest;
use super::target::Half;
use super::{Options, Progress, REPORT, compare};
use crate::control::SqliteControl;
use crate::datadir::DataDir;
use crate::identity::Identity;
use crate::live::{LiveError, LiveView};
use crate::log::{EventLog, LogError, Options as LogOptions, SqliteLog};
use rusqlite::{Connection, params};
use std::path::Path;
use std::time::Duration;
use td_engine::db::ProjectDb;
use td_engine::event::NewEvent;
use td_engine::id::SessionId;

pub(super) fn run(
    options: &Options,
    plan: &Plan,
    adoption: Adoption,
    stamps: &Stamps,
    progress: &mut Progress<'_>,
) -> Result<Done, ImportError> {
    let half = Half::begin(&options.into)?;
    let dir = DataDir::take(half.dir(), Duration::ZERO)?;
    Identity::load(&dir)?;
    progress("copying server.db");
    server_db(options, plan, &adoption.server_db, &dir)?;
    let mut done = Done { plan: plan.clone(), epoch: Some(dir.epoch().to_string()), projects: Vec::new() };
    for (project, adopted) in plan.projects.iter().zip(adoption.projects) {
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

fn server_db(options: &Options, plan: &Plan, from: &Path, dir: &DataDir) -> Result<(), ImportError> {
    let path = dir.path().join("server.db");
    let changed = |e: Unreadable| ImportError::Differs {
        what: "server.db".into(),
        planned: "what it was a moment ago".into(),
        found: e.why,
    };
    let source = look(from, dir.path()).map_err(changed)?;
    let made = Connection::open(&path).map_err(database(&path))?;
    let found = accounts::adopt(&source, &made, &options.leave_out).map_err(changed)?;
    if Some(&found.accounts) != plan.accounts.as_ref() {
        return Err(ImportError::Changed { path: from.to_path_buf() });
    }
    set_counts(&made, plan, options).map_err(database(&path))?;
    made.close().map_err(|(_, e)| database(&path)(e))?;
    // As the server will open it: our own tables, and slugs for projects of older releases.
    drop(SqliteControl::open(&path, dir)?);
    settle(&path)?;
    match &plan.accounts {
        Some(planned) => compare::accounts(&path, planned),
        None => Ok(()),
    }
}

/// Writes down what the logs hold, where a row says otherwise.
pub(super) fn set_counts(made: &Connection, plan: &Plan, options: &Options) -> rusqlite::Result<()> {
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
    let log_options = LogOptions::new(options.clock.clone());
    match &adopted.log {
        Some(from) => {
            let source = look(from, folder).map_err(|e| ImportError::Differs {
                what: format!("the log of {}", project.id),
                planned: "what it was a moment ago".into(),
                found: e.why,
            })?;
            let made = copy(&source, &path)?;
            make_ours(&made, project.numbers_after).map_err(database(&path))?;
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

/// Drops what others keep in a log, makes the index that an old file may lack, and moves the numbers on.
pub(super) fn make_ours(log: &Connection, numbers_after: i64) -> rusqlite::Result<()> {
    let mut ask = log.prepare(
        "SELECT name FROM sqlite_master WHERE type = 'table'
         AND (name GLOB '_litestream_*' OR name GLOB 'tdsync_*')",
    )?;
    let others: Vec<String> = ask.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    drop(ask);
    for name in others {
        log.execute_batch(&format!("DROP TABLE \"{}\"", name.replace('"', "\"\"")))?;
    }
    log.execute_batch(
        "CREATE INDEX IF NOT EXISTS idx_events_entity ON events(entity_type, entity_id);
         DELETE FROM sqlite_sequence WHERE name = 'events'",
    )?;
    log.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?1)", [numbers_after])?;
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
    let settled = Connection::open(path).and_then(|conn| {
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
