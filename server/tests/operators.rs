//! What an operator does: accounts, keys, copies, the doctor; with a running server and without.

mod support;

use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use support::Server;
use support::wire::{Ask, Connection};

#[test]
fn a_revoked_key_is_refused_at_the_next_request() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let mut kept = Connection::open(server.address);
    assert_eq!(kept.ask(&Ask::get("/v1/projects").key(&key)).status, 200);
    let keys = server.admin(&["keys", "list"]);
    assert!(keys[0]["last_used_at"].is_string(), "use that is not written down yet is seen: {keys}");
    server.admin(&["keys", "revoke", keys[0]["id"].as_str().expect("id")]);
    assert_eq!(kept.ask(&Ask::get("/v1/projects").key(&key)).status, 401);
}

/// The folder may be one that somebody else made, and anybody can look into.
#[test]
fn what_a_server_makes_is_for_nobody_else() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "P");
    assert_eq!(server.ask(&support::push(&project, &[1]).key(&key)).status, 200);
    let log = server.data().join("projects").join(&project).join("events.db");
    for path in [server.db(), server.data().join("projects"), log] {
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
}

#[test]
fn two_servers_on_one_directory_are_refused_and_admin_reaches_the_one_that_runs() {
    let server = Server::start();
    let second = server.command(&["serve"]).output().expect("run");
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1));
    assert!(said.contains("is in use by process"), "{said}");
    let user = server.admin(&["create-user", "--email", "a@test.local"]);
    assert_eq!((user["created"].clone(), user["is_admin"].clone()), (json!(true), json!(true)));
    let db = server.db();
    let out =
        server.admin_raw(&["create-user", "--email", "a@test.local", "--db", db.to_str().expect("path")]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.starts_with("user already exists: a@test.local (u_"), "{said}");
    // Another file beside it is none of the server's, and nothing that could be written to now.
    let other = server.data().join("other.db");
    let mut command = server.command(&["admin", "--json", "create-user", "--email", "b@test.local", "--db"]);
    let out = command.arg(&other).output().expect("run");
    let error: serde_json::Value = serde_json::from_slice(&out.stdout).expect("json");
    assert_eq!((out.status.code(), &error["error"]["code"]), (Some(1), &json!("another_database")));
    assert!(!other.exists());
    assert_eq!(server.admin(&["users", "list"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn flags_are_read_as_the_reference_reads_them() {
    let server = Server::start();
    let said = |words: &[&str]| {
        let out = server.command(&["admin"]).args(words).output().expect("run");
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
    };
    let made = said(&["create-user", "-email", "a@test.local", "-json"]);
    assert!(made.starts_with('{'), "{made}");
    let key = said(&["create-key", "-email=a@test.local", "--name", "-email", "--scopes", ""]);
    assert!(key.contains("error"), "a flag is no name: {key}");
    let key = said(&["create-key", "-email=a@test.local", "-name", "ops", "--scopes", ""]);
    assert!(key.contains("\n  scopes: sync\n"), "{key}");
}

#[test]
fn admin_works_without_a_server_and_refuses_by_name() {
    let mut server = Server::start();
    server.kill();
    let nowhere = server.data().join("nowhere");
    let db = nowhere.join("server.db");
    let out = server.command(&["admin", "--db"]).arg(&db).args(["projects", "list"]).output().expect("run");
    assert_eq!(out.status.code(), Some(1));
    let why = String::from_utf8_lossy(&out.stderr);
    assert!(why.starts_with("error: there is no data directory at ") && !nowhere.exists(), "{why}");
    let said = |words: &[&str]| {
        let out = server.admin_raw(words);
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
    };
    assert!(said(&["create-user", "--email", "a@test.local"]).starts_with("created user a@test.local (u_"));
    assert_eq!(said(&["grant", "--email", "a@test.local"]), "granted admin to a@test.local\n");
    let key = said(&["create-key", "--email", "a@test.local", "--name", "ops"]);
    assert!(key.contains("\n  key:    td_live_") && key.ends_with("it will not be shown again.\n"), "{key}");
    for (words, error) in [
        (&["grant", "--email", "x@test.local"][..], "user not found: x@test.local"),
        (&["revoke", "--email", "a@test.local"], "cannot revoke last admin"),
        (
            &["create-key", "--email", "a@test.local", "--name", "x", "--scopes", "root"],
            "invalid scope: \"root\"",
        ),
        (&["keys", "revoke", "ak_0"], "key not found: ak_0"),
        (&["create-user", "--email", "nobody"], "not an address: \"nobody\" (as ana@example.org)"),
        (&["enroll", "create", "--role", "owner"], "--role says nothing without --project"),
        (&["enroll", "create", "--project", "none"], "no such project: none"),
        (&["maintenance", "on"], "the server is not running, so there is nothing to hold"),
    ] {
        let out = server.admin_raw(words);
        assert_eq!(out.status.code(), Some(1), "{words:?}");
        assert!(
            String::from_utf8_lossy(&out.stderr).starts_with(&format!("error: {error}")),
            "{words:?}: {}",
            said(words)
        );
    }
    assert_eq!(server.admin_raw(&["create-user"]).status.code(), Some(2));
}

#[test]
fn a_folder_with_a_long_name_is_reached_all_the_same() {
    let mut server = Server::start();
    server.kill();
    let deep = server.dir.path().join("x".repeat(120)).join("server.db");
    let deep = deep.to_str().expect("path");
    let server = Server::with(&[("SYNC_SERVER_DB_PATH", deep)]);
    assert_eq!(server.admin(&["maintenance", "status"]), json!({"maintenance": false}));
}

#[test]
fn an_export_is_opened_again_and_damage_to_it_is_found() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "P");
    assert_eq!(server.ask(&support::push(&project, &[1, 2, 2]).key(&key)).status, 200);
    let to = server.dir.path().join("copy");
    let out = server.command(&["backup", "export", "--json", "--to"]).arg(&to).output().expect("run");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let made: Value = serde_json::from_slice(&out.stdout).expect("json");
    let events = &made["manifest"]["databases"][1];
    assert_eq!(
        (events["name"].clone(), events["count"].clone()),
        (json!(format!("projects/{project}/events.db")), json!(2))
    );
    assert_eq!(events["head"], 3, "the number that a duplicate took counts");
    let check = || server.command(&["backup", "check", "--json"]).arg(&to).output().expect("run");
    let checked: Value = serde_json::from_slice(&check().stdout).expect("json");
    assert_eq!(
        (checked["ok"].clone(), checked["events"].clone(), checked["databases"].clone()),
        (json!(true), json!(2), json!(2))
    );
    let copy = to.join("server.db");
    let mut bytes = std::fs::read(&copy).expect("copy");
    bytes[5000] ^= 1;
    std::fs::write(&copy, bytes).expect("damage");
    let damaged = check();
    assert_eq!(damaged.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&damaged.stdout).contains("backup_damaged"));
}

