//! `/v1/admin/users*` and `/v1/admin/auth/events`.

use super::listing::{page, records, slice};
use super::{Admin, ReadServer, WriteUsers, not_found};
use crate::control::{Change, UserSeen};
use crate::http::App;
use crate::http::answer::{json, no_content};
use crate::http::error::ApiError;
use crate::http::query::Query;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;

const UNKNOWN: &str = "user not found";

fn shown(seen: &UserSeen) -> Value {
    json!({
        "id": seen.user.id,
        "email": seen.user.email,
        "is_admin": seen.user.is_admin,
        "created_at": seen.user.created_at.rfc3339n(),
        "project_count": seen.projects,
        "last_activity": seen.last_activity,
    })
}

/// GET `…/users`
pub async fn users(
    State(app): State<Arc<App>>,
    _: Admin<ReadServer>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    const FAILED: &str = "failed to list users";
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let (slice, email) = (slice(&query, FAILED)?, query.text("q").map(str::to_string));
    let found = app.control.seen(move |s| s.users_page(email.as_deref(), &slice)).await;
    Ok(page(found.map_err(|e| ApiError::admin(FAILED, e))?, |u| u.user.id.clone(), shown))
}

/// GET `…/users/{id}`
pub async fn user(
    State(app): State<Arc<App>>,
    _: Admin<ReadServer>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let found = app.control.seen(move |s| Ok((s.user_seen(&id)?, s.roles_of(&id)?))).await;
    let (user, roles) = found.map_err(|e| ApiError::admin("failed to get user", e))?;
    let mut body = shown(&user.ok_or_else(|| not_found(UNKNOWN))?);
    let roles = roles.iter().map(|(id, name, role)| json!({"project_id": id, "name": name, "role": role}));
    body["projects"] = roles.collect();
    Ok(json(StatusCode::OK, &body))
}

/// GET `…/users/{id}/keys`
pub async fn keys(
    State(app): State<Arc<App>>,
    _: Admin<ReadServer>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let found = app.control.seen(move |s| Ok((s.user_seen(&id)?, s.keys(Some(&id))?))).await;
    let (user, keys) = found.map_err(|e| ApiError::admin("failed to list api keys", e))?;
    user.ok_or_else(|| not_found(UNKNOWN))?;
    let shown = keys.iter().map(|k| {
        json!({
            "id": k.id,
            "key_prefix": k.prefix,
            "name": k.name,
            "scopes": k.scopes,
            "created_at": k.created_at.rfc3339s_utc(),
            "last_used_at": k.last_used_at.map(|t| t.rfc3339s_utc()),
            "expires_at": k.expires_at.map(|t| t.rfc3339s_utc()),
        })
    });
    Ok(json(StatusCode::OK, &json!({"data": shown.collect::<Vec<_>>()})))
}

/// DELETE `…/users/{id}/keys/{key}`. Unlike in the reference, the key has to be this user's (W35).
pub async fn revoke_key(
    State(app): State<Arc<App>>,
    admin: Admin<WriteUsers>,
    Path((id, key)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    const FAILED: &str = "failed to revoke api key";
    let _writing = app.gate.write().await?;
    let by = admin.0.user_id.clone();
    let revoked = app.control.change(move |s, now| match s.user_seen(&id)? {
        None => Ok(None),
        Some(seen) => s.revoke_key_of(&seen.user, &key, &by, now).map(Some),
    });
    match revoked.await.map_err(|e| ApiError::admin(FAILED, e))? {
        Some(Change::Done) => Ok(no_content()),
        Some(_) => Err(not_found("key not found")),
        None => Err(not_found(UNKNOWN)),
    }
}

/// GET `/v1/admin/auth/events`
pub async fn auth_events(
    State(app): State<Arc<App>>,
    _: Admin<ReadServer>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    const FAILED: &str = "failed to query auth events";
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let which = records(&query, FAILED)?;
    let text = |name: &str| query.text(name).map(str::to_string);
    let (kind, email) = (text("status"), text("email"));
    let found = app.control.seen(move |s| s.auth_events(kind.as_deref(), email.as_deref(), &which)).await;
    let found = found.map_err(|e| ApiError::admin(FAILED, e))?;
    Ok(page(found, |e| e.id.to_string(), |e| json!(e)))
}
