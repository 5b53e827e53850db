//! Sources as operators have them: replicated, cut off, of older releases, with lost ends and missing parts.

mod support;

use rusqlite::Connection;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use support::deployment::{
    BUSY, Deployment, GARDEN, GONE, REST_ONLY, facts, lines_digest, prepare, reverse, tree,
};
use td_server::datadir::DataDir;
use td_server::import::{ImportError, Options, REPORT};

/// What is tried, how a deployment comes to be so, the number after which it goes on, whether a warning says so.
type Case<'a> = (&'a str, &'a dyn Fn(&Deployment), i64, bool);

/// Copies a database as a killed writer would leave it: with everything that stands beside it.
fn abandon(db: &Path, to: &Path) {
    for suffix in ["", "-wal", "-journal"] {
        let with = |path: &Path| -> std::path::PathBuf { format!("{}{suffix}", path.display()).into() };
        match with(db).exists() {
            true => drop(std::fs::copy(with(db), with(to)).expect("copy")),
            false => drop(std::fs::remove_file(with(to))),
        }
    }
}

#[test]
fn events_that_stand_only_in_the_wal_come_along_and_the_wal_stays_where_it_is() {
    let go = Deployment::new();
    let elsewhere = tempfile::tempdir().expect("dir");
    let live = elsewhere.path().join("events.db");
    std::fs::copy(go.file(GARDEN, "events.db"), &live).expect("copy");
    let writer = Connection::open(&live).expect("open");
    writer
        .execute_batch(
            "INSERT INTO events SELECT 45, device_id, session_id, 900, action_type, entity_type, 'td-wal001', payload,
                    client_timestamp, server_timestamp FROM events WHERE server_seq = 1",
        )
        .expect("event");
    abandon(&live, &go.file(GARDEN, "events.db"));
    drop(writer);
    let before = tree(&go.go());
    assert!(before[&go.file(GARDEN, "events.db-wal")].1.len() > 4000, "the test has a WAL");
    let done = go.take().expect("taken over");
    assert_eq!((done.projects[0].log.events, done.projects[0].log.last_seq), (45, 45));
    assert!(tree(&go.go()) == before);
}

#[test]
fn a_transaction_that_was_cut_off_is_taken_back_as_the_reference_would() {
    let go = Deployment::new();
    let elsewhere = tempfile::tempdir().expect("dir");
    let live = elsewhere.path().join("events.db");
    std::fs::copy(go.file(BUSY, "events.db"), &live).expect("copy");
    let writer = Connection::open(&live).expect("open");
    // A cache of one page: the first pages of the transaction are in the file before it ends.
    writer
        .execute_batch("PRAGMA cache_size = 1; BEGIN; UPDATE events SET payload = '{}'")
        .expect("half a write");
    abandon(&live, &go.file(BUSY, "events.db"));
    drop(writer);
    let torn = std::fs::read(go.file(BUSY, "events.db")).expect("file");
    assert!(torn.windows(3).any(|w| w == b"{}2"), "the test has a torn file");
    let before = tree(&go.go());
    let done = go.take().expect("taken over");
    let fact = &facts()["projects"][BUSY]["sha256_of_event_lines"];
    assert_eq!(done.projects[1].log.sha256_of_event_lines, fact.as_str().expect("text"));
    assert!(tree(&go.go()) == before);
}

