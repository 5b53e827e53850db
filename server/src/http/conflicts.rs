//! GET `/v1/projects/{id}/sync/conflicts` (ours): the losing sides that are kept (law 8), oldest first, in pages.
//!
//! Read from the live view, where they stand in the order of their winners: a page costs what it shows. The answer says
//! of which state it speaks; all pages of one walk are from a growing list, so none is shown twice or left out.

use crate::auth::Role;
use crate::http::answer::{JSON, with_encoding, with_head, with_type};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::http::{App, accept};
use crate::live::{LiveError, OpenProject};
use crate::packing::{self, Encoding};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Map, Value, json};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use td_engine::conflict::{Conflict, Place, each_conflict};
use td_engine::db::{ProjectDb, Standing};
use td_engine::id::Seq;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// A page ends behind the conflict that passes this size: a lost row may be as large as a push.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// How long the answer waits for the live view to have what the log has.
const CATCH_UP: Duration = Duration::from_secs(10);

/// The route.
pub async fn conflicts(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Reader).await?;
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let limit = query.limit(DEFAULT_LIMIT, MAX_LIMIT)?;
    let invalid = || ApiError::bad_request("invalid after");
    let after = query.text("after").map(|text| place(text).ok_or_else(invalid)).transpose()?;
    let open: Arc<OpenProject> = app.projects.open(&project).await?;
    let head = open.log.head().seq;
    if !open.caught_up(CATCH_UP).await {
        return Err(ApiError::unavailable("the live view is still catching up", Duration::from_secs(2)));
    }
    let wish = accept::encoding(&headers);
    let read = open.read(move |db| page(db, after.as_ref(), limit, wish)).await;
    let (body, packed) = read.map_err(|e| ApiError::internal("failed to read conflicts", e))?;
    Ok(with_head(with_encoding(with_type(StatusCode::OK, JSON, body), packed), head))
}

/// Reads the text that an earlier page gave for the place behind it.
fn place(text: &str) -> Option<Place> {
    serde_json::from_slice(&BASE64.decode(text).ok()?).ok()
}

fn page(
    db: &ProjectDb,
    after: Option<&Place>,
    limit: usize,
    wish: Option<Encoding>,
) -> Result<(Vec<u8>, Option<Encoding>), LiveError> {
    let seq = match db.standing()? {
        Standing::At(seq) => seq,
        Standing::Rebuild(_) => Seq(0),
    };
    let (mut shown, mut bytes, mut last, mut more) = (Vec::new(), 0, None, false);
    each_conflict(db.conn(), after, &mut |conflict| {
        if shown.len() == limit || bytes >= PAGE_BYTES {
            more = true;
            return ControlFlow::Break(());
        }
        let text = show(&conflict).to_string();
        bytes += text.len();
        shown.push(text);
        last = Some(conflict.place());
        ControlFlow::Continue(())
    })?;
    // A place holds numbers and texts: it can be written.
    let next = last.filter(|_| more).and_then(|place| serde_json::to_vec(&place).ok());
    let next = next.map_or(Value::Null, |place| BASE64.encode(place).into());
    let body = format!("{{\"seq\":{seq},\"conflicts\":[{}],\"next\":{next}}}\n", shown.join(","));
    packing::whole(body.into_bytes(), wish).map_err(|e| LiveError::Lost(e.to_string()))
}

fn show(c: &Conflict) -> Value {
    let side = |seq: Seq, device: &str, values: &Map<String, Value>| json!({"server_seq": seq, "device_id": device, "values": values});
    json!({
        "id": c.id,
        "kind": c.kind.as_str(),
        "entity_type": c.entity_type,
        "entity_id": c.entity_id,
        "winner": side(c.winner_seq, &c.winner_device, &c.winner),
        "loser": side(c.loser_seq, &c.loser_device, &c.loser),
    })
}
