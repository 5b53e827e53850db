//! `/v1/admin/projects*`: every project, deleted ones included.

use super::listing::{page, slice};
use super::{Admin, ReadProjects, not_found};
use crate::control::ProjectSeen;
use crate::http::App;
use crate::http::answer::json;
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::http::status;
use crate::log::Head;
use crate::logging::Trail;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use td_engine::id::ProjectId;

fn shown(seen: &ProjectSeen) -> Value {
    let project = &seen.project;
    let mut body = json!({
        "id": project.id,
        "name": project.name,
        "slug": project.slug,
        "event_count": seen.events,
        "last_event_at": seen.last_event_at.map(|t| t.rfc3339s_utc()),
        "member_count": seen.members,
        "created_at": project.created_at.rfc3339s_utc(),
        "updated_at": project.updated_at.rfc3339s_utc(),
    });
    if let Some(at) = project.deleted_at {
        body["deleted_at"] = at.rfc3339s_utc().into();
    }
    body
}

/// The project of a path. A text that is no project id is looked up nowhere (W24).
pub(super) async fn known(app: &App, id: &str) -> Result<(ProjectId, ProjectSeen), ApiError> {
    let project = ProjectId::parse(id).map_err(|_| not_found("project not found"))?;
    let asked = project.clone();
    let found = app.control.seen(move |s| s.project_seen(asked.as_str())).await;
    let found = found.map_err(|e| ApiError::admin("failed to get project", e))?;
    let found = found.ok_or_else(|| not_found("project not found"))?;
    Trail::project(project.as_str());
    Ok((project, found))
}

/// GET `…/projects`
pub async fn projects(
    State(app): State<Arc<App>>,
    _: Admin<ReadProjects>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    const FAILED: &str = "failed to list projects";
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let (slice, name) = (slice(&query, FAILED)?, query.text("q").map(str::to_string));
    let deleted = query.text("include_deleted") == Some("true");
    let found = app.control.seen(move |s| s.projects_page(name.as_deref(), deleted, &slice)).await;
    Ok(page(found.map_err(|e| ApiError::admin(FAILED, e))?, |p| p.project.id.clone(), shown))
}

/// GET `…/projects/{id}`
pub async fn project(
    State(app): State<Arc<App>>,
    _: Admin<ReadProjects>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (_, seen) = known(&app, &id).await?;
    let mut body = shown(&seen);
    if !seen.project.description.is_empty() {
        body["description"] = seen.project.description.into();
    }
    Ok(json(StatusCode::OK, &body))
}

/// GET `…/projects/{id}/members`
pub async fn members(
    State(app): State<Arc<App>>,
    _: Admin<ReadProjects>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (project, _) = known(&app, &id).await?;
    let members = app.control.ask(move |s| s.members(project.as_str())).await;
    let members = members.map_err(|e| ApiError::admin("failed to list members", e))?;
    let shown = members.iter().map(|m| {
        json!({
            "user_id": m.user_id,
            "email": m.email,
            "role": m.role,
            "invited_by": m.invited_by,
            "created_at": m.created_at.rfc3339s_utc(),
        })
    });
    Ok(json(StatusCode::OK, &json!({"data": shown.collect::<Vec<_>>()})))
}

/// GET `…/projects/{id}/sync/status`
pub async fn status(
    State(app): State<Arc<App>>,
    _: Admin<ReadProjects>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (project, _) = known(&app, &id).await?;
    Ok(json(StatusCode::OK, &status::shown(head(&app, &project).await?)))
}

pub(super) async fn head(app: &App, project: &ProjectId) -> Result<Head, ApiError> {
    let open = app.projects.open(project).await.map_err(ApiError::admin_log)?;
    Ok(open.log.head())
}

/// GET `…/projects/{id}/sync/cursors`. Unlike in the reference, a list that is empty stays so: filling it reads the whole
/// log, and here every push and pull writes its cursor.
pub async fn cursors(
    State(app): State<Arc<App>>,
    _: Admin<ReadProjects>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (project, _) = known(&app, &id).await?;
    let head = head(&app, &project).await?.seq.0;
    let cursors = app.control.seen(move |s| s.cursors(project.as_str())).await;
    let cursors = cursors.map_err(|e| ApiError::admin("failed to list cursors", e))?;
    let shown = cursors.iter().map(|c| {
        json!({
            "client_id": c.client,
            "last_event_id": c.seq,
            "last_sync_at": c.at.map(|t| t.rfc3339s_utc()),
            "distance_from_head": head - c.seq,
        })
    });
    Ok(json(StatusCode::OK, &json!({"data": shown.collect::<Vec<_>>()})))
}
