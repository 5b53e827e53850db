//! Law 5 under load: sixteen devices push 100,000 events at once, and log, live view, snapshot and a client that replays
//! the log end with the same digest. Once in CI, ten times in the full run.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use td_e2e::api::Api;
use td_e2e::random::Random;
use td_e2e::server::Server;
use td_e2e::{full, seed, wait_until};
use td_engine::db::ProjectDb;
use td_engine::event::LogEvent;
use td_engine::id::Seq;
use td_engine::time::ClientTime;

const PUSHERS: usize = 16;
const EVENTS: usize = 100_000;
const PER_PUSH: usize = 100;
/// Issues that the devices fight over.
const SHARED: u64 = 2_000;
const NOON: &str = "2026-11-21T12:00:00Z";

#[test]
fn sixteen_pushers_and_every_reader_end_with_the_same_digest() {
    let seed = seed();
    for run in 0..if full() { 10 } else { 1 } {
        let dir = tempfile::tempdir().expect("temp");
        let server = Server::start(&dir.path().join("data"));
        let api = Api::new(server.url(), server.key("load@example.org"));
        let project = api.project("pushers");
        let begun = Instant::now();
        let pushed: usize = std::thread::scope(|s| {
            let all: Vec<_> = (0..PUSHERS)
                .map(|who| {
                    let (api, project) = (api.clone(), project.as_str());
                    s.spawn(move || push_all(&api, project, who, seed ^ (run << 32)))
                })
                .collect();
            all.into_iter().map(|pusher| pusher.join().expect("pusher")).sum()
        });
        println!("figure: run {run}: {pushed} events in {:.1} s", begun.elapsed().as_secs_f64());
        assert_eq!(pushed, EVENTS);
        let status = api.get(&format!("/v1/projects/{project}/sync/status")).expect("status");
        assert_eq!(status["event_count"], EVENTS, "the log has every acknowledged event");
        let head = status["last_server_seq"].as_i64().expect("head");
        let live = digest_of_view(&api, &project);
        assert_eq!(live["seq"], head, "{live}");
        assert_eq!(
            json!(replayed(&api, &project)),
            live["digest"],
            "the live view and a client that replays"
        );
        assert_eq!(json!(installed(&api, &project, head)), live["digest"], "the live view and a snapshot");
    }
}

fn push_all(api: &Api, project: &str, who: usize, seed: u64) -> usize {
    let mut random = Random(seed.wrapping_add(who as u64 + 1));
    let device = format!("device-{who}");
    let mut stored = 0;
    for first in (0..EVENTS / PUSHERS).step_by(PER_PUSH) {
        let last = (first + PER_PUSH).min(EVENTS / PUSHERS);
        let events: Vec<Value> = (first..last).map(|n| event(&mut random, who, n)).collect();
        let answer = api.push(project, &device, &events).expect("push");
        stored += answer["acks"].as_array().map_or(0, Vec::len);
    }
    stored
}

/// Work on issues that all devices know: most of it meets what others did.
fn event(random: &mut Random, who: usize, n: usize) -> Value {
    let issue = format!("td-{:06x}", random.below(SHARED));
    let row = |title: &str| {
        json!({"id": issue, "title": title, "status": "open", "type": "task", "priority": "P2",
        "created_at": NOON, "updated_at": NOON})
    };
    let comment = format!("cm-{who:02}{n:06}");
    let (action, kind, id, new, previous) = match random.below(10) {
        0..=2 => ("create", "issues", issue.clone(), row(&format!("made by {who} at {n}")), json!({})),
        3..=6 => {
            let title = format!("changed by {who} at {n}");
            ("update", "issues", issue.clone(), row(&title), row(&format!("made by {who} at {}", n / 2)))
        }
        7 | 8 => {
            let new = json!({"id": comment, "issue_id": issue, "session_id": "s", "text": "fine", "created_at": NOON});
            ("create", "comments", comment, new, json!({}))
        }
        _ if n.is_multiple_of(2) => ("soft_delete", "issues", issue.clone(), json!({}), row("gone")),
        _ => ("restore", "issues", issue.clone(), json!({}), json!({})),
    };
    json!({"client_action_id": n + 1, "action_type": action, "entity_type": kind, "entity_id": id,
        "payload": {"schema_version": 1, "new_data": new, "previous_data": previous}, "client_timestamp": NOON})
}

/// Asked until the live view has what the log has.
fn digest_of_view(api: &Api, project: &str) -> Value {
    let mut answer = Value::Null;
    let reached = wait_until(Duration::from_secs(120), || {
        match api.get(&format!("/v1/projects/{project}/sync/digest")) {
            Ok(digest) => {
                answer = digest;
                true
            }
            Err(ureq::Error::StatusCode(503)) => false,
            Err(e) => panic!("digest: {e}"),
        }
    });
    assert!(reached, "the live view did not catch up within two minutes");
    answer
}

fn replayed(api: &Api, project: &str) -> String {
    let mut db = ProjectDb::in_memory(ClientTime::parse(NOON).expect("time")).expect("a copy");
    api.pull_pages(project, |page| {
        let events: Vec<LogEvent> = serde_json::from_value(page["events"].clone()).expect("events");
        let up_to = Seq(page["last_server_seq"].as_i64().expect("seq"));
        db.apply_page(&events, up_to).expect("applied");
    });
    db.digest().expect("digest").to_string()
}

fn installed(api: &Api, project: &str, head: i64) -> String {
    let (headers, bytes) = api.file(&format!("/v1/projects/{project}/sync/snapshot")).expect("snapshot");
    assert_eq!(headers["x-snapshot-seq"].to_str().ok(), Some(head.to_string().as_str()));
    let dir = tempfile::tempdir().expect("temp");
    let path = dir.path().join("issues.db");
    std::fs::write(&path, bytes).expect("write");
    ProjectDb::open_read_only(&path).expect("a whole database").digest().expect("digest").to_string()
}
