//! `/v1/admin/projects/{id}/events*` and `/v1/admin/entity-types`: what is in a log.

use super::listing::{limit, moment};
use super::projects::known;
use super::{Admin, ReadEvents, not_found};
use crate::http::App;
use crate::http::answer::json;
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::log::{Filter, Inspected};
use crate::logging::blocking;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;
use serde_json::value::to_raw_value;
use std::ops::ControlFlow;
use std::sync::Arc;
use td_engine::event::LogEvent;
use td_engine::id::{ProjectId, Seq};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// A page ends behind the event that passes this size.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// A row of the log. Written from the event and not by way of a `Value`, which alters numbers, drops repeated keys and
/// cannot hold every payload that a log does.
#[derive(Serialize)]
struct Shown<'r> {
    #[serde(flatten)]
    event: &'r LogEvent,
    server_timestamp: String,
}

impl<'r> From<&'r Inspected> for Shown<'r> {
    fn from(row: &'r Inspected) -> Self {
        Self { event: &row.event, server_timestamp: row.at.rfc3339s_utc() }
    }
}

#[derive(Serialize)]
struct Page<'r> {
    data: Vec<Shown<'r>>,
    has_more: bool,
}

/// The matching events, and whether more follow.
async fn find(app: &App, project: &ProjectId, filter: Filter) -> Result<(Vec<Inspected>, bool), ApiError> {
    let open = app.projects.open(project).await.map_err(ApiError::admin_log)?;
    let found = blocking(move || {
        let (mut rows, mut bytes, mut more) = (Vec::new(), 0, false);
        // One more than asked for tells whether more follow.
        let wider = Filter { limit: filter.limit + 1, ..filter.clone() };
        let looked = open.log.inspect(&wider, &mut |row| {
            more = rows.len() == filter.limit || bytes >= PAGE_BYTES;
            if more {
                return ControlFlow::Break(());
            }
            bytes += row.event.payload.as_str().len();
            rows.push(row);
            ControlFlow::Continue(())
        });
        looked.map(|_| (rows, more))
    });
    let found = found.await.map_err(|e| ApiError::admin("failed to query events", e))?;
    found.map_err(ApiError::admin_log)
}

/// GET `…/projects/{id}/events`
pub async fn events(
    State(app): State<Arc<App>>,
    _: Admin<ReadEvents>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let (project, _) = known(&app, &id).await?;
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let entity_type = query.text("entity_type").map(|word| {
        app.schema
            .entity_type(word)
            .ok_or_else(|| ApiError::bad_request(format!("invalid entity_type: {word}")))
    });
    let text = |name: &str| query.text(name).map(str::to_string);
    let filter = Filter {
        after: Seq(query.int("after_seq").flatten().unwrap_or(0)),
        limit: limit(&query, DEFAULT_LIMIT, MAX_LIMIT),
        entity_type: entity_type.transpose()?,
        entity_id: text("entity_id"),
        action: text("action_type"),
        device: text("device_id"),
        session: text("session_id"),
        from: moment(&query, "from")?,
        to: moment(&query, "to")?,
    };
    let (rows, has_more) = find(&app, &project, filter).await?;
    let page = to_raw_value(&Page { data: rows.iter().map(Shown::from).collect(), has_more });
    Ok(json(StatusCode::OK, &page.map_err(|e| ApiError::admin("failed to read events", e))?))
}

/// GET `…/projects/{id}/events/{server_seq}`
pub async fn event(
    State(app): State<Arc<App>>,
    _: Admin<ReadEvents>,
    Path((id, seq)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let seq: i64 = seq.parse().map_err(|_| ApiError::bad_request("invalid server_seq"))?;
    let (project, _) = known(&app, &id).await?;
    let filter = Filter { after: Seq(seq.saturating_sub(1)), limit: 1, ..Filter::default() };
    let (rows, _) = find(&app, &project, filter).await?;
    let row =
        rows.first().filter(|row| row.event.seq.0 == seq).ok_or_else(|| not_found("event not found"))?;
    let row = to_raw_value(&Shown::from(row)).map_err(|e| ApiError::admin("failed to get event", e))?;
    Ok(json(StatusCode::OK, &row))
}

/// GET `/v1/admin/entity-types`
pub async fn entity_types(State(app): State<Arc<App>>, _: Admin<ReadEvents>) -> Response {
    json(StatusCode::OK, &json!({"entity_types": app.schema.entity_types()}))
}
