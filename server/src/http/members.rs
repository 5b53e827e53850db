//! `/v1/projects/{id}/members` (server-protocol 4.4). Several mistakes of a caller are 500 on purpose: recorded so, and
//! the clients in use look at "≥ 400" only.

use crate::auth::{Role, address};
use crate::control::{Added, Change, Member};
use crate::http::App;
use crate::http::answer::{json, no_content};
use crate::http::body::{Inbox, read_object};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn shown(m: &Member) -> Value {
    json!({
        "project_id": m.project_id,
        "user_id": m.user_id,
        "email": m.email,
        "role": m.role,
        "invited_by": m.invited_by,
        "created_at": m.created_at.rfc3339s_utc(),
    })
}

fn last_owner() -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "last_owner", "a project must always have at least one owner")
}

/// For an account that another owner's invitation has made and whose address nobody has proven.
pub(super) fn unproven() -> ApiError {
    let message = "nobody has proven that this address is theirs: it came in by another owner's link; whoever runs the \
                   server makes them a link with `td-sync admin enroll create --email ADDRESS`";
    ApiError::new(StatusCode::CONFLICT, "unproven_address", message)
}

/// POST `…/members`
pub async fn add(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    inbox: Inbox,
) -> Result<Response, ApiError> {
    const FAILED: &str = "failed to add member";
    let project = caller.in_project(&app, &id, Role::Owner).await?;
    let given = read_object(&inbox, |f| {
        Ok((f.text_or_empty("user_id")?, f.text_or_empty("email")?, f.text_or_empty("role")?))
    });
    let (user_id, email, role) = given.await?;
    if user_id.is_empty() && email.is_empty() {
        return Err(ApiError::bad_request("user_id or email is required"));
    }
    // Checked before a user is made, unlike in the reference: a refused request changes nothing (law 20).
    if role.is_empty() {
        return Err(ApiError::bad_request("role is required"));
    }
    let role = Role::parse(&role).ok_or_else(|| ApiError::internal(FAILED, "unknown role"))?;
    let _writing = caller.write_in(&app, &project, Role::Owner).await?;
    let user = if user_id.is_empty() {
        // Also where sign-up is closed: the owner vouches for whom they name (W29). The account can do nothing until its
        // person signs in, and is never an admin.
        let address = address(&email).ok_or_else(|| ApiError::bad_request("valid email is required"))?;
        let made = app.control.change(move |s, now| s.ensure_user(&address, false, now)).await;
        made.map_err(ApiError::control("failed to create user"))?.0.id
    } else {
        user_id
    };
    let (row, inviter) = ((project.to_string(), user.clone()), caller.0.user_id.clone());
    let added = app.control.change(move |s, now| s.add_member(&row.0, &row.1, role, &inviter, now)).await;
    match added.map_err(ApiError::control(FAILED))? {
        Added::Since(created_at) => {
            let member = Member {
                project_id: project.to_string(),
                user_id: user,
                email,
                role: role.to_string(),
                invited_by: caller.0.user_id.clone(),
                created_at,
            };
            Ok(json(StatusCode::CREATED, &shown(&member)))
        }
        Added::Unproven => Err(unproven()),
        Added::Refused => Err(ApiError::internal(FAILED, "unknown user, or a member already")),
    }
}

/// GET `…/members`
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Reader).await?;
    let members = app.control.ask(move |s| s.members(project.as_str())).await;
    let members = members.map_err(ApiError::control("failed to list members"))?;
    Ok(json(StatusCode::OK, &members.iter().map(shown).collect::<Vec<_>>()))
}

/// PATCH `…/members/{user}`
pub async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, user)): Path<(String, String)>,
    inbox: Inbox,
) -> Result<Response, ApiError> {
    const FAILED: &str = "failed to update member";
    let project = caller.in_project(&app, &id, Role::Owner).await?;
    let role = read_object(&inbox, |f| f.text_or_empty("role")).await?;
    if role.is_empty() {
        return Err(ApiError::bad_request("role is required"));
    }
    let role = Role::parse(&role).ok_or_else(|| ApiError::internal(FAILED, "unknown role"))?;
    let _writing = caller.write_in(&app, &project, Role::Owner).await?;
    let changed = app.control.change(move |s, _| s.set_role(project.as_str(), &user, role)).await;
    match changed.map_err(ApiError::control(FAILED))? {
        Change::Done => Ok(json(StatusCode::OK, &json!({"status": "updated"}))),
        Change::Last => Err(last_owner()),
        Change::Unknown => Err(ApiError::internal(FAILED, "no such member")),
    }
}

/// DELETE `…/members/{user}`
pub async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, user)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    const FAILED: &str = "failed to remove member";
    let project = caller.in_project(&app, &id, Role::Owner).await?;
    let _writing = caller.write_in(&app, &project, Role::Owner).await?;
    let removed = app.control.change(move |s, _| s.remove_member(project.as_str(), &user)).await;
    match removed.map_err(ApiError::control(FAILED))? {
        Change::Done => Ok(no_content()),
        Change::Last => Err(last_owner()),
        Change::Unknown => Err(ApiError::internal(FAILED, "no such member")),
    }
}
