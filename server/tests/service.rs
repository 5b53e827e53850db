//! What surrounds the routes: router manners, headers, enrolment, maintenance, start and stop.

mod support;

use serde_json::json;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use support::wire::{Ask, Connection};
use support::{Server, push, wait_until};

#[test]
fn the_router_has_the_manners_of_the_reference() {
    let server = Server::start();
    for (ask, status, header, value, body) in [
        (Ask::get("/nope"), 404, "x-content-type-options", "nosniff", "404 page not found\n"),
        (Ask::get("/v1/projects/"), 404, "content-type", "text/plain; charset=utf-8", "404 page not found\n"),
        (
            Ask::new("PUT", "/v1/projects/p_1"),
            405,
            "allow",
            "DELETE, GET, HEAD, PATCH",
            "Method Not Allowed\n",
        ),
        (Ask::new("OPTIONS", "/v1/projects"), 405, "allow", "GET, HEAD, POST", "Method Not Allowed\n"),
        (
            Ask::get("/v1//projects/../projects?x=1"),
            307,
            "location",
            "/v1/projects?x=1",
            "<a href=\"/v1/projects?x=1\">Temporary Redirect</a>.\n\n",
        ),
        (Ask::post("/v1/./projects"), 307, "location", "/v1/projects", ""),
    ] {
        let answer = server.ask(&ask);
        assert_eq!(
            (answer.status, answer.header(header)),
            (status, Some(value)),
            "{} {}",
            ask.method,
            ask.path
        );
        assert_eq!(answer.text(), body, "{} {}", ask.method, ask.path);
        assert_eq!(answer.header("x-request-id").map(str::len), Some(32));
    }
    let mut raw = Connection::open(server.address);
    raw.write(b"GET /healthz HTTP/1.1\r\n\r\n");
    assert_eq!(raw.answer(false).map(|a| a.status), Some(400), "a request without Host");
    let mut old = Connection::open(server.address);
    old.write(b"GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(old.answer(false).map(|a| a.status), Some(200), "HTTP/1.0 needs no Host");
}

#[test]
fn the_table_of_routes_says_which_methods_each_has() {
    let server = Server::start();
    for route in td_server::http::ROUTES {
        let path = route.path.replace("{id}", "p_0123456789abcdef").replace("{user}", "u_1");
        let mut methods: Vec<&str> = route.methods.split(", ").collect();
        methods.extend(methods.contains(&"GET").then_some("HEAD"));
        methods.sort_unstable();
        let answer = server.ask(&Ask::new("BREW", &path));
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some(methods.join(", ").as_str())),
            "{path}"
        );
    }
}

#[test]
fn head_has_the_headers_of_get_and_the_epoch_is_on_v1_only() {
    let server = Server::start();
    let (get, head) = (server.ask(&Ask::get("/version")), server.ask(&Ask::new("HEAD", "/version")));
    assert_eq!(get.header("content-length"), head.header("content-length"));
    assert!(head.body.is_empty() && get.header("x-td-epoch").is_none());
    let epoch = get.json()["epoch"].as_str().expect("epoch").to_string();
    let refused = server.ask(&Ask::get("/v1/projects"));
    assert_eq!((refused.status, refused.header("x-td-epoch")), (401, Some(epoch.as_str())));
    assert_eq!(get.json()["product"], "td-sync");
    assert_eq!(get.json()["schemas"], json!({"server": [6, 6], "events": [1, 1], "project": [38, 38]}));
}

#[test]
fn chunked_bodies_and_expectations_work() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let mut raw = Connection::open(server.address);
    raw.write(
        format!("POST /v1/projects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
            .as_bytes(),
    );
    assert_eq!(raw.answer(true).map(|a| a.status), Some(100));
    raw.write(b"8\r\n{\"name\":\r\n5\r\n\"C\"} \r\n0\r\n\r\n");
    let made = raw.answer(false).expect("an answer");
    assert_eq!((made.status, made.json()["slug"].clone()), (201, json!("c")));
}

