//! Whether the author of an event had seen another one: from the payloads alone.
//!
//! Duty: tell a log which of a device's own events its stock client must get back (DESIGN 5, "own events under
//! `exclude_client`"): those that were made on a state that lacked somebody else's change.
//! Invariant: a function of the two events. No evidence counts as not seen; an event that is returned without need does
//! no harm, one that is withheld lets copies diverge.

use super::EventRef;
use super::parts::{Half, Parts, difference, same};
use crate::taxonomy::Action;
use crate::time::ClientTime;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Times that a program sets for itself and does not put into every payload. `updated_at` is none of them: it tells two
/// changes to the same value apart.
const NOT_EVIDENCE: [&str; 5] = ["id", "added_at", "linked_at", "tagged_at", "last_viewed_at"];

/// What an event writes.
enum Written {
    /// These fields.
    Fields(BTreeMap<String, Value>),
    /// The row went.
    Nothing,
}

/// Whether `own`'s state before shows every value that `other` wrote. Both are of the same entity.
pub fn shows(own: EventRef<'_>, other: EventRef<'_>) -> bool {
    let Written::Fields(written) = written(other) else { return false };
    let table = own.entity_type;
    let parts = Parts::read(own.payload).unwrap_or_default();
    let previous = match parts.previous_half(table).map(|half| half.unwrapped(table)) {
        Some(Half::Object(previous)) if !previous.is_empty() => previous,
        _ => return written.is_empty(),
    };
    written.iter().filter(|(field, _)| !NOT_EVIDENCE.contains(&field.as_str())).all(|(field, value)| {
        // What is left out is empty: that is how payloads say it.
        means_the_same(previous.get(field).unwrap_or(&Value::Null), value)
    })
}

/// An event that cannot apply writes nothing.
fn written(event: EventRef<'_>) -> Written {
    let table = event.entity_type;
    let time = || Value::from(event.client_time.rfc3339n());
    let Ok(parts) = Parts::read(event.payload) else { return Written::Fields(BTreeMap::new()) };
    let new = match parts.new_half(table).unwrapped(table) {
        Half::Object(new) => new,
        _ => Map::new(),
    };
    let whole = |new: Map<String, Value>| new.into_iter().collect();
    Written::Fields(match Action::from_stored(event.action) {
        Some(Action::Create) => whole(new),
        Some(Action::Update) => match parts.previous_half(table).map(|half| half.unwrapped(table)) {
            Some(Half::Object(previous)) => match difference(&previous, &new) {
                changed if !changed.is_empty() => changed,
                // A replace in disguise.
                _ => whole(new),
            },
            _ => whole(new),
        },
        Some(Action::SoftDelete) => [("deleted_at".into(), time())].into(),
        // Both columns that it sets: after a deletion that was taken back, the time is the only trace of the two.
        Some(Action::Restore) => [("deleted_at".into(), Value::Null), ("updated_at".into(), time())].into(),
        Some(Action::Delete) => return Written::Nothing,
        None => BTreeMap::new(),
    })
}

/// Rows and payloads spell one value in several ways: empty in five, a time with blank or `T`, a list as JSON, as text
/// of JSON, or joined with commas, a truth as a number.
fn means_the_same(a: &Value, b: &Value) -> bool {
    if same(a, b) || is_empty(a) && is_empty(b) {
        return true;
    }
    match (a, b) {
        (Value::String(a), Value::String(b)) => match (instant(a), instant(b)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        },
        (Value::String(text), Value::Array(list)) | (Value::Array(list), Value::String(text)) => {
            let words: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            words.is_some_and(|words| words.join(",") == *text)
                || serde_json::from_str::<Vec<Value>>(text).is_ok_and(|parsed| parsed == *list)
        }
        (Value::Bool(truth), Value::Number(n)) | (Value::Number(n), Value::Bool(truth)) => {
            n.as_i64() == Some(i64::from(*truth))
        }
        _ => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "[]",
        Value::Array(list) => list.is_empty(),
        Value::Bool(true) | Value::Object(_) => false,
    }
}

