//! An issue as a row and as a payload half (client-engine 2.1 "Payload objects").
//!
//! Invariant: what is empty is left out exactly where the reference leaves it out, because to a replayer a key that is
//! missing in the new half means "cleared".

use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;
use td_engine::time::ClientTime;

/// An issue. Serialises as the payload of an event and as the answer of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// `td-` and hex.
    pub id: String,
    /// One line.
    pub title: String,
    /// Markdown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// open, in_progress, blocked, in_review, closed.
    pub status: String,
    /// bug, feature, task, epic, chore.
    #[serde(rename = "type")]
    pub kind: String,
    /// P0 to P4.
    pub priority: String,
    /// Story points, 0 for none.
    pub points: i64,
    /// Words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Issue above it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub parent_id: String,
    /// Acceptance criteria.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub acceptance: String,
    /// Sprint name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sprint: String,
    /// Who works on it.
    pub implementer_session: String,
    /// Who made it.
    pub creator_session: String,
    /// Who reviews it.
    pub reviewer_session: String,
    /// Who asked for the review.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub review_requested_by_session: String,
    /// Who closed it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub closed_by_session: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; changes with every write, or a form left open in Go `td` would undo ours.
    pub updated_at: String,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reviewed_at: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<String>,
    /// RFC 3339; set means deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<String>,
    /// May be reviewed by its own author.
    pub minor: bool,
    /// Git branch it was made on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_branch: String,
    /// Date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defer_until: Option<String>,
    /// Date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_date: Option<String>,
    /// How often it was deferred.
    pub defer_count: i64,
}

pub(crate) const COLUMNS: &str = "id, title, description, status, type, priority, points, labels, parent_id, \
     acceptance, sprint, implementer_session, creator_session, reviewer_session, review_requested_by_session, \
     closed_by_session, created_at, updated_at, reviewed_at, closed_at, deleted_at, minor, created_branch, \
     defer_until, due_date, defer_count";

impl Issue {
    pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let text = |column: &str| row.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
        let time = |column: &str| {
            row.get::<_, Option<String>>(column).map(|t| t.filter(|t| !t.is_empty()).map(|t| rfc3339(&t)))
        };
        let some = |column: &str| row.get::<_, Option<String>>(column).map(|t| t.filter(|t| !t.is_empty()));
        let number = |column: &str| row.get::<_, Option<i64>>(column).map(Option::unwrap_or_default);
        Ok(Self {
            id: text("id")?,
            title: text("title")?,
            description: text("description")?,
            status: text("status")?,
            kind: text("type")?,
            priority: text("priority")?,
            points: number("points")?,
            labels: text("labels")?.split(',').filter(|l| !l.is_empty()).map(str::to_string).collect(),
            parent_id: text("parent_id")?,
            acceptance: text("acceptance")?,
            sprint: text("sprint")?,
            implementer_session: text("implementer_session")?,
            creator_session: text("creator_session")?,
            reviewer_session: text("reviewer_session")?,
            review_requested_by_session: text("review_requested_by_session")?,
            closed_by_session: text("closed_by_session")?,
            created_at: time("created_at")?.unwrap_or_default(),
            updated_at: time("updated_at")?.unwrap_or_default(),
            reviewed_at: time("reviewed_at")?,
            closed_at: time("closed_at")?,
            deleted_at: time("deleted_at")?,
            minor: number("minor")? != 0,
            created_branch: text("created_branch")?,
            defer_until: some("defer_until")?,
            due_date: some("due_date")?,
            defer_count: number("defer_count")?,
        })
    }

    /// The issue `id`, deleted ones included.
    pub(crate) fn load(conn: &Connection, id: &str) -> rusqlite::Result<Option<Self>> {
        let mut ask = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM issues WHERE id = ?1"))?;
        ask.query_row([id], Self::from_row).optional()
    }
}

/// Any spelling of a time in a row as RFC 3339 in UTC; what is no time stays as it is.
fn rfc3339(stored: &str) -> String {
    ClientTime::parse_stored(stored).map_or_else(|_| stored.into(), ClientTime::fixed_utc)
}

/// Statuses an issue can have.
pub const STATUSES: [&str; 5] = ["open", "in_progress", "blocked", "in_review", "closed"];
/// Types an issue can have.
pub const TYPES: [&str; 5] = ["bug", "feature", "task", "epic", "chore"];
/// Priorities an issue can have.
pub const PRIORITIES: [&str; 5] = ["P0", "P1", "P2", "P3", "P4"];
/// Points an issue can have.
pub const POINTS: [i64; 8] = [0, 1, 2, 3, 5, 8, 13, 21];
