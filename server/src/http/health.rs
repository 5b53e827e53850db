//! `/healthz`, `/readyz`, `/version`, `/openapi.json` and `/v1/identity`: what is asked before anybody has a key.

use crate::http::App;
use crate::http::answer::json;
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::version;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

/// GET `/healthz` (server-protocol 4.2)
pub async fn healthz(State(app): State<Arc<App>>) -> Response {
    match app.control.ask(|s| s.ping()).await {
        Ok(()) => json(StatusCode::OK, &json!({"status": "ok"})),
        Err(_) => {
            let body = json!({"status": "error", "detail": "db unreachable"});
            json(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

/// GET `/readyz`: whether a client should be sent here now, and if not, why.
pub async fn readyz(State(app): State<Arc<App>>) -> Response {
    let mut reasons: Vec<Value> = Vec::new();
    let mut because = |id: &str, detail: String| reasons.push(json!({"id": id, "detail": detail}));
    if app.gate.is_closed() {
        because("maintenance", "writes are held; td-sync admin maintenance off".into());
    }
    if app.is_stopping() {
        because("stopping", "the server is shutting down".into());
    }
    if let Err(e) = app.control.ask(|s| s.ping()).await {
        tracing::error!(cause = %e, "the control store does not answer");
        because("control_store", "server.db does not answer; see the log".into());
    }
    if let Some(free) = app.room.shortage() {
        because("disk", format!("{free} bytes free in the data directory, pushes are refused"));
    }
    if let Some(why) = app.tls.as_ref().and_then(|tls| tls.unready()) {
        because("certificate", why);
    }
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &json!({"ready": ready, "reasons": reasons}))
}

/// GET `/version` (DESIGN 6.1)
pub async fn version(State(app): State<Arc<App>>) -> Response {
    json(StatusCode::OK, &version::json(Some(app.dir.epoch())))
}

/// GET `/openapi.json`
pub async fn openapi() -> Response {
    // Made once: it is the same for everybody.
    static DOCUMENT: LazyLock<Value> = LazyLock::new(crate::openapi::document);
    json(StatusCode::OK, &*DOCUMENT)
}

/// GET `/v1/identity?nonce=` (DESIGN 6.1)
pub async fn identity(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let nonce = query.text("nonce").unwrap_or_default();
    if !(32..=128).contains(&nonce.len()) || !nonce.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ApiError::bad_request("nonce must be 32 to 128 hexadecimal digits"));
    }
    let body = json!({"public_key": app.identity.public_key(), "signature": app.identity.sign(nonce)});
    Ok(json(StatusCode::OK, &body))
}
