//! `/v1/admin/projects/{id}/snapshot/meta`: the newest kept snapshot. Looking makes none.

use super::projects::{head, known};
use super::{Admin, ReadSnapshots};
use crate::http::App;
use crate::http::answer::json;
use crate::http::error::ApiError;
use crate::logging::blocking;
use crate::snapshot::Kept;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use td_engine::id::Seq;

/// GET `…/projects/{id}/snapshot/meta`
pub async fn snapshot_meta(
    State(app): State<Arc<App>>,
    _: Admin<ReadSnapshots>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let failed = |e: &dyn std::fmt::Display| ApiError::internal("failed to read snapshot", e.to_string());
    let (project, _) = known(&app, &id).await?;
    let head = head(&app, &project).await?.seq;
    let open = app.projects.open(&project).await.map_err(ApiError::admin_log)?;
    let looked = blocking(move || -> Result<(Seq, BTreeMap<&str, i64>), String> {
        let newest = open.shelf.newest().map_err(|e| e.to_string())?;
        let counts = newest.as_deref().map(Kept::counts).transpose().map_err(|e| e.to_string())?;
        Ok((newest.map_or(Seq(0), |kept| kept.seq()), counts.unwrap_or_default()))
    });
    let (seq, counts) = looked.await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
    let body = json!({
        "snapshot_seq": seq,
        "head_seq": head,
        "staleness": head.0 - seq.0,
        "entity_counts": counts,
    });
    Ok(json(StatusCode::OK, &body))
}
