//! A secret that was pushed is taken out of log, live view, snapshots and files, on a running server and on a stopped
//! one; devices are told, and what a crash cut off is finished.

mod support;

use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use support::wire::Ask;
use support::{Server, wait_until};

const SECRET: &str = "hunter2-\"quoted\"-é";

struct World {
    server: Server,
    key: String,
    project: String,
}

fn event(n: i64, action: &str, id: &str, title: &str, before: Value) -> Value {
    let t = "2026-11-21T10:00:00Z";
    let row = json!({"id": id, "title": title, "status": "open", "type": "task", "priority": "P2", "created_at": t, "updated_at": t});
    json!({"client_action_id": n, "action_type": action, "entity_type": "issues", "entity_id": id,
        "payload": {"schema_version": 1, "new_data": row, "previous_data": before}, "client_timestamp": t})
}

/// Two issues: one that has the secret still, one that had it once; and a snapshot with both.
fn world() -> World {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "Garden");
    let leak = format!("token is {SECRET}");
    let events = json!([
        event(1, "create", "td-000001", &leak, json!({})),
        event(2, "create", "td-000002", &leak, json!({})),
        event(3, "update", "td-000002", "clean", json!({"title": leak})),
        event(4, "create", "td-000003", "harmless", json!({})),
    ]);
    let push = json!({"device_id": "dev", "session_id": "ses", "events": events});
    let path = format!("/v1/projects/{project}/sync/push");
    assert_eq!(server.ask(&Ask::post(&path).key(&key).json(&push)).status, 200);
    let w = World { server, key, project };
    assert_eq!(w.get("sync/snapshot").0, 200);
    w
}

impl World {
    fn get(&self, rest: &str) -> (u16, Vec<u8>) {
        let ask = Ask::get(&format!("/v1/projects/{}/{rest}", self.project)).key(&self.key);
        let answer = self.server.ask(&ask);
        (answer.status, answer.body)
    }

    fn events(&self) -> Vec<Value> {
        let (_, body) = self.get("sync/pull");
        let page: Value = serde_json::from_slice(&body).expect("json");
        page["events"].as_array().expect("events").clone()
    }

    fn redact(&self, text: &str) -> (bool, String) {
        self.admin(&[], text)
    }

