//! Creating and opening: the file is what other programs expect, and what is refused is left alone.

use crate::events::{at, count, create, fixture, violations};
use rusqlite::Connection;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use td_engine::db::{OpenError, ProjectDb, Purpose, RebuildReason, Standing};
use td_engine::id::Seq;
use tempfile::TempDir;

fn folder() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("issues.db");
    (dir, path)
}

/// Every file of a folder with its content.
fn content(dir: &TempDir) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(dir.path()).expect("folder").flatten();
    files
        .map(|f| (f.file_name().to_string_lossy().into_owned(), std::fs::read(f.path()).expect("file")))
        .collect()
}

/// A project file of another version, as `journal_mode` says.
fn project_of_version(path: &Path, version: &str, journal_mode: &str) {
    drop(ProjectDb::create(path, Purpose::Device, at(0)).expect("create"));
    let conn = Connection::open(path).expect("open");
    conn.execute("UPDATE schema_info SET value = ?1", [version]).expect("version");
    conn.execute_batch("DROP TABLE tdsync_meta").expect("as if we had never seen it");
    conn.pragma_update_and_check(None, "journal_mode", journal_mode, |_| Ok(())).expect("journal");
    drop(conn);
    let _ = std::fs::remove_file(path.with_extension("db-journal"));
}

fn refused(dir: &TempDir, path: &Path, code: &str) {
    let before = content(dir);
    for open in [ProjectDb::open(path, Purpose::Device), ProjectDb::open_read_only(path)] {
        let error = open.expect_err("refused");
        assert_eq!(error.code(), code, "{error}");
        assert!(!error.to_string().is_empty() && !error.remedy().is_empty());
    }
    assert!(content(dir) == before, "{code}: files {:?}", content(dir).keys());
}

/// The schema, line by line.
fn listing(db: &ProjectDb) -> Vec<String> {
    let sql = std::fs::read_to_string(fixture("schema-38.sql")).expect("fixture");
    let mut ask = db.conn().prepare(&sql).expect("sql");
    ask.query_map([], |r| r.get(0)).expect("list").collect::<Result<_, _>>().expect("lines")
}

#[test]
fn a_new_database_has_schema_38() {
    let (_dir, path) = folder();
    let db = ProjectDb::create(&path, Purpose::Device, at(0)).expect("create");
    let lines = listing(&db);
    let expected = std::fs::read_to_string(fixture("schema-38.txt")).expect("fixture");
    for (want, got) in expected.lines().zip(&lines) {
        assert_eq!(want, got);
    }
    assert_eq!(expected.lines().count(), lines.len());
    assert_eq!(count(&db, "SELECT CAST(value AS INTEGER) FROM schema_info WHERE key = 'version'"), 38);
    let found =
        "SELECT count(*) FROM boards WHERE id = 'bd-all-issues' AND name = 'all issues' AND is_builtin = 1";
    assert_eq!(count(&db, found), 1, "the built-in board, compared without case");
    assert_eq!(violations(&db), 0);
}

#[test]
fn a_device_database_is_journalled_as_other_programs_expect() {
    let (_dir, path) = folder();
    drop(ProjectDb::create(&path, Purpose::LiveView, at(0)).expect("create"));
    let db = ProjectDb::open(&path, Purpose::Device).expect("open");
    let text =
        |name: &str| db.conn().pragma_query_value(None, name, |r| r.get::<_, String>(0)).expect("pragma");
    let number =
        |name: &str| db.conn().pragma_query_value(None, name, |r| r.get::<_, i64>(0)).expect("pragma");
    assert_eq!(text("journal_mode"), "truncate");
    assert_eq!([number("synchronous"), number("foreign_keys"), number("busy_timeout")], [1, 1, 5000]);
}

#[test]
fn older_newer_and_foreign_files_are_refused_and_left_as_they_were() {
    for mode in ["DELETE", "TRUNCATE", "WAL"] {
        let (dir, path) = folder();
        project_of_version(&path, "37", mode);
        refused(&dir, &path, "db_older");
        let (dir, path) = folder();
        project_of_version(&path, "39", mode);
        refused(&dir, &path, "db_newer");
    }
    let (dir, path) = folder();
    Connection::open(&path).expect("open").execute_batch("CREATE TABLE photos (id)").expect("other program");
    refused(&dir, &path, "db_foreign");
    for text in ["", "short", "this is a text file, and a long one at that"] {
        std::fs::write(&path, text).expect("write");
        refused(&dir, &path, "db_not_sqlite");
    }
    std::fs::write(&path, [b"SQLite format 3\0".as_slice(), &[7; 200]].concat()).expect("write");
    refused(&dir, &path, "db_not_sqlite");
    std::fs::remove_file(&path).expect("remove");
    refused(&dir, &path, "db_missing");
}

