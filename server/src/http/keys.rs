//! `/v1/keys`: what else signs in as a person: devices, and tokens that may do less (issue: tokens for agents).
//!
//! Invariant: a token makes, sees and revokes no keys; only a person's own key does.
//! Danger: a request of an agent is made by anybody. It gives nothing until a person who was shown its code approves it,
//! naming the projects themselves.

use crate::auth::Role;
use crate::clock::later;
use crate::control::NewKey;
use crate::control::tokens::{Collected, Decided, Grant, Kind, Made, Terms, Token};
use crate::http::App;
use crate::http::answer::{json, no_content};
use crate::http::body::{Inbox, read_object};
use crate::http::caller::{Caller, KeyOwner};
use crate::http::error::ApiError;
use crate::http::json::{Fields, Invalid};
use crate::http::login::Stranger;
use crate::secret;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Most grants of one token.
const MOST_GRANTS: usize = 100;
/// Most tokens of one person.
const MOST_TOKENS: usize = 1_000;
const LONGEST_NAME: usize = 100;
/// Longest life that can be asked for: ten years.
const LONGEST_LIFE: u64 = 10 * 366 * 86_400;
/// How long a request waits for its person.
const REQUEST_LIFE: Duration = Duration::from_secs(15 * 60);

fn shown(t: &Token) -> Value {
    json!({
        "id": t.id,
        "kind": t.kind,
        "name": t.name,
        "prefix": t.prefix,
        "grants": t.grants,
        "created_at": t.created_at.rfc3339s_utc(),
        "expires_at": t.expires_at.map(|x| x.rfc3339s_utc()),
        "last_used_at": t.last_used_at.map(|x| x.rfc3339s_utc()),
        "max_events": t.max_events,
        "used_events": t.used_events,
    })
}

/// With the key, which is shown this once.
fn handed_out(status: StatusCode, token: &Token, key: &NewKey) -> Response {
    let mut body = shown(token);
    body["api_key"] = key.plaintext.as_str().into();
    let mut response = json(status, &body);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn person(who: &crate::auth::Principal) -> Result<(), ApiError> {
    if who.grants.is_none() {
        return Ok(());
    }
    Err(ApiError::new(StatusCode::FORBIDDEN, "insufficient_scope", "a token manages no keys"))
}

fn fresh(kind: Kind) -> Result<NewKey, ApiError> {
    let plaintext = secret::token(kind.as_str());
    let plaintext = plaintext.map_err(|e| ApiError::internal("failed to generate api key", e))?;
    let scopes = crate::auth::Scopes::stored("sync");
    Ok(NewKey { plaintext: plaintext.into(), name: String::new(), scopes, expires_at: None })
}

/// What was asked for; every bad part has its own sentence.
fn terms(f: &Fields<'_>) -> Result<Result<Terms, String>, Invalid> {
    let name = f.text_or_empty("name")?;
    let mut grants = Vec::new();
    for raw in f.list_or_empty("grants")? {
        let grant = Fields::of(raw)?;
        grants.push(Grant { project: grant.text_or_empty("project")?, role: grant.text_or_empty("role")? });
    }
    let (expires_in, max_events) = (f.int("expires_in")?, f.int("max_events")?);
    Ok(checked(name, grants, expires_in, max_events))
}

fn checked(
    name: String,
    grants: Vec<Grant>,
    expires_in: Option<i64>,
    max_events: Option<i64>,
) -> Result<Terms, String> {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    if name.is_empty() || name.chars().count() > LONGEST_NAME {
        return Err(format!("name is required (at most {LONGEST_NAME} characters)"));
    }
    if grants.is_empty() || grants.len() > MOST_GRANTS {
        return Err(format!("grants must name 1 to {MOST_GRANTS} projects"));
    }
    if let Some(bad) = grants.iter().find(|g| g.role().is_none()) {
        return Err(format!("role must be reader or writer, not {:?}", bad.role));
    }
    let mut projects: Vec<&str> = grants.iter().map(|g| g.project.as_str()).collect();
    projects.sort_unstable();
    if projects.windows(2).any(|w| w[0] == w[1]) {
        return Err("grants name a project twice".into());
    }
    let expires_in = match expires_in {
        None => None,
        Some(s) => match u64::try_from(s) {
            Ok(s) if (1..=LONGEST_LIFE).contains(&s) => Some(s),
            _ => return Err("expires_in must be seconds, up to ten years".into()),
        },
    };
    if max_events.is_some_and(|n| n < 1) {
        return Err("max_events must be above zero".into());
    }
    Ok(Terms { name, grants, expires_in, max_events })
}

async fn read_terms(inbox: &Inbox) -> Result<Terms, ApiError> {
    read_object(inbox, |f| terms(&f)).await?.map_err(ApiError::bad_request)
}

fn not_yours(project: &str) -> ApiError {
    let message = format!("you have not that role in project {project} yourself");
    ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)
}

