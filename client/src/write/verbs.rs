//! What a person can do to an issue, as changes.
//!
//! Invariant: every write of an issue moves `updated_at` forward (client-engine 2.1), also when the clock does not.

use super::issue::{Issue, POINTS, PRIORITIES, STATUSES, TYPES};
use super::{Change, WriteError, cascade};
use crate::store::{Store, Tx};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::{Value, json};
use td_engine::time::ClientTime;

/// What a new issue starts with. Empty fields take the reference's defaults.
#[derive(Clone, Debug, Default)]
pub struct NewIssue {
    /// One line.
    pub title: String,
    /// Default `task`.
    pub kind: Option<String>,
    /// Default `P2`.
    pub priority: Option<String>,
    /// Story points.
    pub points: i64,
    /// Words.
    pub labels: Vec<String>,
    /// Markdown.
    pub description: String,
    /// Acceptance criteria.
    pub acceptance: String,
    /// Issue above it.
    pub parent_id: String,
    /// May be reviewed by its own author.
    pub minor: bool,
    /// Git branch it is made on.
    pub branch: String,
}

/// What an update changes; `None` leaves a field alone.
#[derive(Clone, Debug, Default)]
pub struct IssuePatch {
    /// New title.
    pub title: Option<String>,
    /// New type.
    pub kind: Option<String>,
    /// New priority.
    pub priority: Option<String>,
    /// New points.
    pub points: Option<i64>,
    /// New labels.
    pub labels: Option<Vec<String>>,
    /// New description.
    pub description: Option<String>,
    /// New acceptance criteria.
    pub acceptance: Option<String>,
    /// New parent, empty for none.
    pub parent_id: Option<String>,
    /// New status.
    pub status: Option<String>,
    /// `updated_at` as the caller read it: refuse if the issue changed since.
    pub loaded: Option<String>,
}

/// What closing an issue did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The issue.
    pub issue: Issue,
    /// Epics that closed with it and issues that are not blocked any more, as they are now.
    pub followed: Vec<Issue>,
}

/// A comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comment {
    /// `cm-` and hex.
    pub id: String,
    /// On which issue.
    pub issue_id: String,
    /// By whom.
    pub session_id: String,
    /// Markdown.
    pub text: String,
    /// RFC 3339.
    pub created_at: String,
}

/// A line of an issue's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// `lg-` and hex.
    pub id: String,
    /// On which issue.
    pub issue_id: String,
    /// By whom.
    pub session_id: String,
    /// During which work session, may be empty.
    pub work_session_id: String,
    /// What happened.
    pub message: String,
    /// progress, blocker, …
    #[serde(rename = "type")]
    pub kind: String,
    /// RFC 3339.
    pub timestamp: String,
}

impl Store {
    /// Creates an issue.
    pub fn create_issue(&mut self, new: NewIssue) -> Result<Issue, WriteError> {
        let kind = known("type", &new.kind.unwrap_or_else(|| "task".into()), &TYPES)?;
        let priority = known("priority", &new.priority.unwrap_or_else(|| "P2".into()), &PRIORITIES)?;
        points(new.points)?;
        if new.title.trim().is_empty() {
            return Err(WriteError::Invalid { what: "title", value: new.title, valid: "some text".into() });
        }
        let tx = self.begin()?;
        let now = tx.now().fixed_utc();
        let issue = Issue {
            id: free_issue_id(&tx)?,
            title: new.title,
            description: new.description,
            status: "open".into(),
            kind,
            priority,
            points: new.points,
            labels: new.labels,
            parent_id: new.parent_id,
            acceptance: new.acceptance,
            sprint: String::new(),
            implementer_session: String::new(),
            creator_session: tx.device().session.to_string(),
            reviewer_session: String::new(),
            review_requested_by_session: String::new(),
            closed_by_session: String::new(),
            created_at: now.clone(),
            updated_at: now,
            reviewed_at: None,
            closed_at: None,
            deleted_at: None,
            minor: new.minor,
            created_branch: new.branch,
            defer_until: None,
            due_date: None,
            defer_count: 0,
        };
        tx.record(&Change::create("issue", &issue.id, half(&issue)))?;
        tx.commit()?;
        Ok(issue)
    }

