//! Logins that wait for somebody: seen and decided by the operator, for a server without mail.

use super::{AdminError, Reply, one_line};
use crate::control::Control;
use crate::control::logins::{Approved, Approver, Metadata};
use serde_json::json;
use std::fmt::Write;

/// What waits.
pub(super) fn list(control: &Control) -> Result<Reply, AdminError> {
    let waiting = control.store().pending_logins(&Approver::Operator, control.now())?.unwrap_or_default();
    let mut text = String::new();
    for login in &waiting {
        let since = login.created_at.rfc3339s_utc();
        let (from, email) = (one_line(&login.client), one_line(&login.email));
        let _ = writeln!(text, "{}  {since}  from {from}\n    {email}", login.id);
    }
    if waiting.is_empty() {
        text.push_str("no login waits\n");
    }
    Ok(Reply { text, json: json!(waiting) })
}

/// Approves or ends one.
pub(super) fn decide(control: &Control, id: &str, approve: bool) -> Result<Reply, AdminError> {
    let now = control.now();
    let refused = |code: &str, what: &str| {
        Err(AdminError::new(code, format!("{what}: {id}")).remedy("td-sync admin logins list"))
    };
    match control.store().decide_login(id, &Approver::Operator, approve, &Metadata::new(), now)? {
        Approved::Done => {
            let (done, state) = if approve {
                ("approved", "the device signs in at its next poll")
            } else {
                ("denied", "it gets no key")
            };
            Ok(Reply { text: format!("{done} {id}; {state}\n"), json: json!({"id": id, "state": done}) })
        }
        Approved::Unknown => refused("login_not_found", "no such login"),
        Approved::Used => refused("login_used", "decided before"),
        Approved::Expired => refused("login_expired", "took too long"),
    }
}
