//! A second opinion: a part of the state, folded from the log without the engine.
//!
//! Duty: say by the shortest rules what a person expects. Who comes later in the log wins, field by field; what nobody
//! removed is there; what cannot be there is recorded; a value that its successor's author had not seen is kept.
//! Invariant: knows no code of the engine, only its lists and words.
//! Danger: it says nothing about times, deletion marks and dependencies; there the copies are compared with each other.

use rusqlite::OptionalExtension;
use rusqlite::types::Value;
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, BTreeSet};
use td_engine::conflict::list_conflicts;
use td_engine::db::ProjectDb;
use td_engine::event::LogEvent;
use td_engine::id::Seq;
use td_engine::replay::list_skipped;

const FIELDS: [(&str, &[&str]); 11] = [
    ("issues", &["title", "description", "status", "type", "priority", "points", "minor", "parent_id"]),
    ("notes", &["title", "content", "pinned", "archived"]),
    ("comments", &["text", "issue_id"]),
    ("logs", &["message", "issue_id"]),
    ("handoffs", &["done", "issue_id"]),
    ("boards", &["name", "query", "view_mode"]),
    ("board_issue_positions", &["board_id", "issue_id", "position"]),
    ("issue_files", &["issue_id", "file_path", "role", "linked_sha"]),
    ("work_sessions", &["name", "start_sha", "end_sha"]),
    ("work_session_issues", &["work_session_id", "issue_id"]),
    ("issue_reviews", &["issue_id", "decision", "summary"]),
];

/// A row goes with the row that its key names, when that one is deleted or replaced.
const CASCADES: [(&str, &str, &str); 7] = [
    ("comments", "issue_id", "issues"),
    ("handoffs", "issue_id", "issues"),
    ("board_issue_positions", "board_id", "boards"),
    ("board_issue_positions", "issue_id", "issues"),
    ("issue_files", "issue_id", "issues"),
    ("work_session_issues", "work_session_id", "work_sessions"),
    ("work_session_issues", "issue_id", "issues"),
];

type Fields = Map<String, Json>;

#[derive(Default)]
struct Row {
    fields: Fields,
    /// Who wrote a field last, and where.
    writers: BTreeMap<String, (Seq, String)>,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<(String, String), Row>,
    /// Winner and loser.
    conflicts: BTreeSet<(Seq, Seq)>,
}

/// Where `db` differs from what the log says.
pub fn opinion(events: &[LogEvent], db: &ProjectDb) -> anyhow::Result<Vec<String>> {
    let without_effect: BTreeSet<Seq> = list_skipped(db.conn())?
        .into_iter()
        // These had all the effect they can have.
        .filter(|event| event.reason != "unknown_columns")
        .map(|event| event.seq)
        .collect();
    let mut state = State::default();
    for event in events.iter().filter(|e| !without_effect.contains(&e.seq)) {
        state.fold(event)?;
    }
    let mut problems = Vec::new();
    for ((table, id), row) in &state.rows {
        compare(db, table, id, &row.fields, &mut problems)?;
    }
    let kept: BTreeSet<_> = list_conflicts(db.conn())?.iter().map(|c| (c.winner_seq, c.loser_seq)).collect();
    for (winner, loser) in state.conflicts.difference(&kept) {
        problems.push(format!("event {winner} took a value of event {loser} unseen, and it is kept nowhere"));
    }
    Ok(problems)
}

fn compare(
    db: &ProjectDb,
    table: &str,
    id: &str,
    row: &Fields,
    problems: &mut Vec<String>,
) -> anyhow::Result<()> {
    let fields = fields_of(table);
    let sql = format!("SELECT {} FROM {table} WHERE id = ?1", fields.join(", "));
    let stored: Option<Vec<Value>> = db
        .conn()
        .prepare_cached(&sql)?
        .query_row([id], |r| (0..fields.len()).map(|i| r.get(i)).collect())
        .optional()?;
    let Some(stored) = stored else {
        problems.push(format!("{table} {id} is gone, and nobody removed it"));
        return Ok(());
    };
    for (field, value) in fields.iter().zip(stored) {
        let expected = row.get(*field).unwrap_or(&Json::Null);
        if !is_same(expected, &value) {
            problems.push(format!("{field} of {table} {id} is {value:?}, the log says {expected}"));
        }
    }
    Ok(())
}

