//! Calls of the admin routes from a page of another origin (server-protocol 1.6).
//!
//! Invariant: an origin counts only if it stands in `SYNC_CORS_ALLOWED_ORIGINS` byte for byte, or `*` does; everything
//! below `/v1/admin/` answers alike, refusals and unknown paths included.

use axum::extract::Request;
use axum::http::{HeaderValue, Response, header};

/// The request's origin, if it may call the admin routes and this is one.
pub fn allowed(origins: &[String], request: &Request) -> Option<HeaderValue> {
    if origins.is_empty() || !request.uri().path().starts_with("/v1/admin/") {
        return None;
    }
    let origin = request.headers().get(header::ORIGIN)?;
    origins.iter().any(|o| o == "*" || o.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

/// Says so in the answer.
pub fn allow<B>(response: &mut Response<B>, origin: HeaderValue) {
    let headers = response.headers_mut();
    // Not the reference's: a cache between must not show one origin's answer to another.
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let allowed = HeaderValue::from_static("Authorization, Content-Type");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    let methods = HeaderValue::from_static("GET, POST, PATCH, PUT, DELETE, OPTIONS");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
}
