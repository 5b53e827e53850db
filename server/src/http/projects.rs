//! `/v1/projects` and `/v1/projects/{id}` (server-protocol 4.3).
//!
//! Creation makes the log first and the row second: a row without a log would be a project that cannot be pushed to, a
//! log without a row is removed again or lies unused.

use crate::auth::Role;
use crate::control::{Audit, Change, Project};
use crate::http::App;
use crate::http::answer::{json, no_content};
use crate::http::body::{Inbox, read_object};
use crate::http::caller::{Caller, not_found};
use crate::http::error::ApiError;
use crate::logging::{Trail, blocking};
use crate::secret;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use td_engine::id::ProjectId;

fn shown(project: &Project) -> Value {
    json!({
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "slug": project.slug,
        "created_at": project.created_at.rfc3339s_utc(),
        "updated_at": project.updated_at.rfc3339s_utc(),
    })
}

/// POST `/v1/projects`
pub async fn create(State(app): State<Arc<App>>, caller: Caller, inbox: Inbox) -> Result<Response, ApiError> {
    let given = read_object(&inbox, |f| Ok((f.text_or_empty("name")?, f.text_or_empty("description")?)));
    let (name, description) = given.await?;
    if name.is_empty() {
        return Err(ApiError::bad_request("name is required"));
    }
    app.has_room()?;
    let _writing = caller.write(&app).await?;
    const FAILED: &str = "failed to create project";
    let id = secret::id("p_").map_err(|e| ApiError::internal(FAILED, e))?;
    let id = ProjectId::parse(&id).map_err(|e| ApiError::internal(FAILED, e))?;
    let (logs, new) = (Arc::clone(&app.logs), id.clone());
    let made = blocking(move || logs.create(&new).map(drop)).await;
    made.map_err(|e| ApiError::internal("failed to initialize project database", e))?
        .map_err(|e| ApiError::internal("failed to initialize project database", e))?;
    let (row, owner) = (id.clone(), caller.0.user_id.clone());
    let stored =
        app.control.change(move |s, now| s.create_project(row.as_str(), &name, &description, &owner, now));
    match stored.await {
        Ok(project) => {
            Trail::project(&project.id);
            Ok(json(StatusCode::CREATED, &shown(&project)))
        }
        Err(e) => {
            let logs = Arc::clone(&app.logs);
            // The failure that is reported is the first one; a log that stays behind is without effect.
            let _ = blocking(move || logs.delete(&id)).await;
            Err(ApiError::internal(FAILED, e))
        }
    }
}

/// GET `/v1/projects`
pub async fn list(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, ApiError> {
    let user = caller.0.user_id.clone();
    let projects = app.control.ask(move |s| s.projects_of(&user)).await;
    let mut projects = projects.map_err(ApiError::control("failed to list projects"))?;
    projects.retain(|p| caller.0.role_in(&p.id, Some(Role::Owner)).is_some());
    Ok(json(StatusCode::OK, &projects.iter().map(shown).collect::<Vec<_>>()))
}

/// GET `/v1/projects/{id}`
pub async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Reader).await?;
    let found = app.control.ask(move |s| s.project(project.as_str())).await;
    let found = found.map_err(ApiError::control("failed to get project"))?.ok_or_else(not_found)?;
    Ok(json(StatusCode::OK, &shown(&found)))
}

/// PATCH `/v1/projects/{id}`
pub async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    inbox: Inbox,
) -> Result<Response, ApiError> {
    let project = caller.admitted(&app, &id, Role::Writer).await?.project;
    let (name, description) = read_object(&inbox, |f| Ok((f.text("name")?, f.text("description")?))).await?;
    if name.as_deref() == Some("") {
        return Err(ApiError::bad_request("name cannot be empty"));
    }
    let _writing = caller.write_in(&app, &project, Role::Writer).await?;
    let changed = app.control.change(move |s, now| {
        s.update_project(project.as_str(), name.as_deref(), description.as_deref(), now)
    });
    let changed = changed.await.map_err(ApiError::control("failed to update project"))?;
    Ok(json(StatusCode::OK, &shown(&changed.ok_or_else(not_found)?)))
}

/// DELETE `/v1/projects/{id}`
pub async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let project = caller.admitted(&app, &id, Role::Owner).await?.project;
    let _writing = app.gate.write().await?;
    let row = project.clone();
    let deleted = app.control.change(move |s, now| s.delete_project(row.as_str(), now)).await;
    const FAILED: &str = "failed to delete project";
    match deleted.map_err(ApiError::control(FAILED))? {
        Change::Done => {
            app.control.audit(Audit {
                kind: "project_deleted",
                actor: caller.0.user_id.clone(),
                project_id: Some(project.to_string()),
                detail: "{}".into(),
            });
            Ok(no_content())
        }
        Change::Unknown | Change::Last => Err(ApiError::internal(FAILED, "deleted before")),
    }
}
