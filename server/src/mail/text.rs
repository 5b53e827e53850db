//! The three mails there are (server-protocol 3.7), as text and as HTML.
//!
//! Invariant: in the text the link stands whole on its line, because programs look for it there.

use serde::Serialize;

/// What a mail is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Sign in to a page.
    WebLogin,
    /// Approve a command line.
    DeviceLogin,
    /// Join a project.
    ProjectInvitation,
}

impl Purpose {
    /// The word in logs and in the development mailbox.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebLogin => "web_login",
            Self::DeviceLogin => "device_login",
            Self::ProjectInvitation => "project_invitation",
        }
    }
}

/// A mail. Its `Debug` form is not derived: it would show the link.
#[derive(Clone, Serialize)]
pub struct Mail {
    /// Bare address.
    pub to: String,
    /// Subject line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
    /// What for.
    pub purpose: Purpose,
    /// The request that caused it.
    pub trace_id: String,
}

impl Mail {
    /// To approve a login of the `td` program.
    pub fn device_login(to: &str, link: &str, trace_id: &str) -> Self {
        let text = format!(
            "Somebody wants to sign in with td as {to}.\n\nClick the link to approve: {link}\n\n\
             It works for 15 minutes. If this was not you, do nothing.\n"
        );
        Self::new(to, "Approve td CLI login", text, link, "Approve", Purpose::DeviceLogin, trace_id)
    }

    /// To sign in to td-watch.
    pub fn web_login(to: &str, link: &str, trace_id: &str) -> Self {
        let text =
            format!("Click the link to sign in to td-watch: {link}\n\nThis link expires in 15 minutes.\n");
        Self::new(to, "Sign in to td-watch", text, link, "Sign in", Purpose::WebLogin, trace_id)
    }

    /// To join a project.
    pub fn invitation(to: &str, role: &str, link: &str, trace_id: &str) -> Self {
        let text = format!(
            "You are invited to a td project as {role}.\n\nSign in to accept: {link}\n\nIt can be accepted for 7 days.\n"
        );
        Self::new(
            to,
            "You're invited to td-watch",
            text,
            link,
            "Accept",
            Purpose::ProjectInvitation,
            trace_id,
        )
    }

    fn new(
        to: &str,
        subject: &str,
        text: String,
        link: &str,
        button: &str,
        purpose: Purpose,
        trace_id: &str,
    ) -> Self {
        let shown = escaped(link);
        let words = escaped(text.trim_end()).replace(&shown, &format!("<br><a href=\"{shown}\">{shown}</a>"));
        let words = words.replace("\n\n", "</p><p>").replace('\n', "<br>");
        let html = format!(
            "<!doctype html><html><body><p>{words}</p><p><a href=\"{shown}\">{button}</a></p></body></html>"
        );
        Self { to: to.into(), subject: subject.into(), text, html, purpose, trace_id: trace_id.into() }
    }
}

/// Text made harmless inside HTML, in attributes too.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_stands_whole_in_the_text_and_harmless_in_the_html() {
        let link = "http://x/auth/device/approve?token=ab.cd&a=<b>";
        let mail = Mail::device_login("ana@example.org", link, "id");
        assert!(mail.text.lines().any(|l| l.ends_with(link)));
        assert!(!mail.html.contains("<b>") && mail.html.matches("token=ab.cd&amp;a=&lt;b&gt;").count() == 3);
    }
}