#[test]
fn an_old_file_with_content_in_its_wal_is_refused_and_keeps_the_wal() {
    let (dir, path) = folder();
    project_of_version(&path, "12", "WAL");
    // Both files as a killed program leaves them: the raised version is in the WAL only.
    let conn = Connection::open(&path).expect("open");
    conn.execute("UPDATE schema_info SET value = '37'", []).expect("version");
    let killed = tempfile::tempdir().expect("folder");
    for name in ["issues.db", "issues.db-wal"] {
        std::fs::copy(dir.path().join(name), killed.path().join(name)).expect("copy");
    }
    drop(conn);
    let path = killed.path().join("issues.db");
    let before = content(&killed);
    let error = ProjectDb::open(&path, Purpose::Device).expect_err("refused");
    assert!(matches!(error, OpenError::Older { found: 37, .. }), "{error}");
    let after = content(&killed);
    for name in ["issues.db", "issues.db-wal"] {
        assert!(before[name] == after[name], "{name}");
    }
}

#[test]
fn a_file_that_lacks_a_table_is_damaged() {
    // Ours has an index on the second one.
    for table in ["handoffs", "issue_dependencies"] {
        let (_dir, path) = folder();
        drop(ProjectDb::create(&path, Purpose::Device, at(0)).expect("create"));
        Connection::open(&path).expect("open").execute_batch(&format!("DROP TABLE {table}")).expect("drop");
        let error = ProjectDb::open(&path, Purpose::Device).expect_err("refused");
        assert_eq!(error.code(), "db_damaged");
        assert!(error.to_string().contains(&format!("table {table}")), "{error}");
    }
}

#[test]
fn a_file_from_before_gets_the_index_by_which_dependents_are_found() {
    let (_dir, path) = folder();
    drop(ProjectDb::create(&path, Purpose::Device, at(0)).expect("create"));
    let raw = Connection::open(&path).expect("open");
    raw.execute_batch("DROP INDEX tdsync_dependents").expect("as another program replaced the file");
    drop(raw);
    let db = ProjectDb::open(&path, Purpose::Device).expect("open");
    let plan = "EXPLAIN QUERY PLAN SELECT issue_id FROM issue_dependencies WHERE depends_on_id = 'td-1'";
    let plan: String = db.conn().query_row(plan, [], |r| r.get("detail")).expect("plan");
    assert!(plan.contains("USING INDEX tdsync_dependents"), "{plan}");
}

/// Killed in the commit: pages are in the file already, and the journal beside it takes them back.
#[test]
fn a_creation_that_was_killed_in_its_commit_can_be_repeated() {
    let (dir, path) = folder();
    let half = dir.path().join("half.db");
    let conn = Connection::open(&half).expect("file");
    // A cache of one page spills into the file before the commit.
    let begun = "PRAGMA journal_mode=TRUNCATE; PRAGMA cache_size=1; BEGIN; CREATE TABLE t (a); \
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99) \
                 INSERT INTO t SELECT hex(randomblob(500)) FROM n";
    conn.execute_batch(begun).expect("begun");
    for suffix in ["", "-journal"] {
        let name = |of: &Path| format!("{}{suffix}", of.display());
        std::fs::copy(name(&half), name(&path)).expect("copied as a kill leaves it");
    }
    assert!(std::fs::metadata(&path).expect("file").len() > 0);
    drop(ProjectDb::create(&path, Purpose::Device, at(0)).expect("created anew"));
    ProjectDb::open(&path, Purpose::Device).expect("opened");
}

#[test]
fn nothing_is_created_over_a_file_but_over_an_unfinished_creation() {
    let (_dir, path) = folder();
    std::fs::write(&path, "").expect("write");
    drop(ProjectDb::create(&path, Purpose::Device, at(0)).expect("create"));
    assert_eq!(ProjectDb::create(&path, Purpose::Device, at(0)).expect_err("exists").code(), "db_exists");
}