fn instant(text: &str) -> Option<i128> {
    Some(ClientTime::parse_stored(text).ok()?.unix_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;
    use serde_json::json;

    fn seen(own_previous: Value, other: (&str, Value, Value)) -> bool {
        let (action, new, previous) = other;
        let own = Payload::from_value(&json!({"new_data": {"title": "own"}, "previous_data": own_previous}));
        let theirs = Payload::from_value(&json!({"new_data": new, "previous_data": previous}));
        let time = ClientTime::parse("2026-11-21T10:00:00+01:00").expect("time");
        let of = |action, payload| EventRef {
            action,
            entity_type: "issues",
            entity_id: "td-1",
            payload: Some(payload),
            client_time: time,
        };
        shows(of("update", &own), of(action, &theirs))
    }

    #[test]
    fn a_change_is_seen_if_the_state_before_shows_what_it_wrote() {
        let update = |from: Value, to: Value| ("update", to, from);
        let t = |title: &str| json!({"title": title, "status": "open"});
        assert!(seen(t("new"), update(t("old"), t("new"))));
        assert!(!seen(t("old"), update(t("old"), t("new"))));
        assert!(seen(json!({"title": "new"}), update(t("old"), t("new"))), "only what was changed counts");
        assert!(!seen(json!({"title": "new"}), update(json!({}), t("new"))), "a replace writes everything");
        assert!(
            !seen(json!({"title": "new"}), update(t("new"), t("new"))),
            "so does a diff without difference"
        );
        assert!(!seen(json!({}), update(t("old"), t("new"))), "no state before is no evidence");
        assert!(!seen(json!(null), update(t("old"), t("new"))));
        let at = |time: &str| json!({"title": "same", "updated_at": time});
        let later = "2026-11-21T10:00:00Z";
        assert!(!seen(
            at("2026-11-21T09:00:00Z"),
            update(json!({"title": "x", "updated_at": "2026-11-21T09:00:00Z"}), at(later))
        ));
        assert!(
            seen(at("2026-11-21 11:00:00+01:00"), update(json!({"title": "x"}), at(later))),
            "by instant"
        );
    }

    #[test]
    fn deletions_and_restores_are_seen_in_the_column_they_set() {
        let gone = |action| (action, json!({}), json!({}));
        assert!(!seen(json!({"title": "a"}), gone("soft_delete")));
        assert!(seen(json!({"title": "a", "deleted_at": "2026-11-21T09:00:00Z"}), gone("soft_delete")));
        let restored = json!({"title": "a", "updated_at": "2026-11-21T09:00:00Z"});
        assert!(seen(restored, gone("restore")), "left out means empty");
        assert!(!seen(json!({"title": "a", "updated_at": "2026-11-21T08:00:00Z"}), gone("restore")));
        let deleted = json!({"deleted_at": "2026-11-21T09:00:00Z", "updated_at": "2026-11-21T09:00:00Z"});
        assert!(!seen(deleted, gone("restore")));
        assert!(!seen(json!({"title": "a"}), gone("delete")), "who saw that has nothing to change");
        assert!(seen(json!({"title": "a"}), ("explode", json!({"title": "b"}), json!({}))));
    }

    #[test]
    fn one_value_has_many_spellings() {
        for (a, b) in [
            (json!(""), json!(null)),
            (json!(0), json!(false)),
            (json!([]), json!("[]")),
            (json!(["a", "b"]), json!("a,b")),
            (json!(["a", "b"]), json!("[\"a\",\"b\"]")),
            (json!(true), json!(1)),
            (json!(1), json!(1.0)),
            (json!("2026-11-21T09:53:25.7Z"), json!("2026-11-21 09:53:25.7+00:00")),
        ] {
            assert!(means_the_same(&a, &b) && means_the_same(&b, &a), "{a} {b}");
        }
        for (a, b) in [
            (json!("a"), json!("b")),
            (json!(["a"]), json!("b")),
            (json!(2), json!(true)),
            (json!("x"), json!(null)),
        ] {
            assert!(!means_the_same(&a, &b), "{a} {b}");
        }
    }
}
