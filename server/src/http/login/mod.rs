//! Signing in (server-protocol 3): by a command line, in a browser, and by the pages behind mailed links.
//!
//! Duty: answer the same for a known and an unknown address, and let every approval be an act of a person.
//! Danger: a link in a mail is fetched by scanners and previews. Looking at it approves nothing, but where the development
//! mailbox is on (W28).

pub mod device;
pub mod page;
pub mod web;

use crate::control::NewKey;
use crate::control::logins::{LoginEvent, Metadata};
use crate::http::App;
use crate::http::caller::{client_of, stranger};
use crate::http::error::ApiError;
use crate::limit::Class;
use crate::logging::Trail;
use crate::mail::{Fate, Handed, Mail};
use crate::secret;
use axum::extract::FromRequestParts;
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a mailed link and what waits for it live.
pub const LIFE: Duration = Duration::from_secs(15 * 60);
/// Life of a device's key, and of a browser's.
pub const DEVICE_KEY: Duration = Duration::from_secs(365 * 86_400);
pub const WEB_KEY: Duration = Duration::from_secs(30 * 86_400);
const LONGEST_AGENT: usize = 300;

/// Somebody without a key, let through by the limit of their address.
pub struct Stranger {
    /// From where.
    pub address: IpAddr,
    /// The same, as a text.
    pub client: String,
    /// By which program.
    pub user_agent: String,
    /// Of this request.
    pub request_id: String,
}

impl FromRequestParts<Arc<App>> for Stranger {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let client = client_of(app, parts);
        let polls = parts.uri.path().ends_with("/poll");
        stranger(app, if polls { Class::AuthPoll } else { Class::Auth }, client)?;
        let agent = parts.headers.get(USER_AGENT).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        let agent =
            agent.unwrap_or_default().chars().filter(|c| !c.is_control()).take(LONGEST_AGENT).collect();
        let request_id = parts.extensions.get::<Trail>().map(|t| t.request().into()).unwrap_or_default();
        Ok(Self { address: client, client: client.to_string(), user_agent: agent, request_id })
    }
}

impl Stranger {
    fn metadata(&self) -> Metadata {
        Metadata::from([("ip", self.client.clone()), ("user_agent", self.user_agent.clone())])
    }

    fn event(&self, kind: &'static str, request: &str, email: &str) -> LoginEvent {
        LoginEvent { kind, request: request.into(), email: email.into(), metadata: self.metadata() }
    }
}

/// A mailed token: what stands in the link, and what is stored of it.
struct Token {
    selector: String,
    shown: String,
    hash: String,
}

impl Token {
    fn make(failed: &'static str) -> Result<Self, ApiError> {
        let random = || secret::bytes::<32>().map_err(|e| ApiError::internal(failed, e));
        let selector = secret::hex(&random()?[..16]);
        let half = secret::hex(&random()?);
        Ok(Self { shown: format!("{selector}.{half}"), hash: secret::hash(&half), selector })
    }

    /// Selector and hash of a token that was shown to us.
    fn read(shown: &str) -> Option<(String, String)> {
        let (selector, half) = shown.split_once('.')?;
        (!selector.is_empty() && !half.is_empty()).then(|| (selector.to_string(), secret::hash(half)))
    }
}

/// A fresh key with a life.
fn fresh_key(app: &App, name: &str, life: Duration) -> Result<NewKey, ApiError> {
    let until = crate::clock::later(app.control.now(), life);
    let key = NewKey::make(name, crate::auth::Scopes::stored("sync"), Some(until));
    key.map_err(|e| ApiError::internal("failed to generate api key", e))
}

/// POST `/v1/auth/login/start` of the reference's first login, which proves no address (W27).
pub async fn retired_start(_from: Stranger) -> ApiError {
    disabled("this endpoint has been disabled; use /v1/auth/web/start or /v1/auth/device/start")
}

/// POST `/v1/auth/login/poll`
pub async fn retired_poll(_from: Stranger) -> ApiError {
    disabled("this endpoint has been disabled; use /v1/auth/device/poll")
}

fn disabled(message: &'static str) -> ApiError {
    ApiError::new(axum::http::StatusCode::GONE, "endpoint_disabled", message)
}

/// Writes down that an address gets no mail. Awaited like the login of an address that does, so that both take one
/// commit: how long an answer takes tells nothing either (W32).
async fn suppressed(app: &App, from: &Stranger, address: &str) -> Result<(), ApiError> {
    let event = from.event("email_suppressed", "", address);
    let noted = app.control.add(move |s, now| s.login_events(&[event], now)).await;
    noted.map_err(ApiError::control("failed to create auth challenge"))
}

/// Hands a login's mail over, and writes down what became of it: behind the answer, if the mail leaves the house. A
/// failure has no other consequence: an answer that differed would tell who has an account here (W32).
async fn mail(app: &App, mail: Mail, from: &Stranger, request: &str, address: &str) {
    let control = app.control.clone();
    let (sent, failed) =
        (from.event("email_sent", request, address), from.event("login_failed", request, address));
    let note = async move |fate| {
        let event = match fate {
            Fate::Left => sent,
            Fate::Lost => failed,
            Fate::Stays => return,
        };
        if let Err(e) = control.add(move |s, now| s.login_events(&[event], now)).await {
            tracing::warn!(cause = %e, "a login event was not written down");
        }
    };
    match app.post.hand_over(mail) {
        Handed::Known(fate) => note(fate).await,
        Handed::UnderWay(fate) => {
            drop(tokio::spawn(async move { note(fate.await.unwrap_or(Fate::Lost)).await }))
        }
    }
}

/// The answer that hands out a key.
fn complete(user_id: &str, email: &str, key: &NewKey) -> axum::response::Response {
    let body = json!({
        "status": "complete",
        "api_key": *key.plaintext,
        "user_id": user_id,
        "email": email,
        "expires_at": key.expires_at.map(|t| t.rfc3339s_utc()),
    });
    let mut response = crate::http::answer::json(axum::http::StatusCode::OK, &body);
    let no_store = axum::http::HeaderValue::from_static("no-store");
    response.headers_mut().insert(axum::http::header::CACHE_CONTROL, no_store);
    response
}
