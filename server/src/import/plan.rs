//! What an import will do, and what it did: the same words for a dry run, a report and a program that reads either.

use super::accounts::Accounts;
use super::error::Refusal;
use super::events::LogFacts;
use super::rest::{ProjectDbFacts, RestRow, Unsent};
use super::tree::shown;
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};

/// Which way the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the reference to us.
    FromReference,
    /// From us to the reference.
    ToReference,
}

/// Something in the source that does not come along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Path in the source, or object in a database.
    pub what: String,
    /// What it is and why it stays.
    pub why: String,
}

/// A number that an import sets right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EventCount {
    /// In the source.
    pub was: i64,
    /// In what is made.
    pub becomes: i64,
}

/// One project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProjectPlan {
    /// `p_` and 16 hex digits.
    pub id: String,
    /// As given by its owner.
    pub name: String,
    /// Whether its owner has deleted it.
    pub is_deleted: bool,
    /// Its log as it is; all zero if there is none.
    pub log: LogFacts,
    /// Whether there is a log.
    pub has_log: bool,
    /// The highest number that counts as given out; new events come above it.
    pub numbers_after: i64,
    /// How many events the project's row counts.
    pub event_count: EventCount,
    /// Writes over REST that are not in the log yet: they will be.
    pub promoted: Vec<RestRow>,
    /// Writes over REST that cannot or must not get into the log.
    pub unsent: Vec<Unsent>,
    /// What the source's `project.db` says. It is built again in any case.
    pub project_db: Option<ProjectDbFacts>,
    /// Whether the new directory gets a `project.db`.
    pub makes_project_db: bool,
}

/// Everything that will be done. Equal sources give equal plans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Which way.
    pub direction: Direction,
    /// What is read.
    #[serde(serialize_with = "as_shown")]
    pub source: PathBuf,
    /// What is made.
    #[serde(serialize_with = "as_shown")]
    pub into: PathBuf,
    /// `server.db`; missing if it could not be read.
    pub accounts: Option<Accounts>,
    /// Projects, oldest first.
    pub projects: Vec<ProjectPlan>,
    /// What stays where it is.
    pub left_behind: Vec<Left>,
    /// What comes out differently than it went in, in sentences.
    pub changes: Vec<String>,
    /// What an operator should know, in sentences.
    pub warnings: Vec<String>,
    /// What has to be settled first; nothing runs while there are any.
    pub refusals: Vec<Refusal>,
    /// Room that the new directory takes at most, in bytes.
    pub bytes_needed: u64,
}

/// A path need not be text, and JSON has nothing else for it.
fn as_shown<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&shown(path))
}

impl Plan {
    pub(super) fn new(direction: Direction, source: PathBuf, into: PathBuf) -> Self {
        Self {
            direction,
            source,
            into,
            accounts: None,
            projects: Vec::new(),
            left_behind: Vec::new(),
            changes: Vec::new(),
            warnings: Vec::new(),
            refusals: Vec::new(),
            bytes_needed: 0,
        }
    }
}

/// One project as it was found in what was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProjectDone {
    /// `p_` and 16 hex digits.
    pub id: String,
    /// Its log: the planned events and the promoted ones.
    pub log: LogFacts,
    /// Digest over the planned events alone: equal to the plan's.
    pub sha256_of_planned_lines: String,
    /// Digest of the state (`docs/digest-format.md`).
    pub state_digest: Option<String>,
    /// Issues in the live view.
    pub issues: Option<i64>,
    /// Events, or parts of events, that have no effect and are recorded.
    pub skipped: Option<i64>,
    /// Losing sides that are kept.
    pub conflicts: Option<i64>,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// As it was planned.
    pub plan: Plan,
    /// Which history devices will see; new, because the reference has none. `None` on the way back.
    pub epoch: Option<String>,
    /// Projects with a log.
    pub projects: Vec<ProjectDone>,
}
