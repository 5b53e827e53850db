//! The pages behind a mailed link, and the one for a login without mail.
//!
//! Duty: show what is about to happen, and do it when a person says so.
//! Danger: cross-site requests. A form carries the token or code that is its proof; nothing here acts on a cookie, for
//! there are none. Pages allow no script and no frame.

use super::{Stranger, Token};
use crate::control::logins::{Approved, Approver, PendingLogin};
use crate::http::App;
use crate::http::answer::{plain, with_type};
use crate::http::body::{Inbox, Text};
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::mail::escaped;
use crate::secret;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use std::fmt::Write;
use std::sync::Arc;

/// GET `/auth/device/approve?token=`: a button. Where the development mailbox is on, the approval itself: the reference's
/// end-to-end suite only looks at the link.
pub async fn look(
    State(app): State<Arc<App>>,
    from: Stranger,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let token =
        Query::parse(query.as_deref().unwrap_or_default()).text("token").unwrap_or_default().to_string();
    let Some(proof) = Token::read(&token) else { return Ok(invalid()) };
    if app.config.login.dev_inspect {
        return approve(&app, &from, proof).await;
    }
    let now = app.control.now();
    let found = app.control.ask(move |s| s.pending_login(&proof.0, &proof.1, now)).await;
    let Some(login) = found.map_err(ApiError::control("failed to look up challenge"))? else {
        return Ok(page(StatusCode::OK, "Invalid link", "<p>Invalid or expired link.</p>"));
    };
    let form = format!(
        "<p>Somebody wants to sign in under your address:</p><p>{}</p>\
         <form method=\"post\" action=\"/auth/device/approve\">\
         <input type=\"hidden\" name=\"token\" value=\"{}\"><button>Approve this device</button></form>\
         <p>Approve only what you have just started yourself; if that was not you, close this page.</p>",
        described(&login),
        escaped(&token)
    );
    Ok(page(StatusCode::OK, "Approve a device", &form))
}

/// Which program, from where, when: what tells one's own login from a stranger's.
fn described(login: &PendingLogin) -> String {
    format!(
        "{} from {} at {}",
        escaped(&login.user_agent),
        escaped(&login.client),
        login.created_at.rfc3339s_utc()
    )
}

/// POST `/auth/device/approve`
pub async fn press(State(app): State<Arc<App>>, from: Stranger, inbox: Inbox) -> Result<Response, ApiError> {
    let form = Text::short(&inbox).await?;
    let token = Query::parse(&form.as_str()).text("token").unwrap_or_default().to_string();
    match Token::read(&token) {
        Some(proof) => approve(&app, &from, proof).await,
        None => Ok(invalid()),
    }
}

async fn approve(app: &App, from: &Stranger, proof: (String, String)) -> Result<Response, ApiError> {
    let ((selector, hash), metadata) = (proof, from.metadata());
    let _writing = app.gate.write().await?;
    // Proving an address may end keys that somebody uses.
    let done = app.control.change(move |s, now| s.approve_login(&selector, &hash, &metadata, now)).await;
    Ok(match done {
        Ok(done) => told(done),
        Err(e) => {
            tracing::error!(cause = %e, "a login could not be approved");
            page(StatusCode::OK, "Something went wrong", "<p>Something went wrong. Please try again.</p>")
        }
    })
}

fn told(done: Approved) -> Response {
    let (title, words) = match done {
        Approved::Done => {
            ("Device approved", "Device approved — return to your terminal. You can close this window.")
        }
        Approved::Unknown => ("Invalid link", "Invalid or expired link."),
        Approved::Used => ("Already used", "This link has already been used."),
        Approved::Expired => ("Link expired", "This link has expired."),
    };
    page(StatusCode::OK, title, &format!("<p>{words}</p>"))
}

fn invalid() -> Response {
    page(StatusCode::BAD_REQUEST, "Invalid link", "<p>Invalid link.</p>")
}

/// GET `/auth/device/code`: for a server without mail. Whoever holds an enrolment code of an account approves its
/// logins.
pub async fn code_form(_from: Stranger) -> Response {
    let form = "<p>No mail? Type the code behind the <code>#</code> of an enrolment link of yours. Whoever runs the \
         server makes one with <code>td-sync admin enroll create --email YOU</code>.</p>\
         <form method=\"post\" action=\"/auth/device/code\"><label>Code <input name=\"code\" autocomplete=\"off\" \
         autofocus required></label> <button>Show what waits</button></form>";
    page(StatusCode::OK, "Approve a device by a code", form)
}

/// POST `/auth/device/code`: first the list of what waits, then one of it approved. The list is shown because somebody
/// else may have started a login under the same address.
pub async fn code(State(app): State<Arc<App>>, from: Stranger, inbox: Inbox) -> Result<Response, ApiError> {
    let text = Text::short(&inbox).await?;
    let form = Query::parse(&text.as_str());
    let field = |name: &str| form.text(name).unwrap_or_default().to_string();
    let (typed, login) = (field("code"), field("login"));
    // The whole link, the part behind the `#`, or the code alone.
    let code = typed.trim().rsplit('#').next().unwrap_or_default();
    let code = code.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let by = Approver::Enrolment(secret::hash(&code));
    let failed = ApiError::control("failed to look up challenge");
    if !login.is_empty() {
        let metadata = from.metadata();
        let _writing = app.gate.write().await?;
        let done = app.control.add(move |s, now| s.decide_login(&login, &by, true, &metadata, now)).await;
        return Ok(told(done.map_err(failed)?));
    }
    let now = app.control.now();
    let waiting = app.control.ask(move |s| s.pending_logins(&by, now)).await.map_err(failed)?;
    Ok(match waiting {
        None => {
            page(StatusCode::OK, "No such code", "<p>This code is not known, was used, or has expired.</p>")
        }
        Some(list) if list.is_empty() => page(
            StatusCode::OK,
            "Nothing waits",
            "<p>No device waits for your approval. Run <code>td auth login</code> first, then come back.</p>",
        ),
        Some(list) => page(StatusCode::OK, "Which device is yours?", &choice(&list, &code)),
    })
}

fn choice(list: &[PendingLogin], code: &str) -> String {
    let mut out = String::from("<p>Approve only what you have just started yourself.</p>");
    for login in list {
        // Writing to a String does not fail.
        let _ = write!(
            out,
            "<form method=\"post\" action=\"/auth/device/code\"><p>{}</p>\
             <input type=\"hidden\" name=\"code\" value=\"{}\"><input type=\"hidden\" name=\"login\" value=\"{}\">\
             <button>Approve this one</button></form>",
            described(login),
            escaped(code),
            escaped(&login.id)
        );
    }
    out
}

/// GET and POST `/auth/verify` of the reference's retired login (W27).
pub async fn retired(_from: Stranger) -> Response {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title} - td</title>\
         <style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 3rem auto; padding: 0 1rem }} \
         button, input {{ font: inherit; padding: .4em .8em }}</style></head>\
         <body><h1>{title}</h1>{body}</body></html>\n"
    );
    let mut response = with_type(status, HeaderValue::from_static("text/html; charset=utf-8"), html);
    let headers = response.headers_mut();
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}