#[test]
fn server_db_of_every_older_schema_is_taken_over_also_half_migrated() {
    // What each version added (server-protocol 6.4), taken away again from the newest down.
    let undo = [
        (5, "DROP INDEX idx_projects_slug; ALTER TABLE projects DROP COLUMN slug"),
        (4, "DROP TABLE invitations"),
        (3, "DROP TABLE auth_email_challenges"),
        (
            2,
            "DROP TABLE auth_events; DROP TABLE rate_limit_events; ALTER TABLE users DROP COLUMN is_admin;
             ALTER TABLE projects DROP COLUMN event_count; ALTER TABLE projects DROP COLUMN last_event_at",
        ),
        (1, "DROP TABLE auth_requests"),
    ];
    for last in 1..=5 {
        // Half migrated: all of the next version is there but for its number (W49).
        for half in [false, true] {
            let go = Deployment::new();
            let db = go.server_db();
            for (version, sql) in undo.iter().filter(|(v, _)| *v > last || *v == last && !half) {
                db.execute_batch(sql).unwrap_or_else(|e| panic!("to {version}: {e}"));
            }
            db.execute("UPDATE schema_info SET value = ?1 WHERE key = 'version'", [last]).expect("version");
            drop(db);
            let options = Options { leave_out: vec![BUSY.into()], ..go.options() };
            let done = prepare(options).run(&mut |_| {});
            let done = done.unwrap_or_else(|e| panic!("schema {last}, half {half}: {e}"));
            let accounts = done.plan.accounts.as_ref().expect("accounts");
            let rows = |name: &str| accounts.tables.iter().find(|t| t.name == name).map(|t| t.rows);
            assert_eq!((accounts.schema, rows("users"), rows("api_keys")), (last, Some(4), Some(3)));
            assert_eq!(rows("invitations"), Some(u64::from(last >= 5 || last == 4 && half)));
            assert!(done.plan.changes[0].starts_with(&format!("server.db: its schema {last} becomes 6")));
            let made = Connection::open(go.data().join("server.db")).expect("open");
            let text = |ask: &str| made.query_row(ask, [], |r| r.get::<_, String>(0)).expect(ask);
            assert_eq!(text("SELECT value FROM schema_info WHERE key = 'version'"), "6");
            assert_eq!(text(&format!("SELECT slug FROM projects WHERE id = '{GARDEN}'")), "garden");
            let is_admin = last > 2 || last == 2 && half;
            assert_eq!(accounts.admins.len(), usize::from(is_admin));
            let told = done.plan.warnings.iter().any(|w| w.contains("td-sync admin grant --email"));
            assert_eq!(told, !is_admin, "somebody has to be made an admin");
            let counted: i64 = made
                .query_row("SELECT event_count FROM projects WHERE id = ?1", [REST_ONLY], |r| r.get(0))
                .expect("count");
            assert_eq!(counted, 22);
        }
    }
}

#[test]
fn numbers_that_were_given_out_once_are_not_given_out_again() {
    // Above the last event in the log's own memory; in project.db, in a device's cursor, in a snapshot's name.
    let cases: [Case<'_>; 5] = [
        (
            "the log's own",
            &|go| {
                go.db(GARDEN, "events.db").execute_batch("UPDATE sqlite_sequence SET seq = 50").expect("sql")
            },
            50,
            false,
        ),
        (
            "project.db",
            &|go| {
                let sql = "INSERT INTO applied_events VALUES (47, '2026-11-21 10:00:00')";
                go.db(GARDEN, "project.db").execute_batch(sql).expect("sql");
            },
            47,
            true,
        ),
        (
            "a cursor",
            &|go| {
                let sql = format!("UPDATE sync_cursors SET last_event_id = 48 WHERE project_id = '{GARDEN}'");
                go.server_db().execute_batch(&sql).expect("sql");
            },
            48,
            true,
        ),
        (
            "an absurd cursor",
            &|go| {
                let sql =
                    format!("UPDATE sync_cursors SET last_event_id = {} WHERE client_id = 'dev-1'", i64::MAX);
                go.server_db()
                    .execute_batch(&sql.replace("dev-1", "50d73be35afdf1c4b17f306f508326e8"))
                    .expect("sql");
            },
            44,
            true,
        ),
        (
            "a snapshot",
            &|go| {
                let kept = go.go().join("projects/snapshots").join(GARDEN);
                std::fs::write(kept.join("49.db"), "").expect("file");
            },
            49,
            true,
        ),
    ];
    for (what, change, after, is_told) in cases {
        let go = Deployment::new();
        change(&go);
        let done = go.take().unwrap_or_else(|e| panic!("{what}: {e}"));
        let garden = &done.projects[0];
        assert_eq!((garden.log.last_seq, garden.log.high_water), (44, after), "{what}");
        assert_eq!(done.plan.projects[0].numbers_after, after, "{what}");
        let told = done.plan.warnings.iter().any(|w| w.starts_with("garden: "));
        assert_eq!(told, is_told, "{what}: {:?}", done.plan.warnings);
    }
}

#[test]
fn a_project_db_that_is_no_database_is_built_again_and_said_so() {
    let go = Deployment::new();
    std::fs::write(go.file(BUSY, "project.db"), "x".repeat(5000)).expect("file");
    let done = go.take().expect("taken over");
    assert_eq!(done.projects[1].issues, Some(480));
    let told = |part: &str| done.plan.warnings.iter().any(|w| w.starts_with("busy: ") && w.contains(part));
    assert!(
        told("is not a SQLite database") && told("may not all have been seen"),
        "{:?}",
        done.plan.warnings
    );
}

