//! The disk itself: it must lose what it says it loses, or the other tests prove nothing.

use rusqlite::{Connection, OpenFlags};
use std::sync::Arc;
use td_faultfs::{Death, Disk};

fn open(disk: &Disk, name: &str, synchronous: &str) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let conn = Connection::open_with_flags_and_vfs(name, flags, disk.vfs()).expect("open");
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0)).expect("wal");
    conn.pragma_update(None, "synchronous", synchronous).expect("pragma");
    conn
}

/// A table with one durable row, and 20 rows more in commits of their own; then the power goes. How many are left.
fn rows_after_cut(seed: u64, synchronous: &str) -> Result<i64, rusqlite::Error> {
    let disk = Disk::new(seed);
    let conn = open(&disk, "t.db", "FULL");
    conn.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (0); PRAGMA wal_checkpoint;")
        .expect("a table");
    disk.sync_directory();
    conn.pragma_update(None, "synchronous", synchronous).expect("pragma");
    for n in 0..20 {
        conn.execute("INSERT INTO t VALUES (?1)", [n]).expect("a row");
    }
    disk.die(Death::Cut);
    assert!(conn.execute("INSERT INTO t VALUES (99)", []).is_err(), "wrote without power");
    drop(conn);
    disk.restart();
    let conn = open(&disk, "t.db", "FULL");
    let check: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    assert_eq!(check, "ok");
    conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
}

#[test]
fn what_was_synced_survives_every_cut() {
    for seed in 0..50 {
        assert_eq!(rows_after_cut(seed, "FULL").expect("readable"), 21);
    }
}

#[test]
fn what_was_not_synced_is_lost_in_most_cuts_but_never_tears_a_wal() {
    for synchronous in ["OFF", "NORMAL"] {
        let left: Vec<i64> = (0..50).map(|s| rows_after_cut(s, synchronous).expect("readable")).collect();
        assert!(left.iter().filter(|rows| **rows < 21).count() > 40, "{synchronous}: {left:?}");
        assert!(left.iter().any(|rows| *rows > 1), "{synchronous}: a cut may spare something: {left:?}");
    }
}

#[test]
fn a_killed_process_leaves_its_writes_and_a_cut_after_it_takes_them() {
    let disk = Disk::new(1);
    let conn = open(&disk, "t.db", "FULL");
    conn.execute_batch("CREATE TABLE t(x); PRAGMA wal_checkpoint; PRAGMA synchronous = OFF;")
        .expect("a table");
    disk.sync_directory();
    conn.execute("INSERT INTO t VALUES (1)", []).expect("a row");
    disk.die(Death::Kill);
    assert!(conn.execute("INSERT INTO t VALUES (2)", []).is_err(), "wrote after its death");
    drop(conn);
    disk.restart();
    let rows = |conn: &Connection| conn.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
    let conn = open(&disk, "t.db", "OFF");
    assert_eq!(rows(&conn), Ok(1));
    disk.die(Death::Cut);
    drop(conn);
    disk.restart();
    assert_eq!(rows(&open(&disk, "t.db", "OFF")), Ok(0));
}

#[test]
fn a_file_whose_directory_was_not_synced_may_be_gone() {
    let kept = (0..40).filter(|seed| {
        let disk = Disk::new(*seed);
        drop(open(&disk, "t.db", "FULL"));
        disk.die(Death::Cut);
        disk.restart();
        Connection::open_with_flags_and_vfs("t.db", OpenFlags::SQLITE_OPEN_READ_WRITE, disk.vfs()).is_ok()
    });
    assert!((5..35).contains(&kept.count()));
}

#[test]
fn connections_exclude_each_other() {
    let disk = Arc::new(Disk::new(1));
    let (one, two) = (open(&disk, "t.db", "FULL"), open(&disk, "t.db", "FULL"));
    two.busy_timeout(std::time::Duration::ZERO).expect("pragma");
    one.execute_batch("CREATE TABLE t(x); BEGIN IMMEDIATE; INSERT INTO t VALUES (1);")
        .expect("a transaction");
    let code = two.execute("INSERT INTO t VALUES (2)", []).expect_err("locked").sqlite_error_code();
    assert_eq!(code, Some(rusqlite::ErrorCode::DatabaseBusy));
    let count = |conn: &Connection| conn.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
    assert_eq!(count(&two), Ok(0), "a reader sees the state before");
    one.execute_batch("COMMIT").expect("commit");
    assert_eq!(count(&two), Ok(1));
}