#[test]
fn the_doctor_tells_a_running_server_from_a_stopped_one() {
    let mut server = Server::start();
    let look = |server: &Server| -> (Option<i32>, Value) {
        let out = server.command(&["doctor", "--json"]).output().expect("run");
        (out.status.code(), serde_json::from_slice(&out.stdout).expect("json"))
    };
    let state = |report: &Value, id: &str| {
        let checks = report["checks"].as_array().expect("checks");
        checks.iter().find(|c| c["id"] == id).unwrap_or_else(|| panic!("{id} in {report}"))["state"].clone()
    };
    let (code, report) = look(&server);
    assert_eq!(
        (code, state(&report, "server.lock"), state(&report, "server.apply")),
        (Some(0), json!("ok"), json!("ok"))
    );
    server.kill();
    let (code, report) = look(&server);
    assert_eq!(
        (code, state(&report, "server.lock"), state(&report, "server.apply")),
        (Some(0), json!("warn"), json!("skip"))
    );
    std::fs::write(server.data().join("epoch"), "x").expect("damage");
    assert_eq!(look(&server).0, Some(9));
    let bad = server.command(&["doctor", "--json"]).env("SYNC_NOPE", "1").output().expect("run");
    assert_eq!(bad.status.code(), Some(9));
    assert!(String::from_utf8_lossy(&bad.stdout).contains("SYNC_NOPE"));
}

#[test]
fn wrong_settings_stop_the_start_and_are_named() {
    let server = Server::start();
    for (name, value) in [("SYNC_LISTEN_ADR", ":1"), ("SYNC_SHUTDOWN_TIMEOUT", "soon")] {
        let out = server.command(&["serve"]).env(name, value).output().expect("run");
        assert_eq!(out.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&out.stderr).contains(name));
    }
}

