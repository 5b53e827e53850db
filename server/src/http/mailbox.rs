//! GET `/internal/dev/last-email`: the development mailbox (server-protocol 4.2).
//!
//! Danger: what it shows signs people in. It is there only where both its flag and the provider `memory` are set, which
//! the log says at start.

use crate::http::App;
use crate::http::answer::json;
use crate::http::around;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use std::sync::Arc;

/// The route.
pub async fn last(State(app): State<Arc<App>>) -> Response {
    let mail = app.config.login.dev_inspect.then(|| app.post.last()).flatten();
    match mail {
        Some(mail) => json(StatusCode::OK, &mail),
        None => around::no_such_path(),
    }
}
