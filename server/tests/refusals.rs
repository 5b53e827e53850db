//! Bad input of every kind: the protocol's status and code, and nothing in the data directory changes.

mod support;

use serde_json::{Value, json};
use support::wire::{Ask, Connection};
use support::{Server, contents};

struct World {
    server: Server,
    key: String,
    project: String,
}

fn world() -> World {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "P");
    World { server, key, project }
}

fn event(id: i64) -> Value {
    json!({"client_action_id": id, "action_type": "create", "entity_type": "issues", "entity_id": format!("td-{id}"),
        "payload": {"new_data": {"id": format!("td-{id}"), "title": "t"}}, "client_timestamp": "2026-11-21T10:00:00Z"})
}

fn batch(events: Vec<Value>) -> Value {
    json!({"device_id": "d", "session_id": "s", "events": events})
}

/// A push body with one field of its event replaced.
fn with(field: &str, value: Value) -> String {
    let mut event = event(1);
    event[field] = value;
    batch(vec![event]).to_string()
}

#[test]
fn a_bad_push_gets_its_sentence_and_changes_nothing() {
    let w = world();
    let path = format!("/v1/projects/{}/sync/push", w.project);
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let cases: Vec<(&str, String, &str)> = vec![
        ("empty body", String::new(), "invalid json body"),
        ("not JSON", "{".into(), "invalid json body"),
        ("an array", "[]".into(), "invalid json body"),
        ("a byte order mark", "\u{feff}{}".into(), "invalid json body"),
        ("null", "null".into(), "device_id is required"),
        ("device is a number", r#"{"device_id":7}"#.into(), "invalid json body"),
        ("no session", json!({"device_id": "d", "events": [event(1)]}).to_string(), "session_id is required"),
        ("no events", batch(vec![]).to_string(), "events array is empty"),
        (
            "events is an object",
            r#"{"device_id":"d","session_id":"s","events":{}}"#.into(),
            "invalid json body",
        ),
        ("an event is a number", batch(vec![json!(7)]).to_string(), "invalid json body"),
        (
            "1,001 events",
            batch((0..1001).map(event).collect()).to_string(),
            "batch size 1001 exceeds max 1000",
        ),
        ("unknown entity", with("entity_type", json!("widgets")), "invalid entity_type: widgets"),
        ("no entity", with("entity_type", Value::Null), "invalid entity_type: "),
        ("action id with a fraction", with("client_action_id", json!(4.5)), "invalid json body"),
        ("action id as text", with("client_action_id", json!("7")), "invalid json body"),
        (
            "action id too large",
            r#"{"device_id":"d","session_id":"s","events":[{"client_action_id":9223372036854775808}]}"#
                .into(),
            "invalid json body",
        ),
        ("no time", with("client_timestamp", Value::Null), "invalid timestamp for action 1"),
        (
            "no time of the day",
            with("client_timestamp", json!("2026-11-21")),
            "invalid timestamp for action 1",
        ),
        ("no zone", with("client_timestamp", json!("2026-11-21T10:00:00")), "invalid timestamp for action 1"),
        (
            "second 60",
            with("client_timestamp", json!("2026-11-21T10:00:60Z")),
            "invalid timestamp for action 1",
        ),
        (
            "offset 24:60",
            with("client_timestamp", json!("2026-11-21T10:00:00+24:60")),
            "invalid timestamp for action 1",
        ),
        (
            "a good and a bad event",
            batch(vec![event(1), json!({"entity_type": "x"})]).to_string(),
            "invalid entity_type: x",
        ),
        ("nesting without end", format!(r#"{{"device_id":{deep}}}"#), "invalid json body"),
        (
            "10 MiB and a byte",
            format!(r#"{{"device_id":"{}"}}"#, "a".repeat(10 * 1024 * 1024 + 1 - 16)),
            "invalid json body",
        ),
    ];
    let before = contents(&w.server.data());
    for (what, body, message) in cases {
        let answer = w.server.ask(&Ask::post(&path).key(&w.key).body(body));
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        assert_eq!(answer.error(), format!("bad_request {message}"), "{what}");
    }
    assert!(before == contents(&w.server.data()), "something changed in the data directory");
    let status = w.server.ask(&Ask::get(&format!("/v1/projects/{}/sync/status", w.project)).key(&w.key));
    assert_eq!(status.json(), json!({"event_count": 0, "last_server_seq": 0}));
}

#[test]
fn who_may_not_is_told_so_and_changes_nothing() {
    let w = world();
    let (other, other_id) = w.server.key("ben");
    let foreign = w.server.project(&other, "Foreign");
    let (_, reader_id) = w.server.key("rea");
    let reader = w.server.admin(&["create-key", "--email", "rea@test.local", "--name", "r"])["api_key"]
        .as_str()
        .map(String::from);
    let reader = reader.expect("key");
    let members = format!("/v1/projects/{}/members", w.project);
    let added =
        w.server.ask(&Ask::post(&members).key(&w.key).json(&json!({"user_id": reader_id, "role": "reader"})));
    assert_eq!(added.status, 201);
    // Not an admin any more, so that its scopes count.
    w.server.admin(&["revoke", "--email", "ben@test.local"]);
    let p = |rest: &str| format!("/v1/projects/{}{rest}", w.project);
    let push = batch(vec![event(1)]);
    let not_member = format!("forbidden not a member of project {}", w.project);
    let scope_key = {
        w.server.admin(&["grant", "--email", "ben@test.local"]);
        let made = w.server.admin(&[
            "create-key",
            "--email",
            "ben@test.local",
            "--name",
            "n",
            "--scopes",
            "admin:export",
        ]);
        w.server.admin(&["revoke", "--email", "ben@test.local"]);
        made["api_key"].as_str().expect("key").to_string()
    };
    let view_key = w.server.admin(&[
        "create-key",
        "--email",
        "ana@test.local",
        "--name",
        "v",
        "--scopes",
        "impersonation:read",
    ]);
    let view_key = view_key["api_key"].as_str().expect("key").to_string();
    let metrics = ["create-key", "--email", "ana@test.local", "--name", "m", "--scopes", "admin:read:server"];
    let metrics = w.server.admin(&metrics)["api_key"].as_str().expect("key").to_string();
    let token = json!({"name": "x", "grants": [{"project": w.project, "role": "writer"}]});
    let no_write = "insufficient_scope key does not have the sync scope required for changes";
    let no_scope = "insufficient_scope key does not have the sync or impersonation:read scope required for project routes";
    let read_only = "method_not_allowed_view_as read-only while viewing as user";
    let need =
        |have: &str, need: &str| format!("forbidden insufficient permissions: have {have}, need {need}");
    let cases: Vec<(&str, Ask, u16, String)> = vec![
        ("foreign project", Ask::post(&p("/sync/push")).key(&other).json(&push), 403, not_member.clone()),
        ("foreign pull", Ask::get(&p("/sync/pull")).key(&other), 403, not_member.clone()),
        ("foreign digest", Ask::get(&p("/sync/digest")).key(&other), 403, not_member.clone()),
        (
            "reader pushes",
            Ask::post(&p("/sync/push")).key(&reader).json(&push),
            403,
            need("reader", "writer"),
        ),
        (
            "reader renames",
            Ask::new("PATCH", &p("")).key(&reader).json(&json!({"name": "x"})),
            403,
            need("reader", "writer"),
        ),
        ("reader deletes", Ask::new("DELETE", &p("")).key(&reader), 403, need("reader", "owner")),
        (
            "reader adds",
            Ask::post(&p("/members")).key(&reader).json(&json!({"user_id": other_id, "role": "owner"})),
            403,
            need("reader", "owner"),
        ),
        ("no key", Ask::get(&p("/sync/pull")), 401, "unauthorized missing authorization header".into()),
        (
            "no bearer",
            Ask::get(&p("/sync/pull")).header("Authorization", "bearer x"),
            401,
            "unauthorized invalid authorization format".into(),
        ),
        (
            "unknown key",
            Ask::get(&p("/sync/pull")).key("td_live_x"),
            401,
            "unauthorized invalid or expired api key".into(),
        ),
        ("wrong scope", Ask::get("/v1/projects").key(&scope_key), 403, no_scope.into()),
        (
            "an admin's metrics key pushes",
            Ask::post(&p("/sync/push")).key(&metrics).json(&push),
            403,
            no_write.into(),
        ),
        (
            "it makes a project",
            Ask::post("/v1/projects").key(&metrics).json(&json!({"name": "x"})),
            403,
            no_write.into(),
        ),
        ("it makes itself a token", Ask::post("/v1/keys").key(&metrics).json(&token), 403, no_write.into()),
        ("it ends a device", Ask::new("DELETE", "/v1/keys/ak_0").key(&metrics), 403, no_write.into()),
        ("view-as writes", Ask::post(&p("/sync/push")).key(&view_key).json(&push), 403, read_only.into()),
        (
            "view-as HEAD is checked too",
            Ask::post("/v1/projects").key(&view_key).json(&json!({"name": "x"})),
            403,
            read_only.into(),
        ),
        (
            "traversal",
            Ask::get("/v1/projects/..%2F..%2Fetc/sync/pull").key(&w.key),
            403,
            "forbidden not a member of project ../../etc".into(),
        ),
        (
            "traversal push",
            Ask::post("/v1/projects/..%2F..%2Fetc/sync/push").key(&w.key).json(&push),
            403,
            "forbidden not a member of project ../../etc".into(),
        ),
        (
            "odd id",
            Ask::get("/v1/projects/p_0000000000000000%00/sync/status").key(&w.key),
            403,
            "forbidden not a member of project p_0000000000000000\u{0}".into(),
        ),
        (
            "unknown project",
            Ask::get("/v1/projects/p_0000000000000000/sync/status").key(&w.key),
            403,
            "forbidden not a member of project p_0000000000000000".into(),
        ),
    ];
    let before = contents(&w.server.data());
    for (what, ask, status, error) in cases {
        let answer = w.server.ask(&ask);
        assert_eq!((answer.status, answer.error()), (status, error), "{what}");
    }
    assert!(before == contents(&w.server.data()), "something changed in the data directory");
    let _ = foreign;
}

#[test]
fn bad_queries_and_bad_members_are_refused_by_name() {
    let w = world();
    let p = |rest: &str| format!("/v1/projects/{}{rest}", w.project);
    let member = |value: Value| Ask::post(&p("/members")).key(&w.key).json(&value);
    let cases: Vec<(Ask, u16, &str)> = vec![
        (
            Ask::get(&p("/sync/pull?after_server_seq=x")).key(&w.key),
            400,
            "bad_request invalid after_server_seq",
        ),
        (
            Ask::get(&p("/sync/pull?after_server_seq=9223372036854775808")).key(&w.key),
            400,
            "bad_request invalid after_server_seq",
        ),
        (Ask::get(&p("/sync/pull?limit=0")).key(&w.key), 400, "bad_request invalid limit"),
        (Ask::get(&p("/sync/pull?limit=1e3")).key(&w.key), 400, "bad_request invalid limit"),
        (Ask::post("/v1/projects").key(&w.key).body("{\"name\":\"\"}"), 400, "bad_request name is required"),
        (
            Ask::new("PATCH", &p("")).key(&w.key).body("{\"name\":\"\"}"),
            400,
            "bad_request name cannot be empty",
        ),
        (member(json!({})), 400, "bad_request user_id or email is required"),
        (member(json!({"email": "new@test.local"})), 400, "bad_request role is required"),
        (
            member(json!({"email": "new@test.local", "role": "king"})),
            500,
            "internal_error failed to add member",
        ),
        (
            member(json!({"user_id": "u_nobody", "role": "reader"})),
            500,
            "internal_error failed to add member",
        ),
        (
            Ask::new("DELETE", &p("/members/u_nobody")).key(&w.key),
            500,
            "internal_error failed to remove member",
        ),
        (Ask::get("/v1/identity?nonce=abc"), 400, "bad_request nonce must be 32 to 128 hexadecimal digits"),
        (
            Ask::get(&format!("/v1/identity?nonce={}", "g".repeat(32))),
            400,
            "bad_request nonce must be 32 to 128 hexadecimal digits",
        ),
        (Ask::post("/v1/enroll").body("{}"), 400, "bad_request secret is required"),
        (Ask::post("/v1/enroll").body("x"), 400, "bad_request invalid json body"),
        (Ask::post("/v1/enroll").json(&json!({"secret": "nope"})), 404, "not_found unknown enrolment link"),
    ];
    let before = contents(&w.server.data());
    for (ask, status, error) in cases {
        let answer = w.server.ask(&ask);
        assert_eq!((answer.status, answer.error().as_str()), (status, error), "{} {}", ask.method, ask.path);
    }
    assert!(before == contents(&w.server.data()), "something changed in the data directory");
    // The refused member requests made no account.
    assert_eq!(w.server.admin(&["users", "list"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn a_deleted_project_is_gone_for_its_members() {
    let w = world();
    let p = |rest: &str| format!("/v1/projects/{}{rest}", w.project);
    assert_eq!(w.server.ask(&Ask::new("DELETE", &p("")).key(&w.key)).status, 204);
    for ask in [
        Ask::get(&p("")),
        Ask::get(&p("/members")),
        Ask::get(&p("/sync/pull")),
        Ask::get(&p("/sync/status")),
        Ask::get(&p("/sync/digest")),
        Ask::post(&p("/sync/push")).json(&batch(vec![event(1)])),
        Ask::new("PATCH", &p("")).json(&json!({"name": "x"})),
    ] {
        let answer = w.server.ask(&ask.clone().key(&w.key));
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (404, "not_found project not found"),
            "{}",
            ask.path
        );
    }
    let again = w.server.ask(&Ask::new("DELETE", &p("")).key(&w.key));
    assert_eq!((again.status, again.error().as_str()), (500, "internal_error failed to delete project"));
}

#[test]
fn exactly_ten_mebibytes_pass_and_trailing_bytes_never_count() {
    let w = world();
    let path = format!("/v1/projects/{}/sync/push", w.project);
    let padded = |size: usize| {
        let body = with("payload", json!({"new_data": {"id": "td-1", "description": "@"}}));
        let filler = "a".repeat(size - body.len() + 1);
        body.replace('@', &filler)
    };
    let cap = 10 * 1024 * 1024;
    assert_eq!(padded(cap).len(), cap);
    let answer = w.server.ask(&Ask::post(&path).key(&w.key).body(padded(cap)));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let long = with("client_action_id", json!(2)) + &" ".repeat(cap);
    let answer = w.server.ask(&Ask::post(&path).key(&w.key).body(long));
    assert_eq!(answer.status, 200, "the first value ends early: {}", answer.text());
}

#[test]
fn a_connection_outlives_a_small_refused_body_and_not_a_large_one() {
    let w = world();
    let mut kept = Connection::open(w.server.address);
    let refused = kept.ask(&Ask::post("/v1/projects").body("x".repeat(200 * 1024)));
    assert_eq!((refused.status, refused.header("connection")), (401, None));
    assert_eq!(kept.ask(&Ask::get("/healthz")).status, 200);
    let mut head = Ask::post("/v1/projects").bytes();
    head.truncate(head.len() - 2);
    head.extend(format!("Content-Length: {}\r\n\r\n", 50 * 1024 * 1024).bytes());
    kept.write(&head);
    let refused = kept.answer(false).expect("an answer before the body");
    assert_eq!((refused.status, refused.header("connection")), (401, Some("close")));
}
