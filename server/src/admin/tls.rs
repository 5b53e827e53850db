//! `admin tls`: what certificate there is, and a renewal now.

use super::{AdminError, Office, Reply};
use crate::tls::{self, Standing};

impl Office {
    /// Of the running server, else as its files tell it.
    pub(super) fn tls_status(&self) -> Result<Reply, AdminError> {
        let standing = match self {
            Self::Server(app) => app.tls.as_ref().map(|tls| tls.standing()),
            Self::Alone(_) => None,
        };
        reply(&standing.unwrap_or_else(|| tls::standing_on_disk(self.config())))
    }

    /// Asks for a certificate without waiting for the time that was set after a failure. What the authority counts is
    /// still counted.
    pub(super) fn tls_renew(&self) -> Result<Reply, AdminError> {
        let Self::Server(app) = self else {
            let why = "no server is running: certificates are got by a running server";
            return Err(AdminError::new("no_server", why).remedy("td-sync serve"));
        };
        let Some(tls) = &app.tls else {
            let why = "TLS is off, so there is nothing to renew";
            return Err(AdminError::new("tls_off", why).remedy("td-sync config list"));
        };
        tls.renew();
        let text = "asked for; td-sync admin tls status says what came of it\n";
        Ok(Reply { text: text.into(), json: serde_json::json!({"asked": true}) })
    }
}

fn reply(standing: &Standing) -> Result<Reply, AdminError> {
    let json = serde_json::to_value(standing).map_err(|e| AdminError::new("failed", e.to_string()))?;
    Ok(Reply { text: standing.text(), json })
}
