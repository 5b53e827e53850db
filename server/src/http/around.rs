//! What surrounds every route: request id, panic net, access log, path cleaning, body keeping, epoch header.
//!
//! Invariant: every answer, also that of a panic, a redirect or an unknown path, carries `X-Request-ID`, and the log has
//! one line `req` under the same id.
//! Danger: the query string is never logged; it may hold what a person typed.

use crate::http::App;
use crate::http::answer::{no_content, plain, with_type};
use crate::http::body::Inbox;
use crate::http::cors::{self, Origin};
use crate::http::error::{ApiError, Internal};
use crate::http::login::Stranger;
use crate::logging::{REQUESTS, Trail};
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{ALLOW, CONNECTION, HOST, LOCATION};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// Name of the header with the epoch.
pub const EPOCH: HeaderName = HeaderName::from_static("x-td-epoch");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The outermost layer.
pub async fn every_request(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let trail = Trail::begin();
    let (method, path) = (request.method().clone(), request.uri().path().to_string());
    let mut request = request;
    request.extensions_mut().insert(trail.clone());
    let origin = match clean_path(&path) == path {
        true => cors::of(&app.config.operating.cors_origins, &request),
        false => Origin::NoMatter,
    };
    let mut response = match origin {
        Origin::Allowed(_) if method == Method::OPTIONS => no_content(),
        _ => inside(trail.clone(), request, next).await,
    };
    cors::say(&mut response, origin);
    let headers = response.headers_mut();
    // Hex is always a header value.
    if let Ok(value) = HeaderValue::from_str(trail.request()) {
        headers.insert(REQUEST_ID, value);
    }
    if path.starts_with("/v1/")
        && let Ok(value) = HeaderValue::from_str(app.dir.epoch().as_str())
    {
        headers.insert(EPOCH, value);
    }
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        spell_allow(&mut response);
    }
    let (status, took) = (response.status().as_u16(), begun.elapsed());
    app.metrics.answered(&path, status, took);
    let (dur, path, method) = (format!("{took:?}"), shortened(&path), shortened(method.as_str()));
    trail.within(|| match response.extensions().get::<Internal>() {
        Some(Internal(cause)) => tracing::error!(target: REQUESTS, method, path, status, dur, cause, "req"),
        None => tracing::info!(target: REQUESTS, method, path, status, dur, "req"),
    });
    response
}

/// A path as it is logged: a stranger chooses its length.
fn shortened(path: &str) -> &str {
    const LONGEST: usize = 500;
    &path[..path.floor_char_boundary(LONGEST)]
}

/// Runs the route on a task of its own: its panic becomes an answer, and a client that hangs up does not stop it half
/// way.
async fn inside(trail: Trail, request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts == 0 && request.version() == Version::HTTP_11 {
        return plain(StatusCode::BAD_REQUEST, "400 Bad Request: missing required Host header");
    }
    if hosts > 1 {
        return plain(StatusCode::BAD_REQUEST, "400 Bad Request: too many Host headers");
    }
    if request.method() == Method::OPTIONS && request.uri().path() == "*" {
        return StatusCode::OK.into_response();
    }
    if !is_text(request.uri().path()) {
        return ApiError::bad_request("the path is not UTF-8").into_response();
    }
    if let Some(redirect) = cleaned(&request) {
        return redirect;
    }
    let (mut parts, body) = request.into_parts();
    let inbox = Inbox::new(body);
    parts.extensions.insert(inbox.clone());
    let route = tokio::spawn(trail.around(next.run(Request::from_parts(parts, Body::empty()))));
    let mut response = match route.await {
        Ok(response) => response,
        Err(e) => {
            ApiError::internal("internal server error", format!("panic recovered: {e}")).into_response()
        }
    };
    if !inbox.clear_up().await {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A redirect to the path without `//`, `.` and `..` segments, before anything else is looked at.
fn cleaned(request: &Request) -> Option<Response> {
    let path = request.uri().path();
    // The admin routes are a subtree of their own there, and its root has a slash.
    let clean = if path == "/v1/admin" { "/v1/admin/".into() } else { clean_path(path) };
    if request.method() == Method::CONNECT || clean == path || !path.starts_with('/') {
        return None;
    }
    let query = request.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
    // A browser reads a backslash as a slash, and two of them as the beginning of another host.
    let to = format!("{clean}{query}").replace('\\', "%5C");
    let mut response = if [Method::GET, Method::HEAD].contains(request.method()) {
        let link = to.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
        let page = format!("<a href=\"{link}\">Temporary Redirect</a>.\n\n");
        with_type(StatusCode::TEMPORARY_REDIRECT, HeaderValue::from_static("text/html; charset=utf-8"), page)
    } else {
        StatusCode::TEMPORARY_REDIRECT.into_response()
    };
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(&to).ok()?);
    Some(response)
}

/// Whether a path is text once its escapes are undone: the router would refuse it in words of its own.
fn is_text(path: &str) -> bool {
    if !path.contains('%') {
        return true;
    }
    let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        let escaped = match (first, digit(after.first()), digit(after.get(1))) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        if escaped.is_some() {
            rest = &after[2..];
        }
        bytes.push(escaped.unwrap_or(*first));
    }
    std::str::from_utf8(&bytes).is_ok()
}

