//! Calls of the admin routes from a page of another origin (server-protocol 1.6).
//!
//! Invariant: an origin counts only if it stands in `SYNC_CORS_ALLOWED_ORIGINS` byte for byte, or `*` does; everything
//! below `/v1/admin/` answers alike, refusals and unknown paths included.

use axum::extract::Request;
use axum::http::{HeaderValue, Response, header};

/// What an answer has to say about its caller's origin.
pub enum Origin {
    /// Nothing: not a route that other origins may call.
    NoMatter,
    /// Not listed, or none.
    Foreign,
    /// Listed.
    Allowed(HeaderValue),
}

/// Of a request.
pub fn of(origins: &[String], request: &Request) -> Origin {
    if origins.is_empty() || !request.uri().path().starts_with("/v1/admin/") {
        return Origin::NoMatter;
    }
    match request.headers().get(header::ORIGIN) {
        Some(origin) if origins.iter().any(|o| o == "*" || o.as_bytes() == origin.as_bytes()) => {
            Origin::Allowed(origin.clone())
        }
        _ => Origin::Foreign,
    }
}

/// Says so in the answer.
pub fn say<B>(response: &mut Response<B>, origin: Origin) {
    let headers = response.headers_mut();
    let origin = match origin {
        Origin::NoMatter => return,
        Origin::Foreign => None,
        Origin::Allowed(origin) => Some(origin),
    };
    // Not the reference's: a cache between must not show one origin's answer to another.
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let allowed = HeaderValue::from_static("Authorization, Content-Type");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    let methods = HeaderValue::from_static("GET, POST, PATCH, PUT, DELETE, OPTIONS");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
}
