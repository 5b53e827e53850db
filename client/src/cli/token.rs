//! `td auth token`: keys for agents, made, listed, revoked, asked for and approved.
//!
//! Danger: a key. It is printed once, to standard output, by whoever asked for it; nothing here writes it to a file.

use super::args::{Token, TokenTerms};
use super::around::Around;
use super::out::{FAILED, Failure, one_line};
use super::server::{by_name_or_id, visible};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use td_client::http::Server;
use td_client::transport::TransportError;

pub fn token(around: &Around, verb: &Token) -> Result<(), Failure> {
    match verb {
        Token::Create { terms } => create(around, terms),
        Token::List => list(around),
        Token::Revoke { id } => revoke(around, id),
        Token::Request { name } => request(around, name),
        Token::Approve { code, terms } => approve(around, code, terms),
    }
}

fn create(around: &Around, terms: &TokenTerms) -> Result<(), Failure> {
    let out = &around.out;
    let (server, _) = around.server(None)?;
    let body = body(around, &server, terms)?;
    let made = server.create_token(&body).map_err(|e| out.transport(&e))?;
    out.say(handed_out(&made), &made);
    Ok(())
}

fn handed_out(made: &Value) -> String {
    let text = |name: &str| made[name].as_str().unwrap_or("-").to_string();
    format!(
        "{}\n\nThis is token {}:\n    {}\nIt is shown this once; give it to the agent as TD_AUTH_KEY.",
        text("api_key"),
        text("id"),
        terms_of(made)
    )
}

/// `writer in p_…, until …, 3 of 100 events`; without an end, `until revoked`.
fn terms_of(token: &Value) -> String {
    let grants = token["grants"].as_array().cloned().unwrap_or_default();
    let words = |g: &Value| {
        format!("{} in {}", g["role"].as_str().unwrap_or("?"), one_line(g["project"].as_str().unwrap_or("?")))
    };
    let mut text = grants.iter().map(words).collect::<Vec<_>>().join(", ");
    let _ = match token["expires_in"].as_u64() {
        Some(seconds) => write!(text, ", for {}", spelled(seconds)),
        None => write!(text, ", until {}", one_line(token["expires_at"].as_str().unwrap_or("revoked"))),
    };
    if let Some(most) = token["max_events"].as_i64() {
        let _ = write!(text, ", {} of {most} events", token["used_events"].as_i64().unwrap_or(0));
    }
    text
}

/// As `--expires` takes it.
fn spelled(seconds: u64) -> String {
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let fits = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    fits.map_or_else(|| format!("{seconds} s"), |(unit, letter)| format!("{}{letter}", seconds / unit))
}

fn list(around: &Around) -> Result<(), Failure> {
    let out = &around.out;
    let (server, _) = around.server(None)?;
    let all = server.keys().map_err(|e| out.transport(&e))?;
    let mut text = String::new();
    for key in &all {
        let word = |name: &str| one_line(key[name].as_str().unwrap_or("-"));
        let used =
            key["last_used_at"].as_str().map_or("never used".into(), |t| format!("used {}", one_line(t)));
        let _ = writeln!(text, "{}  {:<6}  {}  {used}", word("id"), word("kind"), word("name"));
        if key["grants"].is_array() {
            let _ = writeln!(text, "    {}", terms_of(key));
        }
    }
    out.say(if all.is_empty() { "No tokens.".into() } else { text }, &all);
    Ok(())
}

fn revoke(around: &Around, id: &str) -> Result<(), Failure> {
    let out = &around.out;
    let (server, _) = around.server(None)?;
    match server.revoke_key(id) {
        Ok(()) => {
            out.say(format!("Revoked {id}"), &json!({"id": id, "revoked": true}));
            Ok(())
        }
        Err(TransportError::Refused { status: 404, .. }) => Err(Failure {
            code: "not_found".into(),
            message: format!("you have no token with the id {id:?}"),
            remedy: Some(format!("see `{} auth token list`", out.td)),
            exit: FAILED,
        }),
        Err(e) => Err(out.transport(&e)),
    }
}

/// For the agent itself: shows a code and waits for a person.
fn request(around: &Around, name: &str) -> Result<(), Failure> {
    let out = &around.out;
    let server = around.server_without_login()?;
    let asked = server.ask_token(name).map_err(|e| out.transport(&e))?;
    // To standard error: standard output is the key's, or the one JSON value.
    out.note(format!(
        "Ask a person to run, within {} minutes:\n  {} auth token approve {} --project PROJECT --role reader|writer\nWaiting …",
        asked.expires_in / 60,
        out.td,
        asked.user_code
    ));
    let end = Instant::now() + Duration::from_secs(asked.expires_in);
    loop {
        let got = server.collect_token(&asked.poll_code).map_err(|e| out.transport(&e))?;
        if got["api_key"].is_string() {
            out.say(handed_out(&got), &got);
            return Ok(());
        }
        if Instant::now() > end {
            return Err(Failure {
                code: "expired".into(),
                message: "nobody approved the request in time".into(),
                remedy: Some(format!("ask again: `{} auth token request --name NAME`", out.td)),
                exit: FAILED,
            });
        }
        wait(Duration::from_secs(asked.interval.clamp(1, 60)));
    }
}

#[allow(clippy::disallowed_methods, reason = "polls a server, at the pace it asked for, with a limit")]
fn wait(pause: Duration) {
    std::thread::sleep(pause);
}

fn approve(around: &Around, code: &str, terms: &TokenTerms) -> Result<(), Failure> {
    let out = &around.out;
    let (server, _) = around.server(None)?;
    let seen = server.token_request(code).map_err(|e| match e {
        TransportError::Refused { status: 404, .. } => Failure {
            code: "not_found".into(),
            message: format!("no request with the code {code:?} waits"),
            remedy: Some("compare the code with what the agent shows; it lives for 15 minutes".into()),
            exit: FAILED,
        },
        other => out.transport(&other),
    })?;
    let name = seen["name"].as_str().unwrap_or_default().to_string();
    let terms = TokenTerms { name: terms.name.clone().or(Some(name)), ..terms.clone() };
    let body = body(around, &server, &terms)?;
    server.approve_token(code, &body).map_err(|e| out.transport(&e))?;
    let from = one_line(seen["client"].as_str().unwrap_or("?"));
    let name = one_line(seen["name"].as_str().unwrap_or("?"));
    out.say(
        format!("Approved {name:?}, which asked from {from}:\n    {}", terms_of(&body)),
        &json!({"approved": code, "terms": body}),
    );
    Ok(())
}

/// The terms as the server wants them; projects may be given by name.
fn body(around: &Around, server: &Server, terms: &TokenTerms) -> Result<Value, Failure> {
    let out = &around.out;
    let all = visible(server.projects().map_err(|e| out.transport(&e))?);
    let mut grants = Vec::new();
    for wanted in &terms.projects {
        let project = by_name_or_id(around, &all, wanted)?;
        grants.push(json!({"project": project.id, "role": terms.role.as_str()}));
    }
    let mut body = json!({"name": terms.name.as_deref().unwrap_or("agent"), "grants": grants});
    if let Some(life) = terms.expires {
        body["expires_in"] = life.as_secs().into();
    }
    if let Some(most) = terms.max_events {
        body["max_events"] = most.into();
    }
    Ok(body)
}
