//! The reference's deployment is taken over, served, written to and given back, and is equal where it must be.

mod support;

use rusqlite::Connection;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use support::deployment::{
    BUSY, Deployment, GARDEN, GONE, REST_ONLY, Served, clock, facts, lines_digest, login, person, prepare,
    reverse, rows_of, schema_of, tree, unsent_push,
};
use support::wire::{self, Ask};
use td_server::import::EventCount;

const PROJECTS: [&str; 4] = [GARDEN, BUSY, REST_ONLY, GONE];

fn count(db: &Path, ask: &str) -> i64 {
    Connection::open(db).expect("open").query_row(ask, [], |r| r.get(0)).expect(ask)
}

#[test]
fn ids_keys_sequences_counts_and_digests_are_those_of_the_source() {
    let go = Deployment::new();
    let before = tree(&go.go());
    let done = go.take().expect("taken over");
    assert!(tree(&go.go()) == before, "the source is untouched");
    let facts = facts();
    for (id, made) in PROJECTS.iter().zip(&done.projects) {
        let (log, fact) = (go.data().join(format!("projects/{id}/events.db")), &facts["projects"][id]);
        let (events, digest) = lines_digest(&log, i64::MAX);
        assert_eq!(json!([events, digest]), json!([fact["events"], fact["sha256_of_event_lines"]]), "{id}");
        assert_eq!(json!(made.log.last_seq), fact["last_seq"]);
        assert_eq!(made.log.sha256_of_event_lines, digest, "what the report says is what anybody computes");
        assert_eq!(made.issues.map(Value::from), Some(fact["issues_created_in_log"].clone()), "{id}");
        let given = "SELECT seq FROM sqlite_sequence WHERE name = 'events'";
        assert_eq!(json!(count(&log, given)), fact["last_seq"]);
    }
    let view = go.data().join(format!("projects/{BUSY}/project.db"));
    assert_eq!(count(&view, "SELECT count(*) FROM issues"), 480, "the reference's own has 439");
    assert_eq!(count(&go.file(BUSY, "project.db"), "SELECT count(*) FROM issues"), 439);

    let (mut was, mut is) =
        (rows_of(&go.go().join("server.db"), &[]), rows_of(&go.data().join("server.db"), &[]));
    let (old, new) = (was.remove("projects").expect("rows"), is.remove("projects").expect("rows"));
    assert_eq!(was, is, "every account, key, member, invitation, cursor and journal row");
    let differing: Vec<_> = old.iter().zip(&new).filter(|(o, n)| o != n).map(|(_, n)| n).collect();
    assert_eq!(differing.len(), 1, "{differing:?}");
    assert!(differing[0].contains("event_count=Integer(22)") && differing[0].contains("rest-only"));
    assert!(differing[0].contains("last_event_at=Text(\"2026-11-21 09:51:29+00:00\")"), "{differing:?}");
}

#[test]
fn a_dry_run_writes_nothing_and_says_exactly_what_the_import_then_does() {
    let go = Deployment::new();
    pending_writes(&go);
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_td-sync"));
        command.args(["import", "go", "--into", "data", "--json"]).args(more);
        command.current_dir(go.0.path()).env_clear().env("TMPDIR", go.0.path());
        let out = command.output().expect("td-sync runs");
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{told}");
        assert!(told.contains(&format!("reading {BUSY} …\n")), "a name for every wait: {told}");
        serde_json::from_slice::<Value>(&out.stdout).expect("json")
    };
    let before = tree(go.0.path());
    let said = run(&["--dry-run"]);
    assert!(tree(go.0.path()) == before, "nothing was written");
    assert_eq!((&said["ok"], &said["dry_run"]), (&json!(true), &json!(true)));
    let done = run(&[]);
    assert_eq!(said["plan"], done["plan"]);
    let left: Vec<_> = said["plan"]["left_behind"].as_array().expect("a list").iter().collect();
    for name in [
        ".server.db-litestream".to_string(),
        format!("projects/{GARDEN}/.events.db-litestream"),
        "projects/snapshots".into(),
        "server.db: table _litestream_seq".into(),
    ] {
        assert!(left.iter().any(|l| l["what"] == name.as_str()), "{name} is named: {left:?}");
    }
    let report = std::fs::read_to_string(go.data().join("import.json")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("json");
    assert_eq!((&report["plan"], &report["projects"]), (&done["plan"], &done["projects"]));
}

