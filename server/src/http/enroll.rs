//! POST `/v1/enroll` and the page at `/connect` (DESIGN 6.1, enrolment).
//!
//! Danger: the secret in the link is a password. Only its hash is stored, it is limited per client address, and the
//! page never sees it: it stands in the fragment.

use crate::auth::Scopes;
use crate::clock::later;
use crate::control::{NewKey, Redeemed};
use crate::http::answer::{json, with_type};
use crate::http::body::{Inbox, read_object};
use crate::http::caller::{client_behind, stranger};
use crate::http::error::ApiError;
use crate::http::{App, Peer};
use crate::limit::Class;
use crate::secret;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// As a device login of the reference (server-protocol 2.2).
const KEY_LIFE: Duration = Duration::from_secs(365 * 86_400);
const LONGEST_NAME: usize = 100;

/// POST `/v1/enroll`
pub async fn enroll(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    inbox: Inbox,
) -> Result<Response, ApiError> {
    stranger(&app, Class::Auth, client_behind(&app, peer, &headers))?;
    let (secret, name) =
        read_object(&inbox, |f| Ok((f.text_or_empty("secret")?, f.text_or_empty("device_name")?))).await?;
    if secret.is_empty() {
        return Err(ApiError::bad_request("secret is required"));
    }
    const FAILED: &str = "failed to enroll";
    let expires_at = later(app.control.now(), KEY_LIFE);
    let key = NewKey::make(&device_name(&name), Scopes::stored("sync"), Some(expires_at));
    let key = key.map_err(|e| ApiError::internal(FAILED, e))?;
    let _writing = app.gate.write().await?;
    let (hash, shown) = (secret::hash(&secret.trim().to_ascii_lowercase()), key.plaintext.clone());
    let redeemed = app.control.change(move |s, now| s.redeem(&hash, &key, now)).await;
    match redeemed.map_err(ApiError::control(FAILED))? {
        Redeemed::Unknown => Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", "unknown enrolment link")),
        Redeemed::Used => {
            Err(ApiError::new(StatusCode::GONE, "already_used", "this enrolment link was used before"))
        }
        Redeemed::Expired => {
            Err(ApiError::new(StatusCode::GONE, "expired", "this enrolment link has expired"))
        }
        Redeemed::Done { user, project_id } => {
            let mut body = json!({
                "status": "complete",
                "api_key": *shown,
                "user_id": user.id,
                "email": user.email,
                "expires_at": expires_at.rfc3339s_utc(),
            });
            if let Some(project) = project_id {
                body["project_id"] = project.into();
            }
            let mut response = json(StatusCode::OK, &body);
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(response)
        }
    }
}

/// Printable, short, never empty: it is shown in lists of keys.
fn device_name(given: &str) -> String {
    let clean: String = given.trim().chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    if clean.is_empty() { "device-auth".into() } else { clean }
}

/// GET `/connect`
pub async fn page() -> Response {
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    let mut response = with_type(StatusCode::OK, html, include_str!("connect.html"));
    let headers = response.headers_mut();
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}
