//! `/v1/auth/web/start` and `/exchange`: how a browser gets its key (server-protocol 3.3).

use super::{LIFE, Stranger, Token, WEB_KEY, complete, fresh_key, mail, suppressed};
use crate::auth::address;
use crate::clock::later;
use crate::control::logins::{Exchanged, NewLogin, Purpose, WebProof};
use crate::http::App;
use crate::http::answer::json;
use crate::http::body::{Inbox, read_object};
use crate::http::error::ApiError;
use crate::mail::Mail;
use crate::secret;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use std::sync::Arc;

/// POST `/v1/auth/web/start`. Makes an account if sign-up is open, or for somebody who was invited.
pub async fn start(State(app): State<Arc<App>>, from: Stranger, inbox: Inbox) -> Result<Response, ApiError> {
    let given = read_object(&inbox, |f| {
        Ok((f.text_or_empty("email")?, f.text_or_empty("redirect_uri")?, f.text_or_empty("state")?))
    });
    let (email, redirect_uri, state) = given.await?;
    let bare = address(&email).ok_or_else(|| ApiError::bad_request("valid email is required"))?;
    let callback = app.config.login.web_callback.as_ref();
    if callback.is_some_and(|c| *c != redirect_uri) {
        return Err(ApiError::bad_request("redirect_uri not allowed"));
    }
    let answer = json(
        StatusCode::OK,
        &json!({"status": "email_sent_if_allowed", "expires_in": LIFE.as_secs(), "retry_after": 60}),
    );
    let Some(callback) = callback else {
        // The link would lead nowhere (W36), and an address out of the request would lead the token to a stranger.
        tracing::warn!(rid = from.request_id, "no web login without SYNC_AUTH_WEB_CALLBACK_URL");
        return Ok(answer);
    };
    let _writing = app.gate.write().await?;
    if !app.limits.mail(Purpose::WebLogin, &bare, from.address) {
        app.control.refused_mail(&from.client);
        return Ok(answer);
    }
    let (asked, login) = (bare.clone(), &app.config.login);
    let (open, first_is_admin) = (login.allow_signup, login.first_user_admin);
    let user = app.control.add(move |s, now| match s.user_by_email(&asked)? {
        None if open || s.has_open_invitation(&asked, now)? => {
            s.ensure_user(&asked, first_is_admin, now).map(|(user, _)| Some(user))
        }
        known => Ok(known),
    });
    let Some(user) = user.await.map_err(ApiError::control("failed to look up user"))? else {
        suppressed(&app, &from, &bare).await?;
        return Ok(answer);
    };
    const FAILED: &str = "failed to create auth challenge";
    let token = Token::make(FAILED)?;
    let new = NewLogin {
        purpose: Purpose::WebLogin,
        email: email.trim().into(),
        user_id: user.id,
        selector: token.selector.clone(),
        token_hash: token.hash,
        device: None,
        web: Some(WebProof { redirect_uri, state_hash: secret::hash(&state) }),
        client: from.client.clone(),
        user_agent: from.user_agent.clone(),
        expires_at: later(app.control.now(), LIFE),
    };
    let begun = from.event("challenge_started", &token.selector, &bare);
    app.control
        .add(move |s, now| s.start_login(&new, &begun, now))
        .await
        .map_err(ApiError::control(FAILED))?;
    let link = format!("{callback}{}token={}", if callback.contains('?') { '&' } else { '?' }, token.shown);
    let written = Mail::web_login(&user.email, &link, &from.request_id);
    mail(&app, written, &from, &token.selector, &bare).await;
    Ok(answer)
}

/// POST `/v1/auth/web/exchange`
pub async fn exchange(
    State(app): State<Arc<App>>,
    from: Stranger,
    inbox: Inbox,
) -> Result<Response, ApiError> {
    let given = read_object(&inbox, |f| Ok((f.text_or_empty("token")?, f.text_or_empty("state")?))).await?;
    let Some((selector, token_hash)) = Token::read(&given.0) else {
        return Err(ApiError::bad_request("malformed token"));
    };
    let state_hash = secret::hash(&given.1);
    let key = Arc::new(fresh_key(&app, "td-watch-web", WEB_KEY)?);
    let (new, metadata) = (Arc::clone(&key), from.metadata());
    let _writing = app.gate.write().await?;
    let done = app
        .control
        // Proving an address may end keys that somebody uses.
        .change(move |s, now| s.finish_web_login(&selector, &token_hash, &state_hash, &new, &metadata, now))
        .await;
    let refused = |code, message| Err(ApiError::new(StatusCode::UNAUTHORIZED, code, message));
    match done.map_err(ApiError::control("failed to consume token"))? {
        Exchanged::Complete(user, email) => Ok(complete(&user.id, &email, &key)),
        Exchanged::Unknown => refused("invalid_token", "invalid or expired token"),
        Exchanged::Used => refused("token_replayed", "token has already been used"),
        Exchanged::Expired => refused("token_expired", "token has expired"),
        Exchanged::WrongState => refused("invalid_state", "state mismatch"),
    }
}
