//! The body of an event: JSON kept as the bytes that were pushed.
//!
//! Duty: carry a payload unchanged from the author to every reader, and parse it only where its meaning is needed.
//! Invariant: the text is one complete JSON value without insignificant white space.
//! Shape (a convention, never required): `{"new_data":{…},"previous_data":{…},"schema_version":1,"meta":{…}}`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Stands where a secret was taken out of a payload.
pub const REDACTED: &str = "[redacted]";

/// One JSON value as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload(Box<str>);

impl Payload {
    /// Accepts any one JSON value; drops insignificant white space and keeps everything else (number spelling, key
    /// order, repeated keys, escapes) as it was.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        Ok(Self::of(serde_json::from_str(text)?))
    }

    /// The same of a value that was found to be JSON already.
    pub fn of(value: &RawValue) -> Self {
        Self(compact(value.get()))
    }

    /// A payload that this program composed.
    pub fn from_value(value: &Value) -> Self {
        Self(value.to_string().into())
    }

    /// A payload read back from a log, where only [`Payload::parse`]d text is stored.
    pub fn stored(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parsed value. Fails only on nesting deeper than the parser's limit (128), which `parse` lets through.
    pub fn value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// The text that decides whether two payloads are the same event (law 4): keys sorted, the last of repeated keys,
    /// no white space. A value that cannot be parsed (too deep) is its own canonical text.
    pub fn canonical(&self) -> String {
        // `Map` without `preserve_order` is a BTreeMap, so re-serialising sorts.
        self.value().map(|v| v.to_string()).unwrap_or_else(|_| self.0.to_string())
    }

    /// Whether this, which a log has, is what was once pushed as `pushed` (law 4). Where a secret was taken out, nobody
    /// knows any more what stood there: a device that sends the same event once more must not bring the secret back.
    pub fn was(&self, pushed: &Payload) -> bool {
        if self == pushed {
            return true;
        }
        if !self.0.contains(REDACTED) {
            return self.canonical() == pushed.canonical();
        }
        // A secret may have been where a parser gives up, or in a key of what a person wrote; the device spells it again
        // as it did.
        is_spelt_but_for_secrets(&self.0, &pushed.0)
            || matches!((self.value(), pushed.value()), (Ok(logged), Ok(pushed)) if is_but_for_secrets(&logged, &pushed))
    }

    /// A payload without the given keys at the top level and in both halves, keys sorted as the reference sorts them
    /// (server-protocol 5.3); `None` where there is nothing to take out, or the payload is not an object. Values stay
    /// text: one that no parser reads (too deep, too large, half of a surrogate pair) must not keep the keys in.
    pub fn without_keys(stored: &str, keys: &[&str]) -> Option<Payload> {
        // An escape can spell any key.
        if !stored.contains('\\') && !keys.iter().any(|key| stored.contains(key)) {
            return None;
        }
        let text = mended(stored);
        let mut top = members(&text)?;
        let mut taken = keys.iter().filter(|key| top.remove(**key).is_some()).count();
        let mut halves = Vec::new();
        for half in ["new_data", "previous_data"] {
            let Some(mut map) = top.get(half).and_then(|raw| members(raw.get())) else { continue };
            taken += keys.iter().filter(|key| map.remove(**key).is_some()).count();
            halves.push((half, to_raw_value(&map).ok()?));
        }
        top.extend(halves.iter().map(|(half, raw)| ((*half).to_string(), &**raw)));
        let text = (taken > 0).then(|| serde_json::to_string(&top))?;
        text.ok().map(Self::stored)
    }
}

/// The members of a JSON object, their values as text.
fn members(json: &str) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(json).ok()
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self::of(&Box::<RawValue>::deserialize(from)?))
    }
}

/// Who made a change and from where (field-meta 7). Written into every event our client composes, because it cannot be
/// reconstructed later. Older readers ignore it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Format of this object: 1.
    pub v: u32,
    /// `user:<id>` or `agent:<id>`: the kind and owner of the key, `user:local` before a login.
    pub actor: String,
    /// Which program made it: `td`, `td-demo`, `canary`.
    pub origin: String,
    /// The newest sequence the device had applied when it made the change.
    pub base_seq: i64,
}

/// Hex of the first `bytes` bytes of SHA-256 over `text`.
pub fn short_digest(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes()).iter().take(bytes).map(|b| format!("{b:02x}")).collect()
}