fn clean_path(path: &str) -> Cow<'_, str> {
    let has_dots = || path.split('/').any(|segment| matches!(segment, "." | ".."));
    if path.starts_with('/') && !path.contains("//") && !has_dots() {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let ends_open = path.ends_with('/') && !kept.is_empty();
    format!("/{}{}", kept.join("/"), if ends_open { "/" } else { "" }).into()
}

/// axum lists methods in the order of registration; the reference sorts them and separates them with a blank.
fn spell_allow(response: &mut Response) {
    let listed = response.headers().get(ALLOW).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mut methods: Vec<&str> = listed.split(',').map(str::trim).filter(|m| !m.is_empty()).collect();
    methods.sort_unstable();
    methods.dedup();
    if let Ok(value) = HeaderValue::from_str(&methods.join(", ")) {
        response.headers_mut().insert(ALLOW, value);
    }
}

/// No such path.
pub fn no_such_path() -> Response {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// The router's answer where it has no path.
pub async fn not_found(State(app): State<Arc<App>>, request: Request) -> Response {
    knocked(&app, request).await.map_or_else(IntoResponse::into_response, |()| no_such_path())
}

/// The path exists, the method does not.
pub async fn method_not_allowed(State(app): State<Arc<App>>, request: Request) -> Response {
    let refused = || plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    knocked(&app, request).await.map_or_else(IntoResponse::into_response, |()| refused())
}

/// What is below the doors counts against its sender, served or not (server-protocol 8).
async fn knocked(app: &Arc<App>, request: Request) -> Result<(), ApiError> {
    if ["/auth/", "/v1/auth/"].iter().any(|door| request.uri().path().starts_with(door)) {
        Stranger::from_request_parts(&mut request.into_parts().0, app).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Trail, clean_path, inside};
    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::http::StatusCode;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_route_that_panics_is_an_answer_and_its_words_stay_inside() {
        async fn broken() -> StatusCode {
            panic!("secret detail")
        }
        let service = Router::new()
            .route("/", get(broken))
            .layer(from_fn(|request, next| inside(Trail::begin(), request, next)));
        let request = Request::builder().uri("/").header("host", "x").body(Body::empty()).expect("request");
        let answer = service.oneshot(request).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = answer.into_body().collect().await.expect("body").to_bytes();
        let said = r#"{"error":{"code":"internal_error","message":"internal server error"}}"#;
        assert_eq!(body, format!("{said}\n"));
    }

    #[test]
    fn paths_are_cleaned_as_the_reference_router_does() {
        for (path, clean) in [
            ("/", "/"),
            ("//", "/"),
            ("/a//b", "/a/b"),
            ("/a/./b/", "/a/b/"),
            ("/a/../b", "/b"),
            ("/../..", "/"),
            ("/a/..%2f..%2fetc", "/a/..%2f..%2fetc"),
            ("/v1/projects/", "/v1/projects/"),
        ] {
            assert_eq!(clean_path(path), clean, "{path}");
        }
    }
}
