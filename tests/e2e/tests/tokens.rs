//! An agent gets a token, works with it, and loses it; its person keeps everything.

use serde_json::Value;
use std::process::Stdio;
use td_e2e::device::Device;
use td_e2e::server::Server;

#[test]
fn an_agent_works_with_a_token_until_it_is_revoked() {
    let dir = tempfile::tempdir().expect("temp");
    let server = Server::start(&dir.path().join("data"));
    server.admin(&["create-user", "--email", "ana@example.org"]);
    let (ana, robot) = (Device::new(&dir.path().join("ana")), Device::new(&dir.path().join("robot")));
    let link = server.admin(&["enroll", "create", "--email", "ana@example.org"]);
    ana.td(&["init"]);
    ana.td(&["connect", link["link"].as_str().expect("a link")]);
    ana.td(&["sync-project", "create", "garden"]);
    ana.td(&["create", "Something for the robot to do"]);
    ana.td(&["sync"]);

    // The agent asks and waits; a person types the code it shows.
    let mut asking = robot.command(&["auth", "token", "request", "--name", "weeding robot", "--json"]);
    asking.env("TD_SYNC_URL", server.url()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut asking = asking.spawn().expect("td runs");
    let mut said = std::io::BufReader::new(asking.stderr.take().expect("piped"));
    let code = loop {
        let mut line = String::new();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).expect("a line") > 0, "it ended early");
        if let Some(rest) = line.split(" approve ").nth(1) {
            break rest.split_whitespace().next().expect("a code").to_string();
        }
    };
    let terms = ["--project", "garden", "--role", "writer", "--expires", "7d", "--max-events", "2"];
    let approved = ana.json(&[&["auth", "token", "approve", &code], &terms[..]].concat());
    assert_eq!(approved["terms"]["max_events"], 2);
    let out = asking.wait_with_output().expect("td ends");
    let token: Value = serde_json::from_slice(&out.stdout).expect("json");
    let key = token["api_key"].as_str().expect("a key").to_string();

    let td = |words: &[&str]| {
        let mut command = robot.command(words);
        command.env("TD_SYNC_URL", server.url()).env("TD_AUTH_KEY", &key).output().expect("td runs")
    };
    for words in [
        &["init"][..],
        &["sync-project", "join", "garden"],
        &["sync"],
        &["create", "Found a molehill"],
        &["sync"],
    ] {
        let out = td(words);
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
    ana.td(&["sync"]);
    assert_eq!(ana.json(&["list"]).as_array().map(Vec::len), Some(2));
    let listed = ana.json(&["auth", "token", "list"]);
    let tokens: Vec<&Value> =
        listed.as_array().expect("a list").iter().filter(|k| k["kind"] == "agent").collect();
    assert_eq!((tokens.len(), &tokens[0]["used_events"]), (1, &Value::from(1)));
    let id = tokens[0]["id"].as_str().expect("id");
    ana.td(&["auth", "token", "revoke", id]);
    let refused = td(&["sync"]);
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
    assert_eq!(ana.run(&["auth", "token", "revoke", id]).status.code(), Some(1), "it is gone");
    ana.td(&["sync"]);
}