#[test]
fn a_path_with_special_characters_opens() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("50%25 off?#1 mü.db");
    drop(ProjectDb::create(&path, Purpose::Device, at(0)).expect("create"));
    ProjectDb::open(&path, Purpose::Device).expect("open");
}

#[test]
fn an_opened_database_continues_where_it_stood_and_writes_nothing_by_being_opened() {
    let (dir, path) = folder();
    let mut db = ProjectDb::create(&path, Purpose::Device, at(0)).expect("create");
    db.apply_page(&[create(5, "A", "issues", "td-1", json!({"title": "shed"}))], Seq(7)).expect("page");
    drop(db);
    let before = content(&dir);
    let db = ProjectDb::open(&path, Purpose::Device).expect("open");
    assert_eq!(db.standing().expect("standing"), Standing::At(Seq(7)));
    drop(db);
    assert!(content(&dir) == before);
}

#[test]
fn a_database_without_our_tables_has_to_be_rebuilt() {
    let (_dir, path) = folder();
    drop(ProjectDb::create(&path, Purpose::Device, at(0)).expect("create"));
    let conn = Connection::open(&path).expect("open");
    conn.execute_batch("DROP TABLE tdsync_meta; DROP TABLE tdsync_register").expect("as after a bootstrap");
    drop(conn);
    let mut db = ProjectDb::open(&path, Purpose::Device).expect("open");
    let missing = Standing::Rebuild(RebuildReason::OwnTablesMissing);
    assert_eq!(db.standing().expect("standing"), missing);
    let error = db.apply_page(&[], Seq(1)).expect_err("refused");
    assert_eq!(error.code(), "rebuild_needed");
    db.reset().expect("reset");
    assert_eq!(db.standing().expect("standing"), Standing::At(Seq(0)));
}

#[test]
fn only_a_live_view_has_the_cursor_table_of_the_reference() {
    let (_dir, path) = folder();
    let mut view = ProjectDb::create(&path, Purpose::LiveView, at(0)).expect("create");
    view.apply_page(&[create(5, "A", "issues", "td-1", json!({"title": "shed"}))], Seq(7)).expect("page");
    assert_eq!(count(&view, "SELECT max(server_seq) FROM applied_events"), 5);
    let (_dir, path) = folder();
    let device = ProjectDb::create(&path, Purpose::Device, at(0)).expect("create");
    assert_eq!(count(&device, "SELECT count(*) FROM sqlite_master WHERE name = 'applied_events'"), 0);
}

#[test]
fn a_live_view_gets_the_indexes_of_searches_when_it_becomes_something_else() {
    let (_dir, path) = folder();
    let view = ProjectDb::create(&path, Purpose::LiveView, at(0)).expect("create");
    let indexes = "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND name LIKE 'idx_%'";
    let few = count(&view, indexes);
    drop(ProjectDb::open(&path, Purpose::LiveView).expect("open"));
    assert_eq!(count(&view, indexes), few, "opening one does not make them");
    drop(view);
    let (_dir, other) = folder();
    let device = ProjectDb::create(&other, Purpose::Device, at(0)).expect("create");
    assert!(count(&device, indexes) > few, "{few}");
    for purpose in [Purpose::Snapshot, Purpose::Device] {
        let copied = path.with_extension("copy");
        std::fs::copy(&path, &copied).expect("copy");
        let db = ProjectDb::open(&copied, purpose).expect("open");
        db.conn().execute_batch("DROP TABLE applied_events").expect("what only views have");
        assert_eq!(listing(&db), listing(&device), "{purpose:?}");
    }
}

#[test]
fn a_row_that_an_index_nobody_knows_of_protects_is_not_displaced() {
    let (_dir, path) = folder();
    let mut db = ProjectDb::create(&path, Purpose::Device, at(0)).expect("create");
    db.conn().execute_batch("CREATE UNIQUE INDEX somebodys ON boards(name)").expect("index");
    let board = |seq: i64, id: &str| create(seq, "A", "boards", id, json!({"name": "shed"}));
    db.apply_page(&[board(1, "bd-1")], Seq(1)).expect("page");
    let report = db.apply_page(&[board(2, "bd-2")], Seq(2)).expect("page");
    assert_eq!((report.applied, report.quarantined), (0, 1));
    assert_eq!(count(&db, "SELECT count(*) FROM boards WHERE id = 'bd-1'"), 1);
    assert_eq!(count(&db, "SELECT count(*) FROM boards WHERE id = 'bd-2'"), 0);
}
