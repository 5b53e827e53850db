//! The address of a server.
//!
//! Invariant: two texts that mean the same server give equal addresses, and an address holds no login.

use serde::{Deserialize, Serialize};
use ureq::http::Uri;

/// The address of a server: `http` or `https`, a host, perhaps a port and a path, no trailing slash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerUrl(String);

/// A text that is no server's address.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text:?} is not the address of a server: {why}")]
pub struct BadUrl {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl ServerUrl {
    /// Accepts `http(s)://host[:port][/path]`.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let bad = |why| BadUrl { text: text.into(), why };
        let trimmed = text.trim().trim_end_matches('/');
        let uri: Uri = trimmed.parse().map_err(|_| bad("it is no URL"))?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(a)) if a.as_str().contains('@') => {
                Err(bad("a login does not belong into an address"))
            }
            (Some("http" | "https"), Some(a)) if a.host().is_empty() => Err(bad("the host is missing")),
            (Some("http" | "https"), Some(_)) if trimmed.contains(['?', '#']) => {
                Err(bad("it has a query or a fragment"))
            }
            (Some(scheme @ ("http" | "https")), Some(a)) => {
                // Scheme and host mean the same in any case; one spelling makes one entry in the login file.
                Ok(Self(format!(
                    "{scheme}://{}{}",
                    a.as_str().to_ascii_lowercase(),
                    uri.path().trim_end_matches('/')
                )))
            }
            _ => Err(bad("it has to begin with http:// or https://")),
        }
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the channel is encrypted.
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// Host (an IPv6 address in brackets) and port.
    pub fn host_port(&self) -> (String, u16) {
        let uri: Option<Uri> = self.0.parse().ok();
        let port = uri.as_ref().and_then(Uri::port_u16).unwrap_or(if self.is_tls() { 443 } else { 80 });
        (uri.as_ref().and_then(Uri::host).unwrap_or_default().into(), port)
    }

    /// Whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        let (host, _) = self.host_port();
        let bare = host.trim_matches(['[', ']']);
        bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl std::fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ServerUrl {
    type Error = BadUrl;
    fn try_from(text: String) -> Result<Self, BadUrl> {
        Self::parse(&text)
    }
}

impl From<ServerUrl> for String {
    fn from(url: ServerUrl) -> String {
        url.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_spelling_and_no_login() {
        let same = ["http://Host:8470", "HTTP://host:8470/", "http://host:8470"];
        for text in same {
            assert_eq!(ServerUrl::parse(text).expect(text).as_str(), "http://host:8470");
        }
        for bad in
            ["", "host:8470", "ftp://host", "http://", "http://a:b@host", "http://host/?x", "http://host/#x"]
        {
            assert!(ServerUrl::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(ServerUrl::parse("https://[::1]/td").expect("url").host_port(), ("[::1]".into(), 443));
    }
}
