//! Reading a payload: its halves, and what changed between them.

use super::Reason;
use crate::payload::{Meta, Payload, mended};
use crate::taxonomy::WORK_SESSION_LOCAL;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A payload taken apart, each part still text.
#[derive(Debug, Default)]
pub(crate) struct Parts<'p> {
    new: Option<&'p RawValue>,
    previous: Option<&'p RawValue>,
    meta: Option<&'p RawValue>,
}

/// One half of a payload.
#[derive(Debug)]
pub(crate) enum Half {
    /// The key is not there.
    Absent,
    /// Something else than an object or null, or not readable (why).
    Other(String),
    /// An object; null reads as an empty one.
    Object(Map<String, Value>),
}

impl<'p> Parts<'p> {
    /// A payload that is `null` or missing has no parts; any other non-object cannot be read.
    pub fn read(payload: Option<&'p Payload>) -> Result<Self, Reason> {
        let Some(text) = payload.map(Payload::as_str).filter(|t| *t != "null") else {
            return Ok(Self::default());
        };
        let map: BTreeMap<String, &RawValue> =
            serde_json::from_str(text).map_err(|e| Reason::UnreadablePayload(e.to_string()))?;
        let part = |key: &str| map.get(key).copied();
        Ok(Self { new: part("new_data"), previous: part("previous_data"), meta: part("meta") })
    }

    /// The state after.
    pub fn new_half(&self, table: &str) -> Half {
        half(self.new, table)
    }

    /// The state before, if it is there and not exactly `{}`: the mark of a partial update.
    pub fn previous_half(&self, table: &str) -> Option<Half> {
        self.previous.filter(|raw| raw.get() != "{}")?;
        match half(self.previous, table) {
            // Scrubbing may have emptied what was not `{}` on the wire; peers scrub first.
            Half::Object(map) if map.is_empty() && table == "work_sessions" && !self.previous_is_null() => {
                None
            }
            half => Some(half),
        }
    }

    /// Who made the event and what it had seen; `None` if it does not say so in a form we know.
    pub fn meta(&self) -> Option<Meta> {
        serde_json::from_str(self.meta?.get()).ok()
    }

    fn previous_is_null(&self) -> bool {
        self.previous.is_some_and(|raw| raw.get() == "null")
    }
}

impl Half {
    /// For issues, the object inside a review wrapper (`{"issue": {…}, …}`).
    pub fn unwrapped(self, table: &str) -> Self {
        match self {
            Self::Object(mut map) if table == "issues" && map.get("issue").is_some_and(Value::is_object) => {
                match map.remove("issue") {
                    Some(Value::Object(inner)) => Self::Object(inner),
                    _ => Self::Object(map),
                }
            }
            other => other,
        }
    }
}

fn half(raw: Option<&RawValue>, table: &str) -> Half {
    let Some(raw) = raw else { return Half::Absent };
    // Half of a cut emoji is what JavaScript writes; stock peers read U+FFFD.
    let read = read(raw.get()).or_else(|why| {
        let mended = mended(raw.get());
        read(&mended).or_else(|_| read_deep(&mended)).map_err(|_| why)
    });
    match read {
        Err(why) => Half::Other(why.to_string()),
        Ok(map) => {
            let mut map = map.unwrap_or_default();
            if table == "work_sessions" {
                map.retain(|key, _| !WORK_SESSION_LOCAL.contains(&key.as_str()));
            }
            Half::Object(map)
        }
    }
}

fn read(text: &str) -> serde_json::Result<Option<Map<String, Value>>> {
    serde_json::from_str(text)
}

/// Members that are nested deeper than our parser goes stay text. That is what stock peers put into a column for an
/// object or an array of any depth, and what they drop with a key that is no column.
fn read_deep(text: &str) -> serde_json::Result<Option<Map<String, Value>>> {
    let Some(members) = serde_json::from_str::<Option<BTreeMap<String, &RawValue>>>(text)? else {
        return Ok(None);
    };
    let members = members.into_iter().map(|(key, raw)| {
        let raw = raw.get();
        let value = match depth(raw) {
            // The parser's limit, less the object that the member is in.
            0..127 => serde_json::from_str(raw)?,
            _ => Value::String(raw.into()),
        };
        Ok((key, value))
    });
    members.collect::<serde_json::Result<_>>().map(Some)
}

/// How deep arrays and objects are nested in a JSON text.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}

/// The keys that an update sets, with their new values: added, different, or removed (null). Never `id`.
pub(super) fn difference(previous: &Map<String, Value>, new: &Map<String, Value>) -> BTreeMap<String, Value> {
    let set = new.iter().filter(|(k, v)| !previous.get(*k).is_some_and(|p| same(p, v)));
    let removed = previous.keys().filter(|k| !new.contains_key(*k)).map(|k| (k.clone(), Value::Null));
    set.map(|(k, v)| (k.clone(), v.clone())).chain(removed).filter(|(k, _)| k != "id").collect()
}

/// Deep equality; `1` equals `1.0`. Integers are compared exactly, also beyond 2^53.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => x == y,
            _ => x.as_f64() == y.as_f64(),
        },
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, x)| y.get(k).is_some_and(|y| same(x, y)))
        }
        _ => a == b,
    }
}
