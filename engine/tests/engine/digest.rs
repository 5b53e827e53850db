//! The digest: its written form, what changes it, and what does not.

use crate::events::{assert_expected, fixture, replayed};
use td_engine::db::ProjectDb;
use td_engine::event::LogEvent;

const VECTORS: [&str; 4] = ["empty", "tables", "values", "records"];

fn vector(name: &str) -> ProjectDb {
    let text = std::fs::read_to_string(fixture(&format!("digest/{name}.jsonl"))).expect("fixture");
    let log: Vec<LogEvent> = text.lines().map(|l| serde_json::from_str(l).expect("event")).collect();
    replayed(&log)
}

fn digest(db: &ProjectDb) -> String {
    db.digest().expect("digest").to_string()
}

#[test]
fn the_vectors_have_the_written_bytes_and_digests() {
    for name in VECTORS {
        let db = vector(name);
        let bytes = db.digest_lines().expect("lines").concat();
        assert_expected(&format!("digest/{name}.txt"), &format!("{bytes}sha256 {}\n", digest(&db)));
    }
}

/// Changes one value by SQL, past every rule, and says whether the digest saw it.
fn shows(db: &ProjectDb, sql: &str) -> bool {
    let before = digest(db);
    db.conn().execute_batch("PRAGMA foreign_keys = OFF; BEGIN").expect("begin");
    let changed = db.conn().execute(sql, []).expect(sql);
    assert!(changed > 0, "{sql}");
    let after = digest(db);
    db.conn().execute_batch("ROLLBACK").expect("rollback");
    assert_eq!(digest(db), before, "rolled back");
    after != before
}

#[test]
fn every_synced_column_of_every_table_changes_it_and_local_ones_do_not() {
    let db = vector("tables");
    let local = [
        "boards.last_viewed_at",
        "work_sessions.worktree_id",
        "work_sessions.worktree_root",
        "work_sessions.repo_root",
    ];
    let mut columns = 0;
    for table in db.catalog().synced_tables() {
        for column in &table.columns {
            columns += 1;
            let name = format!("{}.{}", table.name, column.name);
            // One text that is no time and no number differs from whatever is there, but for is_builtin.
            for other in ["'other'", "'2030-05-05T05:05:05Z'"] {
                let sql = format!("UPDATE {} SET {} = {other} WHERE id IN ({ID})", table.name, column.name);
                assert_eq!(shows(&db, &sql), !local.contains(&name.as_str()), "{name}");
            }
        }
        assert!(shows(&db, &format!("DELETE FROM {} WHERE id IN ({ID})", table.name)));
    }
    assert_eq!(columns, 102, "a new column needs a decision");
}

const ID: &str = "'td-1','lg-1','cm-1','ho-1','bd-1','ws-1','bip_1','dep_1','ifl_1','wsi_1','rv-1','nt-1'";

#[test]
fn quarantine_and_conflicts_change_it() {
    let db = vector("records");
    for sql in [
        "UPDATE sync_skipped_events SET reason = 'other' WHERE server_seq = 7",
        "UPDATE sync_skipped_events SET server_seq = 6 WHERE server_seq = 7",
        "DELETE FROM sync_skipped_events WHERE server_seq = 8",
        "DELETE FROM tdsync_conflict WHERE winner_seq = 3",
        "UPDATE tdsync_conflict SET loser = '{\"title\":\"x\"}' WHERE winner_seq = 3",
        "UPDATE tdsync_conflict SET winner = '{\"title\":\"x\"}' WHERE winner_seq = 3",
        "UPDATE tdsync_conflict SET kind = 'replace' WHERE winner_seq = 3",
        "UPDATE tdsync_conflict SET loser_device = 'C' WHERE winner_seq = 3",
        "UPDATE tdsync_conflict SET id = 'other' WHERE winner_seq = 3",
    ] {
        assert!(shows(&db, sql), "{sql}");
    }
    assert!(!shows(&db, "UPDATE sync_skipped_events SET error = 'said otherwise'"));
    assert!(!shows(&db, "DELETE FROM sync_conflicts"), "that table is the reference's");
}

#[test]
fn other_spellings_of_the_same_state_do_not_change_it() {
    let (tables, values, records) = (vector("tables"), vector("values"), vector("records"));
    for (db, sql) in [
        (&tables, "UPDATE issues SET created_at = '2026-01-01 01:00:01+01:00' WHERE id = 'td-1'"),
        (&tables, "UPDATE issues SET created_at = '2026-01-01 00:00:01' WHERE id = 'td-1'"),
        (&tables, "UPDATE notes SET updated_at = '2026-01-01 00:00:13.000+00:00'"),
        (&tables, "UPDATE handoffs SET done = CAST(done AS BLOB)"),
        (&tables, "UPDATE issues SET title = CAST(title AS BLOB)"),
        (&values, "UPDATE issues SET deleted_at = '2026-01-01T00:00:03.25Z' WHERE id = 'td-2'"),
        (&records, "UPDATE tdsync_conflict SET loser = replace(loser, 'T00:00:02Z', ' 00:00:02+00:00')"),
        (&tables, "UPDATE boards SET updated_at = '2030-01-01', name = 'Everything' WHERE is_builtin"),
        (&tables, "UPDATE tdsync_register SET device = 'other'"),
    ] {
        assert!(!shows(db, sql), "{sql}");
    }
}