impl State {
    fn fold(&mut self, event: &LogEvent) -> anyhow::Result<()> {
        let table = event.entity_type.as_str();
        if fields_of(table).is_empty() {
            return Ok(());
        }
        let key = (table.to_string(), event.entity_id.clone());
        let body = event.payload.value()?;
        // A review wraps its issue (client-engine 3.4).
        let half = |name: &str| {
            let half = body.get(name).and_then(Json::as_object).cloned().unwrap_or_default();
            let wrapped = half.get("issue").and_then(Json::as_object).filter(|_| table == "issues").cloned();
            wrapped.unwrap_or(half)
        };
        let seen = body.pointer("/meta/base_seq").and_then(Json::as_i64).map_or(Seq(-1), Seq);
        let action = event.action.as_str();
        match action {
            // Without a half to compare with, the row is written whole.
            "create" | "update" if action == "create" || half("previous_data").is_empty() => {
                let mut row = self.remove(&key).unwrap_or_default();
                row.fields.retain(|field, _| half("new_data").contains_key(field));
                self.write(&mut row, event, seen, &Fields::new(), half("new_data"));
                self.rows.insert(key, row);
            }
            "update" => {
                if let Some(mut row) = self.rows.remove(&key) {
                    self.write(&mut row, event, seen, &half("previous_data"), half("new_data"));
                    self.rows.insert(key, row);
                }
            }
            "delete" => drop(self.remove(&key)),
            // Deletion marks are times, which nobody compares here.
            _ => {}
        }
        Ok(())
    }

    /// Takes a row away, and what goes with it.
    fn remove(&mut self, key: &(String, String)) -> Option<Row> {
        let row = self.rows.remove(key)?;
        for (child, field, parent) in CASCADES {
            if parent == key.0 {
                let goes = |row: &Row| row.fields.get(field).and_then(Json::as_str) == Some(&key.1);
                self.rows.retain(|(table, _), row| table != child || !goes(row));
            }
        }
        Some(row)
    }

    /// Sets what differs between the halves; a key that is missing in the new one is cleared.
    fn write(&mut self, row: &mut Row, event: &LogEvent, seen: Seq, old: &Fields, new: Fields) {
        let (none, me) = (Json::Null, event.device.as_str());
        let names: BTreeSet<String> = old.keys().chain(new.keys()).cloned().collect();
        for name in names {
            let (before, after) = (old.get(&name).unwrap_or(&none), new.get(&name).unwrap_or(&none));
            if before == after && old.contains_key(&name) == new.contains_key(&name) {
                continue;
            }
            let stands = row.fields.get(&name).unwrap_or(&none);
            if let Some((seq, writer)) = row.writers.get(&name)
                && fields_of(event.entity_type.as_str()).contains(&name.as_str())
                && writer != me
                && *seq > seen
                && !is_equal(before, stands)
                && !is_equal(after, stands)
            {
                self.conflicts.insert((event.seq, *seq));
            }
            row.fields.insert(name.clone(), after.clone());
            row.writers.insert(name, (event.seq, me.to_string()));
        }
    }
}

fn fields_of(table: &str) -> &'static [&'static str] {
    FIELDS.iter().find(|(name, _)| *name == table).map_or(&[], |(_, fields)| fields)
}

/// Empty, zero, false and absent are one: payloads leave them out.
fn is_empty(value: &Json) -> bool {
    matches!(value, Json::Null | Json::Bool(false)) || value == "" || value.as_i64() == Some(0)
}

fn is_equal(a: &Json, b: &Json) -> bool {
    a == b || is_empty(a) && is_empty(b)
}

fn is_same(expected: &Json, stored: &Value) -> bool {
    match (expected, stored) {
        (Json::String(a), Value::Text(b)) => a == b,
        (Json::String(a), Value::Blob(b)) => a.as_bytes() == b,
        (Json::Number(a), Value::Integer(b)) => a.as_i64() == Some(*b),
        (Json::Bool(a), Value::Integer(b)) => i64::from(*a) == *b,
        (empty, Value::Text(b)) => is_empty(empty) && b.is_empty(),
        (empty, Value::Integer(b)) => is_empty(empty) && *b == 0,
        (empty, Value::Null) => is_empty(empty),
        _ => false,
    }
}
