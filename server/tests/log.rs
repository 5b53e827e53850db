//! The log: what every line says, and what no line may say.

mod support;

use serde_json::{Value, json};
use support::wire::Ask;
use support::{Server, wait_until};

/// The lines about the request that this answer belongs to.
fn lines(server: &Server, rid: &str) -> Vec<Value> {
    let about = |log: &str| -> Vec<Value> {
        let entries = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}")));
        entries.filter(|entry| entry["rid"] == rid).collect()
    };
    wait_until("the request is logged", || about(&server.log()).iter().any(|entry| entry["msg"] == "req"));
    about(&server.log())
}

#[test]
fn every_line_about_a_request_says_which_whose_and_where() {
    let server = Server::with(&[("SYNC_LOG_LEVEL", "debug")]);
    let (key, user) = server.key("ana");
    let project = server.project(&key, "P");
    assert_eq!(server.ask(&support::push(&project, &[1]).key(&key)).status, 200);
    let answer =
        server.ask(&Ask::get(&format!("/v1/projects/{project}/sync/pull?after_server_seq=0")).key(&key));
    let rid = answer.header("x-request-id").expect("an id");
    // The page is still being sent when the request is logged.
    wait_until("both lines are there", || lines(&server, rid).len() == 2);
    let mut lines = lines(&server, rid);
    lines.sort_by_key(|line| line["msg"].to_string());
    assert_eq!(lines.iter().map(|l| l["msg"].as_str().expect("msg")).collect::<Vec<_>>(), ["pulled", "req"]);
    for line in &lines {
        assert_eq!((line["uid"].as_str(), line["pid"].as_str()), (Some(&*user), Some(&*project)), "{line}");
        assert!(line["time"].as_str().is_some_and(|t| t.ends_with('Z')), "{line}");
    }
    let req = &lines[1];
    assert_eq!(
        (&req["level"], &req["method"], &req["status"], &req["path"]),
        (&json!("INFO"), &json!("GET"), &json!(200), &json!(format!("/v1/projects/{project}/sync/pull")))
    );
    assert!(req["dur"].as_str().is_some_and(|d| d.ends_with('s')), "{req}");
}

#[test]
fn a_line_names_nobody_whose_key_was_not_checked_and_no_project_they_are_not_in() {
    let server = Server::start();
    let ((ana, _), (ben, ben_id)) = (server.key("ana"), server.key("ben"));
    let project = server.project(&ana, "P");
    for (key, uid) in [("td_live_unknown", Value::Null), (&*ben, json!(ben_id))] {
        let answer = server.ask(&Ask::get(&format!("/v1/projects/{project}/sync/status")).key(key));
        let lines = lines(&server, answer.header("x-request-id").expect("an id"));
        assert_eq!((&lines[0]["uid"], &lines[0]["pid"]), (&uid, &Value::Null), "{lines:?}");
    }
    let long = server.ask(&Ask::get(&format!("/{}", "x".repeat(5000))));
    let lines = lines(&server, long.header("x-request-id").expect("an id"));
    assert!(
        lines[0]["path"].as_str().is_some_and(|p| p.len() <= 500),
        "a stranger chooses how long lines are"
    );
}

#[test]
fn no_secret_no_query_and_no_payload_is_ever_logged() {
    let server = Server::with(&[("SYNC_LOG_LEVEL", "debug")]);
    let mut secrets: Vec<String> = Vec::new();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "P");
    let p = |rest: &str| format!("/v1/projects/{project}{rest}");
    secrets.push(key.clone());

    let link = server.admin(&["enroll", "create", "--email", "ben@test.local"]);
    let link = link["link"].as_str().expect("link");
    let secret = link.split_once('#').and_then(|(_, f)| f.split_once('.')).expect("a secret").0.to_string();
    let enrolled = server.ask(&Ask::post("/v1/enroll").json(&json!({"secret": secret, "device_name": "d"})));
    secrets.push(enrolled.json()["api_key"].as_str().expect("key").to_string());
    secrets.push(secret.clone());
    for again in [secret, "enrolmentsecretthatisnone".into()] {
        server.ask(&Ask::post("/v1/enroll").json(&json!({"secret": again})));
        secrets.push(again);
    }

    let payload = "payload-text-that-stays-inside";
    let mut push = support::push(&project, &[1, 2]).key(&key);
    push.body = push.body.map(|b| String::from_utf8_lossy(&b).replace("issue 1", payload).into_bytes());
    assert_eq!(server.ask(&push).status, 200);
    let broken = push.clone().body(format!("{{\"device_id\":\"{payload}\",\"session_id\":7}}"));
    assert_eq!(server.ask(&broken).status, 400);
    secrets.push(payload.into());

    let query = "query-text-that-stays-inside";
    secrets.push(query.into());
    server
        .ask(&Ask::get(&p(&format!("/sync/pull?exclude_client={query}&after_server_seq={query}"))).key(&key));
    server.ask(&Ask::get(&p(&format!("/sync/pull?exclude_client={query}"))).key(&key));
    server.ask(&Ask::get(&format!("/v1/admin/users?q={query}")).key(&key));
    server.ask(&Ask::get(&format!("//v1//projects?token={query}")));
    let bad = "td_live_aKeyThatNobodyHasAndNobodyShouldRead";
    secrets.push(bad.into());
    server.ask(&Ask::get("/v1/projects").key(bad));
    server.ask(&Ask::get("/v1/projects").header("Authorization", &format!("Basic {bad}")));
    server.ask(&Ask::get("/v1/projects").header("Cookie", bad).header("X-Forwarded-For", bad));
    server.ask(&Ask::new("DELETE", &p("")).key(&key));
    server.ask(&Ask::new("DELETE", &p("")).key(&key));

    let last = server.ask(&Ask::get("/healthz"));
    lines(&server, last.header("x-request-id").expect("an id"));
    let log = server.log();
    assert!(log.contains("\"level\":\"DEBUG\"") && log.contains("deleted before"), "{log}");
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} stands in the log:\n{log}");
    }
}
