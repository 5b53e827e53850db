//! Conversations that were recorded with the reference, played against our server.
//!
//! `{{name}}` in a recording is a value the server chose: the first answer that shows it binds it. What must differ
//! stands in [`LATER`] with its reason, and really has to.

mod support;

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use support::Server;
use support::schema::Description;
use support::wire::{Answer, Ask};

/// Exchanges with routes that come with a later issue: first and last number.
const LATER: &[(&str, usize, usize, &str)] = &[
    ("01-basics", 11, 12, "the reference's old login"),
    ("05-projects-members-invitations", 32, 45, "invitations, and the membership that one of them gives"),
    ("06-push-pull", 4, 4, "snapshots"),
    ("06-push-pull", 41, 42, "snapshots"),
    ("08-admin", 15, 15, "sign-in events"),
    ("08-admin", 29, 29, "snapshots"),
    ("08-admin", 30, 33, "snapshot queries"),
    ("08-admin", 35, 37, "view-as"),
    ("08-admin", 38, 38, "the key of a view-as"),
];

#[test]
fn the_recorded_basics_match() {
    play("01-basics", include_str!("recorded/01-basics.jsonl"));
}

#[test]
fn the_recorded_projects_and_members_match() {
    play("05-projects-members-invitations", include_str!("recorded/05-projects-members-invitations.jsonl"));
}

#[test]
fn the_recorded_pushes_and_pulls_match() {
    play("06-push-pull", include_str!("recorded/06-push-pull.jsonl"));
}

#[test]
fn the_recorded_admin_routes_match() {
    play("08-admin", include_str!("recorded/08-admin.jsonl"));
}

#[test]
fn the_recorded_limits_match() {
    play("10-rate-limits", include_str!("recorded/10-rate-limits.jsonl"));
}

const ADMIN_SCOPES: &str =
    "sync,admin:read:server,admin:read:projects,admin:read:events,admin:read:snapshots,admin:write:users";

/// A server with the settings of the recording: limits out of the way, unless its first line says otherwise.
fn server_for(header: &Value) -> Server {
    let mut settings = BTreeMap::from([
        ("SYNC_ALLOW_SIGNUP", "true"),
        ("SYNC_RATE_LIMIT_AUTH", "1000"),
        ("SYNC_RATE_LIMIT_PUSH", "10000"),
        ("SYNC_RATE_LIMIT_PULL", "10000"),
        ("SYNC_RATE_LIMIT_OTHER", "10000"),
    ]);
    for (name, value) in header["env"].as_object().expect("env") {
        settings.insert(name, value.as_str().expect("text"));
    }
    Server::with(&settings.into_iter().collect::<Vec<_>>())
}

/// The people of a recording, each with a key: the admin's made by an operator, the others' as a device gets one.
fn people(server: &Server, header: &Value) -> Holes {
    let mut holes = Holes(BTreeMap::new());
    for email in header["users"].as_array().expect("users") {
        let email = email.as_str().expect("address");
        server.admin(&["create-user", "--email", email]);
        let (who, _) = email.split_once('@').expect("address");
        let text = |v: &Value, name: &str| v[name].as_str().expect(name).to_string();
        let made = if who == "root" {
            server.admin(&["create-key", "--email", email, "--name", "ops", "--scopes", ADMIN_SCOPES])
        } else {
            let link = text(&server.admin(&["enroll", "create", "--email", email]), "link");
            let (_, fragment) = link.split_once('#').expect("a fragment");
            let (secret, _) = fragment.split_once('.').expect("a fingerprint");
            server.ask(&Ask::post("/v1/enroll").json(&json!({"secret": secret}))).json()
        };
        holes.0.insert(format!("key:{who}"), text(&made, "api_key"));
        if who != "root" {
            holes.0.insert(format!("user:{who}"), text(&made, "user_id"));
        }
    }
    holes
}

