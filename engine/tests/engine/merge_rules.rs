//! Merge rules as text: events above the line, what they lead to below it. Cases: `tests/fixtures/merge/*.txt`.

use crate::events::{assert_expected, at, event, fixture, replayed, violations};
use rusqlite::types::Value;
use serde_json::{Value as Json, json};
use std::fmt::Write;
use td_engine::conflict::list_conflicts;
use td_engine::db::{ProjectDb, Row};
use td_engine::event::LogEvent;
use td_engine::id::Seq;
use td_engine::replay::list_skipped;

#[test]
fn the_merge_rules_hold() {
    let mut files: Vec<_> = std::fs::read_dir(fixture("merge")).expect("folder").flatten().collect();
    files.sort_by_key(|f| f.file_name());
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(file.path()).expect("file");
        let name = format!("merge/{}", file.file_name().to_string_lossy());
        let cases: Vec<_> = text.split("\n\n").map(run).collect();
        assert_expected(&name, &(cases.join("\n\n") + "\n"));
    }
}

/// A case with its outcome recomputed.
fn run(case: &str) -> String {
    let input = case.split("\n----").next().unwrap_or(case).trim_end();
    let log: Vec<LogEvent> =
        input.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()).map(parse).collect();
    if log.is_empty() {
        return input.into();
    }
    let db = replayed(&log);
    assert_eq!(violations(&db), 0, "{input}");
    // Where pages are cut must not matter.
    let mut one_by_one = crate::events::empty();
    for e in &log {
        one_by_one.apply_page(std::slice::from_ref(e), e.seq).expect("page");
    }
    let dump = dump(&db);
    assert_eq!(dump, self::dump(&one_by_one), "{input}");
    format!("{input}\n----\n{dump}").trim_end().to_owned()
}

/// `SEQ DEVICE ACTION TABLE ID [PREVIOUS -> ]NEW [base=N]`, or `raw PAYLOAD` in place of the halves.
fn parse(line: &str) -> LogEvent {
    let mut words = line.splitn(6, ' ');
    let mut word = || words.next().unwrap_or_default();
    let (seq, device, action, table, id, rest) = (word(), word(), word(), word(), word(), word());
    let json = |text: &str| -> Json { serde_json::from_str(text).unwrap_or_else(|e| panic!("{line}: {e}")) };
    let payload = if let Some(raw) = rest.strip_prefix("raw ") {
        json(raw)
    } else {
        let (halves, base) = rest.rsplit_once("base=").map_or((rest, None), |(h, b)| (h, Some(b)));
        let (previous, new) = halves.split_once(" -> ").unwrap_or(("{}", halves));
        let half = |text: &str| if text.trim().is_empty() { json!({}) } else { json(text) };
        let mut payload = json!({"new_data": half(new), "previous_data": half(previous)});
        if let Some(base) = base {
            let base: i64 = base.trim().parse().expect("base");
            payload["meta"] = json!({"v": 1, "actor": "user:1", "origin": "td", "base_seq": base});
        }
        payload
    };
    let id = if id == "\"\"" { "" } else { id };
    event(seq.parse().expect("seq"), device, action, table, id, &payload)
}

fn dump(db: &ProjectDb) -> String {
    let mut out = String::new();
    for table in db.catalog().synced_tables() {
        for row in table.rows(db.conn()).expect("rows") {
            let Some(Value::Text(id)) = row.get(table, "id") else { panic!("id") };
            if id == "bd-all-issues" {
                continue;
            }
            writeln!(out, "{} {id}:{}", table.name, told(table, &row)).expect("write");
        }
    }
    for e in list_skipped(db.conn()).expect("skipped") {
        writeln!(out, "skipped {}: {}: {}", e.seq, e.reason, e.error).expect("write");
    }
    for c in list_conflicts(db.conn()).expect("conflicts") {
        let head = format!(
            "{} {} {}, {} over {}",
            c.kind.as_str(),
            c.entity_type,
            c.entity_id,
            c.winner_seq,
            c.loser_seq
        );
        let side = |side: &serde_json::Map<String, Json>| {
            let pairs: Vec<_> = side
                .iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| format!("{k}={}", time_or(v)))
                .collect();
            pairs.join(" ")
        };
        if c.winner.is_empty() {
            writeln!(out, "conflict {head}: lost {}", c.entity_id).expect("write");
        } else {
            writeln!(out, "conflict {head}: {} instead of {}", side(&c.winner), side(&c.loser))
                .expect("write");
        }
    }
    out
}

/// The columns that do not hold their default.
fn told(table: &td_engine::db::Table, row: &Row) -> String {
    let mut out = String::new();
    let defaults = table.default_row(at(0));
    for ((column, value), default) in table.columns.iter().zip(&row.0).zip(&defaults.0) {
        if column.name != "id" && value != default {
            let json = match value {
                Value::Null => Json::Null,
                Value::Integer(i) => json!(i),
                Value::Real(r) => json!(r),
                Value::Text(t) => json!(t),
                Value::Blob(b) => json!(b),
            };
            write!(out, " {}={}", column.name, time_or(&json)).expect("write");
        }
    }
    out
}

/// `@3` for the moment of event 3 in our own spelling, `@3c` in the canonical one, `@3r` in RFC 3339.
fn time_or(value: &Json) -> String {
    for seq in 0..100 {
        let time = at(seq);
        for (text, mark) in [(time.fixed_utc(), ""), (time.canonical(), "c"), (time.rfc3339n(), "r")] {
            if value.as_str() == Some(&text) {
                return format!("@{}{mark}", Seq(seq));
            }
        }
    }
    value.to_string()
}
