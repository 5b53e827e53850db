//! What an event holds of a text, and its payload without it.
//!
//! Duty: find the text in every string however JSON spells it, also in JSON that stands in a string.
//! Invariant: looks at what lies in the log, not at what a parser makes of it. A key may stand there twice, a list may be
//! nested too deep, a number be too large, a surrogate alone; pull hands all of them out. What is not the text stays as
//! it is, byte for byte.
//! Danger: whatever this calls [`Held::Nothing`] is reported as gone. What it cannot take out it has to call fixed.

use serde_json::value::RawValue;
use std::borrow::Cow;
use std::ops::Range;
use td_engine::event::LogEvent;
use td_engine::payload::{Payload, REDACTED};

/// What an event holds of the text.
#[derive(Debug, PartialEq)]
pub(super) enum Held {
    Nothing,
    /// It can go; this is left.
    Left(Payload),
    /// It has to stay; what holds it.
    Fixed(&'static str),
}

/// Where the text is in an event.
pub(super) fn held(event: &LogEvent, needles: &[String]) -> Held {
    let names = [
        ("id", event.entity_id.as_str()),
        ("kind", event.entity_type.as_str()),
        ("action", event.action.as_str()),
        ("device", event.device.as_str()),
        ("session", event.session.as_str()),
    ];
    match names.into_iter().find(|(_, name)| holds_any(name, needles)) {
        Some((what, _)) => Held::Fixed(what),
        None => without(&event.payload, needles),
    }
}

/// The payload without the text.
fn without(payload: &Payload, needles: &[String]) -> Held {
    const FIXED: Held = Held::Fixed("payload");
    let json = payload.as_str();
    // Without an escape, what a parser would read stands there as it is.
    if !json.contains('\\') && !holds_any(json, needles) {
        return Held::Nothing;
    }
    let left = match spots(json, needles, Within::Envelope) {
        None => return FIXED,
        // A number, or a text that lies across several values.
        Some(spots) if spots.is_empty() => {
            return if holds_any(json, needles) { FIXED } else { Held::Nothing };
        }
        Some(spots) => cut(json, &spots),
    };
    // The same beside what can go; or the word that takes its place has the text too.
    let is_left =
        holds_any(&left, needles) || spots(&left, needles, Within::Envelope).is_none_or(|s| !s.is_empty());
    if is_left { FIXED } else { Held::Left(Payload::stored(left)) }
}

/// Columns that hold no free text: what they name, count or compare would mean something else.
fn is_fixed(column: &str) -> bool {
    const WORDS: [&str; 9] =
        ["id", "status", "type", "priority", "relation_type", "role", "decision", "timestamp", "view_mode"];
    const ENDINGS: [&str; 6] = ["_id", "_at", "_session", "_sha", "_until", "_date"];
    WORDS.contains(&column) || ENDINGS.iter().any(|ending| column.ends_with(ending))
}

#[derive(Clone, Copy, PartialEq)]
enum Within {
    /// `{"new_data":{column: value},"previous_data":{…},"meta":{…}}`
    Envelope,
    /// Whatever a person or program wrote.
    Text,
}

/// Where the text is in the strings of a JSON text; `None` if one of those holds it that stay.
fn spots(json: &str, needles: &[String], within: Within) -> Option<Vec<Range<usize>>> {
    let mut found = Vec::new();
    let (mut depth, mut at) = (0_usize, 0);
    // Whether the half is `meta`, once its key is read, and whether its column is one that stays.
    let (mut is_meta, mut stays) = (None, false);
    while let Some(ahead) = json[at..].find(['{', '}', '[', ']', '"']) {
        at += ahead + 1;
        match json.as_bytes()[at - 1] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {
                let end = end_of_string(json, at);
                let said = Said::of(&json[at..end], at);
                let behind = json[end..].strip_prefix('"').unwrap_or_default().trim_start();
                let here = in_text(&said.text, needles);
                // Only a key has a colon behind it.
                match (within, behind.starts_with(':'), depth, is_meta) {
                    (Within::Envelope, true, 1, _) if here.is_empty() => {
                        (is_meta, stays) = (Some(said.text == "meta"), false);
                    }
                    (Within::Envelope, true, 2, Some(is_meta)) if here.is_empty() => {
                        stays = is_meta || is_fixed(&said.text);
                    }
                    (Within::Envelope, true, 1, _) | (Within::Envelope, true, 2, Some(_)) => return None,
                    _ if stays && !here.is_empty() => return None,
                    _ => found.extend(here.iter().map(|s| said.place(s.start)..said.place(s.end))),
                }
                at = (end + 1).min(json.len());
            }
        }
    }
    Some(found)
}

