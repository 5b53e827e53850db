//! A second opinion: a part of the state, folded from the log without the engine.
//!
//! Duty: the fields of issues and notes and the mere presence of comments and log lines, by the shortest rule that says
//! what a person expects: who comes later in the log wins, field by field, and what nobody removed is there.
//! Invariant: knows no code of the engine but its words.

use rusqlite::OptionalExtension;
use rusqlite::types::Value;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use td_engine::db::ProjectDb;
use td_engine::event::LogEvent;
use td_engine::replay::list_skipped;

const FIELDS: [(&str, &[&str]); 4] = [
    ("issues", &["title", "description", "status", "type", "priority", "points", "minor", "parent_id"]),
    ("notes", &["title", "content", "pinned", "archived"]),
    ("comments", &["text", "issue_id"]),
    ("logs", &["message", "issue_id"]),
];

type Rows<'e> = BTreeMap<(&'e str, &'e str), Map<String, Json>>;

/// Where `db` differs from what the log says.
pub fn opinion(events: &[LogEvent], db: &ProjectDb) -> anyhow::Result<Vec<String>> {
    let recorded: Vec<_> = list_skipped(db.conn())?.into_iter().map(|s| s.seq).collect();
    let mut rows = Rows::new();
    for event in events.iter().filter(|e| !recorded.contains(&e.seq)) {
        fold(&mut rows, event)?;
    }
    let mut problems = Vec::new();
    for ((table, id), row) in &rows {
        let fields = FIELDS.iter().find(|(name, _)| name == table).map_or(&[][..], |(_, fields)| fields);
        let sql = format!("SELECT {} FROM {table} WHERE id = ?1", fields.join(", "));
        let stored: Option<Vec<Value>> = db
            .conn()
            .prepare_cached(&sql)?
            .query_row([id], |r| (0..fields.len()).map(|i| r.get(i)).collect())
            .optional()?;
        let Some(stored) = stored else {
            problems.push(format!("{table} {id} is gone, and nobody removed it"));
            continue;
        };
        for (field, value) in fields.iter().zip(stored) {
            let expected = row.get(*field).unwrap_or(&Json::Null);
            if !is_same(expected, &value) {
                problems.push(format!("{field} of {table} {id} is {value:?}, the log says {expected}"));
            }
        }
    }
    Ok(problems)
}

fn fold<'e>(rows: &mut Rows<'e>, event: &'e LogEvent) -> anyhow::Result<()> {
    if !FIELDS.iter().any(|(table, _)| *table == event.entity_type.as_str()) {
        return Ok(());
    }
    let key = (event.entity_type.as_str(), event.entity_id.as_str());
    let body = event.payload.value()?;
    // A review wraps its issue (client-engine 3.4).
    let half = |name: &str| {
        let half = body.get(name).and_then(Json::as_object).cloned().unwrap_or_default();
        let wrapped = half.get("issue").and_then(Json::as_object).filter(|_| key.0 == "issues").cloned();
        wrapped.unwrap_or(half)
    };
    let (new, old) = (half("new_data"), half("previous_data"));
    match event.action.as_str() {
        "create" => drop(rows.insert(key, new)),
        "delete" => drop(rows.remove(&key)),
        "update" => {
            if let Some(row) = rows.get_mut(&key) {
                for (field, value) in &new {
                    if old.get(field) != Some(value) {
                        row.insert(field.clone(), value.clone());
                    }
                }
                row.retain(|field, _| new.contains_key(field) || !old.contains_key(field));
            }
        }
        // Deletion marks are times, which nobody compares here.
        _ => {}
    }
    Ok(())
}

/// Empty, zero, false and absent are one: payloads leave them out.
fn is_same(expected: &Json, stored: &Value) -> bool {
    match (expected, stored) {
        (Json::String(a), Value::Text(b)) => a == b,
        (Json::Number(a), Value::Integer(b)) => a.as_i64() == Some(*b),
        (Json::Bool(a), Value::Integer(b)) => i64::from(*a) == *b,
        (Json::Null, Value::Text(b)) => b.is_empty(),
        (Json::Null, Value::Integer(b)) => *b == 0,
        (Json::Null, Value::Null) => true,
        _ => false,
    }
}
