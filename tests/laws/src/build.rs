//! Pushes and readings in few words.

use std::ops::ControlFlow;
use td_engine::event::{LogEvent, NewEvent, Push};
use td_engine::id::{ActionId, DeviceId, Seq, SessionId};
use td_engine::payload::Payload;
use td_engine::taxonomy::{Action, Schema, TdSchema};
use td_engine::time::ClientTime;
use td_server::log::{Clock, EventLog, LogError, Outcome, ReadQuery};

/// A clock that always says the same.
pub fn clock() -> Clock {
    let now = ClientTime::parse("2026-11-21T09:53:18.7Z").expect("time");
    std::sync::Arc::new(move || now)
}

/// Creation of issue `td-<n>` under key `n`.
pub fn event(n: i64) -> NewEvent {
    titled(n, "a title")
}

/// As [`event`], with a title of its own.
pub fn titled(n: i64, title: &str) -> NewEvent {
    let body =
        serde_json::json!({"new_data": {"id": format!("td-{n}"), "title": title}, "schema_version": 1});
    NewEvent {
        action_id: ActionId(n),
        action: Action::Create,
        entity_type: TdSchema.entity_type("issues").expect("known"),
        entity_id: format!("td-{n}"),
        payload: Some(Payload::from_value(&body)),
        client_time: ClientTime::parse("2026-11-21T09:53:18.7+02:00").expect("time"),
    }
}

/// A push of `device` in session `s`.
pub fn push(device: &str, events: impl IntoIterator<Item = NewEvent>) -> Push {
    Push {
        device: DeviceId::new(device).expect("not empty"),
        session: SessionId::new("s").expect("not empty"),
        events: events.into_iter().collect(),
    }
}

/// Pushes and waits for the answer.
pub fn append(log: &dyn EventLog, push: Push) -> Result<Vec<Outcome>, LogError> {
    log.append(push).blocking_recv().expect("an answer")
}

/// Pushes what must be taken.
pub fn stored(log: &dyn EventLog, device: &str, events: impl IntoIterator<Item = NewEvent>) -> Vec<Outcome> {
    append(log, push(device, events)).expect("stored")
}

/// Stored at this place under its own key.
pub fn accepted(seq: i64) -> Outcome {
    Outcome::Accepted { seq: Seq(seq), moved: false }
}

/// Stored at this place under another session.
pub fn moved(seq: i64) -> Outcome {
    Outcome::Accepted { seq: Seq(seq), moved: true }
}

/// There already, at this place.
pub fn duplicate(seq: i64) -> Outcome {
    Outcome::Duplicate { seq: Some(Seq(seq)) }
}

/// Everything after a sequence.
pub fn after(log: &dyn EventLog, after: i64) -> Vec<LogEvent> {
    page(log, &ReadQuery { after: Seq(after), limit: 10_000, exclude: None })
}

/// One page.
pub fn page(log: &dyn EventLog, query: &ReadQuery) -> Vec<LogEvent> {
    let mut events = Vec::new();
    let handed = log.read(query, &mut |event| {
        events.push(event);
        ControlFlow::Continue(())
    });
    assert_eq!(handed.expect("readable"), events.len());
    events
}

/// The sequences of some events.
pub fn seqs(events: &[LogEvent]) -> Vec<i64> {
    events.iter().map(|e| e.seq.0).collect()
}
