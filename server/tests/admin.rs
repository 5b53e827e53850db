//! The admin routes beyond what was recorded: who may, pages, filters, browsers of other origins, metrics.

mod support;

use serde_json::{Value, json};
use support::Server;
use support::wire::{Answer, Ask};

const ALL: &str = "sync,admin:read:server,admin:read:projects,admin:read:events,admin:write:users";

/// A key of the admin `root` with these scopes.
fn root_key(server: &Server, scopes: &str) -> String {
    server.admin(&["create-user", "--email", "root@test.local"]);
    let made =
        server.admin(&["create-key", "--email", "root@test.local", "--name", "ops", "--scopes", scopes]);
    made["api_key"].as_str().expect("key").to_string()
}

/// A key and id of somebody who is no admin.
fn member(server: &Server, who: &str) -> (String, String) {
    let (key, id) = server.key(who);
    server.admin(&["revoke", "--email", &format!("{who}@test.local")]);
    (key, id)
}

fn get(server: &Server, key: &str, path: &str) -> Answer {
    server.ask(&Ask::get(path).key(key))
}

/// The `field` of every element over all pages.
fn pages(server: &Server, key: &str, path: &str, field: &str) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let body = get(server, key, &format!("{path}{cursor}")).json();
        let data = body["data"].as_array().expect("data");
        all.extend(data.iter().map(|d| d[field].as_str().map_or_else(|| d[field].to_string(), String::from)));
        match body["next_cursor"].as_str() {
            Some(next) if body["has_more"] == true => cursor = format!("&cursor={next}"),
            None if body["has_more"] == false => return all,
            _ => panic!("{body}"),
        }
    }
}

#[test]
fn every_route_wants_an_admin_and_its_scope() {
    let server = Server::start();
    let none = root_key(&server, "sync,admin:export");
    let (alice, id) = member(&server, "alice");
    let project = server.project(&alice, "P");
    let routes = [
        ("GET", "/v1/admin/server/overview".into(), "server"),
        ("GET", "/v1/admin/server/config".into(), "server"),
        ("GET", "/v1/admin/server/rate-limit-violations".into(), "server"),
        ("GET", "/v1/admin/users".into(), "server"),
        ("GET", format!("/v1/admin/users/{id}"), "server"),
        ("GET", format!("/v1/admin/users/{id}/keys"), "server"),
        ("GET", "/v1/admin/auth/events".into(), "server"),
        ("GET", "/v1/admin/projects".into(), "projects"),
        ("GET", format!("/v1/admin/projects/{project}"), "projects"),
        ("GET", format!("/v1/admin/projects/{project}/members"), "projects"),
        ("GET", format!("/v1/admin/projects/{project}/sync/status"), "projects"),
        ("GET", format!("/v1/admin/projects/{project}/sync/cursors"), "projects"),
        ("GET", format!("/v1/admin/projects/{project}/events"), "events"),
        ("GET", format!("/v1/admin/projects/{project}/events/1"), "events"),
        ("GET", "/v1/admin/entity-types".into(), "events"),
        ("DELETE", format!("/v1/admin/users/{id}/keys/ak_0"), ""),
    ];
    for (method, path, scope) in routes {
        let scope = if scope.is_empty() { "admin:write:users".into() } else { format!("admin:read:{scope}") };
        let refused = |answer: Answer| (answer.status, answer.error());
        let ask = Ask::new(method, &path);
        assert_eq!(
            refused(server.ask(&ask)),
            (401, "unauthorized missing authorization header".into()),
            "{path}"
        );
        assert_eq!(
            refused(server.ask(&ask.clone().key(&alice))),
            (403, "insufficient_admin_scope admin access required".into()),
            "{path}"
        );
        assert_eq!(
            refused(server.ask(&ask.clone().key(&none))),
            (403, format!("insufficient_admin_scope missing required scope: {scope}")),
            "{path}"
        );
        let good = root_key(&server, &scope);
        let answer = server.ask(&ask.key(&good));
        assert!([200, 404].contains(&answer.status), "{path}: {}", answer.text());
    }
    assert_eq!(get(&server, &alice, "/v1/projects").status, 200, "the key that was not there is still good");
}