#[test]
fn a_link_enrolls_one_device_once_and_joins_its_project() {
    let server = Server::with(&[("SYNC_BASE_URL", "https://sync.example/")]);
    let (owner, _) = server.key("ana");
    let project = server.project(&owner, "Garden");
    let made = server.admin(&[
        "enroll",
        "create",
        "--email",
        "Ben@Test.local",
        "--project",
        "garden",
        "--role",
        "writer",
    ]);
    let link = made["link"].as_str().expect("link");
    let (secret, fp) =
        link.strip_prefix("https://sync.example/connect#").and_then(|f| f.split_once('.')).expect("shape");
    assert_eq!((secret.len(), fp.len()), (26, 16));

    let ask = Ask::post("/v1/enroll").json(&json!({"secret": secret, "device_name": "td-cli@host"}));
    let done = server.ask(&ask);
    assert_eq!(done.status, 200, "{}", done.text());
    let body = done.json();
    let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("{name} in {body}")).to_string();
    assert_eq!((text("status").as_str(), text("email").as_str()), ("complete", "ben@test.local"));
    assert_eq!(text("project_id"), project);
    assert!(text("expires_at").ends_with('Z'));
    assert_eq!(done.header("cache-control"), Some("no-store"));
    let key = text("api_key");
    assert_eq!(server.ask(&push(&project, &[1]).key(&key)).json()["accepted"], 1);

    let again = server.ask(&ask);
    assert_eq!(
        (again.status, again.error().as_str()),
        (410, "already_used this enrolment link was used before")
    );
}

#[test]
fn a_link_that_is_too_old_is_gone_and_guessing_is_limited() {
    let server = Server::with(&[("SYNC_RATE_LIMIT_AUTH", "3")]);
    let made = server.admin(&["enroll", "create", "--ttl", "1s"]);
    assert_eq!(made["email"], "admin@localhost", "the first link of an empty server makes its first admin");
    let secret = made["link"]
        .as_str()
        .and_then(|l| l.split_once('#'))
        .and_then(|(_, f)| f.split_once('.'))
        .expect("link")
        .0;
    let ask = Ask::post("/v1/enroll").json(&json!({"secret": secret}));
    let expires = made["expires_at"].as_str().expect("time").to_string();
    let expires = td_engine::time::ClientTime::parse(&expires).expect("time").unix_nanos();
    wait_until("the link is too old", || {
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("clock").as_nanos();
        i128::try_from(now).expect("small") > expires + 1_000_000_000
    });
    assert_eq!(server.ask(&ask).error(), "expired this enrolment link has expired");
    assert_eq!(server.ask(&ask).status, 410);
    assert_eq!(server.ask(&ask).status, 410);
    let limited = server.ask(&ask);
    assert_eq!((limited.status, limited.error().as_str()), (429, "rate_limited rate limit exceeded"));
    assert!(
        limited
            .header("retry-after")
            .and_then(|s| s.parse::<u64>().ok())
            .is_some_and(|s| (1..=60).contains(&s))
    );
    // A client cannot choose its address where no proxy is trusted.
    assert_eq!(server.ask(&ask.clone().header("X-Forwarded-For", "9.9.9.9")).status, 429);
}

#[test]
fn what_is_not_served_below_the_doors_counts_too() {
    let server = Server::with(&[("SYNC_RATE_LIMIT_AUTH", "3")]);
    let statuses = [
        ("GET", "/auth/nothing"),
        ("GET", "/v1/auth/nothing"),
        ("PUT", "/v1/auth/web/start"),
        ("GET", "/auth/nothing"),
        ("PUT", "/v1/auth/web/start"),
        ("GET", "/authors"),
    ];
    let statuses = statuses.map(|(method, path)| server.ask(&Ask::new(method, path)).status);
    assert_eq!(statuses, [404, 404, 405, 429, 429, 404]);
}