/// Nearly every client sends it compact already: one look, one copy.
fn is_compact(json: &str) -> bool {
    let mut rest = json.as_bytes();
    while let Some(at) = rest.iter().position(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t' | b'"')) {
        if rest[at] != b'"' {
            return false;
        }
        rest = &rest[at + 1..];
        while let Some(at) = rest.iter().position(|b| matches!(b, b'"' | b'\\')) {
            let is_end = rest[at] == b'"';
            // The escaped byte is passed over with its backslash.
            rest = rest.get(at + if is_end { 1 } else { 2 }..).unwrap_or_default();
            if is_end {
                break;
            }
        }
    }
    true
}

fn is_but_for_secrets(logged: &Value, pushed: &Value) -> bool {
    match (logged, pushed) {
        (Value::String(l), Value::String(p)) => reads_as(l, p),
        (Value::Array(l), Value::Array(p)) => {
            l.len() == p.len() && l.iter().zip(p).all(|(l, p)| is_but_for_secrets(l, p))
        }
        (Value::Object(l), Value::Object(p)) => {
            l.len() == p.len()
                && l.iter().all(|(key, l)| p.get(key).is_some_and(|p| is_but_for_secrets(l, p)))
        }
        _ => logged == pushed,
    }
}

fn is_spelt_but_for_secrets(logged: &str, pushed: &str) -> bool {
    let (mut logged, mut pushed, mut is_string) = (logged, pushed, false);
    // What stands between strings, and strings, in turn.
    loop {
        let ((l, behind_l), (p, behind_p)) = (up_to_quote(logged), up_to_quote(pushed));
        if l != p && !(is_string && reads_as(l, p)) {
            return false;
        }
        match (behind_l, behind_p) {
            (None, None) => return true,
            (Some(l), Some(p)) => (logged, pushed, is_string) = (l, p, !is_string),
            _ => return false,
        }
    }
}

/// Whether a text is the logged one, with anything in the places of [`REDACTED`]. What stands around them was not taken
/// out, so it has to be there: a word that a person typed must not make every other event a repeat of this one.
fn reads_as(logged: &str, pushed: &str) -> bool {
    let kept: Vec<&str> = logged.split(REDACTED).collect();
    let [first, middle @ .., last] = &*kept else { return logged == pushed };
    let Some(mut rest) = pushed.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
        return false;
    };
    for piece in middle {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    true
}

/// What is before the next quote that is not escaped, and what is behind it.
fn up_to_quote(json: &str) -> (&str, Option<&str>) {
    let mut is_escaped = false;
    let end = json.bytes().position(|b| {
        let is_end = b == b'"' && !is_escaped;
        is_escaped = b == b'\\' && !is_escaped;
        is_end
    });
    end.map_or((json, None), |end| (&json[..end], Some(&json[end + 1..])))
}

fn compact(json: &str) -> Box<str> {
    if is_compact(json) {
        return json.into();
    }
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string {
            out.push(c);
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = false,
                _ => {}
            }
        } else if !matches!(c, ' ' | '\n' | '\r' | '\t') {
            in_string = c == '"';
            out.push(c);
        }
    }
    out.into()
}

/// Half a surrogate pair reads as U+FFFD, as Go has it; serde refuses it.
pub fn mended(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let unit = escape_unit(rest);
        let taken = match unit {
            Some(0xD800..=0xDBFF) if matches!(rest.get(6..).and_then(escape_unit), Some(0xDC00..=0xDFFF)) => {
                out.push_str(&rest[..12]);
                12
            }
            Some(0xD800..=0xDFFF) => {
                out.push('\u{FFFD}');
                6
            }
            // The escaped character goes along, so that an escaped backslash does not start another escape.
            _ => {
                let escape: String = rest.chars().take(2).collect();
                out.push_str(&escape);
                escape.len()
            }
        };
        rest = &rest[taken..];
    }
    out.push_str(rest);
    out
}