#[test]
fn a_view_as_key_reads_no_admin_route() {
    let server = Server::start();
    let key = root_key(&server, "impersonation:read,admin:read:server");
    let answer = get(&server, &key, "/v1/admin/users");
    let said = "forbidden impersonation key is limited to /v1/projects read access";
    assert_eq!((answer.status, answer.error().as_str()), (403, said));
}

#[test]
fn pages_show_every_row_once() {
    let server = Server::start();
    let root = root_key(&server, ALL);
    let mut ids: Vec<String> = (0..7)
        .map(|n| server.admin(&["create-user", "--email", &format!("u{n}@page.local")]))
        .map(|user| user["id"].as_str().expect("id").to_string())
        .collect();
    ids.sort();
    for limit in [1, 2, 7, 8] {
        let seen = pages(&server, &root, &format!("/v1/admin/users?q=PAGE.local&limit={limit}"), "id");
        assert_eq!(seen, ids, "in pages of {limit}");
    }
    let projects: Vec<String> = (0..3).map(|n| server.project(&root, &format!("Garden {n}"))).collect();
    assert_eq!(pages(&server, &root, "/v1/admin/projects?limit=2", "id").len(), 3);
    assert_eq!(pages(&server, &root, "/v1/admin/projects?q=garden_1&limit=2", "id"), [projects[1].as_str()]);
    let gone = Ask::new("DELETE", &format!("/v1/projects/{}", projects[0]));
    assert_eq!(server.ask(&gone.key(&root)).status, 204);
    assert_eq!(pages(&server, &root, "/v1/admin/projects?limit=2", "id").len(), 2);
    assert_eq!(pages(&server, &root, "/v1/admin/projects?limit=2&include_deleted=true", "id").len(), 3);
    let gone = get(&server, &root, &format!("/v1/admin/projects/{}", projects[0])).json();
    assert!(gone["deleted_at"].is_string(), "{gone}");
}

#[test]
fn moments_are_compared_as_moments_whatever_their_spelling() {
    let server = Server::start();
    let root = root_key(&server, ALL);
    let project = server.project(&root, "P");
    assert_eq!(server.ask(&support::push(&project, &[1]).key(&root)).status, 200);
    let events = format!("/v1/admin/projects/{project}/events");
    let at = get(&server, &root, &format!("{events}/1")).json()["server_timestamp"].clone();
    let at = at.as_str().and_then(|t| t.strip_suffix('Z')).expect("UTC").to_string();
    let (date, time) = at.split_once('T').expect("a date");
    let count = |query: String| {
        let answer = get(&server, &root, &format!("{events}?{query}"));
        answer.json()["data"].as_array().map(Vec::len).unwrap_or_else(|| panic!("{}", answer.text()))
    };
    for spelling in [format!("{at}Z"), format!("{date}%20{time}"), format!("{at}.000%2B00:00")] {
        assert_eq!(count(format!("from={spelling}&to={spelling}")), 1, "{spelling}");
    }
    assert_eq!(count(format!("from={at}.5Z")), 0, "it came half a second before");
    assert_eq!(count(format!("to={at}.5Z")), 1);
    assert_eq!(count(format!("from={date}")), 1);
    assert_eq!(count(format!("to={date}")), 0, "a date is its midnight");
    // The same text, another moment: an hour later in that zone's time is the same moment there.
    assert_eq!(count(format!("from={at}-01:00")), 0);
    assert_eq!(count(format!("to={at}%2B01:00")), 0);
}