#[test]
fn the_page_behind_a_link_says_what_to_do_and_runs_nothing() {
    let server = Server::start();
    let page = server.ask(&Ask::get("/connect"));
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains("td connect"));
    assert!(!page.text().contains("<script"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
}

#[test]
fn maintenance_holds_writes_and_lets_reads_through() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "P");
    assert_eq!(server.admin(&["maintenance", "on"]), json!({"maintenance": true}));
    let ready = server.ask(&Ask::get("/readyz"));
    assert_eq!((ready.status, ready.json()["reasons"][0]["id"].clone()), (503, json!("maintenance")));
    assert_eq!(server.ask(&Ask::get(&format!("/v1/projects/{project}/sync/pull")).key(&key)).status, 200);

    let mut held = Connection::open(server.address);
    held.write(&push(&project, &[1]).key(&key).bytes());
    let refused = server.ask(&push(&project, &[2]).key(&key));
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert_eq!(
        held.answer(false).map(|a| a.status),
        Some(503),
        "five seconds have passed for the first one too"
    );

    held.write(&push(&project, &[3]).key(&key).bytes());
    assert_eq!(server.admin(&["maintenance", "off"]), json!({"maintenance": false}));
    assert_eq!(held.answer(false).map(|a| a.status), Some(200), "a held write goes on");
    let status = server.ask(&Ask::get(&format!("/v1/projects/{project}/sync/status")).key(&key));
    assert_eq!(status.json()["event_count"], 1, "what was refused is not there");
    assert_eq!(server.ask(&Ask::get("/readyz")).status, 200);
}

#[test]
fn a_stop_answers_what_was_begun_and_a_restart_knows_everything() {
    let mut server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "P");
    server.admin(&["maintenance", "on"]);
    let mut held = Connection::open(server.address);
    held.write(&push(&project, &[1, 2]).key(&key).bytes());
    // The request is under way once its connection's bytes are taken; maintenance keeps it there.
    let mut idle = Connection::open(server.address);
    assert_eq!(idle.ask(&Ask::get("/healthz")).status, 200);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(held.answer(false).map(|a| a.status), Some(503), "answered, not cut off");
    assert_eq!(server.wait().code(), Some(0));
    assert!(!server.data().join("td-sync.sock").exists());

    server.run();
    assert_eq!(server.ask(&push(&project, &[1, 2]).key(&key)).json()["accepted"], 2);
    let keys = server.admin(&["keys", "list"]);
    assert!(keys[0]["last_used_at"].is_string(), "use was written down at the stop");
}

#[test]
fn a_stop_waits_for_nobody_who_has_asked_nothing() {
    let mut server = Server::start();
    let mut half = Connection::open(server.address);
    half.write(b"GET /healthz HT");
    let mut second = Connection::open(server.address);
    assert_eq!(second.ask(&Ask::get("/healthz")).status, 200);
    second.write(b"GET /healthz HTTP/1.1\r\nHos");
    let _silent = Connection::open(server.address);
    wait_until("every connection is served", || {
        server.ask(&Ask::get("/metrics")).text().contains("\ntd_sync_connections 4\n")
    });
    let begun = Instant::now();
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(!server.log().contains("some requests were still open"), "{}", server.log());
}

/// Notes `n0`, `n1`, …, each with this body.
fn push_notes(server: &Server, key: &str, project: &str, notes: usize, body: &str) {
    for n in 0..notes {
        let event = json!({"client_action_id": n, "action_type": "create", "entity_type": "notes",
            "entity_id": format!("n{n}"), "payload": {"new_data": {"id": format!("n{n}"), "body": body}},
            "client_timestamp": "2026-11-21T10:00:00Z"});
        let push = json!({"device_id": "dev", "session_id": "ses", "events": [event]});
        let ask = Ask::post(&format!("/v1/projects/{project}/sync/push")).key(key).json(&push);
        assert_eq!(server.ask(&ask).status, 200);
    }
}

