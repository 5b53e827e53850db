//! POST `/v1/projects/{id}/sync/push` (server-protocol 4.6, 5.3).
//!
//! Duty: read, check and normalise a batch completely before the log sees any of it; any 400 refuses the whole batch.
//! Invariant: the answer leaves after the log's commit. Applying the events to the live view comes later and cannot turn
//! a stored push into an error (W2).

use crate::auth::{Principal, Role};
use crate::control::Audit;
use crate::http::App;
use crate::http::answer::{json, with_head};
use crate::http::body::{Inbox, Text};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::json::{Fields, Invalid};
use crate::log::Outcome;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use td_engine::event::{NewEvent, Push};
use td_engine::id::{ActionId, DeviceId, ProjectId, Seq, SessionId};
use td_engine::payload::Payload;
use td_engine::taxonomy::Schema;
use td_engine::time::ClientTime;

/// Most events in one push.
pub const MAX_BATCH: usize = 1000;
/// Longest device and session id in bytes. They are stored with every event of the push: a thousand small ones under one
/// name of ten megabytes would be ten gigabytes.
const LONGEST_ID: usize = 1024;

/// The route.
pub async fn push(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    inbox: Inbox,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Writer).await?;
    let push = Text::push(&inbox, &app.uploads, &caller.0, |text| parse(text, &*app.schema)).await?;
    app.has_room()?;
    let open = app.projects.open(&project).await?;
    // No other request is waited for between this and the log: asked before its log was open, a push was stored half a
    // minute after its sender had been removed, and the write that it was held up maintenance.
    let _writing = caller.write_in(&app, &project, Role::Writer).await?;
    let budget = Budget::take(&app, &caller.0, push.events.len()).await?;
    let (device, session) = (push.device.clone(), push.session.clone());
    let ids: Vec<ActionId> = push.events.iter().map(|e| e.action_id).collect();
    let answered = open.log.append_at_most(push, budget.left()).await;
    let outcomes = match answered {
        Ok(Ok(outcomes)) => outcomes,
        Ok(Err(e)) => {
            budget.give_back(&app, 0).await?;
            return Err(e.into());
        }
        // Perhaps the events are in the log: the budget stays taken.
        Err(e) => return Err(ApiError::internal("failed to commit", e)),
    };
    let stored = outcomes.iter().filter(|o| matches!(o, Outcome::Accepted { .. })).count();
    budget.give_back(&app, stored).await?;
    let newest = outcomes.iter().filter_map(place).max();
    if let Some(seq) = newest {
        app.control.saw_cursor(project.as_str(), device.as_str(), seq);
    }
    app.control.saw_head(project.as_str(), open.log.head());
    for (action, outcome) in ids.iter().zip(&outcomes) {
        if let Outcome::Accepted { seq, moved: true } = outcome {
            app.control.audit(moved(&caller.0, &project, &device, &session, *action, *seq));
        }
    }
    app.metrics.stored(outcomes.iter().filter(|o| matches!(o, Outcome::Accepted { .. })).count());
    Ok(with_head(json(StatusCode::OK, &answer(&ids, &outcomes)), open.log.head().seq))
}

/// Events taken from a token's budget, before the log sees them: what is not stored is given back. If fewer are left
/// than the push holds, those are taken, and the log decides: a push that it has already must be answered again though
/// nothing is left (law 4), or an agent whose answer was lost would send it for ever.
struct Budget(Option<(String, i64)>);

impl Budget {
    async fn take(app: &App, who: &Principal, events: usize) -> Result<Self, ApiError> {
        if !who.has_budget {
            return Ok(Self(None));
        }
        let (token, events) = (who.key_id.clone(), i64::try_from(events).unwrap_or(i64::MAX));
        let asked = token.clone();
        let taken = app.control.add(move |s, _| s.spend(&asked, events)).await;
        Ok(Self(Some((token, taken.map_err(ApiError::control("failed to verify key"))?))))
    }

    /// How many events may be stored.
    fn left(&self) -> i64 {
        self.0.as_ref().map_or(i64::MAX, |(_, taken)| *taken)
    }

    async fn give_back(self, app: &App, stored: usize) -> Result<(), ApiError> {
        let Some((token, taken)) = self.0 else { return Ok(()) };
        let unused = taken - i64::try_from(stored).unwrap_or(taken);
        if unused > 0 {
            let given = app.control.add(move |s, _| s.refund(&token, unused)).await;
            given.map_err(ApiError::control("failed to verify key"))?;
        }
        Ok(())
    }
}

fn place(outcome: &Outcome) -> Option<Seq> {
    match outcome {
        Outcome::Accepted { seq, .. } => Some(*seq),
        Outcome::Duplicate { seq } => *seq,
        Outcome::Rejected { .. } => None,
    }
}