#[test]
fn a_log_is_found_by_what_its_events_are() {
    let server = Server::start();
    let root = root_key(&server, ALL);
    let project = server.project(&root, "P");
    assert_eq!(server.ask(&support::push(&project, &[1, 2, 3]).key(&root)).status, 200);
    let find = |query: &str| {
        let body = get(&server, &root, &format!("/v1/admin/projects/{project}/events?{query}")).json();
        let seqs: Vec<i64> = body["data"]
            .as_array()
            .expect("data")
            .iter()
            .map(|e| e["server_seq"].as_i64().expect("seq"))
            .collect();
        (seqs, body["has_more"] == true)
    };
    assert_eq!(find(""), (vec![1, 2, 3], false));
    assert_eq!(find("limit=2"), (vec![1, 2], true));
    assert_eq!(find("limit=2&after_seq=2"), (vec![3], false));
    assert_eq!(find("limit=x&after_seq=x"), (vec![1, 2, 3], false), "bad values are ignored");
    assert_eq!(find("entity_type=Issue&entity_id=td-000002"), (vec![2], false));
    assert_eq!(find("device_id=dev&session_id=ses&action_type=create&after_seq=1"), (vec![2, 3], false));
    for none in ["device_id=x", "session_id=x", "action_type=update", "entity_id=x", "entity_type=notes"] {
        assert_eq!(find(none), (vec![], false), "{none}");
    }
}

#[test]
fn a_key_is_taken_away_only_in_its_owners_name_and_that_is_noted() {
    let server = Server::start();
    let root = root_key(&server, ALL);
    let ((alice, alice_id), (_, bob_id)) = (member(&server, "alice"), member(&server, "bob"));
    let keys = get(&server, &root, &format!("/v1/admin/users/{alice_id}/keys")).json();
    let key = keys["data"][0]["id"].as_str().expect("key").to_string();
    let revoke = |user: &str| {
        server.ask(&Ask::new("DELETE", &format!("/v1/admin/users/{user}/keys/{key}")).key(&root))
    };
    assert_eq!(revoke(&bob_id).error(), "not_found key not found");
    assert_eq!(revoke("u_0000000000000000").error(), "not_found user not found");
    assert_eq!(get(&server, &alice, "/v1/projects").status, 200);
    assert_eq!(revoke(&alice_id).status, 204);
    assert_eq!(get(&server, &alice, "/v1/projects").status, 401);
    let events = get(&server, &root, "/v1/admin/auth/events?status=key_revoked&email=ALICE").json();
    let noted = &events["data"][0];
    assert_eq!(
        (noted["email"].as_str(), events["has_more"].clone()),
        (Some("alice@test.local"), json!(false))
    );
    let metadata: Value = serde_json::from_str(noted["metadata"].as_str().expect("text")).expect("json");
    assert_eq!(metadata["key_id"], json!(key));
    assert!(metadata["admin_user_id"].as_str().is_some_and(|id| id.starts_with("u_")));
}

#[test]
fn what_cannot_be_asked_is_refused_by_name() {
    let server = Server::start();
    let root = root_key(&server, ALL);
    let project = server.project(&root, "P");
    for (path, status, error) in [
        ("users?cursor=@@@", 500, "internal failed to list users"),
        ("projects?cursor=e30=", 500, "internal failed to list projects"),
        ("auth/events?cursor=x", 500, "internal failed to query auth events"),
        ("auth/events?from=yesterday", 400, "bad_request invalid from"),
        ("server/rate-limit-violations?to=1", 400, "bad_request invalid to"),
        ("users/nobody", 404, "not_found user not found"),
        ("users/nobody/keys", 404, "not_found user not found"),
        ("projects/..%2F..%2Fetc", 404, "not_found project not found"),
        ("projects/p_0000000000000000/members", 404, "not_found project not found"),
        ("projects/p_0000000000000000/sync/status", 404, "not_found project not found"),
        ("projects/p_0000000000000000/sync/cursors", 404, "not_found project not found"),
        ("projects/p_0000000000000000/events", 404, "not_found project not found"),
        ("projects/p_0000000000000000/events/x", 400, "bad_request invalid server_seq"),
        (&format!("projects/{project}/events/1"), 404, "not_found event not found"),
        (&format!("projects/{project}/events?entity_type=zz"), 400, "bad_request invalid entity_type: zz"),
        (&format!("projects/{project}/events?from=x"), 400, "bad_request invalid from"),
    ] {
        let answer = get(&server, &root, &format!("/v1/admin/{path}"));
        assert_eq!((answer.status, answer.error().as_str()), (status, error), "{path}");
    }
}

