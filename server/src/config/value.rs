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
        Kind::Duration => (parse_duration(text).is_some(), "a duration, as 30s, 1m30s, 1.5h or 90d"),
        Kind::Flag => (parse_flag(text).is_some(), "true, 1, false or 0"),
        Kind::Url => (is_url(text), "an http:// or https:// address without query and fragment"),
        Kind::UrlOrOff => (text == "off" || is_url(text), "an https:// address, or off"),
        Kind::Page => {
            (is_page(text), "an address with a scheme and without fragment, as https://… or app://…")
        }
        Kind::Names => (
            parse_names(text).is_some(),
            "a list of up to 20 DNS names, as sync.example.org,sync.example.net (no wildcards, no addresses)",
        ),
        Kind::Count => (text.parse::<usize>().is_ok_and(|n| n > 0), "a whole number above zero"),
        Kind::Networks => (
            Networks::parse(text).is_some(),
            "a list of addresses or blocks, as 10.0.0.1,192.168.0.0/16 (not /0, which would believe everybody: a \
             stranger who says to be this machine reads /metrics)",
        ),
        Kind::Origins => (
            parse_origins(text).is_some(),
            "a list of origins as browsers send them, as https://admin.example.org (no path, no slash at the end), or *; \
             null stands for every sandboxed page and is none",
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

/// Origins as a browser spells them: scheme (an app's own too), host in lower case, a port only if it is not the scheme's
/// own. Any other spelling would never match. `*` stands for all.
pub fn parse_origins(text: &str) -> Option<Vec<String>> {
    let is_origin = |origin: &str| {
        let parsed = origin.parse::<axum::http::Uri>().ok();
        let Some((scheme, at)) = parsed.as_ref().and_then(|u| Some((u.scheme_str()?, u.authority()?))) else {
            return false;
        };
        let own = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            "ftp" | "file" => return false,
            _ => None,
        };
        let port = at.port_u16();
        let spelled = port.map_or_else(String::new, |port| format!(":{port}"));
        (port.is_none() || port != own)
            && origin == format!("{scheme}://{}{spelled}", at.host().to_ascii_lowercase())
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

/// `300ms`, `30s`, `1m30s`, `1.5h`, and `90d`, which Go has not; positive, to the nanosecond.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (mut nanos, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, behind) = rest.split_at(digits(rest));
        let (part, behind) = match behind.strip_prefix('.') {
            Some(behind) => behind.split_at(digits(behind)),
            None => ("", behind),
        };
        let next = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(next);
        let unit: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3_600 * 1_000_000_000,
            "d" => 86_400 * 1_000_000_000,
            _ => return None,
        };
        let whole: u64 = match whole {
            "" if !part.is_empty() => 0,
            digits => digits.parse().ok()?,
        };
        let whole = whole.checked_mul(unit)?;
        let digit = |(sum, unit): (u64, u64), b: u8| (sum + u64::from(b - b'0') * unit / 10, unit / 10);
        let (part, _) = part.bytes().fold((0, unit), digit);
        nanos = nanos.checked_add(whole)?.checked_add(part)?;
        rest = behind;
    }
    (nanos > 0).then_some(Duration::from_nanos(nanos))
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

fn is_page(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
            && !rest.is_empty()
            && !rest.contains(['#', '"', '<', '>', '\\'])
            && rest.bytes().all(|b| b.is_ascii_graphic())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_the_reference_writes_them() {
        assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("90d"), Some(Duration::from_secs(7_776_000)));
        for (text, millis) in
            [("1.5h", 5_400_000), ("0.25s", 250), ("1.5s500us500µs", 1_501), ("1.s", 1_000), (".5s", 500)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "5", "s", ".s", "0s", "1x", "-1s", "1..5h", "1.5", "1 s", "99999999999999999999s"] {
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
    fn a_page_may_be_an_app_and_have_a_query_but_no_fragment() {
        for good in ["https://watch.example/done", "tdwatch://cb", "http://x/?a=b"] {
            assert!(is_page(good), "{good}");
        }
        for bad in
            ["watch.example", "://x", "1a://x", "app://", "javascript:alert(1)", "https://x/#y", "app://a b"]
        {
            assert!(!is_page(bad), "{bad}");
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
        let good =
            "https://a.example, http://localhost:8080,*,https://[::1]:8443,http://10.0.0.1,tauri://localhost";
        assert_eq!(parse_origins(good).map(|o| o.len()), Some(6));
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
