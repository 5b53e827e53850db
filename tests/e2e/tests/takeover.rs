//! A deployment of the reference moves to our server and back, with the real programs: `td-sync import`, `td-sync serve`,
//! our `td` on a new machine, and bob's folder as his old `td` left it.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use td_e2e::device::Device;
use td_e2e::server::Server;
use td_e2e::{binary, root};

const GARDEN: &str = "p_fa90186cf9c441ff";
/// What bob did while the server was away.
const UNSENT: [&str; 2] = ["td-d51b38", "cm-d882064e"];

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/td-0.62/deployment").join(name)
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("folder");
    for entry in std::fs::read_dir(from).expect("folder") {
        let path = entry.expect("entry").path();
        let target = to.join(path.file_name().expect("name"));
        if path.is_dir() { copy_tree(&path, &target) } else { drop(std::fs::copy(&path, target).expect("copy")) }
    }
}

/// Runs `td-sync import … --json`, which must succeed.
fn import(words: &[&Path]) -> Value {
    let mut command = Command::new(binary("td-sync"));
    command.arg("import").args(words).arg("--json").env_clear().stdin(Stdio::null());
    let out = command.output().expect("td-sync runs");
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("json")
}

fn digest_of(done: &Value, project: &str) -> Value {
    let all = done["projects"].as_array().expect("a list");
    all.iter().find(|p| p["id"] == project).expect("the project")["sha256_of_planned_lines"].clone()
}

/// Runs our `td` in bob's old folder, logged in to `url`.
fn as_bob(dir: &Path, url: &str, words: &[&str]) -> Output {
    let (home, project) = (dir.join("bob/home"), dir.join("bob/proj"));
    let path = home.join(".config/td/auth.json");
    let mut auth: Value = serde_json::from_slice(&std::fs::read(&path).expect("auth.json")).expect("json");
    auth["server_url"] = url.into();
    std::fs::write(&path, auth.to_string()).expect("auth.json");
    let mut command = Command::new(binary("td"));
    command.args(words).env_clear().stdin(Stdio::null()).current_dir(project);
    command.env("HOME", &home).env("XDG_CONFIG_HOME", home.join(".config"));
    command.env("PATH", "/usr/bin:/bin").env("TD_SESSION_ID", "e2e").output().expect("td runs")
}

/// The push that his old `td` would send: read from his action log, under a key that an enrolment gives him.
fn send_as_the_stock_client_would(dir: &Path, server: &Server) {
    let auth: Value = serde_json::from_slice(&std::fs::read(dir.join("bob/home/.config/td/auth.json")).expect("read"))
        .expect("json");
    let actions = rusqlite::Connection::open(dir.join("bob/proj/.todos/issues.db")).expect("open");
    let mut session = String::new();
    let events: Vec<Value> = actions
        .prepare(
            "SELECT rowid, session_id, action_type, entity_type, entity_id, new_data, timestamp FROM action_log
             WHERE synced_at IS NULL AND undone = 0 ORDER BY rowid",
        )
        .and_then(|mut ask| {
            ask.query_map([], |r| {
                session = r.get(1)?;
                let new: String = r.get(5)?;
                Ok(json!({"client_action_id": r.get::<_, i64>(0)?, "action_type": r.get::<_, String>(2)?,
                    "entity_type": r.get::<_, String>(3)?, "entity_id": r.get::<_, String>(4)?,
                    "payload": {"schema_version": 1, "previous_data": {},
                        "new_data": serde_json::from_str::<Value>(&new).expect("json")},
                    "client_timestamp": r.get::<_, String>(6)?}))
            })?
            .collect()
        })
        .expect("actions");
    // The key in the fixture ends in November 2027; this one does not.
    let link = server.admin(&["enroll", "create", "--email", "bob@test.local"])["link"].clone();
    let secret = link.as_str().and_then(|l| l.split('#').nth(1)?.split('.').next()).expect("a secret");
    let enrolled: Value = ureq::post(format!("{}/v1/enroll", server.url()))
        .send_json(json!({"secret": secret, "device_name": "bob"}))
        .and_then(|mut answer| answer.body_mut().read_json())
        .expect("enrolled");
    let answer: Value = ureq::post(format!("{}/v1/projects/{GARDEN}/sync/push", server.url()))
        .header("Authorization", format!("Bearer {}", enrolled["api_key"].as_str().expect("a key")))
        .send_json(json!({"device_id": auth["device_id"], "session_id": session, "events": events}))
        .and_then(|mut answer| answer.body_mut().read_json())
        .expect("pushed");
    assert_eq!(answer["accepted"], 2, "{answer}");
}

#[test]
fn a_deployment_moves_to_our_programs_and_back() {
    let dir = tempfile::tempdir().expect("temp");
    let at = |name: &str| dir.path().join(name);
    copy_tree(&fixture("server"), &at("go"));
    copy_tree(&fixture("clients/bob"), &at("bob"));
    let facts: Value = serde_json::from_slice(&std::fs::read(fixture("facts.json")).expect("facts")).expect("json");
    let taken = import(&[&at("go"), Path::new("--into"), &at("data")]);
    for (project, fact) in facts["projects"].as_object().expect("projects") {
        assert_eq!(digest_of(&taken, project), fact["sha256_of_event_lines"], "{project}");
    }

    let mut server = Server::start(&at("data"));
    let out = as_bob(dir.path(), &server.url(), &["sync"]);
    if !out.status.success() {
        // Our td does not go on with a database that the Go td wrote; it says so and leaves it alone.
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(said.contains("Go"), "{said}");
        send_as_the_stock_client_would(dir.path(), &server);
    }

    // A new machine of alice's gets everything, also what bob sent, and agrees with the server.
    let device = Device::new(&at("alice"));
    let link = server.admin(&["enroll", "create", "--email", "alice@test.local"]);
    device.td(&["init"]);
    device.td(&["connect", link["link"].as_str().expect("a link")]);
    device.td(&["sync-project", "join", GARDEN]);
    device.td(&["sync"]);
    let shown = device.json(&["show", UNSENT[0]]).to_string();
    assert!(shown.contains("Made by bob while the server was away"), "{shown}");
    device.td(&["create", "Written on the new server, by alice"]);
    device.td(&["sync"]);
    let status = device.json(&["sync", "--status"]);
    assert_eq!((&status["pending"], &status["cursor"], &status["head"]), (&json!(0), &json!(47), &json!(47)), "{status}");
    let before = status["digest"]["value"].clone();
    assert_ne!(before, Value::Null);
    assert_eq!(server.stop(), Some(0));

    // Back, and over again: the same events, the same state.
    let back = import(&[Path::new("--reverse"), &at("data"), Path::new("--into"), &at("back")]);
    let again = import(&[&at("back"), Path::new("--into"), &at("again")]);
    assert_eq!(digest_of(&back, GARDEN), digest_of(&again, GARDEN));
    let garden = again["projects"].as_array().expect("a list").iter().find(|p| p["id"] == GARDEN).expect("garden");
    assert_eq!((&garden["log"]["events"], &garden["state_digest"]), (&json!(47), &before));
}
