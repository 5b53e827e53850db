//! Sources and places that an import refuses: all reasons at once, by name, and without a trace.

mod support;

use rusqlite::Connection;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use support::deployment::{BUSY, Deployment, GARDEN, GONE, options, prepare, tree};
use td_server::import::{ImportError, Options};

type Spoil<'a> = &'a dyn Fn(&Deployment);

fn sql(path: &Path, text: &str) {
    Connection::open(path).expect("open").execute_batch(text).expect(text);
}

fn journal(go: &Deployment, row: &str) {
    sql(&go.go().join("server.db"), &format!("INSERT INTO {row}"));
}

fn grow(path: &Path) {
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("open");
    file.set_len(1 << 40).expect("a hole");
}

#[test]
fn what_is_no_deployment_of_the_reference_is_refused_by_name_and_left_alone() {
    let log = |go: &Deployment| go.file(GONE, "events.db");
    let cases: &[(&str, Spoil<'_>)] = &[
        ("not_a_database", &|go| std::fs::write(log(go), "x".repeat(9000)).expect("write")),
        ("not_a_database", &|go| std::fs::write(log(go), "").expect("write")),
        ("not_a_database", &|go| std::fs::write(go.go().join("server.db"), "x".repeat(9000)).expect("write")),
        ("link_in_source", &|go| {
            let real = go.0.path().join("real.db");
            std::fs::rename(log(go), &real).expect("move");
            symlink(&real, log(go)).expect("link");
        }),
        ("link_in_source", &|go| {
            let real = go.0.path().join("folder");
            std::fs::rename(log(go).parent().expect("folder"), &real).expect("move");
            symlink(&real, log(go).parent().expect("folder")).expect("link");
        }),
        ("link_in_source", &|go| {
            let real = go.0.path().join("moved");
            std::fs::rename(go.go().join("projects"), &real).expect("move");
            symlink(&real, go.go().join("projects")).expect("link");
        }),
        ("link_in_source", &|go| {
            let (db, real) = (go.go().join("server.db"), go.0.path().join("real.db"));
            std::fs::rename(&db, &real).expect("move");
            symlink(&real, &db).expect("link");
        }),
        ("unreadable", &|go| {
            std::fs::remove_file(log(go)).expect("remove");
            let made = Command::new("mkfifo").arg(log(go)).status().expect("mkfifo");
            assert!(made.success());
        }),
        ("not_a_file", &|go| std::fs::create_dir(go.file(GONE, "events.db-wal")).expect("folder")),
        ("foreign_schema", &|go| sql(&log(go), "CREATE TABLE extra (x)")),
        ("foreign_schema", &|go| {
            sql(&log(go), "CREATE TRIGGER t AFTER INSERT ON events BEGIN DELETE FROM events; END");
        }),
        ("foreign_schema", &|go| sql(&log(go), "ALTER TABLE events ADD COLUMN more TEXT")),
        ("foreign_schema", &|go| sql(&log(go), "DROP TABLE events")),
        ("foreign_schema", &|go| sql(&log(go), "CREATE VIEW v AS SELECT 1")),
        ("damaged", &|go| sql(&log(go), "UPDATE events SET payload = CAST('{broken' AS BLOB)")),
        ("damaged", &|go| sql(&log(go), "UPDATE events SET client_timestamp = 'yesterday'")),
        ("damaged", &|go| sql(&log(go), "UPDATE events SET server_timestamp = 5")),
        ("damaged", &|go| sql(&log(go), "UPDATE events SET server_seq = -1")),
        ("damaged", &|go| sql(&log(go), "UPDATE events SET device_id = ''")),
        ("damaged", &|go| sql(&log(go), &format!("UPDATE sqlite_sequence SET seq = {}", i64::MAX))),
        // Longer than anything a push could carry: refused before it is in memory.
        ("damaged", &|go| sql(&log(go), "UPDATE events SET payload = zeroblob(60000000)")),
        // A terabyte that is not there, alone and with a write-ahead log that asks for a private copy.
        ("no_room", &|go| grow(&log(go))),
        ("no_room", &|go| {
            std::fs::write(go.file(GONE, "events.db-wal"), "x".repeat(5000)).expect("write");
            grow(&log(go));
        }),
        ("damaged", &|go| {
            let mut bytes = std::fs::read(go.file(BUSY, "events.db")).expect("read");
            bytes[3 * 4096..3 * 4096 + 64].fill(0xff);
            std::fs::write(go.file(BUSY, "events.db"), bytes).expect("write");
        }),
        ("damaged", &|go| sql(&go.go().join("server.db"), "ALTER TABLE users DROP COLUMN is_admin")),
        ("damaged", &|go| sql(&go.go().join("server.db"), "UPDATE users SET created_at = 'once'")),
        ("damaged", &|go| sql(&go.go().join("server.db"), "UPDATE projects SET name = x'00ff'")),
        ("damaged", &|go| sql(&go.go().join("server.db"), "UPDATE users SET is_admin = 'yes'")),
        ("damaged", &|go| sql(&go.go().join("server.db"), "UPDATE projects SET event_count = 'many'")),
        ("damaged", &|go| sql(&go.go().join("server.db"), "UPDATE sync_cursors SET last_event_id = 1.5")),
        ("damaged", &|go| journal(go, "rate_limit_events (endpoint_class, created_at) VALUES ('auth', 'x')")),
        ("damaged", &|go| {
            journal(go, "rate_limit_events (endpoint_class, created_at) VALUES ('auth', NULL)")
        }),
        ("damaged", &|go| {
            journal(go, "auth_events (auth_request_id, email, event_type) VALUES ('', 'a', x'00')")
        }),
        // With the numbers used up, nothing could be noted any more.
        ("damaged", &|go| {
            let last = format!("rate_limit_events (id, endpoint_class) VALUES ({}, 'auth')", i64::MAX);
            journal(go, &last);
        }),
        ("damaged", &|go| {
            let given = format!("sqlite_sequence (name, seq) VALUES ('auth_events', {})", i64::MAX);
            journal(go, &given);
        }),
        ("foreign_schema", &|go| sql(&go.go().join("server.db"), "ALTER TABLE users ADD COLUMN phone TEXT")),
        ("foreign_schema", &|go| sql(&go.go().join("server.db"), "DELETE FROM schema_info")),
        ("foreign_schema", &|go| sql(&go.go().join("server.db"), "UPDATE schema_info SET value = '0'")),
        ("schema_newer", &|go| sql(&go.go().join("server.db"), "UPDATE schema_info SET value = '7'")),
        ("no_server_db", &|go| std::fs::remove_file(go.go().join("server.db")).expect("remove")),
        ("bad_project_id", &|go| {
            let hostile = "INSERT INTO projects (id, name) VALUES ('../../../etc', 'x')";
            sql(&go.go().join("server.db"), hostile);
        }),
        ("log_missing", &|go| std::fs::remove_dir_all(go.go().join("projects").join(BUSY)).expect("remove")),
        ("source_unclean", &|go| std::fs::write(go.file(GARDEN, "project.db-mj1A2B"), "").expect("write")),
        ("already_ours", &|go| std::fs::write(go.go().join("epoch"), "x").expect("write")),
        ("already_ours", &|go| sql(&go.go().join("server.db"), "CREATE TABLE tdsync_audit (id)")),
        ("source_missing", &|go| std::fs::remove_dir_all(go.go()).expect("remove")),
    ];
    for (n, (code, spoil)) in cases.iter().enumerate() {
        let go = Deployment::new();
        spoil(&go);
        let before = tree(go.0.path());
        let taking = prepare(go.options());
        let found: Vec<_> = taking.plan().refusals.iter().map(|r| (r.code, r.message.clone())).collect();
        assert!(found.iter().all(|(c, _)| c == code) && !found.is_empty(), "case {n}, {code}: {found:?}");
        assert!(taking.plan().refusals.iter().all(|r| !r.remedy.is_empty()));
        assert!(matches!(taking.run(&mut |_| {}), Err(ImportError::Refused(_))), "case {n}");
        assert!(tree(go.0.path()) == before, "case {n}, {code}: something changed");
    }
}

#[test]
fn everything_that_is_in_the_way_is_named_at_once() {
    let go = Deployment::new();
    std::fs::write(go.file(GONE, "events.db"), "x".repeat(9000)).expect("write");
    std::fs::remove_file(go.file(BUSY, "events.db")).expect("remove");
    std::fs::create_dir(go.data()).expect("folder");
    std::fs::write(go.data().join("x"), "").expect("file");
    let out = Command::new(env!("CARGO_BIN_EXE_td-sync"))
        .args(["import", "go", "--into", "data", "--json"])
        .current_dir(go.0.path())
        .env_clear()
        .output()
        .expect("td-sync runs");
    assert_eq!(out.status.code(), Some(1));
    let said: serde_json::Value = serde_json::from_slice(&out.stdout).expect("json");
    assert_eq!(said["error"]["code"], "import_refused");
    let codes: Vec<_> =
        said["plan"]["refusals"].as_array().expect("a list").iter().map(|r| r["code"].clone()).collect();
    assert_eq!(codes, ["log_missing", "not_a_database", "into_taken"]);
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(told.contains("error: nothing was made: 3 things are in the way"), "{told}");
    let wrong = Command::new(env!("CARGO_BIN_EXE_td-sync")).args(["import", "go"]).output().expect("runs");
    assert_eq!(wrong.status.code(), Some(2), "--into has to be said");
}

#[test]
fn a_place_that_cannot_take_a_whole_new_directory_is_refused() {
    let go = Deployment::new();
    let at = |name: &str| go.0.path().join(name);
    std::fs::create_dir(at("full")).expect("folder");
    std::fs::write(at("full/x"), "").expect("file");
    std::fs::write(at("file"), "").expect("file");
    symlink(at("nowhere"), at("link")).expect("link");
    std::fs::create_dir_all(at("foreign.half/x")).expect("folder");
    let cases = [
        ("into_taken", at("full")),
        ("into_taken", at("file")),
        ("into_taken", at("link")),
        ("into_no_parent", at("no/parent")),
        ("into_in_source", at("go/inside")),
        ("into_in_source", at("go/projects/p_0000000000000000")),
        ("half_is_foreign", at("foreign")),
    ];
    let before = tree(go.0.path());
    for (code, into) in cases {
        let taking = prepare(options(&go.go(), &into));
        let codes: Vec<_> = taking.plan().refusals.iter().map(|r| r.code).collect();
        assert_eq!(codes, [code], "{}", into.display());
        assert!(taking.run(&mut |_| {}).is_err());
    }
    for into in [go.go(), at("go/.."), at("")] {
        let codes: Vec<_> =
            prepare(options(&go.go(), &into)).plan().refusals.iter().map(|r| r.code).collect();
        assert_eq!(codes, ["into_in_source", "into_taken"], "{}", into.display());
    }
    let small = Options { keep_free: u64::MAX / 2, ..go.options() };
    let plan = prepare(small).plan().clone();
    assert_eq!(plan.refusals.iter().map(|r| r.code).collect::<Vec<_>>(), ["no_room"]);
    assert!(plan.bytes_needed > 1 << 20);
    assert!(tree(go.0.path()) == before, "something changed");
    // An empty folder is as good as none.
    std::fs::create_dir(go.data()).expect("folder");
    go.take().expect("taken over");
}

#[test]
fn a_source_that_somebody_could_write_to_is_refused_with_who_it_is() {
    let go = Deployment::new();
    let holder = |file: &Path| {
        // As an idle server of the reference: the file is open for writing, and not locked.
        let mut child = Command::new("sh")
            .args(["-c", "exec 3<>\"$0\"; echo ready; read x"])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh");
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(child.stdout.take().expect("piped")),
            &mut line,
        )
        .expect("ready");
        child
    };
    let files = [
        go.go().join("server.db"),
        go.file(BUSY, "events.db"),
        go.file(GARDEN, "events.db-wal"),
        go.file(BUSY, "project.db"),
    ];
    for file in files {
        let mut child = holder(&file);
        let plan = go.plan();
        let pid = child.id();
        child.kill().expect("kill");
        child.wait().expect("ended");
        let message = &plan.refusals.iter().find(|r| r.code == "source_in_use").expect("refused").message;
        assert!(
            message.ends_with(&format!("in use: process {pid} (sh) has it open for writing")),
            "{message}"
        );
    }
    assert_eq!(go.refusals(), [""; 0]);
    // A server in WAL mode, or in the middle of a write, has a lock.
    let mut locked = Command::new("flock")
        .arg(go.go().join(format!("projects/{}/.todos/db.lock", support::deployment::REST_ONLY)))
        .args(["sh", "-c", "echo ready; read x"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("flock");
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(locked.stdout.as_mut().expect("piped")),
        &mut line,
    )
    .expect("ready");
    assert_eq!(go.refusals(), ["source_in_use"]);
    drop(locked.stdin.take());
    locked.wait().expect("ended");
    assert_eq!(go.refusals(), [""; 0]);
}

#[test]
fn a_write_that_nobody_saw_coming_ends_the_import_without_a_result() {
    let go = Deployment::new();
    let taking = prepare(go.options());
    let mut steps = 0;
    let result = taking.run(&mut |step| {
        steps += 1;
        if step.contains(BUSY) {
            sql(&go.file(GARDEN, "events.db"), "UPDATE sqlite_sequence SET seq = 45");
        }
    });
    assert!(steps > 3);
    assert!(matches!(result, Err(ImportError::Changed { .. })), "{result:?}");
    let left: Vec<_> =
        std::fs::read_dir(go.0.path()).expect("dir").map(|e| e.expect("entry").file_name()).collect();
    assert_eq!(left, ["go"], "nothing was left");
}