#[test]
fn another_origin_may_call_the_admin_routes_only_if_it_is_listed() {
    let server = Server::with(&[("SYNC_CORS_ALLOWED_ORIGINS", "https://admin.example, https://b.example")]);
    let root = root_key(&server, ALL);
    const ALLOWED: &str = "access-control-allow-origin";
    let from =
        |method: &str, path: &str, origin: &str| server.ask(&Ask::new(method, path).header("Origin", origin));
    for (path, status) in [
        ("/v1/admin/users", 401),
        ("/v1/admin/nowhere", 404),
        ("/v1/admin/", 404),
        ("/v1/admin/entity-types", 401),
    ] {
        let answer = from("GET", path, "https://b.example");
        assert_eq!((answer.status, answer.header(ALLOWED)), (status, Some("https://b.example")), "{path}");
        let early = from("OPTIONS", path, "https://admin.example");
        assert_eq!(
            (early.status, early.header(ALLOWED), early.body.len()),
            (204, Some("https://admin.example"), 0)
        );
        assert_eq!(early.header("access-control-allow-headers"), Some("Authorization, Content-Type"));
        assert_eq!(
            early.header("access-control-allow-methods"),
            Some("GET, POST, PATCH, PUT, DELETE, OPTIONS")
        );
    }
    let stranger = from("GET", "/v1/admin/users", "https://evil.example");
    assert_eq!(
        (stranger.status, stranger.header(ALLOWED), stranger.header("vary")),
        (401, None, Some("Origin"))
    );
    assert_eq!(server.ask(&Ask::get("/v1/admin/users")).header("vary"), Some("Origin"), "no origin at all");
    let stranger = from("OPTIONS", "/v1/admin/users", "https://evil.example");
    assert_eq!((stranger.status, stranger.header("allow")), (405, Some("GET, HEAD")));
    let elsewhere = from("GET", "/v1/projects", "https://b.example");
    assert_eq!((elsewhere.header(ALLOWED), elsewhere.header("vary")), (None, None), "admin routes only");
    let moved = from("OPTIONS", "/v1/admin", "https://b.example");
    assert_eq!(
        (moved.status, moved.header("location"), moved.header(ALLOWED)),
        (307, Some("/v1/admin/"), None)
    );
    let wrong = server.ask(&Ask::post("/v1/admin/users").key(&root).header("Origin", "https://b.example"));
    assert_eq!((wrong.status, wrong.header(ALLOWED)), (405, Some("https://b.example")));

    let open = Server::with(&[("SYNC_CORS_ALLOWED_ORIGINS", "*")]);
    let any = open.ask(&Ask::get("/v1/admin/users").header("Origin", "https://any.example"));
    assert_eq!(any.header(ALLOWED), Some("https://any.example"));
}

