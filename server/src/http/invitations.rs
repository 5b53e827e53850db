//! Invitations into a project (server-protocol 4.5).
//!
//! Whoever holds a key of the invited address answers; the token in the mail only leads to the page. Where no mail
//! leaves, the owner gets an enrolment link to hand over, in a header: bodies keep the reference's shape.
//! Danger: that link. It signs its holder in, so it is only ever for an account that this invitation has made; with one
//! for an account that was there, an owner could become anybody by inviting them. What it proves is the inviter's word:
//! other owners cannot give such an account anything until a mail or the operator has proven the address.

use crate::auth::{Role, address};
use crate::clock::later;
use crate::control::Audit;
use crate::control::invitations::{Answered, Invitation, NewInvitation};
use crate::http::App;
use crate::http::answer::{json, no_content};
use crate::http::body::{Inbox, read_object};
use crate::http::caller::{Caller, KeyOwner};
use crate::http::error::ApiError;
use crate::http::members;
use crate::logging::Trail;
use crate::mail::{Fate, Handed, Mail};
use crate::secret;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long an invitation can be answered.
const LIFE: Duration = Duration::from_secs(7 * 86_400);
/// How long a link that is handed over works. It is a password in a chat window.
const LINK_LIFE: Duration = Duration::from_secs(86_400);
/// Header with that link.
const LINK: HeaderName = HeaderName::from_static("x-td-enrolment-link");
/// Where the page lives that a mail leads to, if nothing else is configured.
const NO_PAGE: &str = "http://localhost:5173";

fn shown(i: &Invitation) -> Value {
    let mut body = json!({
        "id": i.id,
        "project_id": i.project_id,
        "email": i.email,
        "role": i.role,
        "invited_by": i.invited_by,
        "status": i.status,
        "created_at": i.created_at.rfc3339s_utc(),
        "expires_at": i.expires_at.rfc3339s_utc(),
    });
    if let Some(at) = i.accepted_at {
        body["accepted_at"] = at.rfc3339s_utc().into();
    }
    body
}

/// POST `/v1/projects/{id}/invitations`
pub async fn invite(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Extension(trail): Extension<Trail>,
    inbox: Inbox,
) -> Result<Response, ApiError> {
    const FAILED: &str = "failed to create invitation";
    let project = caller.in_project(&app, &id, Role::Owner).await?;
    let (email, role) =
        read_object(&inbox, |f| Ok((f.text_or_empty("email")?, f.text_or_empty("role")?))).await?;
    let email = address(&email).ok_or_else(|| ApiError::bad_request("valid email is required"))?;
    let role = Role::parse(&role).ok_or_else(|| ApiError::bad_request("valid role is required"))?;
    app.limits.invitation(&email).map_err(ApiError::rate_limited)?;
    let _writing = caller.write_in(&app, &project, Role::Owner).await?;
    let token = secret::bytes::<32>().map_err(|e| ApiError::internal(FAILED, e))?;
    let token = secret::hex(&token);
    let new = NewInvitation {
        project: project.to_string(),
        email: email.clone(),
        role,
        by: caller.0.user_id.clone(),
        token_hash: secret::hash(&token),
        expires_at: later(app.control.now(), LIFE),
    };
    let made = app.control.add(move |s, now| match s.is_unproven(&new.email, &new.by)? {
        true => Ok(None),
        false => s.invite(&new, now).map(Some),
    });
    let made = made.await.map_err(ApiError::control(FAILED))?.ok_or_else(members::unproven)?;
    let made = made.ok_or_else(|| ApiError::internal(FAILED, "the project is gone"))?;
    let mut response = json(StatusCode::CREATED, &shown(&made));
    if app.post.delivers() {
        let link = mailed_link(&app, &email, &made.id, &token);
        let mail = Mail::invitation(&email, role.as_str(), &link, trail.request());
        let (control, detail) =
            (app.control.clone(), json!({"invitation": made.id, "email": email}).to_string());
        let lost = Audit {
            kind: "invitation_mail_lost",
            actor: caller.0.user_id.clone(),
            project_id: Some(made.project_id),
            detail,
        };
        match app.post.hand_over(mail) {
            Handed::Known(Fate::Lost) => control.audit(lost),
            Handed::Known(_) => {}
            Handed::UnderWay(fate) => drop(tokio::spawn(async move {
                if !fate.await.is_ok_and(|fate| fate == Fate::Left) {
                    control.audit(lost);
                }
            })),
        }
    } else if let Some(link) = link_to_hand_over(&app, made).await? {
        let value = HeaderValue::from_str(&link).map_err(|e| ApiError::internal(FAILED, e))?;
        response.headers_mut().insert(LINK, value);
    }
    Ok(response)
}