/// Where the text is in a string, in order and apart from each other.
fn in_text(text: &str, needles: &[String]) -> Vec<Range<usize>> {
    let matches = |needle: &String| {
        let found = text.match_indices(needle.as_str()).map(|(at, found)| at..at + found.len());
        found.collect::<Vec<_>>()
    };
    let mut all: Vec<_> = needles.iter().flat_map(matches).collect();
    // JSON in a text column, spelt in one of the ways that JSON allows.
    let may_be_json = text.contains('\\') && text.trim_start().starts_with(['{', '[']);
    if may_be_json && serde_json::from_str::<&RawValue>(text).is_ok() {
        all.extend(spots(text, needles, Within::Text).unwrap_or_default());
    }
    all.sort_by_key(|spot| spot.start);
    let mut apart: Vec<Range<usize>> = Vec::new();
    for spot in all {
        match apart.last_mut() {
            // One needle may hold another one.
            Some(last) if spot.start < last.end => last.end = last.end.max(spot.end),
            _ => apart.push(spot),
        }
    }
    apart
}

/// [`REDACTED`] needs no escape, however often what it stands in is quoted.
fn cut(json: &str, spots: &[Range<usize>]) -> String {
    let (mut left, mut at) = (String::with_capacity(json.len()), 0);
    for spot in spots {
        left.push_str(&json[at..spot.start]);
        left.push_str(REDACTED);
        at = spot.end;
    }
    left.push_str(&json[at..]);
    left
}

/// Where the quote is that ends the string; the end of the text if there is none.
fn end_of_string(json: &str, mut at: usize) -> usize {
    while let Some(ahead) = json.get(at..).and_then(|rest| rest.find(['"', '\\'])) {
        at += ahead;
        if json.as_bytes()[at] == b'"' {
            return at;
        }
        // The escaped character is passed over with its backslash.
        at += 1 + json[at + 1..].chars().next().map_or(0, char::len_utf8);
    }
    json.len()
}

/// What a string of JSON says, and where that stands.
struct Said<'a> {
    text: Cow<'a, str>,
    /// Behind every escape, and at the start: place in the text, place in the JSON.
    steps: Vec<(usize, usize)>,
}

impl<'a> Said<'a> {
    fn of(quoted: &'a str, start: usize) -> Self {
        let mut steps = vec![(0, start)];
        if !quoted.contains('\\') {
            return Self { text: quoted.into(), steps };
        }
        let (mut text, mut rest) = (String::with_capacity(quoted.len()), quoted);
        while let Some(at) = rest.find('\\') {
            text.push_str(&rest[..at]);
            let (c, length) = escaped(&rest[at..]);
            text.push(c);
            rest = &rest[at + length..];
            steps.push((text.len(), start + quoted.len() - rest.len()));
        }
        text.push_str(rest);
        Self { text: text.into(), steps }
    }

    /// Where in the JSON a character begins, or the one before it ends.
    fn place(&self, at: usize) -> usize {
        let behind = self.steps.partition_point(|(text, _)| *text <= at);
        let (text, json) = self.steps[..behind].last().copied().unwrap_or_default();
        json + at - text
    }
}

