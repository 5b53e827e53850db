//! `events.db`: what a log holds, and whether it is one.
//!
//! Duty: measure a log and find what would keep it from being served, before anything is made.
//! Invariant: only the reference's own table, index and nothing else passes (and what ours or Litestream add beside
//! them), so that no trigger or constraint of a stranger ever works in our log.

use super::lines::{COLUMNS, EventLines};
use super::look::{Unreadable, damage};
use crate::log::{EVENTS_SCHEMA, LogError, stored_event};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use serde_json::value::RawValue;
use td_engine::time::ClientTime;

/// The highest number that may have been given out. As many again are left: nobody comes near, and nothing ever overflows.
pub(super) const HIGHEST: i64 = i64::MAX / 2;

/// The measures of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogFacts {
    /// Stored events.
    pub events: i64,
    /// The highest sequence that is stored.
    pub last_seq: i64,
    /// The highest number ever given out; the next event gets a higher one.
    pub high_water: i64,
    /// Digest over the events ([`EventLines`]).
    pub sha256_of_event_lines: String,
    /// Issues that the events make.
    pub issues_created: i64,
    /// When the newest event was stored, as `projects.last_event_at` spells it.
    pub last_event_at: Option<String>,
}

/// Objects beside the log itself.
pub(super) struct Beside {
    /// Of Litestream.
    pub litestream: Vec<String>,
    /// Of ours.
    pub own: Vec<String>,
}

/// Checks and measures all of a log.
pub(super) fn examine(conn: &Connection) -> Result<(LogFacts, Beside), Unreadable> {
    let beside = schema(conn)?;
    if let Some(damage) = damage(conn)? {
        return Err(Unreadable::new("damaged", format!("is damaged: {damage}")));
    }
    let mut facts = LogFacts::default();
    let mut lines = EventLines::default();
    let mut events = conn.prepare(&format!("SELECT {COLUMNS} FROM events ORDER BY server_seq"))?;
    let mut rows = events.query([])?;
    while let Some(row) = rows.next()? {
        facts.last_seq = row.get(0)?;
        facts.events += 1;
        if facts.last_seq < 1 {
            return Err(Unreadable::new("damaged", format!("has an event number {}", facts.last_seq)));
        }
        is_served(row)?;
        lines.add(row)?;
    }
    facts.sha256_of_event_lines = lines.hex();
    let given = "SELECT max(CAST(seq AS INTEGER)) FROM sqlite_sequence WHERE name = 'events'";
    let given: Option<i64> = conn.query_row(given, [], |row| row.get(0))?;
    facts.high_water = given.unwrap_or(0).max(facts.last_seq);
    if facts.high_water > HIGHEST {
        return Err(Unreadable::new("damaged", format!("has used its numbers up to {}", facts.high_water)));
    }
    facts.issues_created = conn.query_row(
        "SELECT count(DISTINCT entity_id) FROM events WHERE entity_type = 'issues' AND action_type = 'create'",
        [],
        |row| row.get(0),
    )?;
    let newest = "SELECT CAST(server_timestamp AS TEXT) FROM events ORDER BY server_seq DESC LIMIT 1";
    let newest: Option<String> = conn.query_row(newest, [], |row| row.get(0)).optional()?.flatten();
    facts.last_event_at = newest.and_then(|t| ClientTime::parse_stored(&t).ok()).map(|t| t.utc().canonical());
    Ok((facts, beside))
}

/// Whether a pull can show the row.
fn is_served(row: &rusqlite::Row<'_>) -> Result<(), Unreadable> {
    let event = stored_event(row).map_err(|e| match e {
        LogError::Damaged { seq, what } => {
            Unreadable::new("damaged", format!("has an event {seq} that cannot be read: {what}"))
        }
        other => Unreadable::new("damaged", format!("cannot be read: {other}")),
    })?;
    // The newest one's says since when a log has been as it is, to whoever opens it.
    if !matches!(row.get_ref("server_timestamp")?.data_type(), Type::Text | Type::Null) {
        let why = format!("has an event {} whose server_timestamp is no text", event.seq);
        return Err(Unreadable::new("damaged", why));
    }
    if serde_json::from_str::<&RawValue>(event.payload.as_str()).is_err() {
        let why = format!("has an event {} whose payload is no JSON", event.seq);
        return Err(Unreadable::new("damaged", why));
    }
    Ok(())
}

fn schema(conn: &Connection) -> Result<Beside, Unreadable> {
    let mut ask = conn.prepare("SELECT type, name, coalesce(sql, '') FROM sqlite_master ORDER BY name")?;
    let objects: Vec<(String, String, String)> =
        ask.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<Result<_, _>>()?;
    let ours: Vec<String> = EVENTS_SCHEMA.split(';').map(plain).filter(|s| !s.is_empty()).collect();
    let foreign = |what: String| Unreadable::new("foreign_schema", what);
    let (mut beside, mut has_events) = (Beside { litestream: Vec::new(), own: Vec::new() }, false);
    for (kind, name, sql) in objects {
        match (kind.as_str(), name.as_str()) {
            ("table", "events") | ("index", "idx_events_entity") => {
                if !ours.contains(&plain(&sql)) {
                    return Err(foreign(format!("has a {kind} {name} that is not the reference's")));
                }
                has_events |= kind == "table";
            }
            ("table", _) if name.starts_with("_litestream_") => beside.litestream.push(name),
            ("table", _) if name.starts_with("tdsync_") => beside.own.push(name),
            ("table" | "index", _) if name.starts_with("sqlite_") => {}
            ("index", _) if name.starts_with("tdsync_") => {}
            _ => return Err(foreign(format!("has a {kind} {name}, which no log has"))),
        }
    }
    if has_events { Ok(beside) } else { Err(foreign("has no table events".into())) }
}

/// SQL without what makes no difference.
fn plain(sql: &str) -> String {
    let text: String = sql.chars().filter(|c| !c.is_whitespace() && *c != '"').collect();
    text.to_lowercase().replacen("ifnotexists", "", 1)
}
