//! How mail leaves, and what each way needs.
//!
//! Invariant: a way that lacks something is refused at the start, where somebody looks, and not at the first login.
//! Danger: a mail holds a link that signs its reader in, so it travels encrypted, or does not leave this machine.

use super::{ConfigError, value};
use crate::secret::Secret;
use lettre::message::Mailbox;
use std::net::IpAddr;
use std::path::PathBuf;

/// How mail leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailSettings {
    /// It does not: an operator approves logins.
    Log,
    /// Into memory, for tests.
    Memory,
    /// By a mail server.
    Smtp(SmtpSettings),
    /// By Cloudflare's Email Sending.
    Cloudflare(CloudflareSettings),
}

/// A mail server that takes our mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpSettings {
    /// Name or address.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// How the way there is encrypted.
    pub security: Security,
    /// Name and password.
    pub login: Option<(String, Secret)>,
    /// Sender.
    pub from: Mailbox,
    /// PEM file that replaces the bundled authorities.
    pub ca_file: Option<PathBuf>,
}

/// How the way to a mail server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// From the first byte.
    Tls,
    /// Begun in clear; nothing is sent before it is encrypted.
    StartTls,
    /// Not at all.
    Off,
}

/// An account at Cloudflare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudflareSettings {
    /// Its id.
    pub account: String,
    /// Key with the permission to send.
    pub token: Secret,
    /// Sender, a bare address.
    pub from: String,
    /// Name of the sender.
    pub from_name: Option<String>,
    /// Where replies go.
    pub reply_to: Option<String>,
}

const OF_SMTP: [&str; 7] = [
    "SYNC_EMAIL_FROM",
    "SYNC_SMTP_HOST",
    "SYNC_SMTP_TLS",
    "SYNC_SMTP_PORT",
    "SYNC_SMTP_USER",
    "SYNC_SMTP_PASSWORD",
    "SYNC_SMTP_CA_FILE",
];
const OF_CLOUDFLARE: [&str; 5] = [
    "CLOUDFLARE_ACCOUNT_ID",
    "CLOUDFLARE_EMAIL_API_TOKEN",
    "CLOUDFLARE_EMAIL_FROM",
    "CLOUDFLARE_EMAIL_FROM_NAME",
    "CLOUDFLARE_EMAIL_REPLY_TO",
];

impl MailSettings {
    /// From checked texts: `given` knows what was set, `text` also the defaults. Settings of ours for a way that is not
    /// taken are refused; those of the reference are noted, because its deployments pass them always.
    pub(super) fn read<'a>(
        given: impl Fn(&str) -> Option<&'a str>,
        text: impl Fn(&str) -> String,
        notes: &mut Vec<String>,
    ) -> Result<Self, ConfigError> {
        let way = text("SYNC_EMAIL_PROVIDER");
        let mut faults = Vec::new();
        if way != "smtp" {
            let idle = OF_SMTP.into_iter().filter(|n| given(n).is_some());
            faults.extend(idle.map(|n| format!("{n} says nothing with SYNC_EMAIL_PROVIDER={way}")));
        }
        if way != "cloudflare" {
            let idle = OF_CLOUDFLARE.into_iter().filter(|n| given(n).is_some());
            notes.extend(idle.map(|n| format!("{n} says nothing with SYNC_EMAIL_PROVIDER={way}")));
        }
        let settings = match way.as_str() {
            "smtp" => smtp(&given, &text, &mut faults).map(Self::Smtp),
            "cloudflare" => cloudflare(&given, &mut faults).map(Self::Cloudflare),
            "memory" => Some(Self::Memory),
            _ => Some(Self::Log),
        };
        match settings {
            Some(settings) if faults.is_empty() => Ok(settings),
            _ => Err(ConfigError(faults)),
        }
    }
}

/// `None` only together with a fault.
fn smtp<'a>(
    given: impl Fn(&str) -> Option<&'a str>,
    text: impl Fn(&str) -> String,
    faults: &mut Vec<String>,
) -> Option<SmtpSettings> {
    let needs = |name: &str, faults: &mut Vec<String>| {
        if given(name).is_none() {
            faults.push(format!("SYNC_EMAIL_PROVIDER=smtp needs {name}"));
        }
        given(name)
    };
    let host = needs("SYNC_SMTP_HOST", faults).and_then(|host| {
        let name = host_name(host);
        if name.is_none() {
            faults.push(format!("SYNC_SMTP_HOST: {host:?} is no name and no address"));
        }
        name
    });
    let from = needs("SYNC_EMAIL_FROM", faults).and_then(|from| {
        let parsed = from.parse().ok();
        if parsed.is_none() {
            faults.push(format!("SYNC_EMAIL_FROM: {from:?} is no sender, as Sync <sync@example.org>"));
        }
        parsed
    });
    let (security, port) = match text("SYNC_SMTP_TLS").as_str() {
        "tls" => (Security::Tls, 465),
        "off" => (Security::Off, 25),
        _ => (Security::StartTls, 587),
    };
    let port = given("SYNC_SMTP_PORT").map_or(Some(port), |p| p.parse().ok());
    if port.is_none() {
        faults.push("SYNC_SMTP_PORT: a port is at most 65535".into());
    }
    if security == Security::Off && host.as_ref().is_some_and(|h| !is_this_machine(h)) {
        faults.push(
            "SYNC_SMTP_TLS=off is for a mail server on this machine: links that sign people in would travel readable"
                .into(),
        );
    }
    let login = match (given("SYNC_SMTP_USER"), given("SYNC_SMTP_PASSWORD")) {
        (Some(user), Some(password)) => Some((user.to_string(), Secret::new(password.to_string()))),
        (None, None) => None,
        _ => {
            faults.push(
                "SYNC_SMTP_USER and SYNC_SMTP_PASSWORD (or SYNC_SMTP_PASSWORD_FILE) go together".into(),
            );
            None
        }
    };
    let ca_file = given("SYNC_SMTP_CA_FILE").map(PathBuf::from);
    Some(SmtpSettings { host: host?, port: port?, security, login, from: from?, ca_file })
}