#[test]
fn what_it_prints_is_80_wide_names_what_an_operator_must_know_and_is_what_the_import_then_prints() {
    let go = Deployment::new();
    let print = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_td-sync"));
        command.args(["import", "go", "--into", "data"]).args(more).current_dir(go.0.path()).env_clear();
        String::from_utf8(command.output().expect("td-sync runs").stdout).expect("text")
    };
    let text = print(&["--dry-run"]);
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    for part in [
        "invitation of dora@test.local to garden as reader",
        "admins     root@test.local",
        "busy: the reference's project.db lacks 41 of the 480 issues",
        "gone (deleted)                      1        1          1  4018c02bc2ae73e2\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let planned = text.strip_suffix("Nothing was written.\n").expect("the last line of a dry run");
    let done = print(&[]);
    assert!(done.strip_prefix(planned).is_some_and(|rest| rest.starts_with("Done: 4 projects")), "{done}");
}

#[test]
fn the_deployment_is_served_written_to_and_given_back() {
    let go = Deployment::new();
    let done = go.take().expect("taken over");
    let served = Served::start(&go.data(), clock());
    let ask = |ask: Ask| wire::send(served.address, &ask);

    // Every key works, and knows its person's projects; nobody's device gets its own events back.
    for (who, projects, head, foreign) in [
        ("alice", json!(["garden", "busy"]), 44, 20),
        ("bob", json!(["garden", "rest-only"]), 44, 35),
        ("carol", json!(["garden"]), 44, 33),
    ] {
        let (key, device) = login(who);
        let list = ask(Ask::get("/v1/projects").key(&key)).json();
        let names: Vec<_> = list.as_array().expect("a list").iter().map(|p| p["name"].clone()).collect();
        assert_eq!(json!(names), projects, "{who}");
        let pull =
            format!("/v1/projects/{GARDEN}/sync/pull?after_server_seq=0&limit=1000&exclude_client={device}");
        let page = ask(Ask::get(&pull).key(&key)).json();
        assert_eq!(page["events"].as_array().map(Vec::len), Some(foreign), "{who}");
        let status = ask(Ask::get(&format!("/v1/projects/{GARDEN}/sync/status")).key(&key)).json();
        assert_eq!((&status["event_count"], &status["last_server_seq"]), (&json!(44), &json!(head)));
    }
    // A deleted project stays deleted.
    let (alice, _) = login("alice");
    assert_ne!(ask(Ask::get(&format!("/v1/projects/{GONE}")).key(&alice)).status, 200);

    // Bob's two unsent actions, as his td sends them.
    let (bob, device) = login("bob");
    let folder = go.0.path().join("bob");
    person("bob", &folder);
    let push = unsent_push(&folder, &device);
    let answer = ask(Ask::post(&format!("/v1/projects/{GARDEN}/sync/push")).key(&bob).json(&push));
    assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(2)), "{}", answer.text());
    assert_eq!(answer.json()["acks"][1]["server_seq"], 46, "numbers go on");
    let again = ask(Ask::post(&format!("/v1/projects/{GARDEN}/sync/push")).key(&bob).json(&push)).json();
    assert_eq!((&again["accepted"], again["rejected"].as_array().map(Vec::len)), (&json!(0), Some(2)));
    // What the device sent to the reference is known here too.
    let digest = ask(Ask::get(&format!("/v1/projects/{BUSY}/sync/digest")).key(&alice)).json();
    let planned = done.projects.iter().find(|p| p.id == BUSY).expect("busy").state_digest.clone();
    assert_eq!(digest["digest"], json!(planned));
    drop(served);

    let back = go.0.path().join("back");
    std::fs::create_dir(go.data().join("tls")).expect("folder");
    let taking = prepare(reverse(&go.data(), &back));
    let plan = taking.plan().clone();
    let why = |what: &str| plan.left_behind.iter().find(|l| l.what == what).map_or("", |l| l.why.as_str());
    assert!(why("tls").starts_with("certificates"), "{:?}", plan.left_behind);
    assert!(plan.warnings.iter().any(|w| w.contains("agents' tokens") && w.contains("gets 401")));
    let ours = tree(&go.data());
    let given = taking.run(&mut |_| {}).expect("given back");
    assert_eq!(given.plan, plan);
    let mut now = tree(&go.data());
    now.retain(|path, _| !path.ends_with("LOCK"));
    assert!(ours.iter().filter(|(p, _)| !p.ends_with("LOCK")).eq(now.iter()), "ours is untouched");
    equal_where_it_must_be(&go, &back);
}

