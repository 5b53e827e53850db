//! A backup is what was opened again.

use rusqlite::Connection;
use std::path::Path;
use td_backup::{BackupError, Database, check, export};

const MEASURE: &str = "SELECT coalesce(max(id), 0), count(*) FROM t";

fn live(dir: &Path, rows: i64) -> Connection {
    let db = Connection::open(dir.join("live.db")).expect("open");
    db.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t (id INTEGER PRIMARY KEY)").expect("schema");
    for id in 1..=rows {
        db.execute("INSERT INTO t VALUES (?1)", [id * 10]).expect("row");
    }
    db
}

fn database(dir: &Path) -> Database {
    Database { name: "projects/p/live.db".into(), path: dir.join("live.db"), measure: Some(MEASURE.into()) }
}

#[test]
fn a_copy_of_a_live_database_opens_again_with_its_head_and_count() {
    let dir = tempfile::tempdir().expect("dir");
    let mut writer = live(dir.path(), 3);
    // A transaction that is open meanwhile neither hinders the copy nor shows in it.
    let tx = writer.transaction().expect("tx");
    tx.execute("INSERT INTO t VALUES (1000)", []).expect("row");
    std::fs::write(dir.path().join("key"), "secret").expect("write");
    let to = dir.path().join("copy");
    let mut backup = export(&to, "2026-11-21T12:00:00Z", "e").expect("begin");
    backup.database(&database(dir.path())).expect("copy");
    backup.file("key", &dir.path().join("key")).expect("copy");
    assert!(!to.exists(), "nothing stands under the name before all is there");
    let manifest = backup.finish().expect("finish");
    tx.commit().expect("commit");
    assert_eq!((manifest.databases[0].head, manifest.databases[0].count), (Some(30), Some(3)));
    let checked = check(&to).expect("good");
    assert_eq!((checked.databases, checked.rows, checked.files), (1, 3, 1));
    assert!(matches!(export(&to, "", ""), Err(BackupError::TargetExists { .. })));
}

#[test]
fn one_changed_byte_is_found() {
    let dir = tempfile::tempdir().expect("dir");
    let _live = live(dir.path(), 3);
    let to = dir.path().join("copy");
    let mut backup = export(&to, "", "e").expect("begin");
    backup.database(&database(dir.path())).expect("copy");
    backup.finish().expect("finish");
    let path = to.join("projects/p/live.db");
    let mut bytes = std::fs::read(&path).expect("read");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).expect("write");
    assert!(matches!(check(&to), Err(BackupError::Damaged { .. })));
}

#[test]
fn an_export_that_fails_leaves_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    std::fs::write(dir.path().join("live.db"), "this is no database, but it is long enough to look at")
        .expect("write");
    let to = dir.path().join("copy");
    let mut backup = export(&to, "", "e").expect("begin");
    assert!(backup.database(&database(dir.path())).is_err());
    drop(backup);
    assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 1);
}
