//! GET `/v1/projects/{id}/history/{type}/{entity}` (ours): every event of one entity, oldest first, in pages.
//!
//! The log's index on entities ends with the sequence, so a page costs what it shows, however long the log is.

use crate::auth::Role;
use crate::http::answer::{JSON, with_encoding, with_head, with_type};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::outlet::Outlet;
use crate::http::page::Page;
use crate::http::query::Query;
use crate::http::{App, accept};
use crate::log::{HistoryQuery, RawEvent};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::Value;
use std::sync::Arc;
use td_engine::id::Seq;
use tokio::sync::oneshot;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// The route.
pub async fn history(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, kind, entity)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Reader).await?;
    let entity_type = app.schema.entity_type(&kind);
    let entity_type =
        entity_type.ok_or_else(|| ApiError::bad_request(format!("invalid entity_type: {kind}")))?;
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let after = query.int("after_server_seq").unwrap_or(Some(0));
    let after = Seq(after.ok_or_else(|| ApiError::bad_request("invalid after_server_seq"))?);
    let limit = query.limit(DEFAULT_LIMIT, MAX_LIMIT)?;
    let open = app.projects.open(&project).await?;
    let head = open.log.head().seq;
    let (first, page) = oneshot::channel();
    let outlet = Outlet::new(accept::encoding(&headers), first);
    tokio::task::spawn_blocking(move || {
        let opening = format!(
            r#"{{"entity_type":{},"entity_id":{},"events":["#,
            Value::from(entity_type.as_str()),
            Value::from(entity.as_str())
        );
        let page = Page::new(&opening, after, limit, outlet);
        page.write(|limit, each| {
            let query = HistoryQuery { entity_type, entity_id: entity, after, limit };
            open.log.history(&query, &mut |event| each(&RawEvent::from(&event)))
        });
    });
    let (body, packed) = page.await.map_err(|e| ApiError::internal("failed to query events", e))??;
    Ok(with_head(with_encoding(with_type(StatusCode::OK, JSON, body), packed), head))
}