/// POST `/v1/keys`
pub async fn create(
    State(app): State<Arc<App>>,
    KeyOwner(caller): KeyOwner,
    inbox: Inbox,
) -> Result<Response, ApiError> {
    person(&caller.0)?;
    let terms = read_terms(&inbox).await?;
    let _writing = caller.write(&app).await?;
    let who = caller.0;
    let key = Arc::new(fresh(Kind::Agent)?);
    let new = Arc::clone(&key);
    const FAILED: &str = "failed to create key";
    let made = app.control.change(move |s, now| {
        if s.tokens_of(&who.user_id)?.len() >= MOST_TOKENS {
            return Ok(None);
        }
        s.create_token(&who.user_id, Kind::Agent, &terms, &new, now).map(Some)
    });
    match made.await.map_err(ApiError::control(FAILED))? {
        None => Err(ApiError::new(StatusCode::CONFLICT, "conflict", "too many tokens: revoke some first")),
        Some(Made::Done(token)) => Ok(handed_out(StatusCode::CREATED, &token, &key)),
        Some(Made::NotYours(project)) => Err(not_yours(&project)),
    }
}

/// GET `/v1/keys`: own tokens and devices.
pub async fn list(State(app): State<Arc<App>>, KeyOwner(caller): KeyOwner) -> Result<Response, ApiError> {
    let who = caller.0;
    person(&who)?;
    let user = who.user_id.clone();
    let asked = app.control.ask(move |s| Ok((s.tokens_of(&user)?, s.keys(Some(&user))?))).await;
    let (tokens, keys) = asked.map_err(ApiError::control("failed to list keys"))?;
    let mut all: Vec<Value> = keys
        .iter()
        .map(|k| {
            json!({"id": k.id, "kind": "device", "name": k.name, "prefix": k.prefix, "grants": null,
                "created_at": k.created_at.rfc3339s_utc(),
                "expires_at": k.expires_at.map(|x| x.rfc3339s_utc()),
                "last_used_at": k.last_used_at.map(|x| x.rfc3339s_utc()), "max_events": null, "used_events": null})
        })
        .collect();
    all.extend(tokens.iter().map(shown));
    Ok(json(StatusCode::OK, &all))
}

/// DELETE `/v1/keys/{key}`
pub async fn revoke(
    State(app): State<Arc<App>>,
    KeyOwner(caller): KeyOwner,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    person(&caller.0)?;
    let _writing = caller.write(&app).await?;
    let who = caller.0;
    let gone = app.control.change(move |s, _| s.revoke_own(&who.user_id, &id)).await;
    if gone.map_err(ApiError::control("failed to revoke api key"))? {
        Ok(no_content())
    } else {
        Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", "key not found"))
    }
}

/// GET `/v1/keys/current`: what the key that asks may do.
pub async fn current(State(app): State<Arc<App>>, KeyOwner(caller): KeyOwner) -> Result<Response, ApiError> {
    let who = caller.0;
    let id = who.key_id.clone();
    let token =
        app.control.ask(move |s| s.token(&id)).await.map_err(ApiError::control("failed to list keys"))?;
    let body = match token {
        Some(token) => shown(&token),
        None => json!({"id": who.key_id, "kind": "device", "user_id": who.user_id, "email": who.email}),
    };
    Ok(json(StatusCode::OK, &body))
}

/// POST `/v1/keys/requests`: an agent asks; nobody gave it anything yet.
pub async fn ask(State(app): State<Arc<App>>, from: Stranger, inbox: Inbox) -> Result<Response, ApiError> {
    let name = read_object(&inbox, |f| f.text_or_empty("name")).await?;
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    if name.is_empty() {
        return Err(ApiError::bad_request("name is required"));
    }
    const FAILED: &str = "failed to store request";
    let random = |e| ApiError::internal(FAILED, e);
    let (poll, code) =
        (secret::hex(&secret::bytes::<32>().map_err(random)?), secret::code().map_err(random)?);
    let (hash, shown_code) = (secret::hash(&poll), code.clone());
    let until = later(app.control.now(), REQUEST_LIFE);
    let _writing = app.gate.write().await?;
    let stored =
        app.control.add(move |s, now| s.ask_token(&hash, &code, &name, &from.client, until, now)).await;
    if !stored.map_err(ApiError::control(FAILED))? {
        return Err(ApiError::unavailable("too many requests wait for somebody", REQUEST_LIFE));
    }
    let body = json!({"poll_code": poll, "user_code": shown_code, "expires_in": REQUEST_LIFE.as_secs(), "interval": 5});
    Ok(json(StatusCode::OK, &body))
}