fn equal_where_it_must_be(go: &Deployment, back: &Path) {
    let facts = facts();
    for id in PROJECTS {
        let (log, fact) = (back.join(format!("projects/{id}/events.db")), &facts["projects"][id]);
        let bytes = std::fs::read(&log).expect("log");
        assert_eq!((bytes[18], bytes[19]), (1, 1), "a rollback journal, as the reference keeps it");
        let last = fact["last_seq"].as_i64().expect("number");
        let (events, digest) = lines_digest(&log, last);
        assert_eq!(json!([events, digest]), json!([fact["events"], fact["sha256_of_event_lines"]]), "{id}");
        let written = if id == GARDEN { 2 } else { 0 };
        assert_eq!(count(&log, "SELECT count(*) FROM events"), events + written);
        // Sending them twice took four numbers.
        assert_eq!(count(&log, "SELECT seq FROM sqlite_sequence WHERE name = 'events'"), last + 2 * written);
        assert_eq!(count(&log, "SELECT count(*) FROM sqlite_master WHERE name GLOB '*tdsync*'"), 0);
        assert_eq!(schema_of(&log), schema_of(&go.file(id, "events.db")), "{id}");
        // Only where the reference's own numbering needs it (W11): its next REST write is number 23.
        let view = back.join(format!("projects/{id}/project.db"));
        assert_eq!(view.exists(), id == REST_ONLY, "{id}");
        // It makes the folder of its lock with a project.db only.
        assert_eq!(back.join(format!("projects/{id}/.todos")).is_dir(), id == REST_ONLY, "{id}");
        if view.exists() {
            assert_eq!(count(&view, "SELECT max(rowid) FROM action_log"), 22);
            assert_eq!(count(&view, "SELECT count(*) FROM action_log WHERE synced_at IS NULL"), 0);
            assert_eq!(count(&view, "SELECT max(server_seq) FROM applied_events"), 22);
            assert_eq!(count(&view, "SELECT count(*) FROM sqlite_master WHERE name GLOB '*tdsync*'"), 0);
            assert_eq!(count(&view, "SELECT count(*) FROM issues"), 12);
            assert_eq!(schema_of(&view), schema_of(&go.file(id, "project.db")), "{id}");
        }
    }
    assert_eq!(schema_of(&back.join("server.db")), schema_of(&go.go().join("server.db")));
    // What using it moves: counts, the last use of a key, how far a device has come.
    let moved = ["event_count", "last_event_at", "last_used_at", "last_event_id", "last_sync_at"];
    let [was, is] = [&go.go(), back].map(|dir: &Path| rows_of(&dir.join("server.db"), &moved));
    assert_eq!(
        was, is,
        "the reference's tables, no others, with every account, key, member, invitation and device"
    );
    let garden = format!("SELECT event_count FROM projects WHERE id = '{GARDEN}'");
    assert_eq!(count(&back.join("server.db"), &garden), 46);
    let modes: Vec<_> = tree(back)
        .into_iter()
        .map(|(path, (mode, _))| (path, mode))
        .filter(|(path, mode)| mode & 0o777 != if path.is_dir() { 0o755 } else { 0o644 })
        .collect();
    assert!(modes.is_empty(), "{modes:?}");
    assert!(
        tree(back)
            .keys()
            .all(|p| ["db"].contains(&p.extension().map_or("db", |e| e.to_str().expect("name"))))
    );

    // What was given back can be taken over like any other, and is the same.
    let again = prepare(support::deployment::options(back, &go.0.path().join("again")));
    assert!(again.plan().refusals.is_empty(), "{:?}", again.plan().refusals);
    assert_eq!(
        again.plan().projects[1].log.sha256_of_event_lines,
        facts["projects"][BUSY]["sha256_of_event_lines"]
    );
    assert!(again.plan().projects[2].promoted.is_empty() && again.plan().projects[2].unsent.is_empty());
}

