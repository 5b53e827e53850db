//! Any request: `METHOD PATH?QUERY` on the first line, the body behind it. `{p}` in the path stands for the project.
//!
//! What holds: no route fails, whatever it is given. The reference answers some mistakes of a caller with a 500, and so
//! do we; a panic would be one with a sentence of its own.

use crate::world::{Answer, with_world};
use axum::http::{Method, StatusCode};

pub fn run(input: &[u8]) {
    let end = input.iter().position(|b| *b == b'\n').unwrap_or(input.len());
    let (line, body) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let Ok(line) = std::str::from_utf8(line) else { return };
    let Some((method, path)) = line.split_once(' ') else { return };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    with_world(|world| {
        let path = path.replace("{p}", &world.project);
        let Some(answer) = world.ask(method.clone(), &path, &[], body) else { return };
        holds(&path, &answer);
        // Whoever was asked may be gone now.
        if [Method::DELETE, Method::PATCH].contains(&method) && answer.status.is_success() {
            world.wear_out();
        }
    });
}

fn holds(path: &str, answer: &Answer) {
    let route = path.split('?').next().unwrap_or_default();
    let text = String::from_utf8_lossy(&answer.body);
    match answer.status {
        StatusCode::INTERNAL_SERVER_ERROR => {
            // Mistakes that are recorded so: around members, a project that is gone, an admin's cursor.
            let recorded = route.contains("/members") || route.starts_with("/v1/admin/");
            assert!(recorded || text.contains("failed to delete project"), "{path}: {text}");
            assert_ne!(answer.json()["error"]["message"], "internal server error", "a panic");
        }
        // This server is stopping, and says so.
        StatusCode::SERVICE_UNAVAILABLE if route == "/readyz" => {}
        StatusCode::SERVICE_UNAVAILABLE => {
            assert!(answer.header("retry-after").is_some(), "{path}: {text}");
        }
        other => assert!(!other.is_server_error(), "{path}: {other} {text}"),
    }
    let is_json = answer.header("content-type").is_some_and(|t| t.starts_with("application/json"));
    if is_json && answer.header("content-encoding").is_none() && !answer.body.is_empty() {
        // Not as a `Value`, which a payload may be too deep for.
        serde_json::from_slice::<&serde_json::value::RawValue>(&answer.body)
            .unwrap_or_else(|e| panic!("{e}: {text}"));
    }
    // The answer to a HEAD has no body.
    if is_json && answer.status.is_client_error() && !answer.body.is_empty() {
        answer.refusal();
    }
    if route.starts_with("/v1/") && !answer.status.is_redirection() {
        assert!(answer.header("x-td-epoch").is_some(), "{path}");
    }
}