/// `None` only together with a fault.
fn cloudflare<'a>(
    given: impl Fn(&str) -> Option<&'a str>,
    faults: &mut Vec<String>,
) -> Option<CloudflareSettings> {
    let mut needs = |name: &str| {
        let value = given(name).map(String::from);
        if value.is_none() {
            faults.push(format!("SYNC_EMAIL_PROVIDER=cloudflare needs {name}"));
        }
        value
    };
    let (account, token, from) = (needs(OF_CLOUDFLARE[0]), needs(OF_CLOUDFLARE[1]), needs(OF_CLOUDFLARE[2]));
    // It becomes a part of an address.
    if let Some(odd) = account.as_ref().filter(|a| !a.bytes().all(|b| b.is_ascii_alphanumeric())) {
        faults.push(format!("{}: {odd:?} is no account id", OF_CLOUDFLARE[0]));
    }
    let optional = |name: &str| given(name).map(String::from);
    Some(CloudflareSettings {
        account: account?,
        token: Secret::new(token?),
        from: from?,
        from_name: optional(OF_CLOUDFLARE[3]),
        reply_to: optional(OF_CLOUDFLARE[4]),
    })
}

/// A name or an address, without the brackets of an IPv6 address.
fn host_name(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Some(bare.to_string());
    }
    value::parse_names(bare).filter(|names| names.len() == 1).and_then(|mut names| names.pop())
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn mail(pairs: &[(&str, &str)]) -> Result<MailSettings, Vec<String>> {
        let config = Config::from_pairs(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())));
        config.map(|c| c.mail).map_err(|e| e.0)
    }

    const SMTP: [(&str, &str); 3] = [
        ("SYNC_EMAIL_PROVIDER", "smtp"),
        ("SYNC_SMTP_HOST", "mail.example.org"),
        ("SYNC_EMAIL_FROM", "Sync <sync@example.org>"),
    ];

    #[test]
    fn a_mail_server_needs_a_name_and_a_sender_and_encrypts_by_default() {
        let Ok(MailSettings::Smtp(smtp)) = mail(&SMTP) else { panic!("complete") };
        assert_eq!((smtp.port, smtp.security, smtp.login), (587, Security::StartTls, None));
        let Ok(MailSettings::Smtp(smtp)) = mail(&[&SMTP[..], &[("SYNC_SMTP_TLS", "tls")]].concat()) else {
            panic!("complete")
        };
        assert_eq!((smtp.port, smtp.security), (465, Security::Tls));
        let faults = mail(&SMTP[..1]).expect_err("incomplete");
        assert_eq!(faults.len(), 2, "{faults:?}");
    }

    #[test]
    fn links_do_not_travel_readable_beyond_this_machine() {
        let with = |host| {
            let off = [("SYNC_SMTP_HOST", host), ("SYNC_SMTP_TLS", "off")];
            mail(&[SMTP[0], SMTP[2], off[0], off[1]])
        };
        for near in ["localhost", "127.0.0.1", "[::1]"] {
            assert!(with(near).is_ok(), "{near}");
        }
        for far in ["mail.example.org", "10.0.0.2"] {
            let faults = with(far).expect_err(far);
            assert!(faults[0].starts_with("SYNC_SMTP_TLS=off"), "{faults:?}");
        }
    }

    #[test]
    fn what_contradicts_or_lacks_its_other_half_is_refused() {
        for more in [
            ("SYNC_SMTP_USER", "sync"),
            ("SYNC_SMTP_PORT", "70000"),
            ("SYNC_SMTP_HOST", "mail example"),
            ("SYNC_EMAIL_FROM", "nobody"),
        ] {
            let faults = mail(&[&SMTP[..], &[more]].concat()).expect_err(more.0);
            assert!(faults[0].starts_with(more.0), "{faults:?}");
        }
        assert!(mail(&[("SYNC_SMTP_HOST", "mail.example.org")]).is_err(), "no way to send was chosen");
    }

    #[test]
    fn cloudflare_needs_three_settings_and_shows_its_key_nowhere() {
        let all = [
            ("SYNC_EMAIL_PROVIDER", "cloudflare"),
            ("CLOUDFLARE_ACCOUNT_ID", "0a1b"),
            ("CLOUDFLARE_EMAIL_API_TOKEN", "hush"),
            ("CLOUDFLARE_EMAIL_FROM", "sync@example.org"),
        ];
        let settings = mail(&all).expect("complete");
        assert!(!format!("{settings:?}").contains("hush"));
        assert_eq!(mail(&all[..1]).expect_err("incomplete").len(), 3);
        let odd = [all[0], ("CLOUDFLARE_ACCOUNT_ID", "../x"), all[2], all[3]];
        assert!(mail(&odd).is_err());
        let idle = Config::from_pairs(all[1..].iter().map(|(k, v)| (k.to_string(), v.to_string())));
        let notes = idle.expect("the reference's deployments pass them always").notes;
        assert!(notes.iter().any(|n| n.starts_with("CLOUDFLARE_EMAIL_FROM says nothing")), "{notes:?}");
    }
}