#[test]
fn a_stop_waits_for_a_client_that_is_slow_to_take_its_answer() {
    let mut server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "P");
    push_notes(&server, &key, &project, 16, &"x".repeat(900 * 1024));
    // More than the system keeps for a connection.
    let mut slow = Connection::open(server.address);
    slow.write(&Ask::get(&format!("/v1/projects/{project}/sync/pull")).key(&key).bytes());
    wait_until("the answer was begun", || server.log().contains("/sync/pull"));
    let mut half = Connection::open(server.address);
    half.write(b"GET /healthz HT");
    wait_until("every connection is served", || {
        server.ask(&Ask::get("/metrics")).text().contains("\ntd_sync_connections 3\n")
    });
    server.signal(rustix::process::Signal::TERM);
    assert!(half.answer(false).is_none(), "whoever is owed nothing was closed");
    let page = slow.answer(false).expect("an answer");
    assert!(page.json()["events"].as_array().is_some_and(|events| events.len() > 7), "{}", page.body.len());
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_handed_over_socket_is_served_and_stays_open_over_a_restart() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let server = Server::start();
    // A second server on a directory of its own, given the socket as systemd would.
    let dir = tempfile::tempdir().expect("dir");
    let script =
        format!("exec 3<&{} ; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" serve", listener.as_raw_fd());
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).expect("inheritable");
    let start = || {
        std::process::Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_td-sync")])
            .env("SYNC_SERVER_DB_PATH", dir.path().join("server.db"))
            .env("SYNC_LOG_LEVEL", "error")
            .spawn()
            .expect("sh")
    };
    for _ in 0..2 {
        let mut child = start();
        // Nobody is refused, also before the process is up: the connection waits in the socket's queue.
        assert_eq!(support::wire::send(address, &Ask::get("/healthz")).status, 200);
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal");
        assert_eq!(child.wait().expect("ended").code(), Some(0));
    }
    drop(server);
}

#[test]
fn the_digest_is_of_the_head_and_changes_with_the_state() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "P");
    let digest = || server.ask(&Ask::get(&format!("/v1/projects/{project}/sync/digest")).key(&key)).json();
    let empty = digest();
    assert_eq!((empty["seq"].clone(), empty["format"].clone()), (json!(0), json!(1)));
    server.ask(&push(&project, &[1, 2]).key(&key));
    let two = digest();
    assert_eq!(two["seq"], 2);
    assert_ne!(two["digest"], empty["digest"]);
    assert_eq!(digest(), two);
}

#[test]
fn large_pages_are_streamed_and_end_early_with_more_to_come() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "P");
    let filler = "é".repeat(400 * 1024);
    push_notes(&server, &key, &project, 12, &filler);
    let (mut after, mut pages, mut seen) = (0, 0, Vec::new());
    let mut kept = Connection::open(server.address);
    loop {
        let page = kept
            .ask(&Ask::get(&format!("/v1/projects/{project}/sync/pull?after_server_seq={after}")).key(&key));
        assert_eq!(page.header("content-length"), None, "a large page is streamed");
        let page = page.json();
        pages += 1;
        for event in page["events"].as_array().expect("events") {
            assert_eq!(event["payload"]["new_data"]["body"], filler);
            seen.push(event["server_seq"].as_i64().expect("seq"));
        }
        after = page["last_server_seq"].as_i64().expect("seq");
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(seen, (1..=12).collect::<Vec<_>>());
    assert_eq!(pages, 2);
}

#[test]
fn a_page_that_is_exactly_full_says_whether_there_is_more() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "P");
    server.ask(&push(&project, &[1, 2, 3]).key(&key));
    let page = |query: &str| {
        let page =
            server.ask(&Ask::get(&format!("/v1/projects/{project}/sync/pull?{query}")).key(&key)).json();
        (
            page["events"].as_array().expect("events").len(),
            page["last_server_seq"].clone(),
            page["has_more"].clone(),
        )
    };
    assert_eq!(page("limit=2"), (2, json!(2), json!(true)));
    assert_eq!(
        page("limit=3"),
        (3, json!(3), json!(false)),
        "the reference would send the client around once more"
    );
    assert_eq!(page("limit=3&exclude_client=dev"), (0, json!(0), json!(false)));
    assert_eq!(page("limit=1&exclude_client=other"), (1, json!(1), json!(true)));
}

#[test]
fn a_client_that_hangs_up_in_the_middle_of_a_page_harms_nobody() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "P");
    for chunk in (1..=5000).collect::<Vec<i64>>().chunks(1000) {
        assert_eq!(server.ask(&push(&project, chunk).key(&key)).status, 200);
    }
    let ask = Ask::get(&format!("/v1/projects/{project}/sync/pull?limit=10000")).key(&key);
    for _ in 0..20 {
        let mut gone = Connection::open(server.address);
        gone.write(&ask.bytes());
    }
    assert_eq!(server.ask(&ask).json()["events"].as_array().map(Vec::len), Some(5000));
}
