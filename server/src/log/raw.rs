//! An event on its way from the log to an answer.
//!
//! Duty: carry a row to the wire without making an event of it. A pull is nothing but rows, so every text that is copied
//! and every payload that is parsed again on the way counts a thousand times a page.
//! Invariant: what is written is what [`LogEvent`] serialises to, member by member.

use std::borrow::Cow;
use td_engine::event::LogEvent;
use td_engine::id::Seq;

/// A row of a log, borrowed.
pub struct RawEvent<'r> {
    /// Place in the log.
    pub seq: Seq,
    /// Who pushed it.
    pub device: &'r str,
    /// In which session.
    pub session: &'r str,
    /// The client's number.
    pub action_id: i64,
    /// What it does.
    pub action: &'r str,
    /// To which kind of entity.
    pub entity_type: &'r str,
    /// To which entity.
    pub entity_id: &'r str,
    /// The body: JSON, checked when it was pushed.
    pub payload: Cow<'r, str>,
    /// When the client says it happened, as the wire has it.
    pub client_time: String,
}

impl<'r> From<&'r LogEvent> for RawEvent<'r> {
    fn from(event: &'r LogEvent) -> Self {
        Self {
            seq: event.seq,
            device: event.device.as_str(),
            session: event.session.as_str(),
            action_id: event.action_id.0,
            action: &event.action,
            entity_type: event.entity_type.as_str(),
            entity_id: &event.entity_id,
            payload: event.payload.as_str().into(),
            client_time: event.client_time.rfc3339n(),
        }
    }
}

impl RawEvent<'_> {
    /// Appends it as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"server_seq\":");
        number(out, self.seq.0);
        out.extend_from_slice(b",\"device_id\":");
        text(out, self.device);
        out.extend_from_slice(b",\"session_id\":");
        text(out, self.session);
        out.extend_from_slice(b",\"client_action_id\":");
        number(out, self.action_id);
        out.extend_from_slice(b",\"action_type\":");
        text(out, self.action);
        out.extend_from_slice(b",\"entity_type\":");
        text(out, self.entity_type);
        out.extend_from_slice(b",\"entity_id\":");
        text(out, self.entity_id);
        out.extend_from_slice(b",\"payload\":");
        out.extend_from_slice(self.payload.as_bytes());
        out.extend_from_slice(b",\"client_timestamp\":");
        text(out, &self.client_time);
        out.push(b'}');
    }
}

fn number(out: &mut Vec<u8>, n: i64) {
    // Writing into a vector does not fail, here and below.
    let _ = serde_json::to_writer(out, &n);
}

fn text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().any(|b| b < b' ' || b == b'"' || b == b'\\') {
        let _ = serde_json::to_writer(out, text);
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use td_engine::id::{ActionId, DeviceId, SessionId};
    use td_engine::payload::Payload;
    use td_engine::taxonomy::EntityType;
    use td_engine::time::ClientTime;

    #[test]
    fn what_is_written_is_what_the_event_serialises_to() {
        for odd in ["td-1", "a \"quoted\" \\ id", "line\nfeed \u{1} \u{2028}", "größer 🦀"] {
            let event = LogEvent {
                seq: Seq(7),
                device: DeviceId::new(odd).expect("device"),
                session: SessionId::new(odd).expect("session"),
                action_id: ActionId(-3),
                action: odd.into(),
                entity_type: EntityType::stored(odd),
                entity_id: odd.into(),
                payload: Payload::parse(r#"{"b":1.10,"a":"<x>"}"#).expect("json"),
                client_time: ClientTime::parse("2026-11-21T09:53:18.7+02:00").expect("time"),
            };
            let mut written = Vec::new();
            RawEvent::from(&event).write(&mut written);
            assert_eq!(
                String::from_utf8(written).expect("text"),
                serde_json::to_string(&event).expect("json")
            );
        }
    }
}