fn play(name: &str, recording: &str) {
    let header: Value = serde_json::from_str(recording.lines().next().expect("a header")).expect("json");
    let server = server_for(&header);
    let mut holes = people(&server, &header);
    let (description, mut undescribed) = (Description::of_this_program(), Vec::new());
    let mut wrong = Vec::new();
    for (n, line) in recording.lines().enumerate().skip(1) {
        let exchange: Value = serde_json::from_str(line).expect("a recorded line");
        let answer = holes.ask(&exchange["request"]).map(|ask| server.ask(&ask));
        let found = match answer {
            Ok(answer) => {
                undescribed.extend(description.differences(&exchange["request"], &answer));
                holes.differences(&exchange, &answer)
            }
            Err(hole) => vec![format!("cannot be sent: nothing gave {hole}")],
        };
        let later = LATER.iter().any(|(file, from, to, _)| *file == name && (*from..=*to).contains(&n));
        if later == found.is_empty() {
            wrong.push(format!("{name} {n} {}: {}", exchange["note"], found.join("; ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(undescribed.is_empty(), "not as the OpenAPI document says:\n{}", undescribed.join("\n"));
}

/// Values that the server chose.
struct Holes(BTreeMap<String, String>);

impl Holes {
    fn ask(&self, request: &Value) -> Result<Ask, String> {
        let text = |v: &Value| v.as_str().expect("text").to_string();
        let mut ask = Ask::new(&text(&request["method"]), &self.fill(&text(&request["path"]))?);
        for (name, value) in request["headers"].as_object().expect("headers") {
            ask = ask.header(name, &self.fill(&text(value))?);
        }
        let body = &request["body"];
        Ok(if let Some(repeat) = body.get("repeat") {
            let first = repeat["first_action_id"].as_i64().expect("first");
            let events: Vec<Value> =
                (0..repeat["events"].as_i64().expect("events")).map(|i| event(first + i)).collect();
            ask.json(&json!({"device_id": "dev-1", "session_id": "ses_one", "events": events}))
        } else if let Some(n) = body["big"].as_u64() {
            let filler = "a".repeat(usize::try_from(n).expect("size"));
            ask.body(format!("{{\"device_id\":\"{filler}\"}}"))
        } else if let Some(value) = body.get("json") {
            ask.body(self.fill(&value.to_string())?)
        } else if let Some(value) = body.get("text") {
            ask.body(self.fill(&text(value))?)
        } else {
            ask
        })
    }

    fn fill(&self, text: &str) -> Result<String, String> {
        let (mut out, mut rest) = (String::new(), text);
        while let Some((before, from)) = rest.split_once("{{") {
            let (name, after) = from.split_once("}}").expect("a closed hole");
            out.push_str(before);
            out.push_str(self.0.get(name).ok_or(name)?);
            rest = after;
        }
        Ok(out + rest)
    }

    fn differences(&mut self, exchange: &Value, got: &Answer) -> Vec<String> {
        let (want, mut out) = (&exchange["response"], Vec::new());
        if want["status"] != got.status {
            out.push(format!("status {}, recorded {}", got.status, want["status"]));
        }
        for (name, value) in want["headers"].as_object().expect("headers") {
            let have = got.header(name).unwrap_or_default();
            if value.as_str() != Some(have) {
                out.push(format!("header {name} {have:?}, recorded {value}"));
            }
        }
        let body = &want["body"];
        if body.is_null() {
            if !got.body.is_empty() {
                out.push(format!("body {:?}, recorded none", got.text()));
            }
        } else if let Some(text) = body.get("text") {
            if text.as_str() != Some(&got.text()) {
                out.push(format!("body {:?}, recorded {text}", got.text()));
            }
        } else if let Some(value) = body.get("json") {
            match serde_json::from_slice(&got.body) {
                Ok(have) if exchange["types_only"] == true => kinds("body", value, &have, &mut out),
                Ok(have) => {
                    let have = if exchange["any_order"] == true { self.in_order(value, have) } else { have };
                    self.compare("body", value, &have, &mut out);
                }
                Err(_) => out.push(format!("body is not JSON: {:?}", got.text())),
            }
        }
        out
    }

    /// The answer with the elements of its `data` in the order of the recorded ones they are like.
    fn in_order(&self, want: &Value, mut got: Value) -> Value {
        let (Some(want), Some(rest)) = (want["data"].as_array(), got["data"].as_array_mut()) else {
            return got;
        };
        let mut sorted = Vec::new();
        for w in want {
            let like = |g: &Value| {
                let mut out = Vec::new();
                Holes(self.0.clone()).compare("", w, g, &mut out);
                out.is_empty()
            };
            sorted.extend(rest.iter().position(like).map(|at| rest.remove(at)));
        }
        rest.splice(0..0, sorted);
        got
    }

    fn compare(&mut self, at: &str, want: &Value, got: &Value, out: &mut Vec<String>) {
        match (want, got) {
            (Value::Object(w), Value::Object(g)) => self.compare_members(at, w, g, out),
            (Value::Array(w), Value::Array(g)) => {
                let (w, g) = shortened(w, g);
                if w.len() != g.len() {
                    out.push(format!("{at}: {} elements, recorded {}", g.len(), w.len()));
                }
                for (i, (w, g)) in w.iter().zip(&g).enumerate() {
                    self.compare(&format!("{at}[{i}]"), w, g, out);
                }
            }
            (Value::String(w), g) if w.contains("{{") => {
                let fits = self.fits(w, g);
                out.extend((!fits).then(|| format!("{at}: {g}, recorded {w}")));
            }
            _ if want != got => out.push(format!("{at}: {got}, recorded {want}")),
            _ => {}
        }
    }

    fn compare_members(
        &mut self,
        at: &str,
        w: &Map<String, Value>,
        g: &Map<String, Value>,
        out: &mut Vec<String>,
    ) {
        for name in w.keys().chain(g.keys().filter(|k| !w.contains_key(*k))) {
            match (w.get(name), g.get(name)) {
                (Some(w), Some(g)) => self.compare(&format!("{at}.{name}"), w, g, out),
                (Some(_), None) => out.push(format!("{at}.{name}: missing")),
                _ => out.push(format!("{at}.{name}: not in the recording")),
            }
        }
    }

    /// A recorded text with one hole against a value.
    fn fits(&mut self, want: &str, got: &Value) -> bool {
        if want == "{{number}}" {
            return got.is_number();
        }
        let Some(got) = got.as_str() else { return false };
        if let Ok(filled) = self.fill(want) {
            return filled == got;
        }
        let (before, from) = want.split_once("{{").expect("a hole");
        let (name, after) = from.split_once("}}").expect("a closed hole");
        let Some(value) = got.strip_prefix(before).and_then(|g| g.strip_suffix(after)) else { return false };
        if name == "time" {
            return td_engine::time::ClientTime::parse_stored(value).is_ok();
        }
        if name == "text" {
            return true;
        }
        self.0.insert(name.into(), value.into());
        !value.is_empty()
    }
}

/// The same names, lengths and kinds of values.
fn kinds(at: &str, want: &Value, got: &Value, out: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(w), Value::Object(g)) if w.keys().eq(g.keys()) => {
            w.iter().for_each(|(name, w)| kinds(&format!("{at}.{name}"), w, &g[name], out));
        }
        (Value::Array(w), Value::Array(g)) if w.len() == g.len() => {
            w.iter().zip(g).for_each(|(w, g)| kinds(&format!("{at}[]"), w, g, out));
        }
        (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) | (_, Value::Null) => {}
        (Value::Number(_), Value::Number(_)) => {}
        _ => out.push(format!("{at}: {got} is of another kind than {want}")),
    }
}

/// `"…"` in a recorded list stands for elements left out.
fn shortened(want: &[Value], got: &[Value]) -> (Vec<Value>, Vec<Value>) {
    let Some(gap) = want.iter().position(|v| v == "…") else { return (want.to_vec(), got.to_vec()) };
    let tail = want.len() - gap - 1;
    let kept: Vec<Value> = want.iter().filter(|v| *v != "…").cloned().collect();
    let ends = got.iter().take(gap).chain(got.iter().skip(got.len().saturating_sub(tail))).cloned().collect();
    (kept, ends)
}

/// The n-th generated event of a recording.
fn event(n: i64) -> Value {
    let t = format!("2026-03-01T10:{:02}:{:02}Z", n / 60 % 60, n % 60);
    let id = format!("td-a{n:05x}");
    let row = json!({"id": id, "title": format!("Fixture issue number {n}"), "status": "open", "type": "task",
        "priority": "P2", "created_at": t, "updated_at": t});
    json!({"client_action_id": n, "action_type": "create", "entity_type": "issues", "entity_id": id,
        "payload": {"schema_version": 1, "new_data": row, "previous_data": {}}, "client_timestamp": t})
}
