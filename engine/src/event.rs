//! An event before and after a log has taken it.

use crate::id::{ActionId, DeviceId, Seq, SessionId};
use crate::payload::{Payload, short_digest};
use crate::taxonomy::{Action, EntityType};
use crate::time::ClientTime;
use serde::{Deserialize, Serialize};

/// One event of a push, normalised: every word is canonical, every time parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The client's number; third part of the idempotency key.
    pub action_id: ActionId,
    /// What it does.
    pub action: Action,
    /// To which kind of entity.
    pub entity_type: EntityType,
    /// To which entity; empty is refused by the log, event by event.
    pub entity_id: String,
    /// `None` where the client left the field out: refused as a duplicate without a sequence, one number consumed
    /// (server-protocol 5.3, W12).
    pub payload: Option<Payload>,
    /// When the client says it happened, in the client's own zone.
    pub client_time: ClientTime,
}

/// All events of one push request, in request order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// First part of the idempotency key.
    pub device: DeviceId,
    /// Second part of the idempotency key.
    pub session: SessionId,
    /// 1 to 1,000 events.
    pub events: Vec<NewEvent>,
}

/// One row of a project's log. Serialises as an event of a pull answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEvent {
    /// Place in the log.
    #[serde(rename = "server_seq")]
    pub seq: Seq,
    /// Who pushed it.
    #[serde(rename = "device_id")]
    pub device: DeviceId,
    /// In which session; may carry a `~<digest8>` suffix (law 4).
    #[serde(rename = "session_id")]
    pub session: SessionId,
    /// The client's number.
    #[serde(rename = "client_action_id")]
    pub action_id: ActionId,
    /// What it does. A text, because a log of a newer or foreign writer may hold a word we do not know, which must be
    /// quarantined by name instead of stopping the page.
    #[serde(rename = "action_type")]
    pub action: String,
    /// To which kind of entity.
    pub entity_type: EntityType,
    /// To which entity.
    pub entity_id: String,
    /// The body.
    pub payload: Payload,
    /// When the client says it happened.
    #[serde(rename = "client_timestamp")]
    pub client_time: ClientTime,
}

/// Eight hex digits over what makes an event *this* event (law 4): action, entity and canonical payload. A different
/// event under a used key is stored under session `<session>~<digest8>`.
pub fn digest8(action: &str, entity_type: &EntityType, entity_id: &str, payload: &Payload) -> String {
    let parts = serde_json::json!([action, entity_type, entity_id, payload.canonical()]);
    short_digest(&parts.to_string(), 4)
}
