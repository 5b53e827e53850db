//! Rows as payload objects.

use crate::events::{busy_log, create, replayed};
use rusqlite::types::Value;
use td_engine::event::LogEvent;
use td_engine::shape::payload_object;

/// What a first publish and a restore rest on.
#[test]
fn rows_published_as_creates_give_the_same_rows() {
    let db = replayed(&busy_log());
    let mut log: Vec<LogEvent> = Vec::new();
    for table in db.catalog().synced_tables() {
        for row in table.rows(db.conn()).expect("rows") {
            let Some(Value::Text(id)) = row.get(table, "id") else { panic!("id") };
            let seq = i64::try_from(log.len()).expect("few") + 1;
            log.push(create(seq, "A", &table.name, id, payload_object(table, &row).into()));
        }
    }
    let again = replayed(&log);
    let rows = |db: &td_engine::db::ProjectDb| {
        let lines = db.digest_lines().expect("lines");
        lines.into_iter().take_while(|l| l != "quarantine\n").collect::<Vec<_>>()
    };
    assert_eq!(rows(&db), rows(&again));
}
