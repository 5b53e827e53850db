//! Request bodies as the reference reads them (server-protocol 1.3).
//!
//! Invariant: the first JSON value counts and trailing bytes do not; keys match in any case; of repeated keys the last
//! wins; `null` is absent; integers are integer literals in 64 bits. Everything else is one refusal.
//! Danger: a friendlier parser (serde's derive) accepts and refuses other bodies than stock clients were tested with.

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use td_engine::payload::mended;

/// The body is not what the route can read; always the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// Deepest nesting of a body. The parser of stock clients gives up behind it, and what one device pushes all others pull:
/// one such payload would end their syncing for good.
const DEEPEST: usize = 10_000;

/// Most members of an object that is taken apart. Payloads are not.
const MOST_MEMBERS: usize = 10_000;

/// Of well-formed JSON.
fn is_too_deep(json: &str) -> bool {
    // Counting is cheap, and hardly any body has enough brackets to go on.
    if json.bytes().filter(|b| matches!(b, b'[' | b'{')).count() <= DEEPEST {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    json.bytes().any(|b| {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        depth > DEEPEST
    })
}

/// An object's members in order. `null` reads as an object without members.
#[derive(Debug)]
pub struct Fields<'a>(Vec<(Name<'a>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Of an object or `null`.
    pub fn of(value: &'a RawValue) -> Result<Self, Invalid> {
        if is_null(value) {
            return Ok(Self(Vec::new()));
        }
        serde_json::from_str(value.get()).map_err(|_| Invalid)
    }

    /// Of the first value of a body.
    pub fn of_body(body: &'a str) -> Result<Self, Invalid> {
        let mut values = serde_json::Deserializer::from_str(body).into_iter::<Option<Self>>();
        let first = values.next().and_then(Result::ok).ok_or(Invalid)?;
        if is_too_deep(&body[..values.byte_offset()]) {
            return Err(Invalid);
        }
        Ok(first.unwrap_or(Self(Vec::new())))
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'a RawValue> {
        self.0.iter().filter(move |(key, _)| key.0.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    fn last<T>(
        &self,
        name: &str,
        read: impl Fn(&'a RawValue) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Invalid> {
        // Every occurrence must have the right type, also those that a later one overrides.
        let given = self.all(name).filter(|value| !is_null(value));
        given.map(read).try_fold(None, |_, value| value.map(Some))
    }

    /// A text.
    pub fn text(&self, name: &str) -> Result<Option<String>, Invalid> {
        Ok(self.last(name, text)?.map(Cow::into_owned))
    }

    /// A text, or the empty one.
    pub fn text_or_empty(&self, name: &str) -> Result<String, Invalid> {
        Ok(self.text(name)?.unwrap_or_default())
    }

    /// The same, where it is only looked at.
    pub fn borrowed_or_empty(&self, name: &str) -> Result<Cow<'a, str>, Invalid> {
        Ok(self.last(name, text)?.unwrap_or_default())
    }

    /// A 64-bit integer literal, or 0.
    pub fn int_or_zero(&self, name: &str) -> Result<i64, Invalid> {
        let read = |value: &'a RawValue| value.get().parse().map_err(|_| Invalid);
        Ok(self.last(name, read)?.unwrap_or(0))
    }

    /// A 64-bit integer literal.
    pub fn int(&self, name: &str) -> Result<Option<i64>, Invalid> {
        self.last(name, |value| value.get().parse().map_err(|_| Invalid))
    }

    /// An array, or the empty one.
    pub fn list_or_empty(&self, name: &str) -> Result<Vec<&'a RawValue>, Invalid> {
        let read = |value: &'a RawValue| serde_json::from_str(value.get()).map_err(|_| Invalid);
        Ok(self.last(name, read)?.unwrap_or_default())
    }

    /// The elements of an array and their number. Only the first `most` are read: whoever sends more is told how many
    /// they were, and could otherwise make millions of us hold.
    pub fn first_elements<T>(
        &self,
        name: &str,
        most: usize,
        read: impl Fn(&'a RawValue) -> Result<T, Invalid>,
    ) -> Result<(Vec<T>, usize), Invalid> {
        let elements = |value: &'a RawValue| {
            let mut from = serde_json::Deserializer::from_str(value.get());
            Elements { most, read: &read }.deserialize(&mut from).map_err(|_| Invalid)
        };
        Ok(self.last(name, elements)?.unwrap_or_default())
    }

    /// Any value as it stands, `null` included.
    pub fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.all(name).last()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(Name<'de>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    if members.len() == MOST_MEMBERS {
                        return Err(A::Error::custom("more members than any request has"));
                    }
                    members.push(member);
                }
                Ok(members)
            }
        }
        from.deserialize_map(Members).map(Fields)
    }
}

/// Reads an array element by element.
struct Elements<F> {
    most: usize,
    read: F,
}