/// Makes the last two writes over REST ones that the reference has not promoted yet.
fn pending_writes(go: &Deployment) {
    go.db(REST_ONLY, "project.db")
        .execute_batch("UPDATE action_log SET synced_at = NULL, server_seq = NULL WHERE rowid > 20")
        .expect("pending");
    go.db(REST_ONLY, "events.db")
        .execute_batch("DELETE FROM events WHERE server_seq > 20")
        .expect("not there");
}

#[test]
fn writes_over_rest_that_were_not_promoted_yet_get_into_the_log_as_the_reference_would_have_put_them() {
    let go = Deployment::new();
    let original = |seq: i64, db: &Path| -> (String, String, String, Value) {
        let ask =
            "SELECT action_type, entity_type || ' ' || entity_id, client_timestamp, CAST(payload AS TEXT)
                   FROM events WHERE server_seq = ?1 AND device_id = 'td_watch_server'";
        let row = |r: &rusqlite::Row<'_>| {
            let payload: String = r.get(3)?;
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, serde_json::from_str(&payload).expect("json")))
        };
        Connection::open(db).expect("open").query_row(ask, [seq], row).expect("event")
    };
    let were = [21, 22].map(|seq| original(seq, &go.file(REST_ONLY, "events.db")));
    pending_writes(&go);
    let done = go.take().expect("taken over");
    let log = go.data().join(format!("projects/{REST_ONLY}/events.db"));
    // 21 and 22 were given out once, so the numbers go on behind them.
    assert_eq!([23, 24].map(|seq| original(seq, &log)), were);
    let project = &done.plan.projects[2];
    assert_eq!((project.promoted.len(), project.event_count), (2, EventCount { was: 0, becomes: 22 }));
    assert!(
        done.plan
            .changes
            .iter()
            .any(|c| c.contains("2 writes over REST") && c.contains("as events 23 to 24"))
    );
    let made = &done.projects[2];
    assert_eq!((made.log.events, made.log.high_water), (22, 24));
    assert_eq!(made.sha256_of_planned_lines, project.log.sha256_of_event_lines);
}

#[test]
fn a_write_over_rest_that_cannot_be_promoted_is_named_and_does_not_hold_up_the_others() {
    let go = Deployment::new();
    let db = go.db(REST_ONLY, "project.db");
    db.execute_batch(
        "UPDATE action_log SET synced_at = NULL, server_seq = NULL WHERE rowid IN (5, 6, 7, 8, 9);
         UPDATE action_log SET new_data = '{broken' WHERE rowid = 6;
         UPDATE action_log SET new_data = '{\"title\":\"another one\"}', entity_id = 'td-other1' WHERE rowid = 7;
         UPDATE action_log SET session_id = '' WHERE rowid = 8;
         UPDATE action_log SET undone = 1 WHERE rowid = 9;
         UPDATE action_log SET entity_id = 'td-taken' WHERE rowid = 10;",
    )
    .expect("rows");
    drop(db);
    let done = go.take().expect("taken over");
    let project = &done.plan.projects[2];
    let promoted = serde_json::to_value(&project.promoted).expect("json");
    // 5 is in the log as 5; 7 is another event under a used key (law 4), and so gets a session of its own.
    assert_eq!(
        (&promoted[0]["outcome"], &promoted[0]["server_seq"], &promoted[1]["outcome"], &promoted[1]["moved"]),
        (&json!("duplicate"), &json!(5), &json!("stored"), &json!(true))
    );
    assert_eq!(promoted[1]["server_seq"], 24, "the question about 5 took 23");
    let named: Vec<_> = project
        .unsent
        .iter()
        .map(|u| (u.row, u.why.split(' ').take(4).collect::<Vec<_>>().join(" ")))
        .collect();
    assert_eq!(
        named,
        [
            (6, "its new_data is no".to_string()),
            (8, "it has no id".into()),
            (10, "the reference took it".into())
        ]
    );
    assert_eq!(done.projects[2].log.high_water, 24);
    let view = go.data().join(format!("projects/{REST_ONLY}/project.db"));
    assert_eq!(count(&view, "SELECT count(*) FROM issues WHERE id = 'td-other1'"), 1);
}
