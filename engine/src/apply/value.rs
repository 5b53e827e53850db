//! From JSON to what a column holds (client-engine 3.3).
//!
//! Danger: the texts made here are compared with what stock peers make; they print numbers as Go does.

use crate::db::Column;
use rusqlite::types::Value;
use serde_json::{Number, Value as Json};

/// The largest integer up to which a double is exact: stock peers read every number as a double.
const EXACT: i64 = 1 << 53;

/// The value that is bound for a column; SQLite's affinity has the last word.
pub(crate) fn stored_value(table: &str, column: &Column, json: &Json) -> Value {
    match json {
        Json::Null if column.null_is_empty => Value::Text(String::new()),
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Integer(i64::from(*b)),
        Json::Number(n) => number(n, column.is_text),
        Json::String(s) => Value::Text(s.clone()),
        Json::Array(items) if table == "issues" && column.name == "labels" => {
            Value::Text(items.iter().map(plain).collect::<Vec<_>>().join(","))
        }
        Json::Array(_) | Json::Object(_) => {
            let mut out = String::new();
            compact(json, &mut out);
            Value::Text(out)
        }
    }
}

/// Integers exactly. In a TEXT column a stock peer's double becomes `5.0`, so ours does too, as long as a double holds
/// the number.
fn number(n: &Number, is_text: bool) -> Value {
    match n.as_i64() {
        Some(i) if is_text && i.abs() > EXACT => Value::Text(i.to_string()),
        #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
        Some(i) if is_text => Value::Real(i as f64),
        Some(i) => Value::Integer(i),
        None => Value::Real(n.as_f64().unwrap_or_default()),
    }
}

/// As Go prints a decoded value with `%v`.
fn plain(json: &Json) -> String {
    match json {
        Json::Null => "<nil>".into(),
        Json::Bool(b) => b.to_string(),
        Json::Number(n) => go_number(n, 21, -4, true),
        Json::String(s) => s.clone(),
        Json::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Json::Object(map) => {
            let pairs: Vec<_> = map.iter().map(|(k, v)| format!("{k}:{}", plain(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

/// As Go encodes a decoded value: sorted keys, no white space, `<`, `>`, `&` and the two line separators escaped.
fn compact(json: &Json, out: &mut String) {
    match json {
        Json::Number(n) => out.push_str(&go_number(n, 21, -6, false)),
        Json::String(s) => quote(s, out),
        Json::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                compact(item, out);
            }
            out.push(']');
        }
        Json::Object(map) => {
            out.push('{');
            for (i, (key, value)) in map.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                quote(key, out);
                out.push(':');
                compact(value, out);
            }
            out.push('}');
        }
        Json::Null | Json::Bool(_) => out.push_str(&json.to_string()),
    }
}

fn quote(text: &str, out: &mut String) {
    // serde escapes quotes, backslashes and control characters; the rest is Go's caution about HTML.
    for c in Json::from(text).to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
}

/// A number in Go's shortest form: plain digits for exponents in `low..high`, `1e+21` above, `1e-07` (padded) or
/// `1e-7` below.
fn go_number(n: &Number, high: i32, low: i32, padded: bool) -> String {
    if let Some(i) = n.as_i64() {
        // 2^63 has 19 digits: always below `high`.
        return i.to_string();
    }
    let value = n.as_f64().unwrap_or_default();
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (low..high).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let width = if padded || exponent > 0 { 2 } else { 1 };
    format!("{mantissa}e{sign}{:0width$}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_values_read_as_go_writes_them() {
        let mut out = String::new();
        compact(
            &json!({"b": [1, 2.5, 1e21, 1e-7, "<&>\u{2028}\"\n"], "a": {"x": null, "y": true}}),
            &mut out,
        );
        assert_eq!(out, r#"{"a":{"x":null,"y":true},"b":[1,2.5,1e+21,1e-7,"\u003c\u0026\u003e\u2028\"\n"]}"#);
    }

    #[test]
    fn labels_that_are_no_strings_read_as_go_prints_them() {
        let labels = [json!(5), json!(1e-7), json!(1e22), json!(null), json!({"b": 1, "a": [true, "x"]})];
        let printed: Vec<_> = labels.iter().map(plain).collect();
        assert_eq!(printed, ["5", "1e-07", "1e+22", "<nil>", "map[a:[true x] b:1]"]);
    }
}