    /// Changes an issue. A patch that changes nothing still counts as a write, as in the reference.
    pub fn update_issue(&mut self, id: &str, patch: IssuePatch) -> Result<Issue, WriteError> {
        self.edit("update", id, patch.loaded.as_deref(), |issue, _| {
            let IssuePatch { title, kind, priority, points: new_points, labels, description, .. } = patch;
            let keep = |new: Option<String>, old: &mut String| *old = new.unwrap_or(std::mem::take(old));
            if let Some(kind) = kind {
                issue.kind = known("type", &kind, &TYPES)?;
            }
            if let Some(priority) = priority {
                issue.priority = known("priority", &priority, &PRIORITIES)?;
            }
            if let Some(status) = patch.status {
                issue.status = known("status", &status, &STATUSES)?;
            }
            if let Some(new) = new_points {
                points(new)?;
                issue.points = new;
            }
            issue.labels = labels.unwrap_or(std::mem::take(&mut issue.labels));
            keep(title, &mut issue.title);
            keep(description, &mut issue.description);
            keep(patch.acceptance, &mut issue.acceptance);
            keep(patch.parent_id, &mut issue.parent_id);
            Ok(())
        })
    }

    /// Closes an issue and logs it, with what follows from it. Closing a closed one again is refused, as the second
    /// writer saw something else.
    pub fn close_issue(&mut self, id: &str, reason: Option<&str>) -> Result<Closed, WriteError> {
        let message = reason.map_or_else(|| "Closed".to_string(), |r| format!("Closed: {r}"));
        let tx = self.begin()?;
        let before = load(&tx, id)?;
        if before.status == "closed" {
            return Err(WriteError::StatusChanged {
                id: before.id,
                from: "open".into(),
                to: "closed".into(),
            });
        }
        let mut after = before.clone();
        after.status = "closed".into();
        after.updated_at = later_than(&before.updated_at, tx.now());
        after.closed_at = Some(after.updated_at.clone());
        after.closed_by_session = tx.device().session.to_string();
        tx.record(&Change::update("close", "issue", &after.id, half(&before), half(&after)))?;
        log(&tx, &after.id, &message)?;
        let followed = cascade::follow(&tx, &after)?;
        tx.commit()?;
        Ok(Closed { issue: after, followed })
    }

    /// Deletes an issue, restorably. Published as an update of two fields (client-engine 11.2).
    pub fn delete_issue(&mut self, id: &str) -> Result<Issue, WriteError> {
        self.edit("update", id, None, |issue, now| {
            if issue.deleted_at.is_some() {
                return Err(WriteError::NotFound(issue.id.clone()));
            }
            issue.deleted_at = Some(now.into());
            Ok(())
        })
    }

    /// Adds a comment.
    pub fn comment(&mut self, id: &str, text: &str) -> Result<Comment, WriteError> {
        if text.trim().is_empty() {
            return Err(WriteError::Invalid {
                what: "comment",
                value: text.into(),
                valid: "some text".into(),
            });
        }
        let tx = self.begin()?;
        let issue = load(&tx, id)?;
        let comment = Comment {
            id: tx.fresh_id("cm-", 8),
            issue_id: issue.id,
            session_id: tx.device().session.to_string(),
            text: text.into(),
            created_at: tx.now().fixed_utc(),
        };
        tx.record(&Change::create("comments", &comment.id, half(&comment)))?;
        tx.commit()?;
        Ok(comment)
    }

    /// The issue `id`; `td-` may be left out.
    pub fn issue(&self, id: &str) -> Result<Issue, WriteError> {
        Issue::load(self.conn(), &full_id(id))?.ok_or_else(|| WriteError::NotFound(full_id(id)))
    }

    /// Issues that are not deleted, most urgent first. `status` empty: all but closed ones.
    pub fn issues(&self, statuses: &[String]) -> Result<Vec<Issue>, WriteError> {
        for status in statuses {
            known("status", status, &STATUSES)?;
        }
        let mut all = issues(self.conn())?;
        all.retain(|i| if statuses.is_empty() { i.status != "closed" } else { statuses.contains(&i.status) });
        Ok(all)
    }

