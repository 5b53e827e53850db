//! What plain HTTP answers where HTTPS is on: the way to HTTPS, and ACME's HTTP-01.
//!
//! Invariant: nothing that needs a key is answered in clear. A key that came in clear was readable on its way, and the
//! log says so, because the redirect itself makes everything look fine.

use crate::http::answer::plain;
use crate::http::error::ApiError;
use crate::http::{App, around};
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, LOCATION};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

/// Paths that a caller on this machine gets answered without a redirect.
pub const HEALTH: [&str; 3] = ["/healthz", "/readyz", "/version"];

/// The service of such a socket.
pub fn redirects(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route("/.well-known/acme-challenge/{token}", get(challenge))
        .fallback(to_https)
        .with_state(Arc::clone(&app));
    Router::new().fallback_service(routes).layer(from_fn_with_state(app, around::every_request))
}

async fn challenge(State(app): State<Arc<App>>, Path(token): Path<String>) -> Response {
    match app.tls.as_ref().and_then(|tls| tls.key_authorization(&token)) {
        Some(answer) => ([("content-type", "application/octet-stream")], answer).into_response(),
        None => plain(StatusCode::NOT_FOUND, "no such challenge\n"),
    }
}

async fn to_https(State(app): State<Arc<App>>, request: Request) -> Response {
    if request.headers().contains_key(AUTHORIZATION) {
        let path = request.uri().path();
        tracing::warn!(
            path,
            "a key came over plain HTTP: whoever listened has it; revoke it and use https://"
        );
    }
    let host = request.headers().get(HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    match target(&app, host, request.uri()) {
        Some(location) => (StatusCode::PERMANENT_REDIRECT, [(LOCATION, location)]).into_response(),
        None => ApiError::bad_request("this is HTTPS only, and the address cannot be spelt with it")
            .into_response(),
    }
}

/// The same address with `https`: under the name that was asked for if it is ours, else under our main one, so that no
/// request can make us send anybody elsewhere.
fn target(app: &App, host: &str, uri: &Uri) -> Option<HeaderValue> {
    let ours = app.config.base_url.strip_prefix("https://")?.split('/').next()?;
    let (asked, _) = host.rsplit_once(':').unwrap_or((host, ""));
    let port = ours.rsplit_once(':').filter(|(_, p)| p.bytes().all(|b| b.is_ascii_digit()));
    let authority = match port {
        _ if !app.tls.as_ref().is_some_and(|tls| tls.is_name(asked)) => ours.to_string(),
        Some((_, port)) => format!("{asked}:{port}"),
        None => asked.to_string(),
    };
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    HeaderValue::from_str(&format!("https://{authority}{path}")).ok()
}
