//! Lists in pages: `{"data":[…],"next_cursor"?,"has_more"}`.

use crate::control::{Page, Records, Slice};
use crate::http::answer::json;
use crate::http::error::ApiError;
use crate::http::query::Query;
use axum::http::StatusCode;
use axum::response::Response;
use base64::{Engine, engine::general_purpose::URL_SAFE};
use serde_json::{Value, json};
use td_engine::time::ClientTime;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;

/// The part that is asked for. A cursor that is none is a failure of the list, as recorded (`08-admin` 34).
pub(super) fn slice(query: &Query, failed: &'static str) -> Result<Slice, ApiError> {
    let after = query.text("cursor").map(|text| {
        let value = URL_SAFE.decode(text).ok().and_then(|json| serde_json::from_slice::<Value>(&json).ok());
        let id = value.and_then(|v| {
            ["value", "id", "created_at"].iter().find_map(|k| Some(v[k].as_str()?.to_string()))
        });
        id.ok_or_else(|| ApiError::admin(failed, "the cursor is none of ours"))
    });
    Ok(Slice { after: after.transpose()?, limit: limit(query, DEFAULT_LIMIT, MAX_LIMIT) })
}

/// `limit`, or the default where it is nothing sensible.
pub(super) fn limit(query: &Query, default: usize, most: usize) -> usize {
    let given = query.int("limit").flatten().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    given.unwrap_or(default).min(most)
}

/// A journal's part: `from`, `to`, `cursor`, `limit`.
pub(super) fn records(query: &Query, failed: &'static str) -> Result<Records, ApiError> {
    let (from, to) = (moment(query, "from")?, moment(query, "to")?);
    Ok(Records { from, to, slice: slice(query, failed)? })
}

/// A moment in any spelling that a row may have; `T` or a blank, a date alone.
pub(super) fn moment(query: &Query, name: &'static str) -> Result<Option<ClientTime>, ApiError> {
    let time =
        |text| ClientTime::parse_stored(text).map_err(|_| ApiError::bad_request(format!("invalid {name}")));
    query.text(name).map(time).transpose()
}

/// The answer. `id` is what the next page begins behind.
pub(super) fn page<T>(page: Page<T>, id: impl Fn(&T) -> String, shown: impl Fn(&T) -> Value) -> Response {
    let data: Vec<Value> = page.items.iter().map(shown).collect();
    let mut body = json!({"data": data, "has_more": page.more});
    if let Some(last) = page.items.last().filter(|_| page.more) {
        body["next_cursor"] = URL_SAFE.encode(json!({"value": id(last)}).to_string()).into();
    }
    json(StatusCode::OK, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_padded_base64_of_the_last_id_and_other_names_of_it_are_read() {
        let of = |text: &str| slice(&Query::parse(&format!("cursor={text}")), "x").map(|s| s.after).ok();
        assert_eq!(of("eyJ2YWx1ZSI6InVfMSJ9"), Some(Some("u_1".into())));
        assert_eq!(of("eyJpZCI6InVfMSJ9"), Some(Some("u_1".into())));
        assert_eq!(of(&URL_SAFE.encode(r#"{"value":"u_12"}"#)), Some(Some("u_12".into())));
        assert_eq!(URL_SAFE.encode(r#"{"value":"u_12"}"#), "eyJ2YWx1ZSI6InVfMTIifQ==");
        for bad in ["@@@", "eyJ2YWx1ZSI6NX0=", "e30=", "bnVsbA==", "eyJ2YWx1ZSI6InVfMTIifQ"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_limit_that_is_none_is_the_default() {
        for (text, n) in
            [("", 50), ("limit=0", 50), ("limit=-1", 50), ("limit=x", 50), ("limit=7", 7), ("limit=999", 200)]
        {
            assert_eq!(limit(&Query::parse(text), 50, 200), n, "{text}");
        }
    }
}
