//! The outstanding events of this device: actions that are not in the log up to the cursor.
//!
//! Duty: turn action rows into events, ours and Go's alike, in the order of their rowids.
//! Invariant: an action yields the same event every time it is read (the server compares it, law 4).
//! Danger: one bad row must not stop the others; it is reported and passed over (client-engine 2.9, 10.8).

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::value::RawValue;
use td_engine::event::{LogEvent, NewEvent};
use td_engine::id::{ActionId, DeviceId, Seq, SessionId};
use td_engine::payload::Payload;
use td_engine::taxonomy::{SYNCED, Schema, TdSchema, action_of_local_verb};
use td_engine::time::ClientTime;

/// One row of the action log with what we know about it.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    pub rowid: i64,
    pub id: String,
    verb: String,
    entity_type: String,
    entity_id: String,
    previous: String,
    new: String,
    timestamp: String,
    meta: Option<String>,
    /// The key it is pushed under, once that is decided.
    pub key: Option<(DeviceId, SessionId)>,
}

/// Why an action can never become an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsendable {
    /// By design: sessions, git snapshots, history.
    #[error("{0} stay on this device")]
    LocalOnly(String),
    #[error("no entity type is called {0:?}")]
    EntityType(String),
    #[error("its time is not readable: {0:?}")]
    Time(String),
    #[error("its {0} is not JSON")]
    Json(&'static str),
}

const SELECT: &str = "SELECT a.rowid, a.id, a.action_type, a.entity_type, a.entity_id, \
    coalesce(a.previous_data, ''), coalesce(a.new_data, ''), a.timestamp, t.meta, t.device, t.session \
    FROM action_log a LEFT JOIN tdsync_action t ON t.action_id = a.id";

/// The newest sequence the rows contain, 0 before the first and where our tables are missing.
pub(crate) fn cursor(conn: &Connection) -> rusqlite::Result<Seq> {
    let mut ask =
        conn.prepare_cached("SELECT CAST(value AS INTEGER) FROM tdsync_meta WHERE key = 'cursor'")?;
    Ok(Seq(ask.query_row([], |r| r.get(0)).optional()?.unwrap_or(0)))
}

/// One action.
pub(crate) fn one(conn: &Connection, rowid: i64) -> rusqlite::Result<Option<Action>> {
    let mut ask = conn.prepare_cached(&format!("{SELECT} WHERE a.rowid = ?1"))?;
    ask.query_row([rowid], Action::from_row).optional()
}

/// Actions that wait to be pushed, oldest first.
pub(crate) fn unsent(conn: &Connection) -> rusqlite::Result<Vec<Action>> {
    let sql = format!(
        "{SELECT} WHERE a.synced_at IS NULL AND a.undone = 0 AND t.rejected IS NULL ORDER BY a.rowid"
    );
    let mut ask = conn.prepare_cached(&sql)?;
    ask.query_map([], Action::from_row)?.collect()
}

/// Actions whose events the log does not hold up to `cursor`, oldest first: what stands on top of the log's rows. A
/// rejected one is among them: the person made the change, and it stays visible here until they decide otherwise.
pub(crate) fn outstanding(conn: &Connection, cursor: Seq) -> rusqlite::Result<Vec<Action>> {
    let sql = format!(
        "{SELECT} WHERE a.undone = 0 AND (a.synced_at IS NULL OR a.server_seq > ?1) ORDER BY a.rowid"
    );
    conn.prepare_cached(&sql)?.query_map([cursor.0], Action::from_row)?.collect()
}

/// The events that wait to be pushed, oldest first; what stays here by design is left out.
pub(crate) fn waiting(conn: &Connection) -> rusqlite::Result<Vec<NewEvent>> {
    Ok(unsent(conn)?.iter().filter_map(|a| a.event().ok()).collect())
}

impl Action {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (device, session): (Option<String>, Option<String>) = (row.get(9)?, row.get(10)?);
        let key = device.zip(session).and_then(|(d, s)| DeviceId::new(d).ok().zip(SessionId::new(s).ok()));
        Ok(Self {
            rowid: row.get(0)?,
            id: row.get(1)?,
            verb: row.get(2)?,
            entity_type: row.get(3)?,
            entity_id: row.get(4)?,
            previous: row.get(5)?,
            new: row.get(6)?,
            timestamp: row.get(7)?,
            meta: row.get(8)?,
            key,
        })
    }

    /// The event this action is. Text of the two halves is carried, not rewritten.
    pub fn event(&self) -> Result<NewEvent, Unsendable> {
        let entity_type = TdSchema
            .entity_type(&self.entity_type)
            .ok_or_else(|| Unsendable::EntityType(self.entity_type.clone()))?;
        if !SYNCED.contains(&entity_type.as_str()) {
            return Err(Unsendable::LocalOnly(entity_type.to_string()));
        }
        let client_time = ClientTime::parse_stored(&self.timestamp)
            .map_err(|_| Unsendable::Time(self.timestamp.clone()))?;
        let half = |name: &'static str, text: &'_ str| {
            let text = if text.is_empty() { "{}" } else { text };
            serde_json::from_str::<Box<RawValue>>(text).map_err(|_| Unsendable::Json(name))
        };
        let (new, previous) = (half("new_data", &self.new)?, half("previous_data", &self.previous)?);
        let meta = match &self.meta {
            Some(meta) => format!(r#""meta":{meta},"#),
            None => String::new(),
        };
        let text = format!(
            r#"{{{meta}"new_data":{},"previous_data":{},"schema_version":1}}"#,
            new.get(),
            previous.get()
        );
        let payload = Payload::parse(&text).map_err(|_| Unsendable::Json("payload"))?;
        Ok(NewEvent {
            action_id: ActionId(self.rowid),
            action: action_of_local_verb(&self.verb),
            payload: Some(TdSchema.scrub(entity_type.as_str(), payload.as_str()).unwrap_or(payload)),
            entity_type,
            entity_id: self.entity_id.clone(),
            client_time,
        })
    }

    /// Whether `logged` is this action's event: the same key and, because numbers can be used twice after a database was
    /// put back from a copy, the same content (law 4).
    pub fn is(&self, logged: &LogEvent) -> bool {
        let Some((device, session)) = &self.key else { return false };
        let same_session = logged.session.as_str() == session.as_str()
            || logged
                .session
                .as_str()
                .strip_prefix(session.as_str())
                .is_some_and(|rest| rest.starts_with('~'));
        if logged.device != *device || !same_session || logged.action_id.0 != self.rowid {
            return false;
        }
        self.event().is_ok_and(|event| {
            event.action.as_str() == logged.action
                && event.entity_type == logged.entity_type
                && event.entity_id == logged.entity_id
                && event.payload.is_some_and(|p| logged.payload.was(&p))
        })
    }
}
