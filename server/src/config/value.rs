//! Texts of settings and what they mean.

use super::{Kind, Listen, Networks};
use std::net::SocketAddr;
use std::time::Duration;

/// Whether a text fits its kind; else what would fit, as it follows "is not".
pub fn check(kind: Kind, text: &str) -> Result<(), String> {
    let (fits, wanted) = match kind {
        Kind::Address => (
            parse_listen(text).is_some(),
            "an address with a port, as 127.0.0.1:8080 or :8080 (host names are not looked up)",
        ),
        Kind::AddressOrOff => {
            (text == "off" || parse_listen(text).is_some(), "an address with a port, as :80, or off")
        }
        Kind::Duration => (parse_duration(text).is_some(), "a duration, as 30s, 1m30s or 90d"),
        Kind::Flag => (parse_flag(text).is_some(), "true, 1, false or 0"),
        Kind::Url => (is_url(text), "an http:// or https:// address without query and fragment"),
        Kind::UrlOrOff => (text == "off" || is_url(text), "an https:// address, or off"),
        Kind::Names => (
            parse_names(text).is_some(),
            "a list of up to 20 DNS names, as sync.example.org,sync.example.net (no wildcards, no addresses)",
        ),
        Kind::Count => (text.parse::<u32>().is_ok_and(|n| n > 0), "a whole number above zero"),
        Kind::Networks => {
            (Networks::parse(text).is_some(), "a list of addresses or blocks, as 10.0.0.1,192.168.0.0/16")
        }
        Kind::Origins => (
            parse_origins(text).is_some(),
            "a list of origins as browsers send them, as https://admin.example.org (no path, no slash at the end), or *",
        ),
        Kind::OneOf(words) if !words.contains(&text) => return Err(format!("one of {}", words.join(", "))),
        Kind::OneOf(_) | Kind::Path | Kind::Text | Kind::Secret => (true, ""),
    };
    if fits { Ok(()) } else { Err(wanted.into()) }
}

/// `host:port` with a literal address, `localhost:port`, or `:port`.
pub fn parse_listen(text: &str) -> Option<Listen> {
    if let Some(port) = text.strip_prefix(':') {
        return port.parse().ok().map(Listen::Everywhere);
    }
    let literal =
        text.strip_prefix("localhost:").map_or_else(|| text.to_string(), |p| format!("127.0.0.1:{p}"));
    literal.parse::<SocketAddr>().ok().map(Listen::At)
}

/// Names of this machine as a certificate can carry them, in lower case, in the order given, each once.
pub fn parse_names(text: &str) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for name in text.split(',').map(|n| n.trim().to_ascii_lowercase()).filter(|n| !n.is_empty()) {
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        let top_is_no_number =
            name.rsplit('.').next().is_some_and(|l| !l.bytes().all(|b| b.is_ascii_digit()));
        if name.len() > 253 || !name.split('.').all(label) || !top_is_no_number {
            return None;
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    (1..=20).contains(&names.len()).then_some(names)
}

/// Origins as a browser spells them: scheme, host in lower case, a port only if it is not the scheme's own. Any other
/// spelling would never match. `*` stands for all.
pub fn parse_origins(text: &str) -> Option<Vec<String>> {
    let is_origin = |origin: &str| {
        let parsed = origin.parse::<axum::http::Uri>().ok();
        let Some((scheme, at)) = parsed.as_ref().and_then(|u| Some((u.scheme_str()?, u.authority()?))) else {
            return false;
        };
        let own = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => return false,
        };
        let port = at.port_u16();
        let spelled = port.map_or_else(String::new, |port| format!(":{port}"));
        port != own && origin == format!("{scheme}://{}{spelled}", at.host().to_ascii_lowercase())
    };
    let origins: Vec<&str> = text.split(',').map(str::trim).filter(|o| !o.is_empty()).collect();
    origins
        .iter()
        .all(|o| *o == "*" || is_origin(o))
        .then(|| origins.into_iter().map(str::to_string).collect())
}

/// Strict: a typing error in a switch must not mean "off".
pub fn parse_flag(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// `300ms`, `30s`, `1m30s`, `2h`, `90d`; positive.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        let unit_len = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = &rest[digits..digits + unit_len];
        let part = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            "d" => Duration::from_secs(number.checked_mul(86_400)?),
            _ => return None,
        };
        total = total.checked_add(part)?;
        rest = &rest[digits + unit_len..];
    }
    (total > Duration::ZERO).then_some(total)
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|r| {
        !r.is_empty()
            && !r.starts_with('/')
            && !r.contains(['?', '#', '"', '<', '>', '\\'])
            // No blank either, and no carriage return from the end of a line.
            && r.bytes().all(|b| b.is_ascii_graphic())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_the_reference_writes_them() {
        assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("90d"), Some(Duration::from_secs(7_776_000)));
        for bad in ["", "5", "s", "0s", "1x", "-1s", "1.5h", "99999999999999999999s"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_are_dns_names_without_wildcards_and_addresses() {
        assert_eq!(
            parse_names("B.example, a.example,b.example"),
            Some(vec!["b.example".into(), "a.example".into()])
        );
        for bad in
            ["", ",", "*.example", "10.0.0.1", "a_b.example", "-a.example", "a..example", "a.example:443"]
        {
            assert_eq!(parse_names(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_url_has_a_host_and_nothing_behind_its_path() {
        assert!(is_url("https://sync.example:8443/base"));
        for bad in [
            "sync.example",
            "ftp://x",
            "http://",
            "http:///x",
            "http://x?y",
            "http://x#y",
            "http://a b",
            "http://x\r",
            "http://x\u{3}",
        ] {
            assert!(!is_url(bad), "{bad}");
        }
    }

    #[test]
    fn origins_are_taken_as_browsers_send_them_and_in_no_other_spelling() {
        let good = "https://a.example, http://localhost:8080,*,https://[::1]:8443,http://10.0.0.1";
        assert_eq!(parse_origins(good).map(|o| o.len()), Some(5));
        for bad in [
            "a.example",
            "https://a.example/",
            "https://a.example/x",
            "https://A.example",
            "https://a.example:443",
            "http://a.example:080",
            "ftp://a.example",
            "https://u@a.example",
            "https://*.example.org/",
            "null",
            "https://",
            "https://a.example:",
            "https://a.example:99999",
            "https://a.example?x",
            "https://a.example#x",
        ] {
            assert_eq!(parse_origins(bad), None, "{bad}");
        }
    }
}