impl<'de, T, F: Fn(&'de RawValue) -> Result<T, Invalid>> DeserializeSeed<'de> for Elements<F> {
    type Value = (Vec<T>, usize);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de, T, F: Fn(&'de RawValue) -> Result<T, Invalid>> Visitor<'de> for Elements<F> {
    type Value = (Vec<T>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < self.most {
            let Some(raw) = list.next_element()? else {
                let count = kept.len();
                return Ok((kept, count));
            };
            kept.push((self.read)(raw).map_err(|_| A::Error::custom("not what it should be"))?);
        }
        let mut count = kept.len();
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok((kept, count))
    }
}

/// A member's name, borrowed from the body unless it is spelt with escapes.
#[derive(Debug)]
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(name))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(name.into()))
            }
        }
        from.deserialize_str(Text).map(Name)
    }
}

fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

fn text(value: &RawValue) -> Result<Cow<'_, str>, Invalid> {
    let json = value.get();
    let inside = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or(Invalid)?;
    if !inside.contains('\\') {
        // It was looked through when the value was found.
        return Ok(Cow::Borrowed(inside));
    }
    let text = serde_json::from_str(json).or_else(|_| serde_json::from_str(&mended(json)));
    text.map(Cow::Owned).map_err(|_| Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &str) -> Result<Fields<'_>, Invalid> {
        Fields::of_body(body)
    }

    #[test]
    fn the_first_value_counts_and_nothing_after_it() {
        assert_eq!(fields(r#" {"a":"x"} trailing"#).and_then(|f| f.text("a")), Ok(Some("x".into())));
        assert!(fields("null").is_ok_and(|f| f.0.is_empty()));
        for bad in ["", "{", "[]", "7", "\"x\"", "\u{feff}{}", "{'a':1}", "nul"] {
            assert!(fields(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nesting_ends_where_the_parser_of_stock_clients_gives_up() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(fields(&nested(DEEPEST - 1)).is_ok());
        assert!(fields(&nested(DEEPEST)).is_err());
        let flat = format!("{{\"a\":[{}]}}", vec![r#"{"a":"\\\"[[{"}"#; DEEPEST].join(","));
        assert!(fields(&flat).is_ok(), "brackets side by side and in texts do not count");
    }

    #[test]
    fn an_object_of_millions_is_not_held() {
        let members = |n: usize| format!("{{{}}}", vec![r#""k":1"#; n].join(","));
        assert!(fields(&members(MOST_MEMBERS)).is_ok());
        assert!(fields(&members(MOST_MEMBERS + 1)).is_err());
    }

    #[test]
    fn keys_match_in_any_case_the_last_wins_and_null_is_absent() {
        let f = fields(r#"{"Name":"a","NAME":"b","name":null,"x":1}"#).expect("object");
        assert_eq!(f.text("name"), Ok(Some("b".into())));
        assert_eq!(f.text("other"), Ok(None));
        assert_eq!(f.raw("name").map(RawValue::get), Some("null"));
    }

    #[test]
    fn types_are_not_coerced_even_where_a_later_key_would_win() {
        assert_eq!(fields(r#"{"n":7}"#).expect("object").text("n"), Err(Invalid));
        assert_eq!(fields(r#"{"n":7,"n":"x"}"#).expect("object").text("n"), Err(Invalid));
        for bad in ["\"7\"", "4.0", "1e1", "9223372036854775808", "true", "[]"] {
            let body = format!("{{\"n\":{bad}}}");
            assert_eq!(fields(&body).expect("object").int_or_zero("n"), Err(Invalid), "{bad}");
        }
        assert_eq!(fields(r#"{"n":-9223372036854775808}"#).expect("object").int_or_zero("n"), Ok(i64::MIN));
        assert!(fields(r#"{"l":{}}"#).expect("object").list_or_empty("l").is_err());
    }

    #[test]
    fn a_long_list_is_counted_and_read_up_to_where_it_may_go() {
        let read = |body: &str| {
            let number = |raw: &RawValue| raw.get().parse::<i64>().map_err(|_| Invalid);
            fields(body).expect("object").first_elements("l", 2, number)
        };
        assert_eq!(read("{}"), Ok((vec![], 0)));
        assert_eq!(read(r#"{"l":null}"#), Ok((vec![], 0)));
        assert_eq!(read(r#"{"l":[7]}"#), Ok((vec![7], 1)));
        assert_eq!(read(r#"{"l":[1],"L":[7,8]}"#), Ok((vec![7, 8], 2)));
        assert_eq!(read(r#"{"l":[7,8,"x",[],9]}"#), Ok((vec![7, 8], 5)));
        for bad in [r#"{"l":[7,"x"]}"#, r#"{"l":{}}"#, r#"{"l":7}"#, r#"{"l":[null]}"#] {
            assert_eq!(read(bad), Err(Invalid), "{bad}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_a_replacement_character() {
        let text = |json: &str| fields(&format!("{{\"t\":{json}}}")).expect("object").text("t");
        assert_eq!(text(r#""a\ud800b""#), Ok(Some("a\u{fffd}b".into())));
        assert_eq!(text(r#""\ud83d\ude00\udc00""#), Ok(Some("\u{1f600}\u{fffd}".into())));
        assert_eq!(text(r#""\\ud800\"\ud800""#), Ok(Some("\\ud800\"\u{fffd}".into())));
    }
}
