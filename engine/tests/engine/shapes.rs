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

/// JavaScript writes half of an emoji that it cut in two; a stock peer stores U+FFFD, and so must every view.
#[test]
fn half_a_surrogate_pair_is_text_and_no_reason_to_leave_an_event_out() {
    let mut event = create(1, "A", "issues", "td-1", serde_json::json!({"title": "x", "status": "open"}));
    let text = r#"{"new_data":{"title":"a\ud800b \\ud800 \ud83d\ude00","status":"open"},"previous_data":{}}"#;
    event.payload = td_engine::payload::Payload::parse(text).expect("json");
    let db = replayed(&[event]);
    let title: String = db.conn().query_row("SELECT title FROM issues", [], |r| r.get(0)).expect("applied");
    assert_eq!(title, "a\u{fffd}b \\ud800 \u{1f600}");
    let skipped = td_engine::replay::list_skipped(db.conn()).expect("list");
    assert_eq!(skipped, []);
}

/// Stock peers drop a key that is no column, and keep an object as its text, however deep either is.
#[test]
fn what_is_nested_deeper_than_a_parser_goes_is_text_and_no_reason_to_leave_an_event_out() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let mut event = create(1, "A", "issues", "td-1", serde_json::json!({"title": "x", "status": "open"}));
    let text = format!(
        r#"{{"new_data":{{"title":"a","zz":{deep},"description":{deep},"points":3}},"previous_data":{{}}}}"#
    );
    event.payload = td_engine::payload::Payload::parse(&text).expect("json");
    let db = replayed(&[event]);
    let sql = "SELECT title, description, points FROM issues";
    let row = db.conn().query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)));
    assert_eq!(row.expect("applied"), ("a".to_string(), deep, 3));
    let noted = td_engine::replay::list_skipped(db.conn()).expect("list");
    assert_eq!(noted.iter().map(|n| n.reason.as_str()).collect::<Vec<_>>(), ["unknown_columns"]);
}