#[test]
fn metrics_are_for_this_machine_and_for_admins() {
    let server = Server::start();
    let (root, (alice, _)) = (root_key(&server, ALL), member(&server, "alice"));
    for path in ["/metricz", "/metrics"] {
        assert_eq!(server.ask(&Ask::get(path)).status, 200, "{path}");
        for (header, value) in [
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Forwarded-For", "8.8.8.8"),
            ("Forwarded", "for=127.0.0.1"),
            ("X-Real-IP", "127.0.0.1"),
            ("Via", "1.1 proxy"),
        ] {
            let proxied = Ask::get(path).header(header, value);
            assert_eq!(server.ask(&proxied).status, 401, "{path} {header}: {value}");
            assert_eq!(server.ask(&proxied.clone().key(&alice)).status, 403, "{path} {header}: {value}");
            assert_eq!(server.ask(&proxied.key(&root)).status, 200, "{path} {header}: {value}");
        }
    }
    let server = Server::with(&[("SYNC_TRUSTED_PROXIES", "127.0.0.1")]);
    for (hops, status) in
        [("127.0.0.1", 200), ("8.8.8.8", 401), ("127.0.0.1, 8.8.8.8", 401), ("unknown", 401), ("", 401)]
    {
        let answer = server.ask(&Ask::get("/metricz").header("X-Forwarded-For", hops));
        assert_eq!(answer.status, status, "{hops:?}");
    }
    assert_eq!(server.ask(&Ask::get("/metricz").header("Via", "1.1 proxy")).status, 401);
}

#[test]
fn the_numbers_follow_what_happens() {
    let server = Server::start();
    let root = root_key(&server, ALL);
    let project = server.project(&root, "P");
    assert_eq!(server.ask(&support::push(&project, &[1, 2]).key(&root)).status, 200);
    assert_eq!(server.ask(&support::push(&project, &[1, 2]).key(&root)).status, 200);
    assert_eq!(get(&server, &root, &format!("/v1/projects/{project}/sync/pull")).status, 200);
    assert_eq!(get(&server, &root, &format!("/v1/projects/{project}/sync/pull?limit=x")).status, 400);
    assert_eq!(get(&server, "nobody", &format!("/v1/projects/{project}/sync/pull")).status, 401);
    let summary = server.ask(&Ask::get("/metricz")).json();
    assert_eq!(
        (&summary["push_events_accepted"], &summary["pull_requests"], &summary["client_errors"]),
        (&json!(2), &json!(2), &json!(2)),
        "{summary}"
    );
    let text = server.ask(&Ask::get("/metrics")).text();
    for line in [
        "td_sync_requests_total{class=\"push\",status=\"200\"} 2",
        "td_sync_requests_total{class=\"pull\",status=\"401\"} 1",
        "td_sync_request_duration_seconds_count{class=\"pull\"} 3",
        "td_sync_committed_pushes_total 2",
        "td_sync_committed_events_total 2",
        "td_sync_commit_pushes_sum 2",
        "td_sync_queued_pushes 0",
        "td_sync_open_projects 1",
        "td_sync_maintenance 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    assert!(text.contains("process_resident_memory_bytes "), "{text}");
    let types: Vec<&str> =
        text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let known = ["", "_bucket", "_sum", "_count"]
            .iter()
            .any(|s| name.strip_suffix(s).is_some_and(|n| types.contains(&n)));
        assert!(known, "a line without its family: {line}");
    }
}

#[test]
fn a_refused_call_is_listed_at_once_with_key_and_address() {
    let server = Server::with(&[("SYNC_RATE_LIMIT_PUSH", "1")]);
    let root = root_key(&server, ALL);
    let project = server.project(&root, "P");
    let statuses = [1, 2].map(|n| server.ask(&support::push(&project, &[n]).key(&root)).status);
    assert_eq!(statuses, [200, 429]);
    let listed = get(&server, &root, "/v1/admin/server/rate-limit-violations?ip=127.0.0.1").json();
    let one = &listed["data"][0];
    assert_eq!((&one["EndpointClass"], &one["IP"]), (&json!("push"), &json!("127.0.0.1")), "{listed}");
    let key = one["KeyID"].as_str().expect("a key");
    let count = |query: String| {
        let path = format!("/v1/admin/server/rate-limit-violations?{query}");
        get(&server, &root, &path).json()["data"].as_array().expect("data").len()
    };
    assert_eq!(
        (count(format!("key_id={key}")), count("key_id=ak_0".into()), count("ip=10.0.0.1".into())),
        (1, 0, 0)
    );
    assert_eq!(count(format!("to={}", "2020-01-01")), 0);
}
