//! Bodies as the reference sends them: one JSON value and a line feed, `application/json` without charset.

use crate::packing::Encoding;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use td_engine::id::Seq;

/// The media type of every JSON answer.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON answer.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            with_type(status, JSON, body)
        }
        // Our answers are plain structs and maps with text keys; this arm exists so that nothing panics.
        Err(_) => with_type(StatusCode::INTERNAL_SERVER_ERROR, JSON, b"{}\n".to_vec()),
    }
}

/// Name of the header with the head of the project's log, on every answer about it.
pub const HEAD: HeaderName = HeaderName::from_static("x-td-head");

/// Says where the log's head was when the answer was made.
pub fn with_head(mut response: Response, head: Seq) -> Response {
    response.headers_mut().insert(HEAD, HeaderValue::from(head.0));
    response
}

/// Says how the body is packed, and that it was the client's choice.
pub fn with_encoding(mut response: Response, packed: Option<Encoding>) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(packed) = packed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(packed.token()));
    }
    response
}

/// 204: neither body nor type.
pub fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Plain text as Go's router sends it.
pub fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = with_type(status, HeaderValue::from_static("text/plain; charset=utf-8"), text);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Any body.
pub fn with_type(status: StatusCode, kind: HeaderValue, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