#[test]
fn projects_without_files_and_files_without_a_project_are_told_apart() {
    let go = Deployment::new();
    let db = go.server_db();
    db.execute_batch(
        "INSERT INTO projects (id, name) VALUES ('p_00000000000000aa', 'fresh');
         INSERT INTO projects (id, name, deleted_at, event_count) VALUES ('p_00000000000000bb', 'long gone', '2026-01-01', 7);",
    )
    .expect("rows");
    drop(db);
    let stray = go.go().join("projects/p_00000000000000cc");
    std::fs::create_dir(&stray).expect("folder");
    std::fs::copy(go.file(GONE, "events.db"), stray.join("events.db")).expect("copy");
    std::fs::create_dir(go.go().join("projects/..p_x")).expect("folder");
    std::fs::write(go.go().join("notes.txt"), "").expect("file");
    let done = go.take().expect("taken over");
    let project = |id: &str| done.plan.projects.iter().find(|p| p.id == id).expect("a project").has_log;
    assert_eq!((project("p_00000000000000aa"), project("p_00000000000000bb")), (true, false));
    let empty = go.data().join("projects/p_00000000000000aa/events.db");
    assert_eq!(lines_digest(&empty, i64::MAX).0, 0);
    assert!(!go.data().join("projects/p_00000000000000bb").exists());
    let why = |what: &str| {
        done.plan.left_behind.iter().find(|l| l.what == what).unwrap_or_else(|| panic!("{what}")).why.clone()
    };
    assert_eq!(
        why("projects/p_00000000000000cc"),
        "server.db has no such project; nobody can reach its 1 events"
    );
    assert_eq!(why("projects/..p_x"), "its name is no project id");
    assert_eq!(why("notes.txt"), "not part of the data");
    let names: Vec<_> = tree(&go.data()).into_keys().collect();
    assert!(!names.iter().any(|n| n.to_string_lossy().contains("00cc")), "{names:?}");
}

#[test]
fn a_project_that_stands_in_the_way_can_be_left_out_with_all_that_is_its() {
    let go = Deployment::new();
    std::fs::remove_file(go.file(GARDEN, "events.db")).expect("remove");
    assert_eq!(go.refusals(), ["log_missing"]);
    let options = Options { leave_out: vec![GARDEN.into()], ..go.options() };
    let done = prepare(options).run(&mut |_| {}).expect("taken over");
    assert_eq!(done.projects.len(), 3);
    let db = Connection::open(go.data().join("server.db")).expect("open");
    for table in ["projects WHERE id", "memberships WHERE project_id", "invitations WHERE project_id"] {
        let rows: i64 = db
            .query_row(&format!("SELECT count(*) FROM {table} = ?1"), [GARDEN], |r| r.get(0))
            .expect("count");
        assert_eq!(rows, 0, "{table}");
    }
    let named = done.plan.left_behind.iter().any(|l| l.what.contains(GARDEN) && l.why == "left out as asked");
    assert!(named, "{:?}", done.plan.left_behind);
    let unknown = Options { leave_out: vec!["p_0".into()], ..go.options() };
    let codes: Vec<_> = prepare(unknown).plan().refusals.iter().map(|r| r.code).collect();
    assert!(codes.contains(&"unknown_project"), "a flag that does nothing is refused: {codes:?}");
}

#[test]
fn what_an_operator_has_to_know_about_people_is_said() {
    let go = Deployment::new();
    go.server_db()
        .execute_batch(
            "PRAGMA foreign_keys = OFF;
             UPDATE auth_email_challenges SET status = 'pending' WHERE email = 'bob@test.local';
             INSERT INTO auth_requests (id, email, device_code, user_code, expires_at)
                VALUES ('ar_1', 'x@test.local', 'd', 'u', '2026-11-22 00:00:00+00:00');
             INSERT INTO api_keys (id, user_id, key_hash, key_prefix, name, scopes, expires_at)
                SELECT 'ak_view', id, 'h', 'ipk_x', 'view-as', 'impersonation:read', '2026-11-21 10:00:00+00:00'
                FROM users WHERE is_admin;
             INSERT INTO sync_cursors (project_id, client_id) VALUES ('p_00000000000000dd', 'nobody');
             CREATE TABLE notes (x); INSERT INTO notes VALUES (1);
             CREATE TRIGGER t AFTER INSERT ON users BEGIN DELETE FROM users; END;",
        )
        .expect("rows");
    let done = go.take().expect("taken over");
    let accounts = done.plan.accounts.as_ref().expect("accounts");
    assert_eq!((accounts.pending_logins, accounts.pending_old_logins, accounts.view_as_keys), (1, 1, 1));
    assert_eq!(accounts.invitations, ["dora@test.local to garden as reader"]);
    for part in ["look at projects as somebody else", "old kind", "1 rows of sync_cursors stay behind"] {
        assert!(done.plan.warnings.iter().any(|w| w.contains(part)), "{part}: {:?}", done.plan.warnings);
    }
    let why = |what: &str| done.plan.left_behind.iter().find(|l| l.what == what).map(|l| l.why.as_str());
    assert_eq!(why("server.db: table notes"), Some("not part of the reference's schema, 1 rows"));
    assert_eq!(why("server.db: trigger t"), Some("not part of the reference's schema"));
    let made = Connection::open(go.data().join("server.db")).expect("open");
    let strange: i64 = made
        .query_row("SELECT count(*) FROM sqlite_master WHERE name IN ('notes', 't')", [], |r| r.get(0))
        .expect("count");
    assert_eq!(strange, 0);
}

