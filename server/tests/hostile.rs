//! Input that nobody sends by accident: every route says no in its own shape, and nothing that is let in stops a project.

mod support;

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use support::wire::{Answer, Ask, Connection};
use support::{Server, contents, push, wait_until};
use td_server::http::ROUTES;

fn event(id: i64, action: &str, time: &str, payload: &Value) -> Value {
    json!({"client_action_id": id, "action_type": action, "entity_type": "issues", "entity_id": "td-1",
        "payload": payload, "client_timestamp": time})
}

fn pushed(project: &str, key: &str, events: &[Value]) -> Ask {
    let body = json!({"device_id": "dev", "session_id": "ses", "events": events});
    Ask::post(&format!("/v1/projects/{project}/sync/push")).key(key).json(&body)
}

#[test]
fn events_at_the_ends_of_time_stop_no_live_view() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "P");
    let (end, begin) = ("9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00+24:00");
    let row = json!({"new_data": {"title": "t", "updated_at": end}});
    let events = [
        event(1, "create", begin, &row),
        event(2, "update", end, &json!({"new_data": {"title": "u"}, "previous_data": {"title": "x"}})),
        event(3, "soft_delete", end, &json!({})),
        event(4, "restore", begin, &json!({})),
        event(5, "delete", end, &json!({})),
        event(6, "create", end, &row),
    ];
    assert_eq!(server.ask(&pushed(&project, &key, &events)).json()["accepted"], 6);
    for route in ["digest", "conflicts", "snapshot"] {
        let answer = server.ask(&Ask::get(&format!("/v1/projects/{project}/sync/{route}")).key(&key));
        assert_eq!(answer.status, 200, "{route}: {}", answer.text());
    }
    let pull = server.ask(&Ask::get(&format!("/v1/projects/{project}/sync/pull")).key(&key)).json();
    assert_eq!(
        (&pull["events"][0]["client_timestamp"], &pull["events"][4]["client_timestamp"]),
        (&json!(begin), &json!(end))
    );
}

#[test]
fn a_payload_that_stock_clients_could_not_read_back_is_refused() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "P");
    let nested = |depth: usize| {
        let event = event(1, "create", "2026-11-21T10:00:00Z", &json!("@"));
        let body = json!({"device_id": "dev", "session_id": "ses", "events": [event]}).to_string();
        let body = body.replace("\"@\"", &format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
        server.ask(&Ask::post(&format!("/v1/projects/{project}/sync/push")).key(&key).body(body))
    };
    let before = contents(&server.data());
    let refused = nested(9_998);
    assert_eq!((refused.status, refused.error().as_str()), (400, "bad_request invalid json body"));
    assert!(before == contents(&server.data()), "something changed in the data directory");
    assert_eq!(nested(9_997).status, 200, "the reference and its clients take it");
}

#[test]
fn a_name_that_is_stored_with_every_event_has_an_end() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "P");
    let named = |device: usize, session: usize| {
        let event = event(1, "create", "2026-11-21T10:00:00Z", &json!({}));
        let body =
            json!({"device_id": "d".repeat(device), "session_id": "s".repeat(session), "events": [event]});
        server.ask(&Ask::post(&format!("/v1/projects/{project}/sync/push")).key(&key).json(&body))
    };
    let before = contents(&server.data());
    assert_eq!(named(1_025, 1).error(), "bad_request device_id is longer than 1024 bytes");
    assert_eq!(named(1, 1_025).error(), "bad_request session_id is longer than 1024 bytes");
    assert!(before == contents(&server.data()), "something changed in the data directory");
    assert_eq!(named(1_024, 1_024).status, 200);
}

