//! Shapes of JSON values, in few words.

use serde_json::{Map, Value, json};

/// A JSON Schema.
pub(super) type Schema = Value;

pub(super) fn text() -> Schema {
    json!({"type": "string"})
}

/// RFC 3339.
pub(super) fn time() -> Schema {
    json!({"type": "string", "format": "date-time"})
}

pub(super) fn int() -> Schema {
    json!({"type": "integer", "format": "int64"})
}

pub(super) fn number() -> Schema {
    json!({"type": "number"})
}

pub(super) fn flag() -> Schema {
    json!({"type": "boolean"})
}

/// Any JSON value.
pub(super) fn any() -> Schema {
    json!({})
}

pub(super) fn words(words: &[&str]) -> Schema {
    json!({"type": "string", "enum": words})
}

pub(super) fn list(item: Schema) -> Schema {
    json!({"type": "array", "items": item})
}

pub(super) fn or_null(schema: Schema) -> Schema {
    json!({"anyOf": [schema, {"type": "null"}]})
}

/// Members; a name that ends in `?` may be missing.
pub(super) fn object(members: &[(&str, Schema)]) -> Schema {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for (name, schema) in members {
        let bare = name.strip_suffix('?');
        properties.insert(bare.unwrap_or(name).to_string(), schema.clone());
        if bare.is_none() {
            required.push(*name);
        }
    }
    json!({"type": "object", "properties": properties, "required": required})
}

/// An object with keys that are not known beforehand.
pub(super) fn map(value: Schema) -> Schema {
    json!({"type": "object", "additionalProperties": value})
}

/// A schema of [`named_schemas`].
pub(super) fn named(name: &str) -> Schema {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn role() -> Schema {
    words(&["owner", "writer", "reader"])
}

/// What more than one operation speaks of.
pub(super) fn named_schemas() -> Map<String, Value> {
    let event = [
        ("server_seq", int()),
        ("device_id", text()),
        ("session_id", text()),
        ("client_action_id", int()),
        ("action_type", text()),
        ("entity_type", text()),
        ("entity_id", text()),
        ("payload", any()),
        ("client_timestamp", time()),
    ];
    let user = [
        ("id", text()),
        ("email", text()),
        ("is_admin", flag()),
        ("created_at", time()),
        ("project_count", int()),
        ("last_activity", or_null(text())),
    ];
    let project = [
        ("id", text()),
        ("name", text()),
        ("slug", text()),
        ("event_count", int()),
        ("last_event_at", or_null(time())),
        ("member_count", int()),
        ("created_at", time()),
        ("updated_at", time()),
        ("deleted_at?", time()),
    ];
    let with = |all: &[(&str, Schema)], more: (&'static str, Schema)| {
        let all: Vec<_> = all.iter().cloned().chain([more]).collect();
        object(&all)
    };
    let schemas = [
        ("Error", object(&[("error", object(&[("code", text()), ("message", text())]))])),
        (
            "Project",
            object(&[
                ("id", text()),
                ("name", text()),
                ("description", text()),
                ("slug", text()),
                ("created_at", time()),
                ("updated_at", time()),
            ]),
        ),
        (
            "Member",
            object(&[
                ("project_id", text()),
                ("user_id", text()),
                ("email", text()),
                ("role", role()),
                ("invited_by", text()),
                ("created_at", time()),
            ]),
        ),
        ("Event", object(&event)),
        ("StampedEvent", with(&event, ("server_timestamp", time()))),
        (
            "SyncStatus",
            object(&[("event_count", int()), ("last_server_seq", int()), ("last_event_time?", time())]),
        ),
        (
            "Metricz",
            object(&[
                ("uptime_seconds", number()),
                ("requests", int()),
                ("server_errors", int()),
                ("client_errors", int()),
                ("push_events_accepted", int()),
                ("pull_requests", int()),
            ]),
        ),
        ("AdminUser", object(&user)),
        (
            "AdminUserWithProjects",
            with(
                &user,
                ("projects", list(object(&[("project_id", text()), ("name", text()), ("role", role())]))),
            ),
        ),
        ("AdminProject", object(&project)),
        ("AdminProjectInFull", with(&project, ("description?", text()))),
    ];
    let all = schemas.into_iter().chain(super::accounts::schemas());
    all.map(|(name, schema)| (name.to_string(), schema)).collect()
}
