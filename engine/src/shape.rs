//! The JSON objects that payloads are made of (client-engine 2.1).
//!
//! Duty: a row or a set of fields becomes the object that every peer expects of that entity.
//! Danger: in an update, a key that is left out means "cleared". What is omitted when empty is part of the format.

use crate::db::{Row, Table};
use crate::payload::{Meta, Payload};
use crate::time::ClientTime;
use rusqlite::types::Value;
use serde_json::{Map, Value as Json, json};

/// Keys per entity; `?` marks those left out when empty, zero or null.
const SHAPES: [(&str, &str); 12] = [
    (
        "issues",
        "id title description? status type priority points labels? parent_id? acceptance? sprint? \
         implementer_session creator_session reviewer_session review_requested_by_session? closed_by_session? \
         created_at updated_at reviewed_at? closed_at? deleted_at? minor created_branch? defer_until? due_date? \
         defer_count",
    ),
    ("logs", "id issue_id session_id work_session_id message type timestamp"),
    ("comments", "id issue_id session_id text created_at"),
    ("handoffs", "id issue_id session_id done remaining decisions uncertain timestamp"),
    ("boards", "id name query is_builtin view_mode last_viewed_at? created_at updated_at"),
    ("board_issue_positions", "id board_id issue_id position added_at deleted_at?"),
    ("issue_dependencies", "id issue_id depends_on_id relation_type"),
    ("issue_files", "id issue_id file_path role linked_sha linked_at"),
    ("work_sessions", "id name session_id started_at start_sha ended_at? end_sha?"),
    ("work_session_issues", "id work_session_id issue_id tagged_at"),
    (
        "issue_reviews",
        "id issue_id reviewer_session decision summary? requested_by_session? created_at superseded_at? \
         self_review reviewed_by?",
    ),
    ("notes", "id title content created_at updated_at pinned archived deleted_at?"),
];

const BOOLEANS: [&str; 5] = ["minor", "is_builtin", "self_review", "pinned", "archived"];

/// A payload of ours: both halves, and who made it.
pub fn payload(new: &Map<String, Json>, previous: &Map<String, Json>, meta: &Meta) -> Payload {
    Payload::from_value(
        &json!({"meta": meta, "new_data": new, "previous_data": previous, "schema_version": 1}),
    )
}

/// Takes the optional keys out that are empty, zero or null, and every key that is not of this entity.
pub fn shaped(entity_type: &str, mut fields: Map<String, Json>) -> Map<String, Json> {
    keys(entity_type)
        .filter_map(|(key, is_optional)| {
            let value = fields.remove(key)?;
            (!(is_optional && is_empty(&value))).then(|| (key.to_owned(), value))
        })
        .collect()
}

/// The object of a row, times as [`ClientTime::fixed_utc`]. Applying it as a create gives the row's meaning back.
pub fn payload_object(table: &Table, row: &Row) -> Map<String, Json> {
    let field = |(column, value): (&crate::db::Column, &Value)| {
        let json = match value {
            Value::Null => Json::Null,
            Value::Integer(i) if BOOLEANS.contains(&column.name.as_str()) => json!(*i != 0),
            Value::Integer(i) => json!(i),
            Value::Real(r) => json!(r),
            Value::Text(text) => from_text(table, column, text),
            Value::Blob(bytes) => from_text(table, column, &String::from_utf8_lossy(bytes)),
        };
        (column.name.clone(), json)
    };
    shaped(&table.name, table.columns.iter().zip(&row.0).map(field).collect())
}

fn from_text(table: &Table, column: &crate::db::Column, text: &str) -> Json {
    if table.name == "issues" && column.name == "labels" {
        return text.split(',').filter(|label| !label.is_empty()).collect();
    }
    match column.is_time.then(|| ClientTime::parse_stored(text)) {
        Some(Ok(time)) => json!(time.fixed_utc()),
        _ => json!(text),
    }
}

fn keys(entity_type: &str) -> impl Iterator<Item = (&'static str, bool)> {
    let words = SHAPES.iter().find(|(name, _)| *name == entity_type).map_or("", |(_, words)| words);
    words.split_whitespace().map(|word| (word.trim_end_matches('?'), word.ends_with('?')))
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Number(n) => n.as_f64() == Some(0.0),
        Json::Bool(_) | Json::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_is_left_out_only_where_the_format_says_so() {
        let fields = json!({"id": "td-1", "title": "", "description": "", "labels": [], "points": 0,
                            "reviewer_session": "", "minor": false, "closed_at": null, "surprise": 1});
        let Json::Object(fields) = fields else { panic!("object") };
        let object = Json::Object(shaped("issues", fields));
        assert_eq!(
            object,
            json!({"id": "td-1", "title": "", "points": 0, "reviewer_session": "", "minor": false})
        );
    }
}