#[test]
fn a_name_does_not_reach_into_the_terminal_of_an_operator() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let name = "\u{1b}]52;c;aGk=\u{7}\nforged\u{9b}2J\u{202e}";
    let project = server.project(&key, name);
    let event = json!({"client_action_id": 1, "action_type": "create", "entity_type": "issues", "entity_id": name,
        "payload": 7, "client_timestamp": "2026-11-21T10:00:00Z"});
    assert_eq!(server.ask(&pushed(&project, &key, &[event])).json()["accepted"], 1);
    for words in [["projects", "list"].as_slice(), &["quarantine", "list", "--project", &project]] {
        let out = server.admin_raw(words);
        let text = String::from_utf8(out.stdout).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert!(out.status.success() && lines.len() == 1 && lines[0].contains("forged"), "{text:?}");
        assert!(!lines[0].chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
    assert_eq!(server.admin(&["projects", "list"])[0]["name"], name, "a program gets it as it is");
}

#[test]
fn a_request_whose_end_is_held_back_does_not_outlive_the_right_to_it() {
    let server = Server::start();
    let (ana, ana_id) = server.key("ana");
    let (eve, eve_id) = server.key("eve");
    let (ben, ben_id) = server.key("ben");
    let project = server.project(&ana, "Garden");
    let path = |rest: &str| format!("/v1/projects/{project}{rest}");
    let add = Ask::post(&path("/members")).key(&ana).json(&json!({"user_id": eve_id, "role": "owner"}));
    assert_eq!(server.ask(&add).status, 201);
    let event = event(1, "create", "2026-11-21T10:00:00Z", &json!({}));
    let held = [
        Ask::post(&path("/members")).json(&json!({"user_id": ben_id, "role": "owner"})),
        Ask::new("PATCH", &path(&format!("/members/{ana_id}"))).json(&json!({"role": "reader"})),
        Ask::post(&path("/invitations")).json(&json!({"email": "x@test.local", "role": "owner"})),
        Ask::new("PATCH", &path("")).json(&json!({"name": "Mine"})),
        pushed(&project, &eve, &[event]),
    ];
    let revoked = [
        Ask::post("/v1/keys").json(&json!({"name": "n", "grants": [{"project": project, "role": "reader"}]})),
        Ask::post("/v1/projects").json(&json!({"name": "Mine"})),
    ];
    // All but the last byte, as far as the server is willing to wait for it.
    let begin = |ask: &Ask, key: &str| {
        let bytes = match ask.headers.iter().any(|(name, _)| name == "Authorization") {
            true => ask.bytes(),
            false => ask.clone().key(key).bytes(),
        };
        let mut connection = Connection::open(server.address);
        connection.write(&bytes[..bytes.len() - 1]);
        (connection, bytes[bytes.len() - 1])
    };
    let held: Vec<_> = held.iter().map(|ask| begin(ask, &eve)).collect();
    let revoked: Vec<_> = revoked.iter().map(|ask| begin(ask, &ben)).collect();
    // By the time a later request on a later connection is answered, the server has let those in.
    let remove = Ask::new("DELETE", &path(&format!("/members/{eve_id}"))).key(&ana);
    assert_eq!(server.ask(&remove).status, 204);
    let key = server.admin(&["devices", "list", "--email", "ben@test.local"])[0]["id"].clone();
    server.admin(&["devices", "revoke", key.as_str().expect("id")]);
    let before = contents(&server.data().join("projects"));
    let end = |(mut connection, last): (Connection, u8)| {
        connection.write(&[last]);
        connection.answer(false).expect("an answer").status
    };
    let answered: Vec<u16> = held.into_iter().map(end).collect();
    assert_eq!(answered, [403; 5]);
    let answered: Vec<u16> = revoked.into_iter().map(end).collect();
    assert_eq!(answered, [401; 2]);
    assert!(before == contents(&server.data().join("projects")), "something was stored");
    let members = server.ask(&Ask::get(&path("/members")).key(&ana)).json();
    assert_eq!(members.as_array().map(Vec::len), Some(1), "{members}");
}

/// The right is asked for when nothing is waited for any more: asked before, it was as old as its log took to open.
#[test]
fn a_push_that_waits_for_its_log_does_not_outlive_the_right_to_it() {
    let mut server = Server::start();
    let (ana, _) = server.key("ana");
    let (eve, eve_id) = server.key("eve");
    let project = server.project(&ana, "Garden");
    let add = Ask::post(&format!("/v1/projects/{project}/members")).key(&ana);
    assert_eq!(server.ask(&add.json(&json!({"user_id": eve_id, "role": "writer"}))).status, 201);
    // Nobody has the log open, and another program keeps its file for a moment.
    server.restart_with(&[]);
    let file = server.data().join("projects").join(&project).join("events.db");
    let other = rusqlite::Connection::open(&file).expect("a file");
    other.execute_batch("BEGIN IMMEDIATE").expect("taken");
    let mut waiting = Connection::open(server.address);
    let event = event(1, "create", "2026-11-21T10:00:00Z", &json!({}));
    waiting.write(&pushed(&project, &eve, &[event]).bytes());
    let descriptors = format!("/proc/{}/fd", server.pid());
    wait_until("the server opens the log", || {
        let all = std::fs::read_dir(&descriptors).expect("descriptors");
        all.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == file))
    });
    let remove = Ask::new("DELETE", &format!("/v1/projects/{project}/members/{eve_id}")).key(&ana);
    assert_eq!(server.ask(&remove).status, 204);
    other.execute_batch("ROLLBACK").expect("given back");
    assert_eq!(waiting.answer(false).map(|answer| answer.status), Some(403));
    let status = server.ask(&Ask::get(&format!("/v1/projects/{project}/sync/status")).key(&ana));
    assert_eq!(status.json()["event_count"], 0);
}

