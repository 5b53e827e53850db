//! What the reference's own tests pin (server-protocol 11) and its clients rest on (10), where no recording shows it.
//! docs/compatibility.md names the test of each entry.

mod support;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::Connection;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use support::wire::Ask;
use support::{Project, Server, push, wait_until};
use td_engine::db::{ProjectDb, Purpose};
use td_engine::time::ClientTime;
use td_server::http::ROUTES;

const PAGE: &str = include_str!("../../docs/compatibility.md");

/// Every Rust file of the workspace.
fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).expect("folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() && !name.starts_with("target") && !name.starts_with('.') {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push_str(&std::fs::read_to_string(&path).expect("text"));
        }
    }
}

#[test]
fn the_page_of_differences_names_tests_that_exist_and_every_weak_point() {
    let points: Vec<u32> =
        PAGE.lines().filter_map(|l| l.strip_prefix("| W")?.split(' ').next()?.parse().ok()).collect();
    assert_eq!(points, (1..=51).collect::<Vec<_>>());
    let mut code = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut code);
    let is_name = |text: &&str| {
        // A metric looks alike.
        !text.starts_with("td_sync_")
            && text.matches('_').count() >= 3
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let names: Vec<&str> = PAGE.split('`').skip(1).step_by(2).filter(is_name).collect();
    assert!(names.len() > 50, "{}", names.len());
    let gone: Vec<&&str> = names.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

/// Server-protocol 4.1.
const OF_THE_REFERENCE: &str = "
GET /healthz
GET /metricz
GET /internal/dev/last-email
POST /v1/auth/login/start
POST /v1/auth/login/poll
GET, POST /auth/verify
POST /v1/auth/web/start
POST /v1/auth/web/exchange
POST /v1/auth/device/start
GET /auth/device/approve
POST /v1/auth/device/poll
GET, POST /v1/projects
DELETE, GET, PATCH /v1/projects/{}
GET, POST /v1/projects/{}/invitations
DELETE /v1/projects/{}/invitations/{}
GET /v1/invitations
POST /v1/invitations/{}/accept
POST /v1/invitations/{}/decline
GET, POST /v1/projects/{}/members
DELETE, PATCH /v1/projects/{}/members/{}
GET /v1/projects/{}/events
POST /v1/projects/{}/sync/push
GET /v1/projects/{}/sync/pull
GET /v1/projects/{}/sync/status
GET /v1/projects/{}/sync/snapshot
GET, POST /v1/projects/{}/issues
DELETE, GET, PATCH /v1/projects/{}/issues/{}
POST /v1/projects/{}/issues/{}/start
POST /v1/projects/{}/issues/{}/review
POST /v1/projects/{}/issues/{}/approve
POST /v1/projects/{}/issues/{}/reject
POST /v1/projects/{}/issues/{}/block
POST /v1/projects/{}/issues/{}/unblock
POST /v1/projects/{}/issues/{}/close
POST /v1/projects/{}/issues/{}/reopen
POST /v1/projects/{}/issues/{}/comments
DELETE /v1/projects/{}/issues/{}/comments/{}
POST /v1/projects/{}/issues/{}/dependencies
DELETE /v1/projects/{}/issues/{}/dependencies/{}
GET, POST /v1/projects/{}/boards
DELETE, GET, PATCH /v1/projects/{}/boards/{}
POST /v1/projects/{}/boards/{}/issues
DELETE /v1/projects/{}/boards/{}/issues/{}
PUT /v1/projects/{}/focus
GET /v1/projects/{}/stats
GET /v1/projects/{}/sessions
GET /v1/projects/{}/labels
GET /v1/admin/server/overview
GET /v1/admin/server/config
GET /v1/admin/server/rate-limit-violations
GET /v1/admin/users
GET /v1/admin/users/{}
GET /v1/admin/users/{}/keys
DELETE /v1/admin/users/{}/keys/{}
POST /v1/admin/users/{}/impersonation-token
GET /v1/admin/auth/events
GET /v1/admin/projects
GET /v1/admin/projects/{}
GET /v1/admin/projects/{}/members
GET /v1/admin/projects/{}/sync/status
GET /v1/admin/projects/{}/sync/cursors
GET /v1/admin/projects/{}/events
GET /v1/admin/projects/{}/events/{}
GET /v1/admin/entity-types
GET /v1/admin/projects/{}/snapshot/meta
GET /v1/admin/projects/{}/snapshot/query
";

/// Beginnings of the paths that are left out, each named with its reason in docs/compatibility.md.
const LEFT_OUT: &[&str] = &[
    "/v1/projects/{}/issues",
    "/v1/projects/{}/boards",
    "/v1/projects/{}/focus",
    "/v1/projects/{}/stats",
    "/v1/projects/{}/sessions",
    "/v1/projects/{}/labels",
    "/v1/admin/users/{}/impersonation-token",
    "/v1/admin/projects/{}/snapshot/query",
];
#[test]
fn every_route_of_the_reference_is_served_or_left_out_by_name() {
    let holes = |path: &str| {
        let pieces = path.split('/').map(|p| if p.starts_with('{') { "{}" } else { p });
        pieces.collect::<Vec<_>>().join("/")
    };
    let ours: Vec<(String, &str)> = ROUTES.iter().map(|r| (holes(r.path), r.methods)).collect();
    let named = PAGE;
    for line in OF_THE_REFERENCE.lines().filter(|l| !l.is_empty()) {
        let (methods, path) = line.split_once(" /").expect("methods and a path");
        let path = format!("/{path}");
        let served = ours.iter().find(|(p, _)| *p == path).map(|(_, methods)| *methods);
        match (served, LEFT_OUT.iter().find(|start| path.starts_with(**start))) {
            (None, Some(start)) => assert!(named.contains(&format!("`{start}")), "{start} is not named"),
            (Some(_), Some(start)) => panic!("{path} is served; {start} is not left out any more"),
            (None, None) => panic!("{path} is missing"),
            (Some(ours), None) => {
                let lacks: Vec<&str> =
                    methods.split(", ").filter(|m| !ours.split(", ").any(|o| o == *m)).collect();
                assert!(lacks.is_empty(), "{path} lacks {lacks:?}");
            }
        }
    }
}

impl Project {
    fn get(&self, route: &str) -> Ask {
        Ask::get(&format!("/v1/projects/{}/sync/{route}", self.id)).key(&self.key)
    }

    fn create(&self, n: i64, kind: &str, id: &str, row: &Value) {
        let event = json!({"client_action_id": n, "action_type": "create", "entity_type": kind, "entity_id": id,
            "payload": {"new_data": row}, "client_timestamp": "2026-11-21T10:00:00Z"});
        let body = json!({"device_id": "dev", "session_id": "ses", "events": [event]});
        let ask = Ask::post(&format!("/v1/projects/{}/sync/push", self.id)).key(&self.key).json(&body);
        assert_eq!(self.server.ask(&ask).json()["accepted"], 1);
    }

    fn folder(&self) -> PathBuf {
        self.server.data().join("projects").join(&self.id)
    }

    fn stop(&mut self) {
        self.server.signal(rustix::process::Signal::TERM);
        assert_eq!(self.server.wait().code(), Some(0));
    }
}

#[test]
fn pushes_and_pulls_move_the_cursors_of_their_clients_and_never_beyond_the_head() {
    let mut p = Project::new();
    assert_eq!(p.server.ask(&push(&p.id, &[1, 2, 3]).key(&p.key)).json()["accepted"], 3);
    for query in [
        "after_server_seq=1&limit=1&exclude_client=slow",
        "after_server_seq=9000000000000000000&exclude_client=far",
        "after_server_seq=0&exclude_client=dev",
        "after_server_seq=3",
    ] {
        assert_eq!(p.server.ask(&p.get(&format!("pull?{query}"))).status, 200, "{query}");
    }
    assert_eq!(p.server.ask(&push(&p.id, &[1]).key(&p.key)).json()["rejected"][0]["server_seq"], 1);
    p.stop();
    let db = Connection::open(p.server.db()).expect("opens");
    let mut ask =
        db.prepare("SELECT client_id, last_event_id FROM sync_cursors ORDER BY client_id").expect("sql");
    let rows = ask
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))
        .and_then(Iterator::collect::<Result<Vec<(String, i64)>, _>>);
    let want = [("dev", 3), ("far", 3), ("slow", 2)].map(|(client, seq)| (client.to_string(), seq));
    assert_eq!(rows.expect("rows"), want);
}

