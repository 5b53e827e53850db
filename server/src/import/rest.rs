//! Writes over the reference's REST routes, which reach the log later than the state (server-protocol 5.8).
//!
//! Duty: find those that a source has not promoted yet and say where in the log each will go, so that none is lost; and
//! name those that the log never got and that cannot be put into it now.
//! Invariant: an event made here is the one that the reference would have made, so promoting twice finds it again.
//! Danger: one row that cannot be promoted blocks all later ones in the reference (W11), so many may be waiting.

use super::look::{Unreadable, damage};
use crate::log::{MAX_PAYLOAD_BYTES, Outcome};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;
use std::collections::HashMap;
use td_engine::event::{NewEvent, Push, digest8};
use td_engine::id::{ActionId, DeviceId, Seq, SessionId};
use td_engine::payload::Payload;
use td_engine::taxonomy::{EntityType, Schema, TdSchema, action_of_local_verb};
use td_engine::time::ClientTime;

/// The author of everything that was written over REST.
pub(super) const DEVICE: &str = "td_watch_server";

/// What a `project.db` says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProjectDbFacts {
    /// `ok`, or what is wrong with the file, as the end of a sentence.
    pub integrity: String,
    /// Rows of issues.
    pub issues: i64,
    /// The newest sequence it claims to contain.
    pub applied: i64,
}

/// Where a promoted write goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Foreseen {
    /// Into the log, with this number; `moved` under a derived session, because another event has its key.
    Stored {
        /// Its number.
        server_seq: i64,
        /// Whether its session is a derived one.
        moved: bool,
    },
    /// It is in the log already, with this number; asking takes up a number.
    Duplicate {
        /// Its number.
        server_seq: i64,
    },
}

/// A write that will be promoted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestRow {
    /// Its number in the source's `action_log`.
    pub row: i64,
    /// In which session.
    pub session: String,
    /// What it does.
    pub action: String,
    /// To what.
    pub entity_type: String,
    /// To which one.
    pub entity_id: String,
    /// What becomes of it.
    #[serde(flatten)]
    pub foreseen: Foreseen,
}

/// A write that does not get into the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unsent {
    /// Its number in the source's `action_log`.
    pub row: i64,
    /// What it did, as the row says.
    pub action: String,
    /// To what.
    pub entity: String,
    /// Why it stays out.
    pub why: String,
}

/// What is pending in a `project.db`.
#[derive(Default)]
pub(super) struct Pending {
    pub facts: ProjectDbFacts,
    /// The highest sequence any of its tables names.
    pub highest_seq: i64,
    pub events: Vec<(i64, SessionId, NewEvent)>,
    pub unsent: Vec<Unsent>,
}

/// Reads a `project.db`. Everything but the writes that are pending is only told, never used.
pub(super) fn pending(state: &Connection, log: &Connection) -> Result<Pending, Unreadable> {
    let mut out = Pending::default();
    let number = |sql: &str| state.query_row(sql, [], |row| row.get::<_, Option<i64>>(0)).ok().flatten();
    out.facts.integrity = damage(state)?.map_or_else(|| "ok".into(), |what| format!("is damaged: {what}"));
    out.facts.issues = number("SELECT count(*) FROM issues").unwrap_or(0);
    out.facts.applied = number("SELECT max(server_seq) FROM applied_events").unwrap_or(0);
    let acknowledged = number("SELECT max(server_seq) FROM action_log").unwrap_or(0);
    out.highest_seq = out.facts.applied.max(acknowledged);
    if super::table::columns(state, "action_log")?.iter().any(|c| c == "synced_at") {
        waiting(state, &mut out)?;
        mistaken(state, log, &mut out)?;
    }
    Ok(out)
}

fn waiting(state: &Connection, out: &mut Pending) -> Result<(), Unreadable> {
    let mut ask = state.prepare(
        "SELECT rowid, action_type, entity_type, entity_id, id, session_id, previous_data, new_data, timestamp
         FROM action_log WHERE synced_at IS NULL AND undone = 0 ORDER BY rowid",
    )?;
    let mut rows = ask.query([])?;
    while let Some(row) = rows.next()? {
        match event(row) {
            Ok((session, event)) => out.events.push((row.get(0)?, session, event)),
            Err(why) => out.unsent.push(unsent(row, why)?),
        }
    }
    Ok(())
}

fn unsent(row: &Row<'_>, why: String) -> rusqlite::Result<Unsent> {
    let entity = format!("{} {}", text(row, 2)?, text(row, 3)?);
    Ok(Unsent { row: row.get(0)?, action: text(row, 1)?, entity, why })
}

/// The event that the reference would make of a row.
fn event(row: &Row<'_>) -> Result<(SessionId, NewEvent), String> {
    let get = |column| text(row, column).map_err(|e| e.to_string());
    let (id, session) = (get(4)?, get(5)?);
    if id.is_empty() || session.is_empty() {
        return Err("it has no id or no session, and the reference never sends such a row".into());
    }
    let entity_type = TdSchema.entity_type(&get(2)?);
    let entity_type = entity_type.ok_or("its kind is unknown, and the reference never sends such a row")?;
    let entity_id = get(3)?;
    if entity_id.is_empty() {
        return Err("it names no entity".into());
    }
    let payload = payload(&get(7)?, &get(6)?)?;
    let payload = TdSchema.scrub(entity_type.as_str(), payload.as_str()).unwrap_or(payload);
    let time = get(8)?;
    let client_time = ClientTime::parse_stored(&time).map_err(|e| e.to_string())?;
    let session = SessionId::new(session).map_err(|e| e.to_string())?;
    let action_id = ActionId(row.get(0).map_err(|e| e.to_string())?);
    let action = action_of_local_verb(&get(1)?);
    let event = NewEvent { action_id, action, entity_type, entity_id, payload: Some(payload), client_time };
    Ok((session, event))
}

