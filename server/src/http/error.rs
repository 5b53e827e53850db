//! Refusals: what the caller is told and what the log is told, kept apart.
//!
//! Invariant: the body is `{"error":{"code","message"}}` and nothing else (server-protocol 1.4): what we add goes into
//! headers.
//! Danger: an internal cause (a path, a SQL text) in the message. It goes to the log under the request's id instead.

use crate::auth::Refusal;
use crate::control::ControlError;
use crate::http::answer::json;
use crate::log::LogError;
use axum::http::{HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::borrow::Cow;
use std::time::Duration;

/// A refusal.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    internal: Option<String>,
    retry_after: Option<Duration>,
    more: Option<(HeaderName, HeaderValue)>,
}

/// Why a request failed, for the access log; travels in the response's extensions.
#[derive(Clone, Debug)]
pub struct Internal(pub String);

impl ApiError {
    /// Any refusal.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), internal: None, retry_after: None, more: None }
    }

    /// 400 `bad_request`.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// 500 `internal_error`, with the cause for the log.
    pub fn internal(message: &'static str, cause: impl ToString) -> Self {
        let error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message);
        Self { internal: Some(cause.to_string()), ..error }
    }

    /// 500 as the admin routes spell it: `internal`.
    pub fn admin(message: &'static str, cause: impl ToString) -> Self {
        Self { code: "internal", ..Self::internal(message, cause) }
    }

    /// A failing log on an admin route.
    pub fn admin_log(error: LogError) -> Self {
        match error {
            LogError::Busy { .. } | LogError::Closed => error.into(),
            other => Self::admin("failed to open project database", other),
        }
    }

    /// 503 `unavailable`, to be tried again.
    pub fn unavailable(message: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
        Self { retry_after: Some(retry_after), ..error }
    }

    /// 429 `rate_limited`.
    pub fn rate_limited(retry_after: Duration) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "rate limit exceeded");
        Self { retry_after: Some(retry_after), ..error }
    }

    /// With a header that says a number more: bodies keep the reference's shape.
    pub fn header(self, name: HeaderName, number: i64) -> Self {
        Self { more: Some((name, HeaderValue::from(number))), ..self }
    }

    /// 500 with the route's own sentence, for a failing control store.
    pub fn control(message: &'static str) -> impl Fn(ControlError) -> Self {
        move |cause| Self::internal(message, cause)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unauthorized(message) => Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message),
            Refusal::Forbidden(code, message) => Self::new(StatusCode::FORBIDDEN, code, message),
        }
    }
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        let cause = error.to_string();
        match error {
            LogError::Busy { retry_after } => Self::unavailable("too many requests are waiting", retry_after),
            LogError::Closed => {
                Self::unavailable("the project is closed for a moment", Duration::from_secs(1))
            }
            LogError::Missing => Self::internal("failed to open project database", cause),
            LogError::TooMany => {
                let message = "this token's budget of events does not reach for this push";
                Self::new(StatusCode::FORBIDDEN, "budget_exhausted", message)
            }
            LogError::Refused(_) => Self::internal("failed to insert events", cause),
            LogError::Exists | LogError::InUse | LogError::Damaged { .. } | LogError::Storage(_) => {
                Self::internal("database error", cause)
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"error": {"code": self.code, "message": self.message}});
        let mut response = json(self.status, &body);
        if let Some(wait) = self.retry_after {
            // Rounded up: a client that waits exactly so long must not be refused again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some((name, value)) = self.more {
            response.headers_mut().insert(name, value);
        }
        if let Some(cause) = self.internal {
            response.extensions_mut().insert(Internal(cause));
        }
        response
    }
}