#[test]
fn a_lost_device_is_found_by_its_last_use_and_ended_alone_or_with_all_others() {
    let server = Server::start();
    let (ana, _) = server.key("ana");
    let (ben, _) = server.key("ben");
    let project = server.project(&ana, "Garden");
    let link = server.admin(&["enroll", "create", "--email", "ana@test.local"]);
    let secret = link["link"].as_str().expect("link").split('#').nth(1).expect("secret");
    let secret = secret.split('.').next().expect("secret");
    let laptop = Ask::post("/v1/enroll").json(&json!({"secret": secret, "device_name": "laptop"}));
    let laptop = server.ask(&laptop).json()["api_key"].as_str().expect("key").to_string();
    let terms = json!({"name": "robot", "grants": [{"project": project, "role": "reader"}]});
    let robot = server.ask(&Ask::post("/v1/keys").key(&ana).json(&terms)).json();
    let robot = robot["api_key"].as_str().expect("key").to_string();
    let signs_in = |key: &str| server.ask(&Ask::get("/v1/projects").key(key)).status == 200;
    assert!([&ana, &ben, &laptop, &robot].iter().all(|key| signs_in(key)));

    let hers = server.admin(&["devices", "list", "--email", "ana@test.local"]);
    let seen: Vec<(&str, &str)> = hers
        .as_array()
        .expect("a list")
        .iter()
        .map(|d| (d["kind"].as_str().expect("kind"), d["name"].as_str().expect("name")))
        .collect();
    assert_eq!(seen, [("device", "test"), ("device", "laptop"), ("agent", "robot")]);
    assert!(hers.as_array().expect("a list").iter().all(|d| !d["last_used_at"].is_null()), "{hers}");
    assert_eq!(server.admin(&["devices", "list"]).as_array().map(Vec::len), Some(4));

    server.project(&ana, "Shed");
    server.admin(&["projects", "delete", "Shed"]);
    let login = json!({"email": "ana@test.local", "device_name": "desk", "code_challenge": "0".repeat(43),
        "code_challenge_method": "S256"});
    let login = server.ask(&Ask::post("/v1/auth/device/start").json(&login));
    assert_eq!(login.status, 200, "{}", login.text());
    for list in [
        &["devices", "list"][..],
        &["logins", "list"],
        &["projects", "list", "--deleted"],
        &["enroll", "list"],
        &["users", "list"],
        &["keys", "list", "--email", "ana@test.local"],
    ] {
        let text = String::from_utf8(server.admin_raw(list).stdout).expect("text");
        assert!(!text.is_empty() && text.lines().all(|l| l.chars().count() <= 80), "{list:?}: {text}");
    }

    let id = hers[1]["id"].as_str().expect("id");
    server.admin(&["devices", "revoke", id]);
    assert!(!signs_in(&laptop) && signs_in(&ana) && signs_in(&robot));
    let again = server.admin_raw(&["devices", "revoke", id]);
    assert_eq!(again.status.code(), Some(1), "{}", String::from_utf8_lossy(&again.stderr));
    let all = server.admin(&["devices", "revoke", "--all-of", "ana@test.local"]);
    assert_eq!(all["revoked"].as_array().map(Vec::len), Some(2));
    assert!(!signs_in(&ana) && !signs_in(&robot) && signs_in(&ben));
    let both = server.admin_raw(&["devices", "revoke", id, "--all-of", "ana@test.local"]);
    assert_eq!(both.status.code(), Some(2), "one or the other");
    assert_eq!(server.admin_raw(&["devices", "revoke"]).status.code(), Some(2));
}

#[test]
fn the_doctor_says_how_logins_are_approved_and_warns_where_a_look_is_enough() {
    let server = Server::start();
    let about_mail = |settings: &[(&str, &str)]| {
        let out = server.command(&["doctor", "--json"]).envs(settings.iter().copied()).output().expect("run");
        let report: Value = serde_json::from_slice(&out.stdout).expect("json");
        let checks = report["checks"].as_array().expect("checks").clone();
        checks.into_iter().find(|c| c["id"] == "server.mail").expect("the check")["state"].clone()
    };
    assert_eq!(about_mail(&[]), "ok");
    assert_eq!(about_mail(&[("SYNC_EMAIL_PROVIDER", "memory")]), "warn");
    assert_eq!(about_mail(&[("SYNC_EMAIL_PROVIDER", "memory"), ("SYNC_DEV_EMAIL_INSPECT", "1")]), "warn");
    let mails = [("SYNC_EMAIL_PROVIDER", "smtp"), ("SYNC_DEV_EMAIL_INSPECT", "1")];
    let out = server.command(&["config", "check"]).envs(mails).output().expect("run");
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(!out.status.success() && said.contains("SYNC_EMAIL_PROVIDER=memory"), "{said}");
}
