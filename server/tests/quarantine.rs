//! Events that did not simply apply: shown, counted, and tried again by an operator (law 7, decision 6).

mod support;

use serde_json::{Value, json};
use support::wire::Ask;
use support::{Server, push, wait_until};

fn project_with_trouble(server: &Server) -> (String, String) {
    let (key, _) = server.key("ana");
    let project = server.project(&key, "garden");
    server.ask(&push(&project, &[1, 2]).key(&key));
    let event = |n: i64, entity: &str, payload: Value| {
        json!({"client_action_id": n, "action_type": "create", "entity_type": entity, "entity_id": format!("x-{n}"),
            "payload": payload, "client_timestamp": "2026-11-21T10:00:00Z"})
    };
    let orphan = json!({"new_data": {"issue_id": "td-none", "session_id": "s", "text": "lost"}});
    let events = [
        event(10, "issues", json!([])),
        event(11, "comments", orphan),
        event(12, "issues", json!({"new_data": {"title": "fine", "colour": "red"}})),
    ];
    let body = json!({"device_id": "dev", "session_id": "ses", "events": events});
    let pushed = server.ask(&Ask::post(&format!("/v1/projects/{project}/sync/push")).key(&key).json(&body));
    assert_eq!(pushed.json()["accepted"], 3, "poison is stored like anything else (W2)");
    (key, project)
}

fn reasons(list: &Value) -> Vec<(i64, &str)> {
    let events = list["events"].as_array().expect("events");
    events
        .iter()
        .map(|e| (e["server_seq"].as_i64().expect("seq"), e["reason"].as_str().expect("why")))
        .collect()
}

#[test]
fn what_did_not_apply_is_listed_and_counted_with_a_server_and_without() {
    let mut server = Server::start();
    let (key, project) = project_with_trouble(&server);
    let want = [(3, "quarantined"), (4, "orphaned_parent"), (5, "unknown_columns")];
    let list = server.admin(&["quarantine", "list", "--project", "garden"]);
    assert_eq!((reasons(&list), &list["next"]), (want.to_vec(), &Value::Null));
    let first = server.admin(&["quarantine", "list", "--project", &project, "--limit", "2"]);
    assert_eq!((reasons(&first), &first["next"]), (want[..2].to_vec(), &json!(4)));
    let rest = server.admin(&["quarantine", "list", "--project", &project, "--after", "4"]);
    assert_eq!(reasons(&rest), want[2..]);
    let status = server.ask(&Ask::get(&format!("/v1/projects/{project}/sync/status")).key(&key));
    let said = ["x-td-skipped", "x-td-quarantined", "x-td-conflicts"].map(|name| status.header(name));
    assert_eq!(said, [Some("3"), Some("1"), Some("0")]);
    let doctor = server.command(&["doctor", "--json", "--only", "server.quarantine"]).output().expect("runs");
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(text.contains(&format!("1 events of {project} cannot be applied")), "{text}");
    assert!(text.contains(&format!("td-sync admin quarantine list --project {project}")), "{text}");
    server.kill();
    assert_eq!(server.admin(&["quarantine", "list", "--project", "garden"]), list);
    let plain = server.admin_raw(&["quarantine", "list", "--project", "garden"]);
    let plain = String::from_utf8_lossy(&plain.stdout).into_owned();
    assert!(plain.starts_with("3  quarantined      create issues/x-10 by dev: unmarshal payload"), "{plain}");
    let none = server.admin_raw(&["quarantine", "list", "--project", "none"]);
    assert!(String::from_utf8_lossy(&none.stderr).starts_with("error: no such project: none"));
}

#[test]
fn a_replay_applies_what_applies_now_and_says_what_does_not() {
    let mut server = Server::start();
    let (key, project) = project_with_trouble(&server);
    let digest = |server: &Server| {
        let answer = server.ask(&Ask::get(&format!("/v1/projects/{project}/sync/digest")).key(&key));
        answer.json()["digest"].clone()
    };
    let snapshot = |server: &Server| {
        let answer = server.ask(&Ask::get(&format!("/v1/projects/{project}/sync/snapshot")).key(&key));
        answer.header("etag").map(str::to_string)
    };
    let (before, old) = (digest(&server), snapshot(&server));
    server.kill();
    // As if a program that could not apply the second event had made the file.
    let path = server.data().join("projects").join(&project).join("project.db");
    let raw = rusqlite::Connection::open(path).expect("opens");
    raw.execute("DELETE FROM issues WHERE id = 'td-000002'", []).expect("not applied");
    raw.execute("INSERT INTO sync_skipped_events (server_seq, reason) VALUES (2, 'quarantined')", [])
        .expect("recorded");
    drop(raw);
    for running in [true, false] {
        if running {
            server.run();
            assert_ne!(digest(&server), before, "the file is continued as it is");
        }
        let done = server.admin(&["quarantine", "replay", "--project", "garden"]);
        let want = if running { (4, json!([2])) } else { (3, json!([])) };
        assert_eq!((done["before"].as_i64(), &done["apply_now"]), (Some(want.0), &want.1));
        assert_eq!(done["after"], 3, "what cannot apply is recorded again");
        if running {
            assert_eq!(digest(&server), before);
            assert_ne!(snapshot(&server), old, "older snapshots are thrown away");
            server.kill();
        }
    }
    server.run();
    assert_eq!(digest(&server), before);
    // The applier goes on behind it.
    server.ask(&push(&project, &[3]).key(&key));
    wait_until("the new event is applied", || {
        let standing = server.ask(&Ask::get(&format!("/v1/projects/{project}/sync/digest")).key(&key));
        standing.json()["seq"] == 6
    });
}
