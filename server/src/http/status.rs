//! GET `/v1/projects/{id}/sync/status` (server-protocol 4.6) and `…/sync/digest` (ours).
//!
//! Neither counts anything: the status is the log's head, the digest comes from the live view or a kept snapshot, and
//! is computed once per state.

use crate::auth::Role;
use crate::http::App;
use crate::http::answer::{json, with_head};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::live::{LiveError, OpenProject, StateDigest};
use crate::log::Head;
use crate::logging::blocking;
use crate::snapshot::Kept;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use td_engine::id::Seq;
use tokio::time::timeout;

/// How long a digest waits for the live view to reach the head, and then for its being computed.
const CATCH_UP: Duration = Duration::from_secs(10);
/// What the live view recorded so far: events without effect, of those the ones that cannot have any, losing sides.
const SKIPPED: HeaderName = HeaderName::from_static("x-td-skipped");
const QUARANTINED: HeaderName = HeaderName::from_static("x-td-quarantined");
const CONFLICTS: HeaderName = HeaderName::from_static("x-td-conflicts");
/// The sequence nearest to the one asked for that has a digest.
const NEAREST: HeaderName = HeaderName::from_static("x-td-digest-seq");

/// GET `…/sync/status`
pub async fn status(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Reader).await?;
    let open = app.projects.open(&project).await?;
    let (head, recorded) = (open.log.head(), open.recorded());
    let mut response = with_head(json(StatusCode::OK, &shown(head)), head.seq);
    for (name, count) in
        [(SKIPPED, recorded.skipped), (QUARANTINED, recorded.quarantined), (CONFLICTS, recorded.conflicts)]
    {
        response.headers_mut().insert(name, count.into());
    }
    Ok(response)
}

/// A head as it is told.
pub fn shown(head: Head) -> Value {
    let mut body = json!({"event_count": head.count, "last_server_seq": head.seq});
    if let Some(time) = head.last_time.filter(|_| head.count > 0) {
        body["last_event_time"] = time.rfc3339s_utc().into();
    }
    body
}

/// GET `…/sync/digest`: at the head, or with `?seq=N` at a kept snapshot.
pub async fn digest(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Reader).await?;
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let seq = match query.int("seq") {
        Some(seq) => {
            let seq = seq.filter(|n| *n > 0).ok_or_else(|| ApiError::bad_request("invalid seq"))?;
            Some(Seq(seq))
        }
        None => None,
    };
    let open = app.projects.open(&project).await?;
    let head = open.log.head().seq;
    let digest = match seq.filter(|seq| *seq != head) {
        None => at_head(&open).await?,
        Some(seq) => at_point(&open, seq, head).await?,
    };
    let body = json!({"seq": digest.seq, "digest": digest.hex, "format": digest.format});
    Ok(with_head(json(StatusCode::OK, &body), head))
}

async fn at_head(open: &Arc<OpenProject>) -> Result<StateDigest, ApiError> {
    if !open.caught_up(CATCH_UP).await {
        return Err(ApiError::unavailable("the live view is still catching up", Duration::from_secs(2)));
    }
    computed(open.digest()).await
}

/// Goes on after the limit, so that whoever asks again finds it done.
async fn computed(
    digest: impl Future<Output = Result<StateDigest, LiveError>>,
) -> Result<StateDigest, ApiError> {
    match timeout(CATCH_UP, digest).await {
        Ok(computed) => computed.map_err(|e| ApiError::internal("failed to compute digest", e)),
        Err(_) => Err(ApiError::unavailable("the digest is still being computed", Duration::from_secs(2))),
    }
}

async fn at_point(open: &Arc<OpenProject>, seq: Seq, head: Seq) -> Result<StateDigest, ApiError> {
    let shelf = Arc::clone(&open.shelf);
    let found = blocking(move || -> io::Result<Result<Arc<Kept>, Vec<Seq>>> {
        Ok(match shelf.at(seq)? {
            Some(kept) => Ok(kept),
            None => Err(shelf.points()?),
        })
    });
    let failed = |e: String| ApiError::internal("failed to compute digest", e);
    let found = found.await.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
    let kept = found.map_err(|points| {
        let distance = |point: &Seq| point.0.abs_diff(seq.0);
        let nearest = points.into_iter().chain([head]).min_by_key(distance).unwrap_or(head);
        let message = format!("no state is kept at sequence {seq}; the nearest is at {nearest}");
        ApiError::new(StatusCode::CONFLICT, "no_such_point", message).header(NEAREST, nearest.0)
    })?;
    computed(kept.digest_once()).await
}