fn payload(new: &str, previous: &str) -> Result<Payload, String> {
    let half = |name, text: &str| -> Result<Payload, String> {
        Payload::parse(if text.is_empty() { "{}" } else { text })
            .map_err(|e| format!("its {name} is no JSON: {e}"))
    };
    let (new, previous) = (half("new_data", new)?, half("previous_data", previous)?);
    let text = format!(
        r#"{{"new_data":{},"previous_data":{},"schema_version":1}}"#,
        new.as_str(),
        previous.as_str()
    );
    if text.len() > MAX_PAYLOAD_BYTES {
        return Err(format!("it has {} bytes, more than {MAX_PAYLOAD_BYTES}", text.len()));
    }
    Payload::parse(&text).map_err(|e| e.to_string())
}

/// Writes that the reference took for others: its numbers start again when a `project.db` is built anew, and a number
/// that is in the log already makes a new write a duplicate of an old one (W11).
fn mistaken(state: &Connection, log: &Connection, out: &mut Pending) -> Result<(), Unreadable> {
    let mut ask = state.prepare(
        "SELECT rowid, action_type, entity_type, entity_id, session_id, server_seq FROM action_log
         WHERE synced_at IS NOT NULL AND typeof(server_seq) = 'integer' AND undone = 0 ORDER BY rowid",
    )?;
    let mut find = log.prepare(
        "SELECT action_type = ?1 AND entity_type = ?2 AND entity_id = ?3 AND client_action_id = ?4
                AND session_id = ?5 AND device_id = ?6 FROM events WHERE server_seq = ?7",
    )?;
    let mut rows = ask.query([])?;
    while let Some(row) = rows.next()? {
        let Some(entity_type) = TdSchema.entity_type(&text(row, 2)?) else { continue };
        let (action, seq) = (action_of_local_verb(&text(row, 1)?), row.get::<_, i64>(5)?);
        let key = (
            action.as_str(),
            entity_type.as_str(),
            text(row, 3)?,
            row.get::<_, i64>(0)?,
            text(row, 4)?,
            DEVICE,
            seq,
        );
        if find.query_row(key, |r| r.get::<_, bool>(0)).optional()? != Some(true) {
            let why =
                format!("the reference took it for event {seq}, which is another one; its effect is lost");
            out.unsent.push(unsent(row, why)?);
        }
    }
    Ok(())
}

/// Says what the log will answer. The log itself decides (`log/place.rs`); an import whose log answers otherwise fails.
pub(super) fn foresee(
    log: &Connection,
    numbers_after: i64,
    events: &[(i64, SessionId, NewEvent)],
) -> Result<Vec<RestRow>, Unreadable> {
    let mut find = log.prepare(
        "SELECT server_seq, action_type, entity_type, entity_id, payload FROM events
         WHERE device_id = ?1 AND session_id = ?2 AND client_action_id = ?3",
    )?;
    let mut new: HashMap<(String, i64), (i64, String)> = HashMap::new();
    let mut out = Vec::new();
    for (n, (row, session, event)) in (1..).zip(events) {
        let Some(payload) = &event.payload else { continue };
        let (mut name, mut moved) = (session.to_string(), false);
        let digest = |name: &str, e: &EntityType, id: &str, p: &Payload| digest8(name, e, id, p);
        let own = digest(event.action.as_str(), &event.entity_type, &event.entity_id, payload);
        let foreseen = loop {
            let taken = match new.get(&(name.clone(), event.action_id.0)) {
                Some(taken) => Some(taken.clone()),
                None => find
                    .query_row((DEVICE, &name, event.action_id.0), |r| {
                        let (kind, payload) = (EntityType::stored(text(r, 2)?), Payload::stored(text(r, 4)?));
                        Ok((r.get(0)?, digest(&text(r, 1)?, &kind, &text(r, 3)?, &payload)))
                    })
                    .optional()?,
            };
            match taken {
                None => break Foreseen::Stored { server_seq: numbers_after + n, moved },
                Some((server_seq, theirs)) if theirs == own => break Foreseen::Duplicate { server_seq },
                Some(_) => (name, moved) = (format!("{name}~{own}"), true),
            }
        };
        if let Foreseen::Stored { server_seq, .. } = foreseen {
            new.insert((name, event.action_id.0), (server_seq, own));
        }
        out.push(RestRow {
            row: *row,
            session: session.to_string(),
            action: event.action.as_str().into(),
            entity_type: event.entity_type.to_string(),
            entity_id: event.entity_id.clone(),
            foreseen,
        });
    }
    Ok(out)
}

/// One write as a push of its own: each may have another session.
pub(super) fn push(session: &SessionId, event: &NewEvent) -> Option<Push> {
    let device = DeviceId::new(DEVICE).ok()?;
    Some(Push { device, session: session.clone(), events: vec![event.clone()] })
}

impl Foreseen {
    /// Whether the log's answer is this one.
    pub(super) fn is(&self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::Stored { server_seq, moved }, Outcome::Accepted { seq, moved: m }) => {
                seq.0 == *server_seq && m == moved
            }
            (Self::Duplicate { server_seq }, Outcome::Duplicate { seq }) => *seq == Some(Seq(*server_seq)),
            _ => false,
        }
    }
}

fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Integer(i) => i.to_string(),
        ValueRef::Real(r) => r.to_string(),
        ValueRef::Null => String::new(),
    })
}
