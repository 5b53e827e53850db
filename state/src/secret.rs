//! Secrets in memory, and keeping them out of everything else (DESIGN law 15).
//!
//! Duty: a type that cannot be printed, and a redactor that knows every secret by value.
//! Invariant: whatever goes to a journal or an event has been through the redactor.
//! Danger: very short secrets would blot out ordinary words; under six bytes they are not looked for, so none is made.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;
use std::fmt::{self, Write as _};
use zeroize::Zeroizing;

/// A secret: no `Display`, no `Serialize`, wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes it over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

const SHORTEST: usize = 6;
const MASK: &str = "[secret]";

/// Fields that hold no text from outside.
const OURS: &[&str] = &[
    "act", "answers", "boot", "change", "code", "desired", "key", "kind", "observed", "result", "resumes",
    "run", "step", "stream", "t", "target", "tool", "undo", "unit", "verb",
];

/// Replaces known secrets by a mask: as they are, line by line, in base64 and as URLs spell them.
#[derive(Clone, Debug, Default)]
pub struct Redactor(Vec<Secret>);

impl Redactor {
    /// Learns a secret.
    pub fn learn(&mut self, secret: &Secret) {
        let whole = secret.expose();
        let encoded = [STANDARD_NO_PAD.encode(whole), URL_SAFE_NO_PAD.encode(whole), percent(whole)];
        let lines = whole.lines().map(|l| l.trim().to_owned());
        for form in [whole.to_owned()].into_iter().chain(lines).chain(encoded) {
            if form.len() >= SHORTEST && !self.0.iter().any(|s| s.expose() == form) {
                self.0.push(Secret::new(form));
            }
        }
        // Longest first, so that no part of a longer secret survives the masking of a shorter one.
        self.0.sort_by_key(|s| std::cmp::Reverse(s.expose().len()));
    }

    /// The text without secrets.
    pub fn scrub(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |t, s| {
            if t.contains(s.expose()) { t.replace(s.expose(), MASK) } else { t }
        })
    }

    /// Scrubs every free text in a JSON record or event. Field names, and fields that are words of ours or
    /// digests, stay as they are: a password that happens to be `verified` must not make a journal unreadable.
    pub fn scrub_json(&self, value: &mut Value) {
        if self.0.is_empty() {
            return;
        }
        match value {
            Value::String(s) => *s = self.scrub(s),
            Value::Array(all) => all.iter_mut().for_each(|v| self.scrub_json(v)),
            Value::Object(map) => {
                let ours = |key: &str, v: &Value| v.is_string() && OURS.contains(&key);
                let free = map.iter_mut().filter(|(key, v)| !ours(key, v));
                free.for_each(|(_, v)| self.scrub_json(v));
            }
            _ => {}
        }
    }
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            let _infallible = write!(out, "%{b:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_form_of_a_secret_survives(secret in "[ -~]{6,40}", before in ".{0,20}", after in ".{0,20}") {
            let mut redactor = Redactor::default();
            redactor.learn(&Secret::new(secret.clone()));
            for form in [secret.clone(), STANDARD_NO_PAD.encode(&secret), percent(&secret)] {
                let text = redactor.scrub(&format!("{before}{form}{after}"));
                prop_assert!(!text.contains(&form) || MASK.contains(&form), "{text}");
            }
        }
    }

    #[test]
    fn every_line_of_a_key_file_is_a_secret() {
        let mut redactor = Redactor::default();
        redactor.learn(&Secret::new("-----BEGIN KEY-----\nMC4CAQAwBQ\n-----END KEY-----\n"));
        assert_eq!(redactor.scrub("read: MC4CAQAwBQ"), "read: [secret]");
    }
}