/// Scheme and host of the web page, `/home/login`, and what it needs, in alphabetical order.
fn mailed_link(app: &App, email: &str, id: &str, token: &str) -> String {
    let callback = app.config.login.web_callback.as_deref().unwrap_or(NO_PAGE);
    let host_end = callback.find("://").map_or(0, |at| at + 3);
    let end = callback[host_end..].find(['/', '?']).map_or(callback.len(), |at| host_end + at);
    let email: String = email.bytes().map(form_byte).collect();
    format!("{}/home/login?email={email}&invitation_id={id}&invitation_token={token}", &callback[..end])
}

fn form_byte(b: u8) -> String {
    if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
        char::from(b).to_string()
    } else {
        format!("%{b:02X}")
    }
}

/// For somebody who had no account yet. Whoever has one signs in on their own and finds the invitation there.
async fn link_to_hand_over(app: &App, invitation: Invitation) -> Result<Option<String>, ApiError> {
    const FAILED: &str = "failed to create invitation";
    let code = secret::enrolment().map_err(|e| ApiError::internal(FAILED, e))?;
    let (hash, until) = (secret::hash(&code), later(app.control.now(), LINK_LIFE));
    let made = app.control.change(move |s, now| s.hand_over(&invitation, &hash, until, now)).await;
    let made = made.map_err(ApiError::control(FAILED))?;
    Ok(made.then(|| format!("{}/connect#{code}.{}", app.config.base_url, app.identity.fingerprint())))
}

/// GET `/v1/projects/{id}/invitations`
pub async fn of_project(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Owner).await?;
    let all = app.control.ask(move |s| s.invitations_of_project(project.as_str())).await;
    let all = all.map_err(ApiError::control("failed to list invitations"))?;
    Ok(json(StatusCode::OK, &all.iter().map(shown).collect::<Vec<_>>()))
}

/// DELETE `/v1/projects/{id}/invitations/{invitation}`
pub async fn withdraw(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, invitation)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Owner).await?;
    let _writing = caller.write_in(&app, &project, Role::Owner).await?;
    let gone = app.control.add(move |s, _| s.withdraw_invitation(project.as_str(), &invitation)).await;
    if gone.map_err(ApiError::control("failed to delete invitation"))? {
        Ok(no_content())
    } else {
        Err(unknown())
    }
}

/// GET `/v1/invitations`
pub async fn of_person(
    State(app): State<Arc<App>>,
    KeyOwner(caller): KeyOwner,
) -> Result<Response, ApiError> {
    let who = caller.0;
    let (email, now) = (who.email.clone(), app.control.now());
    let all = app.control.ask(move |s| s.invitations_of_person(&email, now)).await;
    let all = all.map_err(ApiError::control("failed to list invitations"))?;
    Ok(json(StatusCode::OK, &all.iter().map(shown).collect::<Vec<_>>()))
}

/// POST `/v1/invitations/{invitation}/accept`
pub async fn accept(
    State(app): State<Arc<App>>,
    KeyOwner(caller): KeyOwner,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let _writing = caller.write(&app).await?;
    let who = caller.0;
    let done =
        app.control.change(move |s, now| s.accept_invitation(&id, &who.user_id, &who.email, now)).await;
    let member = answered(done.map_err(ApiError::control("failed to accept invitation"))?)?;
    let mut body = members::shown(&member);
    body["email"] = "".into();
    Ok(json(StatusCode::OK, &body))
}

/// POST `/v1/invitations/{invitation}/decline`
pub async fn decline(
    State(app): State<Arc<App>>,
    KeyOwner(caller): KeyOwner,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let _writing = caller.write(&app).await?;
    let who = caller.0;
    let done = app.control.add(move |s, now| s.decline_invitation(&id, &who.email, now)).await;
    answered(done.map_err(ApiError::control("failed to decline invitation"))?)?;
    Ok(json(StatusCode::OK, &json!({"status": "declined"})))
}

fn answered<T>(done: Answered<T>) -> Result<T, ApiError> {
    match done {
        Answered::Done(value) => Ok(value),
        Answered::Unknown => Err(unknown()),
        Answered::NotPending => {
            Err(ApiError::new(StatusCode::CONFLICT, "conflict", "invitation is not pending"))
        }
        Answered::Expired => Err(ApiError::new(StatusCode::GONE, "expired", "invitation has expired")),
    }
}

fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "invitation not found")
}
