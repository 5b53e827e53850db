//! A query string, on every route that reads one.
//!
//! What holds: the answer is a 200 or a 400; a page is no longer than it was asked to be, begins where it was asked to,
//! and what a plain query asks for decides alone whether it is refused.

use crate::world::{World, with_world};
use axum::http::StatusCode;
use serde_json::Value;

pub fn run(input: &[u8]) {
    let Ok(query) = std::str::from_utf8(input) else { return };
    with_world(|world| {
        let history = format!("/v1/projects/{}/history/issues/td-000001", world.project);
        for path in [world.sync("pull"), history] {
            if let Some(answer) = page(world, &path, query) {
                page_holds(query, &answer, path.ends_with("pull"));
            }
        }
        if let Some(answer) = page(world, &world.sync("conflicts"), query) {
            answer["conflicts"].as_array().expect("conflicts");
        }
        let of_project =
            ["events", "sync/cursors"].map(|r| format!("/v1/admin/projects/{}/{r}", world.project));
        let lists = ["users", "projects", "auth/events", "server/rate-limit-violations"];
        let lists = lists.map(|list| format!("/v1/admin/{list}"));
        let others = [world.sync("digest"), world.sync("status"), "/auth/device/approve".into()];
        for path in of_project.into_iter().chain(lists).chain(others) {
            let Some(answer) = world.ask(axum::http::Method::GET, &format!("{path}?{query}"), &[], b"")
            else {
                return;
            };
            // A cursor that is none fails a list of the admins', as the reference has it (recording 08); a panic says so.
            let failed = answer.status == StatusCode::INTERNAL_SERVER_ERROR && path.starts_with("/v1/admin/");
            if failed {
                assert_ne!(answer.json()["error"]["message"], "internal server error", "{path}?{query}");
            }
            let known = [StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::CONFLICT];
            assert!(failed || known.contains(&answer.status), "{path}?{query}: {}", answer.status);
        }
    });
}

/// The page, if it is not refused.
fn page(world: &World, path: &str, query: &str) -> Option<Value> {
    let answer = world.ask(axum::http::Method::GET, &format!("{path}?{query}"), &[], b"")?;
    match answer.status {
        StatusCode::OK => Some(answer.json()),
        StatusCode::BAD_REQUEST => {
            assert_eq!(answer.refusal(), "bad_request");
            assert!(!is_plainly_good(query), "{path}?{query} was refused: {}", answer.json());
            None
        }
        other => panic!("{path}?{query}: {other}"),
    }
}

fn page_holds(query: &str, answer: &Value, is_pull: bool) {
    let events = answer["events"].as_array().expect("events");
    let seqs: Vec<i64> = events.iter().map(|e| e["server_seq"].as_i64().expect("a sequence")).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    if is_pull && seqs.is_empty() {
        assert_eq!(answer["has_more"], false);
    }
    if !is_plain(query) {
        return;
    }
    if let Some(limit) = plain(query, "limit").and_then(|n| n.parse::<usize>().ok()) {
        assert!(events.len() <= limit, "{query}: {} events", events.len());
    }
    if let Some(after) = plain(query, "after_server_seq").and_then(|n| n.parse::<i64>().ok()) {
        assert!(seqs.first().is_none_or(|first| *first > after), "{query}: {seqs:?}");
    }
}

/// Without anything that has to be unescaped: what stands there is what is meant.
fn is_plain(query: &str) -> bool {
    query.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-=&".contains(&b))
}

/// The first occurrence counts; an empty one is absent.
fn plain<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').map(|p| p.split_once('=').unwrap_or((p, "")));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value).filter(|v| !v.is_empty())
}

fn is_plainly_good(query: &str) -> bool {
    let good = |name: &str, least: i64| {
        plain(query, name).is_none_or(|n| n.parse::<i64>().is_ok_and(|n| n >= least))
    };
    is_plain(query)
        && plain(query, "after").is_none()
        && good("limit", 1)
        && good("after_server_seq", i64::MIN)
        && good("wait", 0)
}