/// The code unit of `\uXXXX` at the beginning.
fn escape_unit(text: &str) -> Option<u16> {
    let hex = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(hex, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_known_again_though_a_secret_was_taken_out_of_it() {
        let payload = |json: Value| Payload::from_value(&json);
        let logged = payload(json!({"new_data": {"title": "a [redacted]", "n": 1, "tags": ["x"]}}));
        assert!(logged.was(&payload(json!({"new_data": {"title": "a secret", "n": 1, "tags": ["x"]}}))));
        for other in [
            json!({"new_data": {"title": "a secret", "n": 2, "tags": ["x"]}}),
            json!({"new_data": {"title": "a secret", "n": 1, "tags": ["x", "y"]}}),
            json!({"new_data": {"title": "a secret", "n": 1}}),
            json!({"new_data": {"title": 7, "n": 1, "tags": ["x"]}}),
        ] {
            assert!(!logged.was(&payload(other.clone())), "{other}");
        }
        assert!(!payload(json!({"title": "a"})).was(&payload(json!({"title": "b"}))));
    }

    /// Such an event was once answered as a repeat, and nobody has it.
    #[test]
    fn a_word_that_a_person_typed_makes_no_other_event_a_repeat() {
        let payload = |title: &str| Payload::from_value(&json!({"new_data": {"title": title}}));
        let logged = payload("see [redacted] in the doc, or [redacted]!");
        for same in
            ["see hunter2 in the doc, or xyzzy1!", "see [redacted] in the doc, or in the doc, or xyzzy1!"]
        {
            assert!(logged.was(&payload(same)), "{same}");
        }
        for other in ["buy milk", "see hunter2 in the doc", "see hunter2, or xyzzy1!", "see in the doc, or!"]
        {
            assert!(!logged.was(&payload(other)), "{other}");
            let spelt = |title: &str| Payload::stored(format!(r#"{{"n":1e999,"title":"{title}"}}"#));
            assert!(!spelt("see [redacted] in the doc, or [redacted]!").was(&spelt(other)), "{other}");
        }
    }

    /// A redaction reaches what no parser does, and the device that has it still sends it once more.
    #[test]
    fn an_event_that_no_parser_reads_is_known_again_too() {
        let deep = |text: &str| format!("{}\"{text}\"{}", "[".repeat(200), "]".repeat(200));
        let large = |text: &str| format!(r#"{{"n":1e999,"t":"\\\"{text}"}}"#);
        let half = |text: &str| format!(r#"{{"t":"\ud800 {text}","n":1}}"#);
        let key = |text: &str| format!(r#"{{"new_data":{{"done":{{"{text}":1}}}}}}"#);
        for spelled in [&deep as &dyn Fn(&str) -> String, &large, &half, &key] {
            let logged = Payload::parse(&spelled("a [redacted]")).expect("json");
            assert!(logged.was(&Payload::parse(&spelled("a secret")).expect("json")), "{}", logged.as_str());
            let more = format!("[{}]", spelled("a secret"));
            assert!(!logged.was(&Payload::parse(&more).expect("json")), "{more}");
        }
        let logged = Payload::parse(r#"{"n":1e999,"t":"[redacted]"}"#).expect("json");
        assert!(!logged.was(&Payload::parse(r#"{"n":1e998,"t":"secret"}"#).expect("json")));
    }

    #[test]
    fn bytes_survive_but_for_white_space() {
        let p =
            Payload::parse("{ \"b\" : 1.10 , \"a\":\"x y\\\" \", \"b\":9007199254740993 }").expect("json");
        assert_eq!(p.as_str(), r#"{"b":1.10,"a":"x y\" ","b":9007199254740993}"#);
        assert_eq!(p.canonical(), r#"{"a":"x y\" ","b":9007199254740993}"#);
        for (given, kept) in [
            (r#"{"a":"x \\","b":"\" y"}"#, r#"{"a":"x \\","b":"\" y"}"#),
            (r#"{"a":"x \\" ,"b":"\" y"}"#, r#"{"a":"x \\","b":"\" y"}"#),
            ("[\"\\u0020\\\\\"]\n", "[\"\\u0020\\\\\"]"),
        ] {
            assert_eq!(Payload::parse(given).expect("json").as_str(), kept);
        }
    }

    #[test]
    fn local_fields_leave_both_halves() {
        let text = r#"{"repo_root":"/x","new_data":{"repo_root":"/x","id":"1"},"previous_data":null}"#;
        let scrubbed = Payload::without_keys(text, &["repo_root"]).expect("object");
        assert_eq!(scrubbed.as_str(), r#"{"new_data":{"id":"1"},"previous_data":null}"#);
        for kept in ["7", "[\"repo_root\"]", r#"{"b":1,"a":"repo_root"}"#] {
            assert_eq!(Payload::without_keys(kept, &["repo_root"]), None, "{kept}");
        }
    }

    #[test]
    fn local_fields_leave_what_no_parser_reads_too() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let half = ("\"\\ud800\"", "\"\u{fffd}\"");
        for (odd, kept) in [half, ("1e999", "1e999"), (&*deep, &*deep), ("1.10", "1.10")] {
            for key in ["repo_root", "repo\\u005froot"] {
                let text = format!(r#"{{"previous_data":{{"{key}":"/x","z":{odd}}},"{key}":{odd}}}"#);
                let scrubbed = Payload::without_keys(&text, &["repo_root"]).expect("scrubbed");
                assert_eq!(scrubbed.as_str(), format!(r#"{{"previous_data":{{"z":{kept}}}}}"#), "{text}");
            }
        }
    }
}