#[test]
fn projects_that_lie_elsewhere_are_read_from_there() {
    let go = Deployment::new();
    let elsewhere = go.0.path().join("elsewhere");
    std::fs::rename(go.go().join("projects"), &elsewhere).expect("move");
    assert!(go.refusals().contains(&"log_missing"));
    let options = Options { projects: Some(elsewhere), ..go.options() };
    assert_eq!(prepare(options).run(&mut |_| {}).expect("taken over").projects.len(), 4);
}

#[test]
fn a_source_may_have_any_name_and_a_target_any_that_a_setting_can_hold() {
    let go = Deployment::new();
    let odd = |name: &[u8]| go.0.path().join(std::ffi::OsStr::from_bytes(name));
    let (source, into) = (odd(b"a 'go' %?#\n\xff dir"), odd(b"file: %?#='x'"));
    std::fs::rename(go.go(), &source).expect("move");
    let done = prepare(support::deployment::options(&source, &into)).run(&mut |_| {}).expect("taken over");
    assert_eq!(done.projects.len(), 4);
    assert!(into.join(REPORT).exists() && serde_json::to_value(&done).is_ok());
    let refused = prepare(support::deployment::options(&source, &odd(b"\xff")));
    assert_eq!(refused.plan().refusals[0].code, "into_no_text");
}

#[test]
fn what_a_running_server_of_ours_holds_is_not_given_back_until_it_stops() {
    let go = Deployment::new();
    go.take().expect("taken over");
    let back = go.0.path().join("back");
    let held = DataDir::take(&go.data(), std::time::Duration::ZERO).expect("taken");
    let codes: Vec<_> = prepare(reverse(&go.data(), &back)).plan().refusals.iter().map(|r| r.code).collect();
    assert_eq!(codes, ["source_in_use"]);
    // Planned while it was free, run while a server is up.
    drop(held);
    let taking = prepare(reverse(&go.data(), &back));
    let held = DataDir::take(&go.data(), std::time::Duration::ZERO).expect("taken");
    assert!(matches!(taking.run(&mut |_| {}), Err(ImportError::DataDir(_))));
    drop(held);
    assert!(!back.exists());
    std::fs::remove_file(go.data().join(format!("projects/{GARDEN}/events.db"))).expect("remove");
    let codes: Vec<_> = prepare(reverse(&go.data(), &back)).plan().refusals.iter().map(|r| r.code).collect();
    assert_eq!(codes, ["log_missing"]);
    let not_ours = prepare(reverse(&go.go(), &back));
    assert_eq!(not_ours.plan().refusals[0].code, "not_ours");
    assert!(go.data().join(REPORT).exists());
}

#[test]
fn numbers_of_writes_over_rest_stay_taken_on_the_way_back() {
    let go = Deployment::new();
    go.take().expect("taken over");
    let back = go.0.path().join("back");
    prepare(reverse(&go.data(), &back)).run(&mut |_| {}).expect("given back");
    let db = Connection::open(back.join(format!("projects/{REST_ONLY}/project.db"))).expect("open");
    // As the reference's next write over REST: without a number of its own.
    db.execute_batch(
        "INSERT INTO action_log (id, session_id, action_type, entity_type, entity_id)
         VALUES ('al-new', 'twu_unknown_u_e43e396acdc9469b', 'create', 'issue', 'td-new')",
    )
    .expect("row");
    assert_eq!(db.last_insert_rowid(), 23);
    let searched =
        "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND tbl_name = 'issues' AND sql > ''";
    assert_eq!(
        db.query_row(searched, [], |r| r.get::<_, i64>(0)).expect("count"),
        8,
        "as the reference has them"
    );
    let log = Connection::open(back.join(format!("projects/{REST_ONLY}/events.db"))).expect("open");
    let taken = "SELECT count(*) FROM events WHERE device_id = 'td_watch_server' AND client_action_id = 23";
    assert_eq!(log.query_row(taken, [], |r| r.get::<_, i64>(0)).expect("count"), 0);
}