#[test]
fn a_push_is_answered_though_its_live_view_cannot_be_opened_and_applied_when_it_can() {
    let p = Project::new();
    let in_the_way = p.folder().join("project.db");
    std::fs::create_dir_all(in_the_way.join("x")).expect("folder");
    assert_eq!(p.server.ask(&push(&p.id, &[1, 2]).key(&p.key)).json()["accepted"], 2);
    assert_eq!(p.server.ask(&p.get("pull")).json()["last_server_seq"], 2);
    let digest = p.server.ask(&p.get("digest"));
    assert_eq!(
        (digest.status, digest.error().as_str()),
        (503, "unavailable the live view is still catching up")
    );
    std::fs::remove_dir_all(&in_the_way).expect("removed");
    wait_until("the view has what the log has", || p.server.ask(&p.get("digest")).status == 200);
    assert_eq!(p.server.ask(&p.get("digest")).json()["seq"], 2);
}

#[test]
fn paths_of_a_device_leave_a_work_session_before_it_is_stored() {
    let mut p = Project::new();
    let row = json!({"id": "ws-1", "name": "n", "worktree_id": "w", "worktree_root": "/home/ana/secret", "repo_root": "/home/ana"});
    p.create(1, "work_session", "ws-1", &row);
    let payload = p.server.ask(&p.get("pull")).json()["events"][0]["payload"].clone();
    assert_eq!(payload, json!({"new_data": {"id": "ws-1", "name": "n"}}));
    p.stop();
    let stored: Vec<u8> = Connection::open(p.folder().join("events.db"))
        .and_then(|db| db.query_row("SELECT CAST(payload AS BLOB) FROM events", [], |r| r.get(0)))
        .expect("row");
    assert_eq!(String::from_utf8_lossy(&stored), payload.to_string());
}