/// POST `/v1/keys/requests/poll`
pub async fn collect(
    State(app): State<Arc<App>>,
    _from: Stranger,
    inbox: Inbox,
) -> Result<Response, ApiError> {
    let poll = read_object(&inbox, |f| f.text_or_empty("poll_code")).await?;
    let key = Arc::new(fresh(Kind::Agent)?);
    let (hash, new) = (secret::hash(&poll), Arc::clone(&key));
    let _writing = app.gate.write().await?;
    let done = app.control.add(move |s, now| s.collect_token(&hash, &new, now)).await;
    match done.map_err(ApiError::control("failed to create key"))? {
        Collected::Pending => Ok(json(StatusCode::OK, &json!({"status": "pending"}))),
        Collected::Gone => Err(ApiError::new(StatusCode::GONE, "expired", "this request is over")),
        Collected::Done(token) => Ok(handed_out(StatusCode::OK, &token, &key)),
    }
}

/// GET `/v1/keys/requests/{code}`: what a person sees before they approve.
pub async fn look(
    State(app): State<Arc<App>>,
    KeyOwner(caller): KeyOwner,
    Path(code): Path<String>,
) -> Result<Response, ApiError> {
    let who = caller.0;
    person(&who)?;
    let (code, now) = (code.to_ascii_uppercase(), app.control.now());
    let found = app.control.ask(move |s| s.token_request(&code, now)).await;
    let found = found.map_err(ApiError::control("failed to look up request"))?.ok_or_else(no_request)?;
    let body = json!({"user_code": found.code, "name": found.name, "client": found.client,
        "created_at": found.created_at.rfc3339s_utc()});
    Ok(json(StatusCode::OK, &body))
}

/// POST `/v1/keys/requests/{code}`: approves it, under the terms in the body.
pub async fn approve(
    State(app): State<Arc<App>>,
    KeyOwner(caller): KeyOwner,
    Path(code): Path<String>,
    inbox: Inbox,
) -> Result<Response, ApiError> {
    person(&caller.0)?;
    let terms = read_terms(&inbox).await?;
    let _writing = caller.write(&app).await?;
    let who = caller.0;
    let code = code.to_ascii_uppercase();
    let done = app.control.add(move |s, now| s.approve_token(&code, &who.user_id, &terms, now)).await;
    match done.map_err(ApiError::control("failed to approve request"))? {
        Ok(Decided::Done) => Ok(json(StatusCode::OK, &json!({"status": "approved"}))),
        Ok(Decided::Unknown) => Err(no_request()),
        Ok(Decided::Before) => {
            Err(ApiError::new(StatusCode::CONFLICT, "conflict", "this request was decided before"))
        }
        Err(Made::NotYours(project)) => Err(not_yours(&project)),
        Err(Made::Done(_)) => Err(ApiError::internal("failed to approve request", "a token, too early")),
    }
}

fn no_request() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "no request with this code waits")
}

/// GET `/v1/projects/{id}/public-link`
pub async fn link(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Owner).await?;
    let found = app.control.ask(move |s| s.public_link(project.as_str())).await;
    let found = found.map_err(ApiError::control("failed to get public link"))?.ok_or_else(no_link)?;
    Ok(json(StatusCode::OK, &shown(&found)))
}

/// POST `/v1/projects/{id}/public-link`: makes one; the old one, if any, stops working.
pub async fn make_link(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    const FAILED: &str = "failed to create public link";
    let project = caller.in_project(&app, &id, Role::Owner).await?;
    let _writing = caller.write_in(&app, &project, Role::Owner).await?;
    let key = Arc::new(fresh(Kind::Link)?);
    let new = Arc::clone(&key);
    let owner = caller.0.user_id.clone();
    let made = app.control.change(move |s, now| s.replace_link(&owner, project.as_str(), &new, now));
    match made.await.map_err(ApiError::control(FAILED))? {
        Made::Done(token) => Ok(handed_out(StatusCode::CREATED, &token, &key)),
        Made::NotYours(project) => Err(not_yours(&project)),
    }
}

/// DELETE `/v1/projects/{id}/public-link`
pub async fn unlink(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Owner).await?;
    let _writing = caller.write_in(&app, &project, Role::Owner).await?;
    let gone = app.control.change(move |s, _| s.forget_link(project.as_str()));
    if gone.await.map_err(ApiError::control("failed to remove public link"))? {
        Ok(no_content())
    } else {
        Err(no_link())
    }
}

fn no_link() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "this project has no public link")
}
