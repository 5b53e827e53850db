//! GET `/v1/projects/{id}/sync/status` (server-protocol 4.6) and `…/sync/digest` (ours).
//!
//! Neither counts anything: the status is the log's head, the digest comes from the live view, cached per sequence.

use crate::auth::Role;
use crate::http::App;
use crate::http::answer::json;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::log::Head;
use crate::logging::blocking;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a digest waits for the live view to reach the head.
const CATCH_UP: Duration = Duration::from_secs(10);

/// GET `…/sync/status`
pub async fn status(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Reader).await?;
    let head = app.projects.open(&project).await?.log.head();
    Ok(json(StatusCode::OK, &shown(head)))
}

/// A head as it is told.
pub fn shown(head: Head) -> Value {
    let mut body = json!({"event_count": head.count, "last_server_seq": head.seq});
    if let Some(time) = head.last_time.filter(|_| head.count > 0) {
        body["last_event_time"] = time.rfc3339s_utc().into();
    }
    body
}

/// GET `…/sync/digest`
pub async fn digest(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Reader).await?;
    let open = app.projects.open(&project).await?;
    let work = blocking(move || open.digest());
    let digest = match timeout(CATCH_UP, work).await {
        Err(_) => {
            return Err(ApiError::unavailable("the live view is still catching up", Duration::from_secs(2)));
        }
        Ok(Err(e)) => return Err(ApiError::internal("failed to compute digest", e)),
        Ok(Ok(result)) => result.map_err(|e| ApiError::internal("failed to compute digest", e))?,
    };
    Ok(json(StatusCode::OK, &json!({"seq": digest.seq, "digest": digest.hex, "format": digest.format})))
}