    fn admin(&self, more: &[&str], text: &str) -> (bool, String) {
        let words = [&["admin", "redact", "--json", "--project", &self.project], more].concat();
        let mut command = self.server.command(&words);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run");
        child.stdin.take().expect("stdin").write_all(format!("{text}\n").as_bytes()).expect("write");
        let out = child.wait_with_output().expect("ended");
        let said = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    fn folder(&self) -> std::path::PathBuf {
        self.server.data().join("projects").join(&self.project)
    }
}

/// Every file below that holds the secret, as it is or as JSON spells it.
fn leaks(dir: &Path) -> Vec<String> {
    let escaped = SECRET.replace('"', "\\\"");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("list") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            found.extend(leaks(&path));
        } else if path.is_file() {
            let bytes = std::fs::read(&path).expect("read");
            let has = |n: &str| bytes.windows(n.len()).any(|w| w == n.as_bytes());
            if has(SECRET) || has(&escaped) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[test]
fn a_project_of_any_name_is_shown_on_one_line() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "Gar\u{1b}[2J\u{9b}1mden\u{2028}\u{202e}");
    let push = json!({"device_id": "dev", "session_id": "ses",
        "events": [event(1, "create", "td-000001", SECRET, json!({}))]});
    let push = Ask::post(&format!("/v1/projects/{project}/sync/push")).key(&key).json(&push);
    assert_eq!(server.ask(&push).status, 200);
    for more in [&["--dry-run"] as &[&str], &[]] {
        let words = [&["admin", "redact", "--project", &project], more].concat();
        let mut child =
            server.command(&words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("run");
        child.stdin.take().expect("stdin").write_all(SECRET.as_bytes()).expect("write");
        let out = child.wait_with_output().expect("ended");
        let said = String::from_utf8(out.stdout).expect("text");
        assert!(
            out.status.success() && said.contains("Gar\u{fffd}[2J\u{fffd}1mden\u{fffd}\u{fffd}"),
            "{said:?}"
        );
    }
}

#[test]
fn a_secret_leaves_log_view_snapshots_and_files_and_sequences_stay() {
    let w = world();
    let before = w.events();
    assert!(!leaks(&w.server.data()).is_empty(), "the test looks where the secret is");
    let (done, said) = w.redact(SECRET);
    assert!(done, "{said}");
    let said: Value = serde_json::from_str(&said).expect("json");
    assert_eq!((&said["events"], &said["updates"]), (&json!(3), &json!(1)));
    let after = w.events();
    assert_eq!(after.len(), before.len() + 1);
    for (before, after) in before.iter().zip(&after) {
        for part in
            ["server_seq", "device_id", "session_id", "client_action_id", "client_timestamp", "entity_id"]
        {
            assert_eq!(before[part], after[part], "{part}");
        }
    }
    assert_eq!(after[0]["payload"]["new_data"]["title"], "token is [redacted]");
    assert_eq!(after[3], before[3], "what had it not is as it was");
    let told = &after[4];
    assert_eq!((&told["entity_id"], &told["action_type"]), (&json!("td-000001"), &json!("update")));
    assert_eq!(told["payload"]["new_data"]["title"], "token is [redacted]");
    let (status, snapshot) = w.get("sync/snapshot");
    assert_eq!(status, 200);
    assert!(snapshot.windows(10).any(|x| x == b"[redacted]"));
    assert_eq!(leaks(&w.server.data()), [""; 0]);
    // The numbering goes on, and nothing is recorded as a conflict: nobody lost anything that was meant to stay.
    let push = json!({"device_id": "dev", "session_id": "ses", "events": [event(5, "create", "td-000005", "later", json!({}))]});
    let path = format!("/v1/projects/{}/sync/push", w.project);
    let pushed = w.server.ask(&Ask::post(&path).key(&w.key).json(&push)).json();
    assert!(pushed["acks"][0]["server_seq"].as_i64() > told["server_seq"].as_i64(), "{pushed}");
    let (_, conflicts) = w.get("sync/conflicts");
    let conflicts: Value = serde_json::from_slice(&conflicts).expect("json");
    assert_eq!(conflicts["conflicts"], json!([]));
    // Again finds nothing, and says so.
    let (done, said) = w.redact(SECRET);
    assert!(!done && said.contains("text_not_found"), "{said}");
}

#[test]
fn what_cannot_go_is_refused_and_nothing_changes() {
    let w = world();
    let before = w.events();
    for (text, code) in [
        ("abc", "text_too_short"),
        ("nowhere at all", "text_not_found"),
        ("td-000003", "text_not_free"),
        ("new_data", "text_not_free"),
        ("2026-11-21T10", "text_not_free"),
    ] {
        let (done, said) = w.redact(text);
        assert!(!done && said.contains(code), "{text}: {said}");
        assert_eq!(w.events(), before, "{text}");
    }
    let (done, said) = w.admin(&["--dry-run"], SECRET);
    assert!(done && serde_json::from_str::<Value>(&said).expect("json")["events"] == 3, "{said}");
    assert_eq!(w.events(), before, "a dry run changes nothing");
    assert!(!w.folder().join("redacting.json").exists());
}

/// What no parser shows, and what no text is: an answer that says "not found" would be believed.
#[test]
fn whatever_pull_shows_is_taken_out_or_refused_with_its_place() {
    let w = world();
    let path = format!("/v1/projects/{}/sync/push", w.project);
    let push = |n: i64, device: &str, session: &str, id: &str, payload: &str| {
        let event = event(n, "create", id, "", json!({})).to_string();
        let event: Value = serde_json::from_str(&event).expect("json");
        let mut event = event.as_object().expect("object").clone();
        event.remove("payload");
        let rest = Value::from(event).to_string();
        let body = format!(
            r#"{{"device_id":"{device}","session_id":"{session}","events":[{{"payload":{payload},{}]}}"#,
            &rest[1..]
        );
        let answer =
            w.server.ask(&Ask::post(&path).key(&w.key).header("Content-Type", "application/json").body(body));
        assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(1)), "{}", answer.text());
    };
    let deep = format!("{}\"TOP-SECRET\"{}", "[".repeat(200), "]".repeat(200));
    for (n, payload) in [
        r#"{"title":"TOP-SECRET","title":"x"}"#,
        &deep,
        r#"{"new_data":{"title":"\ud800 TOP-SECRET","n":1e999}}"#,
    ]
    .into_iter()
    .enumerate()
    {
        push(10 + i64::try_from(n).expect("small"), "dev", "ses", "td-000010", payload);
    }
    push(20, "dev", "ses", "td-000020", r#"{"new_data":{"n":87654321}}"#);
    push(21, "dev", "ses", "id-of-mine", "{}");
    push(22, "box-of-mine", "ses", "td-000022", "{}");
    push(23, "dev", "session-of-mine", "td-000023", r#"{"new_data":{"title":"session-of-mine"}}"#);
    let (_, before) = w.get("sync/pull");
    for (text, place) in [
        ("87654321", "event 8: payload"),
        ("id-of-mine", "event 9: id"),
        ("box-of-mine", "event 10: device"),
        ("session-of-mine", "event 11: session"),
        ("of-mine", "event 9: id, event 10: device, event 11: session"),
    ] {
        for more in [&["--dry-run"][..], &[]] {
            let (done, said) = w.admin(more, text);
            assert!(!done && said.contains("text_not_free") && said.contains(place), "{text}: {said}");
        }
    }
    assert_eq!(w.get("sync/pull").1, before, "nothing was changed");
    assert!(!w.folder().join("redacting.json").exists());
    let (done, said) = w.redact("TOP-SECRET");
    assert!(done && said.contains("\"events\":3"), "{said}");
    let (_, after) = w.get("sync/pull");
    let (before, after) = (String::from_utf8_lossy(&before), String::from_utf8_lossy(&after));
    assert!(after.contains(&deep.replace("TOP-SECRET", "[redacted]")), "{after}");
    assert_eq!(before.matches("TOP-SECRET").count(), 3);
    assert!(!after.contains("TOP-SECRET"), "{after}");
}

/// The device that pushed it, after a resync or a lost answer, and one that never heard of it.
#[test]
fn a_device_that_sends_the_same_events_again_does_not_bring_it_back() {
    let w = world();
    assert!(w.redact(SECRET).0);
    let after = w.events();
    let again = json!({"device_id": "dev", "session_id": "ses",
        "events": [event(1, "create", "td-000001", &format!("token is {SECRET}"), json!({}))]});
    let answer =
        w.server.ask(&Ask::post(&format!("/v1/projects/{}/sync/push", w.project)).key(&w.key).json(&again));
    let answer = answer.json();
    assert_eq!(
        (&answer["accepted"], &answer["rejected"][0]["server_seq"]),
        (&json!(0), &json!(1)),
        "{answer}"
    );
    assert_eq!(w.events(), after);
    assert_eq!(leaks(&w.server.data()), [""; 0]);
}

#[test]
fn two_at_once_take_turns_and_a_deleted_project_is_cleaned_too() {
    let w = world();
    let ended = std::thread::scope(|s| {
        let both = [SECRET, "token is "].map(|text| s.spawn(|| w.redact(text)));
        both.map(|one| one.join().expect("thread"))
    });
    assert!(ended.iter().all(|(done, said)| *done || said.contains("text_not_found")), "{ended:?}");
    assert_eq!(leaks(&w.server.data()), [""; 0]);
    let w = world();
    assert_eq!(
        w.server.ask(&Ask::new("DELETE", &format!("/v1/projects/{}", w.project)).key(&w.key)).status,
        204
    );
    let (done, said) = w.redact(SECRET);
    assert!(done, "{said}");
    assert_eq!(leaks(&w.folder()), [""; 0]);
}

/// Another program's reader keeps the old file; a redaction that stopped there left view and snapshots with the secret.
#[test]
fn a_strangers_reader_keeps_only_the_file_and_the_same_command_ends_it() {
    let w = world();
    // The view has it too, once somebody has asked for what stands in it.
    assert_eq!(w.get("sync/conflicts").0, 200);
    let has_view = |leaks: &[String]| leaks.iter().any(|path| path.contains("project.db"));
    assert!(has_view(&leaks(&w.server.data())), "the test looks where the secret is");
    let stranger = rusqlite::Connection::open(w.folder().join("events.db")).expect("the file");
    stranger.execute_batch("BEGIN; SELECT * FROM events").expect("a reader");
    let (done, said) = w.redact(SECRET);
    let again = format!("td-sync admin redact --project {} < FILE-WITH-THE-SECRET", w.project);
    assert!(!done && said.contains("file_kept") && said.contains(&again), "{said}");
    let (status, snapshot) = w.get("sync/snapshot");
    assert_eq!(status, 200);
    assert!(!snapshot.windows(7).any(|x| x == b"hunter2"), "made from what the log has lost");
    let kept = leaks(&w.server.data());
    assert!(kept.iter().all(|path| path.contains("events.db")), "{kept:?}");
    drop(stranger);
    let (done, said) = w.redact(SECRET);
    assert!(done && said.contains("\"updates\":1"), "{said}");
    assert_eq!(leaks(&w.server.data()), [""; 0]);
}

#[test]
fn what_a_crash_cut_off_is_finished_at_the_next_start() {
    let mut w = world();
    let (done, said) = w.redact("token is hunter2");
    assert!(done, "{said}");
    // As after a crash behind the log's commit: the note is there, and what was made from the old log too.
    let mark = json!({"v": 1, "run": "00", "entities": [["issues", "td-000001"]]});
    let stale = w.folder().join("snap");
    w.server.kill();
    std::fs::write(w.folder().join("redacting.json"), mark.to_string()).expect("mark");
    std::fs::create_dir_all(&stale).expect("folder");
    std::fs::write(stale.join("stale"), SECRET).expect("a stale snapshot");
    w.server.run();
    assert!(!stale.join("stale").exists());
    wait_until("the mark is gone", || !w.folder().join("redacting.json").exists());
    let events = w.events();
    let updates = events.iter().filter(|e| e["device_id"] == "td-sync-redact").count();
    assert_eq!(updates, 2, "once by the command, once by the start, under its own session");
}
