//! A deployment of the reference moves to our programs and back: `td-sync import`, our server at a time when the
//! deployment's keys are good, our `td` with the logins that its people have, `td-sync import --reverse`, and again.

#[allow(dead_code, reason = "the server's own tests use the rest")]
#[path = "../../../server/tests/support/deployment.rs"]
mod deployment;

use deployment::{
    BUSY, Deployment, GARDEN, GONE, REST_ONLY, Served, clock, facts, login, person, unsent_push,
};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use td_e2e::binary;
use td_e2e::device::Device;
use td_e2e::server::Server;

/// What bob did while the server was away.
const UNSENT: [&str; 2] = ["td-d51b38", "cm-d882064e"];

/// Runs `td-sync import`, which must succeed; what it printed.
fn import(dir: &Path, words: &[&str]) -> String {
    let mut command = Command::new(binary("td-sync"));
    command.arg("import").args(words).env_clear().stdin(Stdio::null()).current_dir(dir);
    let out = command.output().expect("td-sync runs");
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

fn import_json(dir: &Path, words: &[&str]) -> Value {
    let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&import(dir, &words)).expect("json")
}

fn project<'a>(done: &'a Value, id: &str) -> &'a Value {
    let all = done["projects"].as_array().expect("a list");
    all.iter().find(|p| p["id"] == id).expect("the project")
}

/// A machine with the login that a person has on theirs, and the address of the new server in it.
fn machine_of(who: &str, dir: &Path, url: &str) -> Device {
    person(who, &dir.join(who));
    let path = dir.join(who).join("home/.config/td/auth.json");
    let mut auth: Value = serde_json::from_slice(&std::fs::read(&path).expect("auth.json")).expect("json");
    auth["server_url"] = url.into();
    std::fs::write(&path, auth.to_string()).expect("auth.json");
    Device::new(&dir.join(who))
}

fn rows(device: &Device, ask: &str) -> i64 {
    let db = Connection::open(device.project().join(".todos/issues.db")).expect("open");
    db.query_row(ask, [], |r| r.get(0)).expect(ask)
}

/// Joins the project in the empty folder, and has the state that the import said.
fn clones(device: &Device, taken: &Value, id: &str) {
    let todos = device.project().join(".todos");
    let _ = std::fs::remove_dir_all(&todos);
    device.td(&["init"]);
    device.td(&["sync-project", "join", id]);
    device.td(&["sync"]);
    let status = device.json(&["sync", "--status"]);
    assert_eq!(status["digest"]["value"], project(taken, id)["state_digest"], "{id}: {status}");
}

fn send(request: ureq::RequestBuilder<ureq::typestate::WithBody>, key: &str, body: &Value) -> Value {
    let answer = request.header("Authorization", format!("Bearer {key}")).send_json(body);
    answer.and_then(|mut a| a.body_mut().read_json()).expect("an answer")
}

fn get(url: &str, key: &str) -> Result<Value, ureq::Error> {
    ureq::get(url).header("Authorization", format!("Bearer {key}")).call()?.body_mut().read_json()
}

#[test]
fn a_deployment_moves_to_our_programs_and_back() {
    let go = Deployment::new();
    let dir = go.0.path();
    let said = import(dir, &["go", "--into", "data", "--dry-run"]);
    let taken = import_json(dir, &["go", "--into", "data"]);
    assert!(said.contains("lacks 41 of the 480 issues"), "{said}");
    for (id, fact) in facts()["projects"].as_object().expect("projects") {
        assert_eq!(project(&taken, id)["sha256_of_planned_lines"], fact["sha256_of_event_lines"], "{id}");
        assert_eq!(project(&taken, id)["issues"], fact["issues_created_in_log"], "{id}");
    }

    let served = Served::start(&go.data(), clock());
    let url = format!("http://{}", served.address);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|who| machine_of(who, dir, &url));
    for device in [&alice, &bob, &carol] {
        clones(device, &taken, GARDEN);
    }
    clones(&bob, &taken, REST_ONLY);
    clones(&alice, &taken, BUSY);
    assert_eq!(rows(&alice, "SELECT count(*) FROM issues"), 480, "the reference's project.db has lost 41");
    let (key, _) = login("alice");
    let invitations = get(&format!("{url}/v1/projects/{GARDEN}/invitations"), &key).expect("invitations");
    assert!(invitations.to_string().contains("dora@test.local"), "{invitations}");
    let gone = get(&format!("{url}/v1/projects/{GONE}"), &key);
    assert!(matches!(gone, Err(ureq::Error::StatusCode(404))), "a deleted project stays deleted: {gone:?}");

    // Our td does not go on in a folder of the Go td: it says so, and his td sends what waits there.
    let folder = dir.join("bob");
    let out = bob.command(&["sync"]).current_dir(folder.join("proj")).output().expect("td runs");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && told.contains("keep using Go td"), "{told}");
    let (key, device) = login("bob");
    let push = ureq::post(format!("{url}/v1/projects/{GARDEN}/sync/push"));
    let answer = send(push, &key, &unsent_push(&folder, &device));
    assert_eq!((&answer["accepted"], answer["acks"][1]["server_seq"].as_i64()), (&json!(2), Some(46)));

    let _ = std::fs::remove_dir_all(alice.project().join(".todos"));
    alice.td(&["init"]);
    alice.td(&["sync-project", "join", GARDEN]);
    alice.td(&["sync"]);
    let shown = alice.json(&["show", UNSENT[0]]).to_string();
    assert!(shown.contains("Made by bob while the server was away"), "{shown}");
    let comment = format!("SELECT count(*) FROM comments WHERE id = '{}'", UNSENT[1]);
    assert_eq!(rows(&alice, &comment), 1);
    alice.td(&["create", "Written on the new server, by alice"]);
    alice.td(&["sync"]);
    let status = alice.json(&["sync", "--status"]);
    assert_eq!((&status["pending"], &status["head"]), (&json!(0), &json!(47)), "{status}");
    drop(served);

    // Back, and over again: the same events, the same state.
    let back = import_json(dir, &["--reverse", "data", "--into", "back"]);
    let again = import_json(dir, &["back", "--into", "again"]);
    for id in [GARDEN, BUSY, REST_ONLY, GONE] {
        let digests = [&back, &again].map(|done| project(done, id)["sha256_of_planned_lines"].clone());
        assert_eq!(digests[0], digests[1], "{id}");
    }
    assert_eq!(project(&again, GARDEN)["log"]["events"], 47);
    assert_eq!(project(&again, GARDEN)["state_digest"], status["digest"]["value"]);

    // The program itself serves it, to somebody who comes by an enrolment link.
    let server = Server::start(&dir.join("again"));
    let link = server.admin(&["enroll", "create", "--email", "carol@test.local"]);
    let device = Device::new(&dir.join("new"));
    device.td(&["init"]);
    device.td(&["connect", link["link"].as_str().expect("a link")]);
    device.td(&["sync-project", "join", GARDEN]);
    device.td(&["sync"]);
    assert_eq!(device.json(&["sync", "--status"])["digest"], status["digest"]);
}
