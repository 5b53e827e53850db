//! Conversations that were recorded with the reference, played against our server.
//!
//! `{{name}}` in a recording is a value the server chose: the first answer that shows it binds it. What must differ
//! stands in [`LATER`] with its reason, and really has to.

mod support;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;
use support::Server;
use support::schema::Description;
use support::wire::{Answer, Ask};

/// Exchanges with routes that come with a later issue: first and last number.
const LATER: &[(&str, usize, usize, &str)] = &[
    ("08-admin", 30, 33, "snapshot queries"),
    ("08-admin", 35, 37, "view-as"),
    ("08-admin", 38, 38, "the key of a view-as"),
    ("09-events", 2, 2, "REST writes"),
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
fn the_recorded_device_login_matches() {
    play("02-device-login", include_str!("recorded/02-device-login.jsonl"));
}

#[test]
fn the_recorded_web_login_matches() {
    play("03-web-login", include_str!("recorded/03-web-login.jsonl"));
    play("03b-web-login-closed", include_str!("recorded/03b-web-login-closed.jsonl"));
}

#[test]
fn the_recorded_admin_routes_match() {
    play("08-admin", include_str!("recorded/08-admin.jsonl"));
}

#[test]
fn the_recorded_streams_match() {
    play("09-events", include_str!("recorded/09-events.jsonl"));
}

#[test]
fn the_recorded_limits_match() {
    play("10-rate-limits", include_str!("recorded/10-rate-limits.jsonl"));
}

#[test]
fn what_the_stock_client_was_recorded_to_send_and_get_matches() {
    play("11-td-client", include_str!("recorded/11-td-client.jsonl"));
}

const ADMIN_SCOPES: &str =
    "sync,admin:read:server,admin:read:projects,admin:read:events,admin:read:snapshots,admin:write:users";

/// A server with the settings of the recording: limits out of the way, unless its first line says otherwise.
fn server_for(header: &Value) -> Server {
    let limits = ["PUSH", "PULL", "OTHER"].map(|class| format!("SYNC_RATE_LIMIT_{class}"));
    let mut settings: BTreeMap<&str, &str> = limits.iter().map(|name| (name.as_str(), "10000")).collect();
    settings.extend([
        ("SYNC_RATE_LIMIT_AUTH", "1000"),
        ("SYNC_ALLOW_SIGNUP", "true"),
        ("SYNC_BASE_URL", "http://sync.example"),
        ("SYNC_EMAIL_PROVIDER", "memory"),
        ("SYNC_DEV_EMAIL_INSPECT", "1"),
        ("SYNC_EMAIL_BASE_URL", "http://sync.example"),
        ("SYNC_AUTH_WEB_CALLBACK_URL", "http://watch.example/home/login/complete"),
    ]);
    for (name, value) in header["env"].as_object().expect("env") {
        settings.insert(name, value.as_str().expect("text"));
    }
    Server::with(&settings.into_iter().collect::<Vec<_>>())
}

/// Makes the people of a recording: the admin with a key of an operator's making.
fn people(server: &Server, header: &Value) -> Holes {
    let mut holes = Holes(BTreeMap::new());
    for email in header["users"].as_array().expect("users") {
        let email = email.as_str().expect("address");
        server.admin(&["create-user", "--email", email]);
        if email.starts_with("root@") {
            let made =
                server.admin(&["create-key", "--email", email, "--name", "ops", "--scopes", ADMIN_SCOPES]);
            holes.0.insert("key:root".into(), made["api_key"].as_str().expect("key").into());
        }
    }
    holes
}

/// As a device does, with the mail looked up where the development mailbox shows it.
fn sign_in(server: &Server, email: &str) -> Value {
    const VERIFIER: &str = "a-verifier-of-the-device";
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let asked = json!({"email": email, "code_challenge": challenge, "code_challenge_method": "S256"});
    let begun = server.ask(&Ask::post("/v1/auth/device/start").json(&asked)).json();
    let mail = server.ask(&Ask::get("/internal/dev/last-email")).json();
    let text = mail["text"].as_str().expect("text");
    let token = text.split("token=").nth(1).and_then(|t| t.split_whitespace().next()).expect("a token");
    server.ask(&Ask::get(&format!("/auth/device/approve?token={token}")));
    let poll = json!({"device_code": begun["device_code"], "code_verifier": VERIFIER});
    server.ask(&Ask::post("/v1/auth/device/poll").json(&poll)).json()
}

fn play(name: &str, recording: &str) {
    let header: Value = serde_json::from_str(recording.lines().next().expect("a header")).expect("json");
    let server = server_for(&header);
    let mut holes = people(&server, &header);
    let (description, mut undescribed) = (Description::of_this_program(), Vec::new());
    let mut wrong = Vec::new();
    for (n, line) in recording.lines().enumerate().skip(1) {
        let exchange: Value = serde_json::from_str(line).expect("a recorded line");
        holes.sign_in_who_asks(&server, &exchange["request"]);
        let is_stream = exchange["response"]["headers"]["content-type"] == "text/event-stream";
        let answer = holes.ask(&exchange["request"]).map(|ask| match is_stream {
            // What it would tell comes at once.
            true => support::wire::listen(server.address, &ask, Duration::from_secs(2)),
            false => server.ask(&ask),
        });
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
    /// Whoever the request names for the first time signs in, as late as in the recording: logins are counted too.
    fn sign_in_who_asks(&mut self, server: &Server, request: &Value) {
        let request = request.to_string();
        for who in ["alice", "bob", "carol"] {
            let (key, user) = (format!("key:{who}"), format!("user:{who}"));
            let is_named = [&key, &user]
                .iter()
                .any(|name| request.contains(&format!("{{{{{name}}}}}")) && !self.0.contains_key(*name));
            if is_named {
                let made = sign_in(server, &format!("{who}@test.local"));
                self.0.insert(key, made["api_key"].as_str().expect("key").into());
                self.0.insert(user, made["user_id"].as_str().expect("user").into());
            }
        }
    }

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
            if !self.fits_text(text.as_str().expect("text"), &got.text()) {
                out.push(format!("body {:?}, recorded {text}", got.text()));
            }
        } else if let Some(says) = body["html"]["says"].as_str() {
            if !got.text().contains(says) {
                out.push(format!("the page does not say {says:?}: {}", got.text()));
            }
        } else if body["binary"] == true {
            let magic = body["magic"].as_str().expect("magic");
            if !got.body.starts_with(magic.as_bytes()) {
                out.push(format!("body is not the recorded kind of file: {:?}", got.text().get(..40)));
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

    /// A recorded text with holes against a value.
    fn fits(&mut self, want: &str, got: &Value) -> bool {
        if want == "{{number}}" {
            return got.is_number();
        }
        got.as_str().is_some_and(|got| self.fits_text(want, got))
    }

    fn fits_text(&mut self, want: &str, got: &str) -> bool {
        let Some((before, from)) = want.split_once("{{") else { return want == got };
        let (name, after) = from.split_once("}}").expect("a closed hole");
        let Some(rest) = got.strip_prefix(before) else { return false };
        if let Some(known) = self.0.get(name).cloned() {
            return rest.strip_prefix(known.as_str()).is_some_and(|rest| self.fits_text(after, rest));
        }
        // The longest value first, as a greedy pattern has it.
        let mut ends: Vec<usize> = rest.char_indices().map(|(at, _)| at).chain([rest.len()]).collect();
        ends.reverse();
        for end in ends {
            let value = &rest[..end];
            let token = |c: char| c.is_ascii_alphanumeric() || "_.=+/-".contains(c);
            let is = match name {
                "text" => true,
                "time" => td_engine::time::ClientTime::parse_stored(value).is_ok(),
                _ => !value.is_empty() && value.chars().all(token),
            };
            if !is {
                continue;
            }
            let known = self.0.clone();
            if !["text", "time"].contains(&name) {
                self.0.insert(name.into(), value.into());
            }
            if self.fits_text(after, &rest[end..]) {
                return true;
            }
            self.0 = known;
        }
        false
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