/// Most memory that the server ever used, in MiB.
fn peak(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("status");
    let line = status.lines().find(|l| l.starts_with("VmHWM")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("KiB") / 1024
}

#[test]
fn megabytes_of_small_things_do_not_become_hundreds() {
    let loose = ["AUTH", "OTHER"].map(|c| format!("SYNC_RATE_LIMIT_{c}"));
    let settings: Vec<(&str, &str)> = loose.iter().map(|name| (name.as_str(), "1000")).collect();
    let server = Server::with(&settings);
    let (key, _) = server.key("ana");
    let project = server.project(&key, "P");
    let many = |item: &str| vec![item; 10_000_000 / (item.len() + 1)].join(",");
    let before = peak(&server);
    let events = format!(r#"{{"device_id":"d","session_id":"s","events":[{}]}}"#, many("{}"));
    let pushed = server.ask(&Ask::post(&format!("/v1/projects/{project}/sync/push")).key(&key).body(events));
    assert_eq!(
        (pushed.status, pushed.error().as_str()),
        (400, "bad_request batch size 3333333 exceeds max 1000")
    );
    // The body itself, once as it came and once as text.
    assert!(peak(&server) - before < 40, "{} MiB, {before} before", peak(&server));
    let before = peak(&server);
    for (path, body) in [
        ("/v1/auth/device/poll", format!("{{{}}}", many("\"\":1"))),
        ("/auth/device/code", many("a=b").replace(',', "&")),
        ("/v1/keys/requests", format!(r#"{{"name":"{}"}}"#, many("x"))),
    ] {
        let mut stream = TcpStream::connect(server.address).expect("connect");
        // What is too long is not read to its end: the rest may not be taken, and the answer may get lost.
        let _ = stream.write_all(&Ask::post(path).body(body).bytes());
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(peak(&server) - before < 5, "{} MiB, {before} before", peak(&server));
}

#[test]
fn what_is_wrong_with_a_request_as_such_is_said_before_its_route() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let raw = |request: &str| {
        let mut connection = Connection::open(server.address);
        connection.write(request.as_bytes());
        connection.answer(false).expect("an answer")
    };
    assert_eq!(raw("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status, 400);
    assert_eq!(raw("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    assert_eq!(raw("GET * HTTP/1.1\r\nHost: a\r\n\r\n").status, 404);
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    assert_eq!(raw(&format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{many}\r\n")).status, 431);
    let both = "POST /v1/projects HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let smuggled = raw(&format!("{both}GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(
        smuggled.header("connection"),
        Some("close"),
        "two lengths: the connection ends with the answer"
    );

    for path in ["/v1/projects/%ff", "/v1/projects/%C3%28/sync/pull", "/%ff"] {
        let answer = server.ask(&Ask::get(path).key(&key));
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (400, "bad_request the path is not UTF-8"),
            "{path}"
        );
        assert_eq!(answer.header("x-request-id").map(str::len), Some(32));
    }
    // A broken escape is text.
    assert_eq!(
        server.ask(&Ask::get("/v1/projects/%zz%").key(&key)).error(),
        "forbidden not a member of project %zz%"
    );
    // `Location: /\host` is `//host` to a browser: somebody else's page under a link to us.
    let sent_on = server.ask(&Ask::get("/.//\\host.example"));
    assert_eq!((sent_on.status, sent_on.header("location")), (307, Some("/%5Chost.example")));
}

const SEGMENTS: &[&str] =
    &["%00", "%2F", "..%2F..%2Fx", "%", "%0a%0d", "%F0%9F%98%80", "';DROP%20TABLE", "u_0123456789abcdef"];
const BODIES: &[&str] = &[
    "",
    "{",
    "null",
    "[]",
    "7",
    "\"x\"",
    "\u{feff}{}",
    "{}{}",
    "a=b&code=%zz&token=a.b",
    "token=%00.%00&code=%00&login=%00",
    r#"{"email":7,"name":[],"secret":{},"role":1,"events":"x","grants":{},"device_code":null,"token":false}"#,
    r#"{"email":"a@b.c","name":"\u0000","secret":"\u0000","role":"\ud800","device_code":"\u0000","code_verifier":"\u0000","token":"\u0000.\u0000","state":"\u0000"}"#,
    r#"{"email":"x <a@b.c>","role":"reader","user_id":"\u0000","redirect_uri":"\u0000","code_challenge":"\u0000","code_challenge_method":"S256"}"#,
    r#"{"name":"n","grants":[null],"expires_in":-1,"max_events":9223372036854775807,"events":[null],"device_id":"d","session_id":"s"}"#,
    r#"{"name":"n","grants":[{"project":"\u0000","role":"reader"}],"expires_in":9223372036854775807,"max_events":-9223372036854775808}"#,
];
const QUERIES: &[&str] = &[
    "limit=-1",
    "limit=99999999999999999999",
    "after_server_seq=-9223372036854775808",
    "exclude_client=%00",
    "seq=-1",
    "seq=9223372036854775807",
    "after=AAAA",
    "after=bnVsbA",
    "nonce=%00",
    "token=%00.%00",
    "wait=-1",
    "wait=1e9",
    "=&&&%&?",
    "cursor=%00",
    "cursor=bnVsbA==",
    "cursor=eyJ2YWx1ZSI6Int9In0=",
    "q=%00%25_",
    "email=%ff",
    "status=%00",
    "from=x&to=9999-12-31T23:59:59-23:59",
    "from=0000-01-01T00:00:00%2B24:00",
    "after_seq=-9223372036854775808",
    "entity_type=%00",
    "entity_id=%00&device_id=%ff",
    "key_id=%00&ip=%00",
    "include_deleted=true&limit=0",
];

/// Recorded as 500, and kept so (server-protocol 4.4, W47).
const RECORDED_500: &[&str] = &[
    "failed to add member",
    "failed to update member",
    "failed to remove member",
    // A cursor that is none (recording `08-admin` 34).
    "failed to list users",
    "failed to list projects",
    "failed to query auth events",
    "failed to query rate limit events",
];

/// No answer, or one that is not of the shapes there are.
fn wrong(answer: &Answer) -> bool {
    let is = |kind: &str| answer.header("content-type").is_some_and(|t| t.starts_with(kind));
    match answer.status {
        200..400 => false,
        404 | 405 if is("text/plain") => answer.header("x-content-type-options") != Some("nosniff"),
        400..500 if is("text/html") => false,
        _ => {
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let message = body["error"]["message"].as_str().unwrap_or_default();
            let names: Vec<_> =
                body["error"].as_object().map(|o| o.keys().cloned().collect()).unwrap_or_default();
            let is_ours =
                names == ["code", "message"] && body.as_object().map(serde_json::Map::len) == Some(1);
            !is_ours || answer.status >= 500 && !RECORDED_500.contains(&message)
        }
    }
}

#[test]
fn every_route_refuses_what_it_cannot_read_in_its_own_shape() {
    let loose = ["AUTH", "PUSH", "PULL", "OTHER", "AGENT"].map(|c| format!("SYNC_RATE_LIMIT_{c}"));
    let mut settings: Vec<(&str, &str)> = loose.iter().map(|name| (name.as_str(), "1000000")).collect();
    settings.extend([
        ("SYNC_EMAIL_PROVIDER", "memory"),
        ("SYNC_ALLOW_SIGNUP", "true"),
        ("SYNC_DEV_EMAIL_INSPECT", "1"),
    ]);
    let server = Server::with(&settings);
    let (key, user) = server.key("ana");
    let project = server.project(&key, "P");
    server.ask(&push(&project, &[1]).key(&key));
    let scopes = td_server::auth::SCOPES.join(",").replace("impersonation:read,", "");
    let admin = ["create-key", "--email", "ana@test.local", "--name", "all", "--scopes", &scopes];
    let admin = server.admin(&admin)["api_key"].as_str().expect("key").to_string();
    let mut asks = Vec::new();
    for route in ROUTES {
        let (key, id) = match route.path {
            path if path.starts_with("/v1/admin/users") => (&admin, &user),
            path if path.starts_with("/v1/admin") => (&admin, &project),
            _ => (&key, &project),
        };
        let known = route.path.replace("{id}", id).replace("{type}", "issues");
        let (before, hole) =
            known.split_once('{').map_or((known.as_str(), None), |(b, rest)| (b, rest.split_once('}')));
        let inside = hole.map(|(_, after)| format!("{before}X{after}")).unwrap_or_else(|| known.clone());
        for method in route.methods.split(", ") {
            let ask = |path: &str| Ask::new(method, path).key(key);
            for segment in SEGMENTS {
                let foreign = route.path.replace("{id}", segment);
                let foreign = foreign.split('{').next().unwrap_or_default();
                asks.push(ask(foreign).body("{}"));
                asks.extend(hole.map(|(_, after)| ask(&format!("{before}{segment}{after}")).body("{}")));
            }
            match method {
                // Streams stay open, and the project is still needed.
                "GET" if route.path != "/v1/projects/{id}/events" => {
                    asks.extend(QUERIES.iter().map(|query| ask(&format!("{inside}?{query}"))));
                    asks.push(
                        ask(&inside)
                            .header("Range", "bytes=9-1")
                            .header("If-Range", "\u{e9}")
                            .header("Accept-Encoding", "*;q=9"),
                    );
                }
                "POST" | "PATCH" => asks.extend(BODIES.iter().map(|body| ask(&inside).body(*body))),
                _ => {}
            }
            asks.push(Ask::new("HEAD", &inside).header("Authorization", "Bearer \u{e9}"));
        }
    }
    assert!(asks.len() > 1_000, "the table of routes was gone through: {}", asks.len());
    let mut kept = Connection::open(server.address);
    for ask in asks {
        kept.write(&ask.bytes());
        let said = format!(
            "{} {} {}",
            ask.method,
            ask.path,
            String::from_utf8_lossy(ask.body.as_deref().unwrap_or_default())
        );
        let answer = kept.answer(ask.method == "HEAD").unwrap_or_else(|| panic!("no answer: {said}"));
        assert!(
            !wrong(&answer) || ask.method == "HEAD" && answer.status < 500,
            "{said}: {} {}",
            answer.status,
            answer.text()
        );
        if answer.header("connection") == Some("close") {
            kept = Connection::open(server.address);
        }
    }
    assert_eq!(server.ask(&Ask::get("/healthz")).status, 200);
    let digest = server.ask(&Ask::get(&format!("/v1/projects/{project}/sync/digest")).key(&key));
    assert_eq!(digest.status, 200, "{}", digest.text());
}
