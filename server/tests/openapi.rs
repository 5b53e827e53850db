//! The OpenAPI document: complete, sound, and the same wherever it is asked for. That it is true is checked with every
//! recorded exchange (`recorded.rs`).

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use support::Server;
use support::schema::Description;
use support::wire::{Answer, Ask};
use td_server::http::ROUTES;

const METHODS: [&str; 5] = ["get", "post", "patch", "put", "delete"];

#[test]
fn every_route_is_described_and_nothing_else() {
    let routes: BTreeSet<(String, String)> = ROUTES
        .iter()
        .flat_map(|r| r.methods.split(", ").map(|m| (r.path.to_string(), m.to_ascii_lowercase())))
        .collect();
    let document = td_server::openapi::document();
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("an item").keys().filter(|k| METHODS.contains(&k.as_str()));
            methods.map(|m| (path.clone(), m.clone())).collect::<Vec<_>>()
        })
        .collect();
    let missing: Vec<_> = routes.difference(&described).collect();
    assert!(missing.is_empty(), "routes without an operation in server/src/openapi: {missing:?}");
    let invented: Vec<_> = described.difference(&routes).collect();
    assert!(invented.is_empty(), "operations without a route: {invented:?}");
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
    let document = td_server::openapi::document();
    let (mut references, mut names) = (Vec::new(), Vec::new());
    collect(&document, &mut references, &mut names);
    for reference in &references {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
    let different: BTreeSet<&String> = names.iter().collect();
    assert_eq!(different.len(), names.len(), "{names:?}");
    for kind in ["schemas", "responses"] {
        for name in document["components"][kind].as_object().expect("shared parts").keys() {
            let path = format!("#/components/{kind}/{name}");
            assert!(references.contains(&path), "nobody uses {path}");
        }
    }
}

fn collect(value: &Value, references: &mut Vec<String>, names: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        match (key.as_str(), value.as_str()) {
            ("$ref", Some(to)) => references.push(to.into()),
            ("operationId", Some(name)) => names.push(name.into()),
            _ => collect(value, references, names),
        }
    }
    value.as_array().into_iter().flatten().for_each(|v| collect(v, references, names));
}

#[test]
fn the_document_is_the_same_from_the_server_and_from_the_command_line() {
    let server = Server::start();
    let served = server.ask(&Ask::get("/openapi.json")).json();
    for words in [&["openapi"][..], &["openapi", "--json"]] {
        let printed = server.command(words).output().expect("run");
        assert_eq!(serde_json::from_slice::<Value>(&printed.stdout).expect("json"), served, "{words:?}");
    }
}

#[test]
fn an_answer_that_is_not_described_is_noticed() {
    let description = Description::of_this_program();
    let request = json!({"method": "GET", "path": "/v1/projects/p_1/sync/status?x=1"});
    let differ = |status: u16, body: Value| {
        let headers = vec![("content-type".into(), "application/json".into())];
        description.differences(&request, &Answer { status, headers, body: body.to_string().into_bytes() })
    };
    let good = json!({"event_count": 1, "last_server_seq": 1, "last_event_time": "2026-11-21T10:00:00Z"});
    assert_eq!(differ(200, good), [""; 0]);
    assert_eq!(differ(404, json!({"error": {"code": "not_found", "message": "x"}})), [""; 0]);
    for (status, body, word) in [
        (200, json!({"event_count": 1}), "last_server_seq\": is missing"),
        (200, json!({"event_count": 1.5, "last_server_seq": 1}), "1.5"),
        (200, json!({"event_count": 1, "last_server_seq": 1, "more": 1}), "more: is not described"),
        (200, json!({"event_count": 1, "last_server_seq": 1, "last_event_time": "noon"}), "noon"),
        (202, json!({}), "this status is not described"),
        (404, json!({"message": "x"}), "error\": is missing"),
    ] {
        let said = differ(status, body).join("; ");
        assert!(said.contains(word), "{word} in {said}");
    }
}