/// The character that an escape stands for, and the escape's length. Half a surrogate pair stands for none.
fn escaped(from: &str) -> (char, usize) {
    let unit = |at: usize| {
        let hex = from.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(hex, 16).ok().filter(|_| hex.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    match (unit(0), unit(6)) {
        (Some(high @ 0xD800..=0xDBFF), Some(low @ 0xDC00..=0xDFFF)) => {
            let c = char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00));
            (c.unwrap_or(char::REPLACEMENT_CHARACTER), 12)
        }
        (Some(unit), _) => (char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
        _ => match from.chars().nth(1) {
            Some('b') => ('\u{8}', 2),
            Some('f') => ('\u{c}', 2),
            Some('n') => ('\n', 2),
            Some('r') => ('\r', 2),
            Some('t') => ('\t', 2),
            Some(c) => (c, 1 + c.len_utf8()),
            None => ('\\', 1),
        },
    }
}

fn holds_any(s: &str, needles: &[String]) -> bool {
    needles.iter().any(|needle| s.contains(needle.as_str()))
}

#[cfg(test)]
mod tests {
    use super::super::spellings;
    use super::*;
    use serde_json::{Value, json};
    use td_engine::id::{ActionId, DeviceId, Seq, SessionId};
    use td_engine::taxonomy::EntityType;
    use td_engine::time::ClientTime;

    const FIXED: Held = Held::Fixed("payload");

    fn clean(json: &str, text: &str) -> Held {
        without(&Payload::parse(json).expect("json"), &spellings(text))
    }

    #[test]
    fn the_text_goes_however_json_spells_it_and_nothing_else_changes() {
        let text = "s3\"cr<é>t/\\";
        let inner = json!({"env": format!("KEY={text}")}).to_string();
        let as_go_spells_it =
            inner.replace('<', "\\u003c").replace('>', "\\u003e").replace('é', "\\u00e9").replace('/', "\\/");
        for spelled in [
            json!({"new_data": {"title": format!("a {text} b"), "n": 1.5}}).to_string(),
            r#"{"new_data":{"title":"\u00733\u0022cr\u003c\u00e9\u003et\/\u005c"}}"#.to_string(),
            json!({"new_data": {"done": inner}}).to_string(),
            json!({"new_data": {"done": as_go_spells_it}}).to_string(),
            json!({"new_data": {"done": {text: [text]}}}).to_string(),
        ] {
            let Held::Left(left) = clean(&spelled, text) else { panic!("{spelled}") };
            assert!(left.as_str().contains(REDACTED), "{}", left.as_str());
            assert_eq!(clean(left.as_str(), text), Held::Nothing, "{}", left.as_str());
        }
        assert_eq!(clean(r#"{"new_data":{"title":"s3\u0022cr, but not it"}}"#, text), Held::Nothing);
        let lines = json!({"new_data": {"text": "-----\r\nKEY\r\n-----"}}).to_string();
        assert!(matches!(clean(&lines, "-----\nKEY\n-----"), Held::Left(_)), "either kind of line break");
    }

    #[test]
    fn what_others_rest_on_is_never_changed() {
        let row = json!({"schema_version": 1, "meta": {"actor": "user:u_1"}, "new_data": {"id": "td-000001",
            "status": "closed", "title": "closed on 2026-11-30", "closed_at": "2026-11-30T10:00:00Z", "parent_id": "td-000009"}});
        for text in
            ["new_data", "schema_version", "closed", "2026-11-30", "td-000009", "user:u_1", "parent_id"]
        {
            assert_eq!(clean(&row.to_string(), text), FIXED, "{text}");
        }
        assert!(matches!(clean(&row.to_string(), "closed on"), Held::Left(_)));
    }

    /// What a parser does not show, or gives up on, pull hands out all the same.
    #[test]
    fn what_no_parser_shows_goes_too_and_the_rest_stays_byte_for_byte() {
        let deep = |inner: &str| format!("{}{inner}{}", r#"{"a":["#.repeat(200), "]}".repeat(200));
        for (before, after) in [
            (r#"{"title":"SECRET1","title":"x"}"#.into(), r#"{"title":"[redacted]","title":"x"}"#.into()),
            (deep(r#""a SECRET1""#), deep(r#""a [redacted]""#)),
            (
                r#"{"new_data":{"n":1e999,"m":1.10,"t":"\ud800 \/ SECRET1 \u00E9"}}"#.into(),
                r#"{"new_data":{"n":1e999,"m":1.10,"t":"\ud800 \/ [redacted] \u00E9"}}"#.into(),
            ),
            (
                r#"{"t":"\ud83d\ude00S\u0045CRET1SECRET1\ud83d","t":"\\\"SECRET1"}"#.into(),
                r#"{"t":"\ud83d\ude00[redacted][redacted]\ud83d","t":"\\\"[redacted]"}"#.into(),
            ),
            // JSON in a text, with what stands there in both ways.
            (
                r#"{"t":"{\"b\":1e999,\"a\":\"\\u0053ECRET1 SECRET1\"}"}"#.to_string(),
                r#"{"t":"{\"b\":1e999,\"a\":\"[redacted] [redacted]\"}"}"#.to_string(),
            ),
        ] {
            let Held::Left(left) = clean(&before, "SECRET1") else { panic!("{before}") };
            assert_eq!(left.as_str(), after);
        }
        let face = r#"{"t":"a \ud83d\ude00 face"}"#;
        let Held::Left(left) = clean(face, "\u{1F600} face") else { panic!("{face}") };
        assert_eq!(left.as_str(), r#"{"t":"a [redacted]"}"#);
    }

    #[test]
    fn what_holds_the_text_and_cannot_be_replaced_is_never_nothing() {
        for (json, text) in [
            (r#"{"new_data":{"n":12345678}}"#, "12345678"),
            (r#"{"new_data":{"n":12345678,"title":"12345678"}}"#, "12345678"),
            (r#"{"a":"one","b":"two"}"#, r#"one","b"#),
            // The word that takes its place has it too.
            (r#"{"a":"[redacted]"}"#, "redacted"),
        ] {
            assert_eq!(clean(json, text), FIXED, "{json}");
        }
        // No JSON at all, as a damaged file may have it.
        let torn = without(&Payload::stored(r#"{"a":"x\"#), &spellings("SECRET1"));
        assert_eq!(torn, Held::Nothing);
        assert!(matches!(
            without(&Payload::stored(r#"{"a":"SECRET1"#), &spellings("SECRET1")),
            Held::Left(_) | FIXED
        ));
    }

    #[test]
    fn a_name_of_an_event_holds_it_as_well() {
        let event = || LogEvent {
            seq: Seq(1),
            device: DeviceId::new("d").expect("id"),
            session: SessionId::new("s").expect("id"),
            action_id: ActionId(1),
            action: "create".into(),
            entity_type: EntityType::stored("issues"),
            entity_id: "td-1".into(),
            payload: Payload::from_value(&Value::Null),
            client_time: ClientTime::parse("2026-11-21T09:53:18Z").expect("time"),
        };
        let (text, name) = (spellings("SECRET1"), || "a SECRET1".to_string());
        assert_eq!(held(&event(), &text), Held::Nothing);
        for (event, part) in [
            (LogEvent { entity_id: name(), ..event() }, "id"),
            (LogEvent { entity_type: EntityType::stored(name()), ..event() }, "kind"),
            (LogEvent { action: name(), ..event() }, "action"),
            (LogEvent { device: DeviceId::new(name()).expect("id"), ..event() }, "device"),
            (LogEvent { session: SessionId::new(name()).expect("id"), ..event() }, "session"),
        ] {
            assert_eq!(held(&event, &text), Held::Fixed(part));
        }
    }
}
