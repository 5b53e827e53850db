//! `admin mail`: does mail arrive?

use super::office::{Office, address};
use super::{AdminError, Reply};
use crate::control::ControlError;
use crate::mail::{Fate, Mail, MailError, Post};
use crate::secret;
use serde_json::json;

impl Office {
    /// Sends a mail with a code in it. That a mail server took it proves little; that somebody reads the code in their
    /// mailbox proves all of it.
    pub(super) fn mail_test(&self, to: &str) -> Result<Reply, AdminError> {
        let to = address(to)?;
        let number = u32::from_be_bytes(secret::bytes::<4>().map_err(ControlError::from)?);
        let code = format!("{:06}", number % 1_000_000);
        match self.post().and_then(|post| post.send_now(Mail::test(&to, &code, "admin-mail-test"))) {
            Ok(Fate::Left) => Ok(Reply {
                text: format!("a mail to {to} left; mail works if it arrives with the code {code}\n"),
                json: json!({"to": to, "code": code}),
            }),
            Ok(Fate::Stays | Fate::Lost) => {
                Err(AdminError::new("no_mail", "no mail leaves this server: SYNC_EMAIL_PROVIDER is log")
                    .remedy("td-sync config list"))
            }
            Err(e) => Err(AdminError::new("mail_failed", format!("the mail did not leave: {e}"))
                .remedy("td-sync config list")),
        }
    }

    fn post(&self) -> Result<Post, MailError> {
        match self {
            Self::Server(app) => Ok(app.post.clone()),
            Self::Alone(alone) => Post::new(&alone.config.mail, &alone.config.base_url),
        }
    }
}