    /// Comments on an issue, oldest first.
    pub fn comments(&self, id: &str) -> Result<Vec<Comment>, WriteError> {
        let mut ask = self.conn().prepare_cached(
            "SELECT id, issue_id, session_id, text, created_at FROM comments WHERE issue_id = ?1 ORDER BY created_at, id",
        )?;
        let rows = ask.query_map([full_id(id)], |r| {
            Ok(Comment {
                id: r.get(0)?,
                issue_id: r.get(1)?,
                session_id: r.get(2)?,
                text: r.get(3)?,
                created_at: r.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// History of an issue, oldest first.
    pub fn log_lines(&self, id: &str) -> Result<Vec<LogLine>, WriteError> {
        let mut ask = self.conn().prepare_cached(
            "SELECT id, issue_id, session_id, work_session_id, message, type, timestamp FROM logs \
             WHERE issue_id = ?1 ORDER BY timestamp, id",
        )?;
        let rows = ask.query_map([full_id(id)], |r| {
            Ok(LogLine {
                id: r.get(0)?,
                issue_id: r.get(1)?,
                session_id: r.get(2)?,
                work_session_id: r.get(3)?,
                message: r.get(4)?,
                kind: r.get(5)?,
                timestamp: r.get(6)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn edit(
        &mut self,
        verb: &str,
        id: &str,
        loaded: Option<&str>,
        change: impl FnOnce(&mut Issue, &str) -> Result<(), WriteError>,
    ) -> Result<Issue, WriteError> {
        let tx = self.begin()?;
        let before = load(&tx, id)?;
        if let Some(loaded) = loaded.filter(|l| *l != before.updated_at) {
            let (id, current) = (before.id, before.updated_at);
            return Err(WriteError::Stale { id, loaded: loaded.into(), current });
        }
        let mut after = before.clone();
        after.updated_at = later_than(&before.updated_at, tx.now());
        let now = after.updated_at.clone();
        change(&mut after, &now)?;
        tx.record(&Change::update(verb, "issue", &after.id, half(&before), half(&after)))?;
        tx.commit()?;
        Ok(after)
    }
}

/// `td-` in front, if it is missing.
pub(crate) fn full_id(id: &str) -> String {
    if id.starts_with("td-") { id.into() } else { format!("td-{id}") }
}

fn load(tx: &Tx<'_>, id: &str) -> Result<Issue, WriteError> {
    Issue::load(tx.conn(), &full_id(id))?.ok_or_else(|| WriteError::NotFound(full_id(id)))
}

fn issues(conn: &Connection) -> rusqlite::Result<Vec<Issue>> {
    let mut ask = conn.prepare_cached(&format!(
        "SELECT {} FROM issues WHERE deleted_at IS NULL ORDER BY priority, created_at, id",
        super::issue::COLUMNS
    ))?;
    ask.query_map([], Issue::from_row)?.collect()
}

pub(super) fn log(tx: &Tx<'_>, issue_id: &str, message: &str) -> Result<(), WriteError> {
    let line = LogLine {
        id: tx.fresh_id("lg-", 8),
        issue_id: issue_id.into(),
        session_id: tx.device().session.to_string(),
        work_session_id: String::new(),
        message: message.into(),
        kind: "progress".into(),
        timestamp: tx.now().fixed_utc(),
    };
    tx.record(&Change::create("logs", &line.id, half(&line))).map(drop)
}

/// `now`, or one nanosecond after `previous` if the clock stands still or went back.
pub(super) fn later_than(previous: &str, now: ClientTime) -> String {
    let floor = ClientTime::parse_stored(previous).map_or(i128::MIN, |p| p.unix_nanos() + 1);
    ClientTime::from_unix_nanos(now.unix_nanos().max(floor)).unwrap_or(now).fixed_utc()
}

/// Six hex digits are few: a large project meets the same ones again.
fn free_issue_id(tx: &Tx<'_>) -> Result<String, WriteError> {
    for _ in 0..3 {
        let id = tx.fresh_id("td-", 6);
        if Issue::load(tx.conn(), &id)?.is_none() {
            return Ok(id);
        }
    }
    Err(WriteError::NoEffect("failed to generate unique issue ID after 3 attempts".into()))
}

pub(super) fn half(row: &impl Serialize) -> Value {
    // The rows above are strings, numbers and lists of them: nothing that JSON could refuse.
    serde_json::to_value(row).unwrap_or_else(|_| json!({}))
}

fn known(what: &'static str, value: &str, valid: &[&str]) -> Result<String, WriteError> {
    let plain = match what {
        // The reference's shorthands.
        "priority" if value.len() == 1 => format!("P{value}"),
        "priority" => value.to_uppercase(),
        "type" if value.eq_ignore_ascii_case("story") => "feature".into(),
        _ => value.to_lowercase(),
    };
    let invalid = || WriteError::Invalid { what, value: value.into(), valid: valid.join(", ") };
    valid.contains(&plain.as_str()).then_some(plain).ok_or_else(invalid)
}

fn points(value: i64) -> Result<(), WriteError> {
    let valid = POINTS.map(|p| p.to_string()).join(", ");
    let invalid = || WriteError::Invalid { what: "points", value: value.to_string(), valid };
    POINTS.contains(&value).then_some(()).ok_or_else(invalid)
}
