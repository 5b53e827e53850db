//! Rows as values: read, compared, and written down as JSON.
//!
//! Duty: one meaning of "the same value", shared by conflicts and the digest. Times count by instant, bytes as text,
//! integral reals as integers: copies spell these differently and mean the same.

use super::catalog::{Column, Table};
use crate::time::ClientTime;
use rusqlite::types::{Value, ValueRef};
use serde_json::{Map, Value as Json, json};

/// The values of one row, in the column order of its [`Table`].
#[derive(Clone, Debug, PartialEq)]
pub struct Row(pub Vec<Value>);

/// A value without its spelling. Two values are the same exactly if this is equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning<'v> {
    /// NULL.
    Null,
    /// An integer, or a real without a fraction that an `i64` holds.
    Integer(i64),
    /// Any other real, as its bits.
    Real(u64),
    /// Nanoseconds since 1970 in UTC.
    Instant(i128),
    /// Everything else, bytes included.
    Text(&'v [u8]),
}

impl Row {
    pub(crate) fn read(row: &rusqlite::Row<'_>, width: usize) -> rusqlite::Result<Self> {
        (0..width).map(|i| row.get_ref(i).map(owned)).collect::<Result<_, _>>().map(Self)
    }

    /// The value of a column, if the table has it.
    pub fn get(&self, table: &Table, column: &str) -> Option<&Value> {
        table.column_index(column).and_then(|i| self.0.get(i))
    }

    /// The row as a JSON object that [`Row::from_json`] turns back into exactly these values.
    pub fn to_json(&self, table: &Table) -> Json {
        let pairs = table.columns.iter().zip(&self.0);
        Json::Object(pairs.map(|(c, v)| (c.name.clone(), exact_json(v))).collect())
    }

    /// A row written by [`Row::to_json`]. Columns it does not have are NULL.
    pub fn from_json(table: &Table, object: &Map<String, Json>) -> Self {
        let value = |c: &Column| object.get(&c.name).map_or(Value::Null, from_exact_json);
        Self(table.columns.iter().map(value).collect())
    }
}

/// Invalid UTF-8 in a TEXT is kept as bytes, which mean the same.
fn owned(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(i) => Value::Integer(i),
        ValueRef::Real(r) => Value::Real(r),
        ValueRef::Blob(b) => Value::Blob(b.to_vec()),
        ValueRef::Text(t) => {
            String::from_utf8(t.to_vec()).map_or_else(|e| Value::Blob(e.into_bytes()), Value::Text)
        }
    }
}

/// What a value of this column means.
pub fn meaning<'v>(column: &Column, value: &'v Value) -> Meaning<'v> {
    let text = match value {
        Value::Null => return Meaning::Null,
        Value::Integer(i) => return Meaning::Integer(*i),
        Value::Real(r) => return real(*r),
        Value::Text(t) => t.as_bytes(),
        Value::Blob(b) => b,
    };
    let instant = || ClientTime::parse_stored(std::str::from_utf8(text).ok()?).ok();
    match column.is_time.then(instant).flatten() {
        Some(time) => Meaning::Instant(time.unix_nanos()),
        None => Meaning::Text(text),
    }
}

fn real(r: f64) -> Meaning<'static> {
    let limit = 2f64.powi(63);
    if r.fract() == 0.0 && (-limit..limit).contains(&r) {
        #[allow(clippy::cast_possible_truncation, reason = "checked in the line above")]
        return Meaning::Integer(r as i64);
    }
    Meaning::Real(r.to_bits())
}

/// Lossless: bytes as `{"hex": …}`, infinity as `{"real": "inf"}`, everything else as JSON has it.
pub(crate) fn exact_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(i) => json!(i),
        Value::Real(r) if r.is_finite() => json!(r),
        Value::Real(r) => json!({"real": if *r > 0.0 { "inf" } else { "-inf" }}),
        Value::Text(t) => json!(t),
        Value::Blob(b) => json!({"hex": b.iter().map(|b| format!("{b:02x}")).collect::<String>()}),
    }
}

pub(crate) fn from_exact_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Integer(i64::from(*b)),
        Json::Number(n) => {
            n.as_i64().map_or_else(|| n.as_f64().map_or(Value::Null, Value::Real), Value::Integer)
        }
        Json::String(s) => Value::Text(s.clone()),
        Json::Object(o) => match o.get("real").and_then(Json::as_str).map(str::parse) {
            Some(Ok(real)) => Value::Real(real),
            _ => Value::Blob(o.get("hex").and_then(Json::as_str).map(unhex).unwrap_or_default()),
        },
        Json::Array(_) => Value::Null,
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).unwrap_or(0) as u8;
    hex.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_survives_its_json() {
        for value in [
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Integer(9_007_199_254_740_993),
            Value::Real(0.1),
            Value::Real(f64::NEG_INFINITY),
            Value::Text("müsli \0 \"".into()),
            Value::Blob(vec![0, 0x0f, 0xff]),
        ] {
            assert_eq!(from_exact_json(&exact_json(&value)), value);
        }
    }
}
