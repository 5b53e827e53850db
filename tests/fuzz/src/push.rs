//! The body of a push.
//!
//! What holds: it is taken whole or refused whole with a 400; taken again it changes nothing (law 4); what was taken
//! comes back by pull as an event that a client reads, and the live view goes on.

use crate::world::{World, with_world};
use axum::http::StatusCode;
use serde_json::Value;
use td_engine::event::LogEvent;

#[derive(serde::Deserialize)]
struct Page {
    events: Vec<LogEvent>,
}

pub fn run(body: &[u8]) {
    with_world(|world| {
        let before = head(world);
        let answer = world.post(&world.sync("push"), body);
        match answer.status {
            StatusCode::OK => taken(world, before, body, &answer.json()),
            StatusCode::BAD_REQUEST => {
                assert_eq!(answer.refusal(), "bad_request");
                assert_eq!(head(world), before, "a refused push left something behind");
            }
            other => panic!("{other}: {}", String::from_utf8_lossy(&answer.body)),
        }
    });
}

fn head(world: &World) -> i64 {
    world.get(&world.sync("status")).json()["last_server_seq"].as_i64().expect("a head")
}

fn taken(world: &World, before: i64, body: &[u8], answer: &Value) {
    let acks = answer["acks"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(answer["accepted"], acks.len(), "{answer}");
    let mut seqs: Vec<i64> = acks.iter().map(|a| a["server_seq"].as_i64().expect("a sequence")).collect();
    seqs.sort_unstable();

    let again = world.post(&world.sync("push"), body).json();
    assert_eq!(again["accepted"], 0, "the same push, taken twice: {answer}, then {again}");

    let pull = world.get(&format!("{}?after_server_seq={before}&limit=10000", world.sync("pull")));
    assert_eq!(pull.status, StatusCode::OK);
    // As our client reads it; a payload may be nested deeper than a `Value` can be.
    let page: Page = serde_json::from_slice(&pull.body)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&pull.body)));
    let events = page.events;
    let pulled: Vec<i64> = events.iter().map(|e| e.seq.0).collect();
    assert_eq!(pulled, seqs, "what was acknowledged is what comes back");

    // Waits for the live view to have applied, skipped or quarantined every event.
    let conflicts = world.get(&format!("{}?limit=1", world.sync("conflicts")));
    assert_eq!(conflicts.status, StatusCode::OK, "{}", String::from_utf8_lossy(&conflicts.body));
    let history = acks.first().and_then(|_| events.first());
    if let Some(event) = history.filter(|e| e.entity_id.bytes().all(|b| b.is_ascii_alphanumeric())) {
        let path = format!(
            "/v1/projects/{}/history/{}/{}",
            world.project,
            event.entity_type.as_str(),
            event.entity_id
        );
        assert_eq!(world.get(&path).status, StatusCode::OK, "{path}");
    }
}
