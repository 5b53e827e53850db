//! Law 1 and 2 over HTTP with a real process: kill -9 under load loses no acknowledged event and reuses no number.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use td_e2e::api::Api;
use td_e2e::random::Random;
use td_e2e::server::Server;
use td_e2e::{seed, wait_until};

const CLIENTS: usize = 16;
const KILLS: usize = 20;

/// What a client was told: its own key and where the event stands.
type Acked = BTreeMap<(usize, i64), i64>;

#[test]
fn twenty_kills_under_sixteen_pushing_clients_lose_nothing_acknowledged() {
    let dir = tempfile::tempdir().expect("temp");
    let mut server = Server::start(&dir.path().join("data"));
    let key = server.key("load@example.org");
    let api = Api::new(server.url(), key);
    let project = api.project("kill");
    let acked = Arc::new(Mutex::new(Acked::new()));
    let ended = Arc::new(AtomicBool::new(false));
    let pushers: Vec<_> = (0..CLIENTS)
        .map(|who| {
            let (api, project) = (api.clone(), project.clone());
            let (acked, ended) = (Arc::clone(&acked), Arc::clone(&ended));
            std::thread::spawn(move || push_until(&ended, who, &api, &project, &acked))
        })
        .collect();
    let mut random = Random(seed());
    for _ in 0..KILLS {
        // A kill counts when pushes were under way: so many more acknowledgements, a random number, must have arrived.
        let goal =
            acked.lock().expect("lock").len() + 20 + usize::try_from(random.below(400)).expect("small");
        let reached = wait_until(Duration::from_secs(20), || acked.lock().expect("lock").len() >= goal);
        assert!(reached, "pushes stopped arriving");
        server.kill();
        server.restart();
    }
    ended.store(true, Ordering::SeqCst);
    let clocks: Vec<i64> = pushers.into_iter().map(|p| p.join().expect("pusher")).collect();
    let acked = acked.lock().expect("lock").clone();
    println!("figure: {} events acknowledged across {KILLS} kills", acked.len());

    let log = api.pull_all(&project);
    let mut last = 0;
    let mut stored = Acked::new();
    for event in &log {
        let seq = event["server_seq"].as_i64().expect("seq");
        assert!(seq > last, "sequences grow");
        last = seq;
        let id = event["client_action_id"].as_i64().expect("action id");
        let who: usize =
            event["device_id"].as_str().expect("device").trim_start_matches("device-").parse().expect("n");
        assert_eq!(event["payload"], payload(who, id), "the event is the one that was sent");
        assert_eq!(stored.insert((who, id), seq), None, "stored once");
    }
    for (event, seq) in &acked {
        assert_eq!(stored.get(event), Some(seq), "acknowledged event {event:?} stands where it was said to");
    }
    for (who, newest) in clocks.iter().enumerate() {
        for id in 1..=*newest {
            let Some(seq) = stored.get(&(who, id)) else { continue };
            let answer = push(&api, &project, who, id).expect("push");
            assert_eq!(answer["rejected"][0]["reason"], "duplicate", "{answer}");
            assert_eq!(answer["rejected"][0]["server_seq"], *seq, "{answer}");
        }
    }
}

/// Pushes one event after the other, repeating what got no answer; returns the number of the last one.
fn push_until(ended: &AtomicBool, who: usize, api: &Api, project: &str, acked: &Mutex<Acked>) -> i64 {
    let mut id = 1;
    while !ended.load(Ordering::SeqCst) {
        let Ok(answer) = push(api, project, who, id) else {
            // The server is down: ask again when it listens.
            wait_until(Duration::from_secs(30), || {
                api.get("/healthz").is_ok() || ended.load(Ordering::SeqCst)
            });
            continue;
        };
        let seq = answer["acks"][0]["server_seq"].as_i64().or(answer["rejected"][0]["server_seq"].as_i64());
        let before = acked.lock().expect("lock").insert((who, id), seq.unwrap_or_else(|| panic!("{answer}")));
        assert_eq!(before, None);
        id += 1;
    }
    id
}

fn payload(who: usize, id: i64) -> Value {
    json!({"new_data": {"title": format!("event {id} of {who}")}, "previous_data": {}, "schema_version": 1})
}

fn push(api: &Api, project: &str, who: usize, id: i64) -> Result<Value, ureq::Error> {
    let event = json!({"client_action_id": id, "action_type": "create", "entity_type": "issues",
        "entity_id": format!("td-{who:02}{id:06}"), "payload": payload(who, id),
        "client_timestamp": "2026-11-21T10:00:00Z"});
    api.push(project, &format!("device-{who}"), &[event])
}
