//! `/v1/auth/device/start` and `/poll`: how `td auth login` gets its key (server-protocol 3.2).

use super::{DEVICE_KEY, LIFE, Stranger, Token, complete, fresh_key, mail, suppressed};
use crate::auth::address;
use crate::clock::later;
use crate::control::logins::{DeviceProof, NewLogin, Polled, Purpose};
use crate::http::App;
use crate::http::answer::json;
use crate::http::body::{Inbox, read_object};
use crate::http::error::ApiError;
use crate::mail::Mail;
use crate::secret;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// POST `/v1/auth/device/start`. A login never makes an account.
pub async fn start(State(app): State<Arc<App>>, from: Stranger, inbox: Inbox) -> Result<Response, ApiError> {
    let given = read_object(&inbox, |f| {
        let text = |name| f.text_or_empty(name);
        Ok((text("email")?, text("code_challenge")?, text("code_challenge_method")?))
    });
    let (email, challenge, method) = given.await?;
    let bare = address(&email).ok_or_else(|| ApiError::bad_request("valid email is required"))?;
    if challenge.is_empty() {
        return Err(ApiError::bad_request("code_challenge is required"));
    }
    if method != "S256" {
        return Err(ApiError::bad_request("code_challenge_method must be S256"));
    }
    let code = secret::bytes::<32>().map_err(|e| ApiError::internal("failed to generate device code", e))?;
    let code = secret::hex(&code);
    let answer = json(
        StatusCode::OK,
        &json!({"device_code": code, "expires_in": LIFE.as_secs(), "interval": 5, "email_sent": true}),
    );
    let _writing = app.gate.write().await?;
    if !app.limits.mail(Purpose::DeviceLogin, &bare, from.address) {
        app.control.refused_mail(&from.client);
        return Ok(answer);
    }
    let asked = bare.clone();
    let user = app.control.ask(move |s| s.user_by_email(&asked)).await;
    let Some(user) = user.map_err(ApiError::control("failed to look up user"))? else {
        suppressed(&app, &from, &bare).await?;
        return Ok(answer);
    };
    const FAILED: &str = "failed to create auth challenge";
    let token = Token::make(FAILED)?;
    let new = NewLogin {
        purpose: Purpose::DeviceLogin,
        email: email.trim().into(),
        user_id: user.id,
        selector: token.selector.clone(),
        token_hash: token.hash,
        device: Some(DeviceProof { code_hash: secret::hash(&code), challenge }),
        web: None,
        client: from.client.clone(),
        user_agent: from.user_agent.clone(),
        expires_at: later(app.control.now(), LIFE),
    };
    let begun = from.event("challenge_started", &token.selector, &bare);
    app.control
        .add(move |s, now| s.start_login(&new, &begun, now))
        .await
        .map_err(ApiError::control(FAILED))?;
    let link = format!("{}/auth/device/approve?token={}", app.config.login.email_base_url, token.shown);
    let written = Mail::device_login(&user.email, &link, &from.request_id);
    mail(&app, written, &from, &token.selector, &bare).await;
    Ok(answer)
}

/// POST `/v1/auth/device/poll`
pub async fn poll(State(app): State<Arc<App>>, from: Stranger, inbox: Inbox) -> Result<Response, ApiError> {
    let given =
        read_object(&inbox, |f| Ok((f.text_or_empty("device_code")?, f.text_or_empty("code_verifier")?)));
    let (code, verifier) = given.await?;
    if code.is_empty() || verifier.is_empty() {
        return Err(ApiError::bad_request("device_code and code_verifier are required"));
    }
    let pending = || json(StatusCode::OK, &json!({"status": "pending"}));
    let (hash, now) = (secret::hash(&code), app.control.now());
    let asked = hash.clone();
    const LOOK: &str = "failed to look up challenge";
    let waits = app.control.ask(move |s| s.is_login_pending(&asked, now)).await;
    if waits.map_err(ApiError::control(LOOK))? {
        return Ok(pending());
    }
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    let key = Arc::new(fresh_key(&app, "device-auth", DEVICE_KEY)?);
    let (new, metadata) = (Arc::clone(&key), from.metadata());
    let _writing = app.gate.write().await?;
    let done =
        app.control.add(move |s, now| s.finish_device_login(&hash, &challenge, &new, &metadata, now)).await;
    let gone = |message| Err(ApiError::new(StatusCode::GONE, "expired", message));
    let refused = |code, message| Err(ApiError::new(StatusCode::UNAUTHORIZED, code, message));
    match done.map_err(ApiError::control("failed to finalize challenge"))? {
        Polled::Pending => Ok(pending()),
        Polled::Complete(user, email) => Ok(complete(&user.id, &email, &key)),
        Polled::WrongVerifier => refused("invalid_verifier", "code_verifier does not match"),
        Polled::NoUser => refused("invalid_token", "no user associated with this challenge"),
        Polled::Used => gone("key already issued for this device login"),
        Polled::Expired => gone("device login expired or failed"),
    }
}
