//! Query strings as the reference reads them: the first of repeated parameters counts, an empty one is absent, a `+` is
//! a blank, a pair with a broken escape or a `;` is dropped.

use crate::http::error::ApiError;

/// The parameters.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Of the text behind the `?`.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|p| !p.is_empty() && !p.contains(';'));
        let pairs = pairs.filter_map(|p| {
            let (key, value) = p.split_once('=').unwrap_or((p, ""));
            Some((unescape(key)?, unescape(value)?))
        });
        Self(pairs.collect())
    }

    /// A parameter that is not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let first = self.0.iter().find(|(key, _)| key == name)?;
        Some(first.1.as_str()).filter(|v| !v.is_empty())
    }

    /// A base-10 64-bit integer, `Some(None)` if it is something else.
    pub fn int(&self, name: &str) -> Option<Option<i64>> {
        // Rust reads a leading `+` and zeros as Go does.
        self.text(name).map(|text| text.parse().ok())
    }
}

impl Query {
    /// How many items a page of ours may have: from 1, cut to `most`.
    pub fn limit(&self, default: usize, most: usize) -> Result<usize, ApiError> {
        match self.int("limit") {
            None => Ok(default),
            Some(Some(n)) if n >= 1 => Ok(usize::try_from(n).unwrap_or(most).min(most)),
            Some(_) => Err(ApiError::bad_request("invalid limit")),
        }
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_read_as_in_the_reference() {
        let q = Query::parse("a=%2B7&a=8&b=&c=x+y%2F&d=%zz&e=1;f=2&g=+7&h=007&i=-3&j=1e3");
        assert_eq!(q.int("a"), Some(Some(7)));
        assert_eq!((q.text("b"), q.text("d"), q.text("e"), q.text("none")), (None, None, None, None));
        assert_eq!(q.text("c"), Some("x y/"));
        assert_eq!(q.int("g"), Some(None), "a bare plus is a blank");
        assert_eq!((q.int("h"), q.int("i"), q.int("j")), (Some(Some(7)), Some(Some(-3)), Some(None)));
    }
}
