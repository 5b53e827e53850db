//! `td resync`: the way back when this copy and the server do not belong together any more.
//!
//! Danger: the key of a server that answers in another's place. It is trusted only if a person typed its fingerprint or
//! said yes to it, and nothing secret is sent before that.

use super::around::Around;
use super::out::Failure;
use super::server::require_link;
use serde_json::json;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use td_client::config::Choice;
use td_client::identity::{self, IdentityError};

pub fn resync(around: &Around, accept_key: Option<&str>) -> Result<(), Failure> {
    let out = &around.out;
    let mut project = if around.has_project() { Some(around.acting_project()?) } else { None };
    if let Some(project) = &mut project {
        require_link(around, project)?;
    }
    let mut trusted = None;
    let (server, choice) = around.server_or(project.as_ref(), |choice, other| {
        trusted = Some(consent(around, choice, other, accept_key)?);
        Ok(())
    })?;
    let mut text = String::new();
    if let Some(fingerprint) = &trusted {
        pin(around, &choice, fingerprint)?;
        let _ = writeln!(text, "From now on {} is known by the key {fingerprint}.", choice.url);
    }
    let Some(mut project) = project else {
        let none = "This folder is no project, so there is nothing to rebuild.";
        out.say(format!("{text}{none}"), &json!({"resynced": null, "kept": null, "trusted_key": trusted}));
        return Ok(());
    };
    let (done, kept) = project.resync(server).map_err(|e| out.sync(&e))?;
    let _ = writeln!(text, "Rebuilt from the server's log: {} events, up to {}.", done.events, done.cursor);
    if done.lost_by_server > 0 {
        let _ = writeln!(text, "{} changes are not on the server any more.", done.lost_by_server);
    }
    if done.pending > 0 {
        let _ = writeln!(text, "{} changes wait to be sent: {} sync", done.pending, out.td);
    }
    let _ = write!(text, "The former state is kept in {}", kept.display());
    out.say(text, &json!({"resynced": done, "kept": kept, "trusted_key": trusted}));
    Ok(())
}

/// The fingerprint a person wants to trust from now on.
fn consent(
    around: &Around,
    choice: &Choice,
    other: IdentityError,
    accept_key: Option<&str>,
) -> Result<String, Failure> {
    let out = &around.out;
    let IdentityError::Other { found, expected } = &other else { return Err(out.identity(&other)) };
    if let Some(accepted) = accept_key {
        if accepted.eq_ignore_ascii_case(found) {
            return Ok(found.clone());
        }
        let message = format!("the server at {} shows the key {found}, not {accepted}", choice.url);
        let remedy = "do not go on: ask the server's operator whose key that is; `td-sync doctor` there shows the right one";
        return Err(out.usage(message, Some(remedy.into())));
    }
    let question = format!(
        "Another server answers at {}: its key is {found}, known is {expected}.\n\
         That is right if the server was set up anew or moved. If nobody told you so, somebody may be\n\
         in between: ask the operator for the key before you go on.",
        choice.url
    );
    if out.json || !std::io::stdin().is_terminal() {
        let remedy = format!("when the operator has confirmed it: {} resync --accept-key {found}", out.td);
        return Err(out.usage(question, Some(remedy)));
    }
    eprint!("{question}\nTrust the new key from now on? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let _ = std::io::stdin().read_line(&mut answer);
    if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        Ok(found.clone())
    } else {
        Err(out.usage("the new key was not trusted; nothing changed", None))
    }
}

/// Pins the key with this fingerprint, which the server has to prove once more.
fn pin(around: &Around, choice: &Choice, fingerprint: &str) -> Result<(), Failure> {
    let ca = choice.login.as_ref().and_then(|l| l.ca_file.as_deref());
    let server =
        td_client::http::Server::new(choice.url.clone(), ca, None).map_err(|e| around.out.transport(&e))?;
    let key =
        identity::expect(&server, &*around.ambient, fingerprint).map_err(|e| around.out.identity(&e))?;
    let pinned = around.logins.update(|file| {
        if let Some(login) = file.servers.get_mut(&choice.url) {
            login.public_key = Some(key.as_str().into());
            login.epoch = None;
        }
    });
    pinned.map_err(|e| around.out.config(&e))
}
