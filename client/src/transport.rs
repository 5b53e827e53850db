//! What a device asks of a server, without saying how it gets there.
//!
//! The CLI speaks HTTP; the harness hands the calls to a server engine in its own process and loses, repeats and
//! delays them. Both run the very same [`crate`] code above this line.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use td_engine::event::LogEvent;
use td_engine::id::{ActionId, DeviceId, Epoch, ProjectId, Seq, SessionId};
use td_engine::payload::Payload;
use td_engine::time::ClientTime;

/// One event as it is pushed: words as the wire spells them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WireEvent {
    /// The device's number of the action.
    pub client_action_id: ActionId,
    /// Canonical action.
    pub action_type: String,
    /// Canonical entity type.
    pub entity_type: String,
    /// Entity.
    pub entity_id: String,
    /// Body.
    pub payload: Payload,
    /// When it happened.
    pub client_timestamp: ClientTime,
}

/// Body of a push.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PushRequest {
    /// Pushing device.
    pub device_id: DeviceId,
    /// Pushing session, the same at every retry of these events.
    pub session_id: SessionId,
    /// At most 1,000.
    pub events: Vec<WireEvent>,
}

/// An event that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Which.
    pub client_action_id: ActionId,
    /// Where.
    pub server_seq: Seq,
}

/// An event that was not stored now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Which.
    pub client_action_id: ActionId,
    /// `duplicate` (with a sequence: it is safe there), or why it never will be stored.
    pub reason: String,
    /// Where its first copy stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_seq: Option<Seq>,
}

/// Answer to a push. The server sends `null` or nothing for empty lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushResponse {
    /// Number of new events.
    pub accepted: i64,
    /// In request order.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub acks: Vec<Ack>,
    /// In request order.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub rejected: Vec<Rejection>,
}

/// One page of a pull.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullPage {
    /// Ascending.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub events: Vec<LogEvent>,
    /// Sequence of the last event here, or what was asked for if there is none.
    pub last_server_seq: Seq,
    /// Whether to ask again.
    pub has_more: bool,
}

/// Answer to a status request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteStatus {
    /// Stored events.
    pub event_count: i64,
    /// Newest sequence.
    pub last_server_seq: Seq,
    /// When that one arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_time: Option<ClientTime>,
}

/// Answer to a digest request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteDigest {
    /// The state after this sequence.
    pub seq: Seq,
    /// Lower-case hex.
    pub digest: String,
    /// Version of the digest's format: 1.
    pub format: u32,
}

/// Why a call did not give an answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// No answer: nothing listens, a name does not resolve, time ran out. The request may or may not have been taken.
    #[error("{url} cannot be reached: {why}")]
    Offline {
        /// What was asked.
        url: String,
        /// Which phase failed and how.
        why: String,
    },
    /// The server refused. `code` and `message` are its own (`{"error":{…}}` or top level); both empty if the body was
    /// something else.
    #[error("HTTP {status}{}", words(code, message))]
    Refused {
        /// HTTP status.
        status: u16,
        /// The server's code, as `unauthorized`.
        code: String,
        /// The server's sentence.
        message: String,
        /// From Retry-After.
        retry_after: Option<Duration>,
    },
    /// An answer that is not of this protocol (a captive portal, another program on the port).
    #[error("the answer of {url} is not td-sync's: {why}")]
    Foreign {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What a refusal says, as far as it says anything.
fn words(code: &str, message: &str) -> String {
    match (code, message) {
        ("", "") => " without a reason".into(),
        (code, "") => format!(": {code}"),
        ("", message) => format!(": {message}"),
        (code, message) => format!(": {code} {message}"),
    }
}

impl TransportError {
    /// Stable word for programs: the server's own code where it gave one.
    pub fn code(&self) -> &str {
        match self {
            Self::Offline { .. } => "offline",
            Self::Refused { code, .. } if !code.is_empty() => code,
            Self::Refused { .. } => "refused",
            Self::Foreign { .. } => "foreign_answer",
        }
    }

    /// Whether the server did not accept the key.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused { status: 401, .. })
    }
}

/// The calls a device needs for one project. Every call may be repeated safely.
pub trait Transport {
    /// Push one batch.
    fn push(&self, project: &ProjectId, request: &PushRequest) -> Result<PushResponse, TransportError>;
    /// Pull one page, own events included (client-engine 11.3).
    fn pull(&self, project: &ProjectId, after: Seq, limit: u32) -> Result<PullPage, TransportError>;
    /// Head and count.
    fn status(&self, project: &ProjectId) -> Result<RemoteStatus, TransportError>;
    /// The server's digest of the project at its head.
    fn digest(&self, project: &ProjectId) -> Result<RemoteDigest, TransportError>;
    /// The history the latest answer was from (law 9). `None` before the first answer, and from servers that know no
    /// epochs: then a restore is only noticed when the log ends before the cursor.
    fn epoch(&self) -> Option<Epoch> {
        None
    }
}

impl<T: Transport + ?Sized> Transport for &T {
    fn push(&self, project: &ProjectId, request: &PushRequest) -> Result<PushResponse, TransportError> {
        (**self).push(project, request)
    }
    fn pull(&self, project: &ProjectId, after: Seq, limit: u32) -> Result<PullPage, TransportError> {
        (**self).pull(project, after, limit)
    }
    fn status(&self, project: &ProjectId) -> Result<RemoteStatus, TransportError> {
        (**self).status(project)
    }
    fn digest(&self, project: &ProjectId) -> Result<RemoteDigest, TransportError> {
        (**self).digest(project)
    }
    fn epoch(&self) -> Option<Epoch> {
        (**self).epoch()
    }
}

fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(from)?.unwrap_or_default())
}
