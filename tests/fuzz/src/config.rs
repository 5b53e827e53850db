//! An environment, one `NAME=value` a line. Values are never empty and hold no line feed, as in a unit's file.
//!
//! What holds: a refusal names the setting; what was accepted, written out again, is accepted as the same; no secret
//! is printed.

use std::collections::BTreeMap;
use std::time::Duration;
use td_server::config::{Config, Kind, Listen, VARIABLES, parse_duration};

const SECRET: &str = "hush-hush-hush";

pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let pairs = text.split('\n').filter_map(|line| line.split_once('='));
    // A `_FILE` is read, and not every file ends.
    let pairs =
        pairs.filter(|(name, _)| !name.ends_with("_FILE") || VARIABLES.iter().any(|v| v.name == *name));
    let mut given: BTreeMap<String, String> =
        pairs.map(|(name, value)| (name.to_string(), value.replace('\0', ""))).collect();
    // The fuzzer knows our texts; where it writes this one itself, it is no secret.
    if given.iter().any(|(name, value)| name.contains(SECRET) || value.contains(SECRET)) {
        return;
    }
    for secret in VARIABLES.iter().filter(|v| v.kind == Kind::Secret) {
        given.entry(secret.name.into()).and_modify(|v| *v = SECRET.into());
    }
    for value in given.values() {
        duration(value);
    }
    match Config::from_pairs(given.clone()) {
        Err(refused) => {
            assert!(!refused.0.is_empty());
            // As it was given, or one that is missing.
            let about =
                |fault: &String| given.keys().any(|n| fault.contains(n.as_str())) || fault.contains("SYNC_");
            assert!(refused.0.iter().all(about), "{refused}");
            assert!(!refused.to_string().contains(SECRET), "{refused}");
        }
        Ok(config) => accepted(&config, &given),
    }
}

fn accepted(config: &Config, given: &BTreeMap<String, String>) {
    let shown = format!("{config:?}");
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(config.base_url.starts_with("http") && !config.base_url.ends_with('/'), "{}", config.base_url);
    assert!(config.base_url.bytes().all(|b| b.is_ascii_graphic()), "{:?}", config.base_url);
    assert!(config.limits.push > 0 && config.shutdown_timeout > Duration::ZERO);
    // With HTTPS on, nobody is sent to plain HTTP.
    assert!(config.tls.is_none() || config.base_url.starts_with("https://"), "{}", config.base_url);
    let mut written = given.clone();
    let listen = match config.listen {
        Listen::At(address) => address.to_string(),
        Listen::Everywhere(port) => format!(":{port}"),
    };
    for (name, value) in [
        ("SYNC_LISTEN_ADDR", listen),
        ("SYNC_SHUTDOWN_TIMEOUT", spelled(config.shutdown_timeout)),
        ("SYNC_AUTH_EVENT_RETENTION", spelled(config.operating.auth_event_retention)),
        ("SYNC_RATE_LIMIT_PUSH", config.limits.push.to_string()),
        ("SYNC_ALLOW_SIGNUP", config.login.allow_signup.to_string()),
        ("SYNC_SERVER_DB_PATH", config.server_db.to_str().expect("text").into()),
        ("SYNC_PROJECT_DATA_DIR", config.projects.to_str().expect("text").into()),
    ] {
        written.insert(name.into(), value);
    }
    if config.base_url_given {
        written.insert("SYNC_BASE_URL".into(), config.base_url.clone());
    }
    let again = Config::from_pairs(written).unwrap_or_else(|e| panic!("{shown} is refused: {e}"));
    assert_eq!(format!("{again:?}"), shown);
}

fn duration(text: &str) {
    if let Some(duration) = parse_duration(text) {
        assert_eq!(parse_duration(&spelled(duration)), Some(duration), "{text}");
    }
}

/// Nanoseconds are the smallest unit there is.
fn spelled(duration: Duration) -> String {
    format!("{}s{}ns", duration.as_secs(), duration.subsec_nanos())
}