#[test]
fn a_position_that_comes_before_its_issue_ends_alike_in_snapshot_view_and_replay() {
    let p = Project::new();
    let place = |n: i64| json!({"id": format!("bip_{n}"), "board_id": "bd-1", "issue_id": format!("td-{n}"), "position": 65536 * n});
    p.create(1, "board_position", "bip_1", &place(1));
    p.create(2, "board", "bd-1", &json!({"id": "bd-1", "name": "B", "query": ""}));
    p.create(3, "issue", "td-1", &json!({"id": "td-1", "title": "t"}));
    p.create(4, "issue", "td-2", &json!({"id": "td-2", "title": "t"}));
    p.create(5, "board_position", "bip_2", &place(2));
    let snapshot = p.server.ask(&p.get("snapshot"));
    assert_eq!((snapshot.status, snapshot.header("x-snapshot-seq")), (200, Some("5")));
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("issues.db");
    std::fs::write(&path, &snapshot.body).expect("write");
    let db = ProjectDb::open(&path, Purpose::Device).expect("opens");
    let count = |sql: &str| db.conn().query_row(sql, [], |r| r.get::<_, i64>(0)).expect(sql);
    assert_eq!(count("SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_eq!(count("SELECT count(*) FROM board_issue_positions WHERE id = 'bip_2'"), 1);
    assert_eq!(
        count("SELECT count(*) FROM board_issue_positions"),
        1,
        "as on every stock client: a child without its parent is left out"
    );
    let live = p.server.ask(&p.get("digest")).json();
    assert_eq!(live["digest"], db.digest().expect("digest").to_string());
    assert_eq!(p.server.ask(&p.get("status")).header("x-td-skipped"), Some("1"));
}

#[test]
fn a_batch_of_five_hundred_is_taken_and_given_in_its_order() {
    let p = Project::new();
    let ids: Vec<i64> = (0..500).map(|n| 1_000 - n).collect();
    let pushed = p.server.ask(&push(&p.id, &ids).key(&p.key)).json();
    let column = |list: &Value, name: &str| -> Vec<i64> {
        list.as_array().expect("a list").iter().filter_map(|e| e[name].as_i64()).collect()
    };
    assert_eq!((column(&pushed["acks"], "client_action_id"), pushed.get("rejected")), (ids.clone(), None));
    let again = p.server.ask(&push(&p.id, &ids).key(&p.key)).json();
    assert_eq!((&again["accepted"], &again["acks"]), (&json!(0), &Value::Null));
    assert_eq!(column(&again["rejected"], "server_seq"), column(&pushed["acks"], "server_seq"));
    let pull = p.server.ask(&p.get("pull")).json();
    assert_eq!(
        (column(&pull["events"], "client_action_id"), column(&pull["events"], "server_seq")),
        (ids, (1..=500).collect())
    );
}

fn days_from_now(time: &Value) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("clock").as_nanos();
    let then = ClientTime::parse(time.as_str().expect("a time")).expect("a time").unix_nanos();
    let minutes = (then - i128::try_from(now).expect("small") + 30_000_000_000) / 60_000_000_000;
    i64::try_from(minutes).expect("small") / (24 * 60)
}

#[test]
fn keys_live_as_long_as_the_protocol_says() {
    let server = Server::with(&[
        ("SYNC_EMAIL_PROVIDER", "memory"),
        ("SYNC_DEV_EMAIL_INSPECT", "1"),
        ("SYNC_AUTH_WEB_CALLBACK_URL", "http://watch.example/done"),
    ]);
    server.admin(&["create-user", "--email", "ana@test.local"]);
    let verifier = "a verifier";
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let start =
        json!({"email": "ana@test.local", "code_challenge": challenge, "code_challenge_method": "S256"});
    let started = server.ask(&Ask::post("/v1/auth/device/start").json(&start)).json();
    let token = || {
        let mail = server.ask(&Ask::get("/internal/dev/last-email")).json();
        let text = mail["text"].as_str().expect("text").to_string();
        text.split("token=").nth(1).and_then(|t| t.split_whitespace().next()).expect("a token").to_string()
    };
    // Where the development mailbox is on, looking approves.
    assert_eq!(server.ask(&Ask::get(&format!("/auth/device/approve?token={}", token()))).status, 200);
    let poll = json!({"device_code": started["device_code"], "code_verifier": verifier});
    let device = server.ask(&Ask::post("/v1/auth/device/poll").json(&poll)).json();
    assert_eq!(days_from_now(&device["expires_at"]), 365, "{device}");

    let start = json!({"email": "ana@test.local", "redirect_uri": "http://watch.example/done", "state": "s"});
    assert_eq!(server.ask(&Ask::post("/v1/auth/web/start").json(&start)).status, 200);
    let web =
        server.ask(&Ask::post("/v1/auth/web/exchange").json(&json!({"token": token(), "state": "s"}))).json();
    assert_eq!(days_from_now(&web["expires_at"]), 30, "{web}");
    server.admin(&["grant", "--email", "ana@test.local"]);
    let made = server.admin(&["create-key", "--email", "ana@test.local", "--name", "n"]);
    let keys = server.admin(&["keys", "list"]);
    let mine = keys.as_array().and_then(|all| all.iter().find(|k| k["name"] == "n")).expect("listed");
    assert_eq!((&mine["expires_at"], made["api_key"].is_string()), (&Value::Null, true));
}

#[test]
fn what_is_overdue_is_cleared_away_when_the_server_starts() {
    let mut server = Server::with(&[("SYNC_RATE_LIMIT_AUTH", "100")]);
    server.admin(&["create-user", "--email", "ana@test.local"]);
    let start = json!({"email": "ana@test.local", "code_challenge": "x", "code_challenge_method": "S256"});
    assert_eq!(server.ask(&Ask::post("/v1/auth/device/start").json(&start)).status, 200);
    server.kill();
    let db = Connection::open(server.db()).expect("opens");
    let past = "UPDATE auth_email_challenges SET expires_at = '2026-01-01 00:00:00+00:00'";
    assert_eq!(db.execute(past, []).expect("set"), 1);
    drop(db);
    server.run();
    let db = Connection::open(server.db()).expect("opens");
    wait_until("the login is over", || {
        db.query_row("SELECT status FROM auth_email_challenges", [], |r| r.get::<_, String>(0)).expect("row")
            == "expired"
    });
}
