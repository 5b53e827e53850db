//! What was made, measured again and held against the plan.

use super::error::{ImportError, database};
use super::events::{LogFacts, examine};
use super::lines::EventLines;
use super::plan::{Plan, ProjectPlan};
use super::table::measure;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

fn same<T: PartialEq + std::fmt::Debug>(
    what: impl Into<String>,
    planned: &T,
    found: &T,
) -> Result<(), ImportError> {
    if planned == found {
        return Ok(());
    }
    let (planned, found) = (format!("{planned:?}"), format!("{found:?}"));
    Err(ImportError::Differs { what: what.into(), planned, found })
}

/// Every table has the planned rows.
pub(super) fn accounts(path: &Path, plan: &Plan) -> Result<(), ImportError> {
    let made = open(path)?;
    for table in plan.accounts.iter().flat_map(|planned| &planned.tables) {
        let found = measure(&made, table).map_err(database(path))?;
        same(format!("table {}", table.name), &(table.rows, table.sha256.clone()), &found)?;
    }
    Ok(())
}

/// The log has the planned events, unchanged, and those that were promoted; and its numbers go on where planned.
/// Returns its measures and the digest of the planned events.
pub(super) fn log(path: &Path, project: &ProjectPlan) -> Result<(LogFacts, String), ImportError> {
    let made = open(path)?;
    let (facts, _) = examine(&made).map_err(|e| ImportError::Differs {
        what: format!("the log of {}", project.id),
        planned: "a sound log".into(),
        found: e.why,
    })?;
    let lines = EventLines::of(&made, project.log.last_seq).map_err(database(path))?;
    let what = |of: &str| format!("the {of} of {}", project.id);
    same(what("digest"), &project.log.sha256_of_event_lines, &lines)?;
    same(what("number of events"), &project.event_count.becomes, &facts.events)?;
    let given_out = project.numbers_after + i64::try_from(project.promoted.len()).unwrap_or(i64::MAX);
    same(what("last number"), &given_out, &facts.high_water)?;
    Ok((facts, lines))
}

fn open(path: &Path) -> Result<Connection, ImportError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(database(path))
}
