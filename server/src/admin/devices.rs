//! `admin devices`: everything that signs in as somebody, and the end of one of them or of all.
//!
//! A device is a key, seen by its owner's eyes: what it is called, when it came, when it was last there. Tokens and public
//! links are listed too, for after a loss nobody asks which kind of secret it was.

use super::office::Office;
use super::{AdminError, Reply, one_line};
use crate::control::logins::{LoginEvent, Metadata};
use crate::control::tokens::Kind;
use crate::control::{Control, ControlError, Key, User};
use serde::Serialize;
use serde_json::json;
use std::fmt::Write;
use td_engine::time::ClientTime;

/// One thing that signs in.
#[derive(Serialize)]
struct Device {
    id: String,
    kind: &'static str,
    name: String,
    user_id: String,
    email: String,
    prefix: String,
    created_at: ClientTime,
    last_used_at: Option<ClientTime>,
    expires_at: Option<ClientTime>,
}

impl Device {
    fn key(key: Key) -> Self {
        let kind = match (key.name.as_str(), key.scopes.contains("impersonation:read")) {
            (_, true) => "view-as",
            ("td-watch-web", false) => "browser",
            _ => "device",
        };
        Self {
            kind,
            id: key.id,
            name: key.name,
            user_id: key.user_id,
            email: key.email,
            prefix: key.prefix,
            created_at: key.created_at,
            last_used_at: key.last_used_at,
            expires_at: key.expires_at,
        }
    }

    fn line(&self, now: ClientTime) -> String {
        let used = self.last_used_at.map_or("never used".into(), |t| format!("used {}", t.rfc3339s_utc()));
        let is_over = self.expires_at.is_some_and(|t| t.unix_nanos() < now.unix_nanos());
        let over = if is_over { "  (expired)" } else { "" };
        let (id, kind, prefix, email) = (&self.id, self.kind, &self.prefix, &self.email);
        let name = one_line(&self.name);
        format!("{id}  {kind:<7}  {prefix}…  {name}\n    {email}  {used}{over}")
    }
}

impl Office {
    pub(super) fn devices(&self, email: Option<&str>) -> Result<Reply, AdminError> {
        let user = email.map(|e| self.user(e)).transpose()?;
        let (all, now) = (all(self.control(), user.as_ref())?, self.control().now());
        let mut text = String::new();
        for device in &all {
            let _ = writeln!(text, "{}", device.line(now));
        }
        Ok(Reply { text, json: json!(all) })
    }

    /// Ends one, or all of an account.
    pub(super) fn revoke_devices(&self, id: Option<&str>, all_of: Option<&str>) -> Result<Reply, AdminError> {
        let user = all_of.map(|e| self.user(e)).transpose()?;
        let mut ended = all(self.control(), user.as_ref())?;
        if let Some(id) = id {
            ended.retain(|d| d.id == id);
            if ended.is_empty() {
                let why = format!("nothing signs in with the id {id}");
                return Err(AdminError::new("device_not_found", why).remedy("td-sync admin devices list"));
            }
        }
        self.control().change_now(|s| -> Result<(), ControlError> {
            for device in &ended {
                if device.id.starts_with("tk_") {
                    s.forget_token(&device.id)?;
                } else {
                    // One that went meanwhile is as gone as one that goes now.
                    let _ = s.revoke_key(&device.id)?;
                }
            }
            Ok(())
        })?;
        let events: Vec<LoginEvent> = ended.iter().map(revoked).collect();
        self.control().store().login_events(&events, self.control().now())?;
        let ids: Vec<&str> = ended.iter().map(|d| d.id.as_str()).collect();
        let mut text = String::new();
        for device in &ended {
            let _ = writeln!(text, "revoked {} ({}) of {}", device.id, one_line(&device.name), device.email);
        }
        if ended.is_empty() {
            text.push_str("nothing signs in there\n");
        }
        Ok(Reply { text, json: json!({"revoked": ids}) })
    }
}

fn revoked(device: &Device) -> LoginEvent {
    LoginEvent {
        kind: "key_revoked",
        request: String::new(),
        email: device.email.clone(),
        metadata: Metadata::from([("key_id", device.id.clone()), ("by", "operator".into())]),
    }
}

/// Keys and tokens, of one account or of all, oldest first.
fn all(control: &Control, user: Option<&User>) -> Result<Vec<Device>, ControlError> {
    // Use that is not written down yet counts too.
    control.flush()?;
    let store = control.store();
    let keys = store.keys(user.map(|u| u.id.as_str()))?;
    let mut found: Vec<Device> = keys.into_iter().map(Device::key).collect();
    let everybody = match user {
        Some(_) => Vec::new(),
        None => store.users()?,
    };
    for user in user.into_iter().chain(&everybody) {
        found.extend(store.tokens_of(&user.id)?.into_iter().map(|t| Device {
            id: t.id,
            kind: if t.kind == Kind::Link { "link" } else { "agent" },
            name: t.name,
            user_id: user.id.clone(),
            email: user.email.clone(),
            prefix: t.prefix,
            created_at: t.created_at,
            last_used_at: t.last_used_at,
            expires_at: t.expires_at,
        }));
    }
    found.sort_by(|a, b| (a.created_at.unix_nanos(), &a.id).cmp(&(b.created_at.unix_nanos(), &b.id)));
    Ok(found)
}