fn moved(
    by: &Principal,
    project: &ProjectId,
    device: &DeviceId,
    session: &SessionId,
    id: ActionId,
    seq: Seq,
) -> Audit {
    let detail =
        json!({"device_id": device, "session_id": session, "client_action_id": id, "server_seq": seq});
    Audit {
        kind: "event_moved",
        actor: by.user_id.clone(),
        project_id: Some(project.to_string()),
        detail: detail.to_string(),
    }
}

/// `acks` is null when nothing was stored and `rejected` absent when nothing was refused, as recorded.
#[derive(Serialize)]
struct Answer {
    accepted: usize,
    acks: Option<Vec<Ack>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<Refused>,
}

#[derive(Serialize)]
struct Ack {
    client_action_id: ActionId,
    server_seq: Seq,
}

#[derive(Serialize)]
struct Refused {
    client_action_id: ActionId,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_seq: Option<Seq>,
}

fn answer(ids: &[ActionId], outcomes: &[Outcome]) -> Answer {
    let (mut acks, mut rejected) = (Vec::with_capacity(ids.len()), Vec::new());
    for (id, outcome) in ids.iter().zip(outcomes) {
        let client_action_id = *id;
        match outcome {
            Outcome::Accepted { seq, .. } => acks.push(Ack { client_action_id, server_seq: *seq }),
            Outcome::Duplicate { seq } => {
                rejected.push(Refused { client_action_id, reason: "duplicate", server_seq: *seq });
            }
            Outcome::Rejected { reason } => {
                rejected.push(Refused { client_action_id, reason, server_seq: None });
            }
        }
    }
    Answer { accepted: acks.len(), acks: Some(acks).filter(|acks| !acks.is_empty()), rejected }
}

/// The checks in the order of the protocol: device, session, size, every entity type, then every time.
fn parse(body: &str, schema: &dyn Schema) -> Result<Push, ApiError> {
    let fields = Fields::of_body(body)?;
    let (device, session) = (fields.text_or_empty("device_id")?, fields.text_or_empty("session_id")?);
    let (given, count) = fields.first_elements("events", MAX_BATCH, Given::read)?;
    let device = DeviceId::new(device).map_err(|_| ApiError::bad_request("device_id is required"))?;
    let session = SessionId::new(session).map_err(|_| ApiError::bad_request("session_id is required"))?;
    for (name, id) in [("device_id", device.as_str()), ("session_id", session.as_str())] {
        if id.len() > LONGEST_ID {
            return Err(ApiError::bad_request(format!("{name} is longer than {LONGEST_ID} bytes")));
        }
    }
    match count {
        0 => return Err(ApiError::bad_request("events array is empty")),
        n if n > MAX_BATCH => {
            return Err(ApiError::bad_request(format!("batch size {n} exceeds max {MAX_BATCH}")));
        }
        _ => {}
    }
    let typed = given.into_iter().map(|g| match schema.entity_type(&g.entity_type) {
        Some(entity) => Ok((g, entity)),
        None => Err(ApiError::bad_request(format!("invalid entity_type: {}", g.entity_type))),
    });
    let typed = typed.collect::<Result<Vec<_>, _>>()?;
    let events = typed.into_iter().map(|(g, entity_type)| {
        let client_time = ClientTime::parse(&g.time)
            .map_err(|_| ApiError::bad_request(format!("invalid timestamp for action {}", g.id)))?;
        let payload = g.payload.map(|p| schema.scrub(entity_type.as_str(), p.as_str()).unwrap_or(p));
        let action = schema.action(&g.action);
        Ok(NewEvent {
            action_id: ActionId(g.id),
            action,
            entity_type,
            entity_id: g.entity_id,
            payload,
            client_time,
        })
    });
    Ok(Push { device, session, events: events.collect::<Result<_, ApiError>>()? })
}

/// An event as it was sent.
struct Given<'a> {
    id: i64,
    action: Cow<'a, str>,
    entity_type: Cow<'a, str>,
    entity_id: String,
    payload: Option<Payload>,
    time: Cow<'a, str>,
}

impl<'a> Given<'a> {
    fn read(value: &'a RawValue) -> Result<Self, Invalid> {
        let f = Fields::of(value)?;
        Ok(Self {
            id: f.int_or_zero("client_action_id")?,
            action: f.borrowed_or_empty("action_type")?,
            entity_type: f.borrowed_or_empty("entity_type")?,
            entity_id: f.text_or_empty("entity_id")?,
            payload: f.raw("payload").map(Payload::of),
            time: f.borrowed_or_empty("client_timestamp")?,
        })
    }
}
