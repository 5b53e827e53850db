//! Random events: whatever a log holds, it applies, and where its pages are cut does not matter.

use crate::events::{empty, event, replayed, violations};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use td_engine::event::LogEvent;
use td_engine::id::Seq;

const TABLES: [&str; 14] = [
    "issues",
    "issues",
    "issues",
    "logs",
    "comments",
    "handoffs",
    "boards",
    "work_sessions",
    "board_issue_positions",
    "issue_dependencies",
    "issue_files",
    "work_session_issues",
    "issue_reviews",
    "notes",
];

/// A few ids per kind, so that events meet.
fn id(kind: &'static str) -> impl Strategy<Value = String> {
    (1..4u8).prop_map(move |n| format!("{kind}-{n}"))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => select(vec!["a", "b", "", "2026-01-01T00:00:00Z", "2026-01-01 01:00:00+01:00", "5", "9e999"]).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => select(vec![json!(null), json!(true), json!([1, "x"]), json!({"issue": {"title": "in"}})]),
    ]
}

/// Mostly what the table needs, sometimes less, sometimes nonsense.
fn fields(table: &'static str) -> BoxedStrategy<Value> {
    let needed: &[&str] = match table {
        "issues" => &["title", "priority", "labels", "closed_at", "points", "parent_id"],
        "logs" => &["session_id", "message", "issue_id"],
        "comments" => &["issue_id", "session_id", "text"],
        "handoffs" => &["issue_id", "session_id", "done"],
        "boards" => &["name", "query", "is_builtin", "last_viewed_at"],
        "work_sessions" => &["name", "session_id", "worktree_root", "ended_at"],
        "board_issue_positions" => &["board_id", "issue_id", "position"],
        "issue_dependencies" => &["issue_id", "depends_on_id", "relation_type"],
        "issue_files" => &["issue_id", "file_path", "role"],
        "work_session_issues" => &["work_session_id", "issue_id"],
        "issue_reviews" => &["issue_id", "reviewer_session", "decision"],
        _ => &["title", "content", "created_at", "updated_at", "pinned"],
    };
    let field = |name: &'static str| {
        let reference = match name {
            "issue_id" | "depends_on_id" | "parent_id" => Some("issues"),
            "board_id" => Some("boards"),
            "work_session_id" => Some("work_sessions"),
            _ => None,
        };
        let value = match reference {
            Some(kind) => prop_oneof![9 => id(kind).prop_map(Value::from), 1 => value()].boxed(),
            None if name == "relation_type" => {
                select(vec!["depends_on", "related"]).prop_map(Value::from).boxed()
            }
            None => value().boxed(),
        };
        (Just(name), value, prop::bool::weighted(0.9))
    };
    let all: Vec<_> = needed.iter().map(|n| field(n)).collect();
    (all, prop::bool::weighted(0.05))
        .prop_map(|(all, unknown)| {
            let there = all.into_iter().filter(|(.., there)| *there).map(|(k, v, _)| (k.to_owned(), v));
            let mut map: Map<String, Value> = there.collect();
            if unknown {
                map.insert("colour".into(), json!("red"));
            }
            Value::Object(map)
        })
        .boxed()
}

fn payload(table: &'static str) -> impl Strategy<Value = Value> {
    let meta = prop::option::of(0..60i64);
    prop_oneof![
        6 => (fields(table), fields(table), meta).prop_map(|(new, previous, base)| {
            let mut payload = json!({"new_data": new, "previous_data": previous});
            if let Some(base) = base {
                payload["meta"] = json!({"v": 1, "actor": "a", "origin": "td", "base_seq": base});
            }
            payload
        }),
        3 => fields(table).prop_map(|new| json!({"new_data": new, "previous_data": {}})),
        1 => select(vec![json!(null), json!([]), json!({}), json!({"new_data": 5}), json!({"previous_data": null})]),
    ]
}

type Draft = (&'static str, &'static str, &'static str, String, Value);

fn draft() -> impl Strategy<Value = Draft> {
    let actions =
        vec!["create", "create", "create", "update", "update", "delete", "soft_delete", "restore", "merge"];
    (select(TABLES.to_vec()), select(vec!["A", "B", "C"]), select(actions)).prop_flat_map(
        |(table, device, action)| (Just(table), Just(device), Just(action), id(table), payload(table)),
    )
}

fn log(length: usize) -> impl Strategy<Value = Vec<LogEvent>> {
    prop::collection::vec(draft(), 1..length).prop_map(|drafts| {
        let numbered = (1..).zip(drafts);
        numbered
            .map(|(seq, (table, device, action, id, payload))| {
                event(seq, device, action, table, &id, &payload)
            })
            .collect()
    })
}

/// `PROPTEST_CASES=5000` for a long run.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_log_applies_alike_however_its_pages_are_cut(log in log(60), cuts in prop::collection::vec(0..60usize, 0..8)) {
        let whole = replayed(&log);
        prop_assert_eq!(violations(&whole), 0);
        let mut paged = empty();
        let mut bounds: Vec<usize> = cuts.into_iter().map(|c| c.min(log.len())).collect();
        bounds.extend([0, log.len()]);
        bounds.sort_unstable();
        for cut in bounds.windows(2) {
            let page = &log[cut[0]..cut[1]];
            paged.apply_page(page, page.last().map_or(Seq(0), |e| e.seq)).expect("page");
        }
        prop_assert_eq!(whole.digest_lines().expect("lines"), paged.digest_lines().expect("lines"));
        prop_assert_eq!(whole.digest().expect("digest"), paged.digest().expect("digest"));
    }

    #[test]
    fn any_local_changes_can_be_taken_back_and_come_back_from_the_log(log in log(30), local in log(20)) {
        let mut db = replayed(&log);
        let before = db.digest_lines().expect("lines");
        let write = db.write().expect("write");
        for event in &local {
            write.apply_local(event.into()).expect("local");
        }
        write.commit().expect("commit");
        prop_assert_eq!(violations(&db), 0);
        let write = db.write().expect("write");
        drop(write.restore_before().expect("restore"));
        write.commit().expect("commit");
        prop_assert_eq!(db.digest_lines().expect("lines"), before);
        prop_assert_eq!(violations(&db), 0);
        db.reset().expect("reset");
        db.apply_page(&log, log[log.len() - 1].seq).expect("page");
        prop_assert_eq!(db.digest().expect("digest"), replayed(&log).digest().expect("digest"));
    }

    /// Decision 1: rows = the log at the cursor, and what the log does not have yet, in order.
    #[test]
    fn a_pull_under_local_changes_is_the_log_with_the_changes_on_top(log in log(40), at in 0..40usize, local in log(12)) {
        let (seen, page) = log.split_at(at.min(log.len()));
        let apply_local = |write: &td_engine::db::Write<'_>| {
            for event in &local {
                write.apply_local(event.into()).expect("local");
            }
        };
        let mut db = replayed(seen);
        let write = db.write().expect("write");
        apply_local(&write);
        write.commit().expect("commit");
        let write = db.write().expect("write");
        let rows = write.restore_before().expect("restore");
        write.apply_page(page, page.last().map_or(Seq(0), |e| e.seq)).expect("page");
        apply_local(&write);
        write.put_back(rows).expect("put back");
        write.commit().expect("commit");
        let mut expected = replayed(&log);
        prop_assert_eq!(db.digest_at_cursor().expect("digest"), expected.digest().expect("digest"));
        let write = expected.write().expect("write");
        apply_local(&write);
        write.commit().expect("commit");
        prop_assert_eq!(db.digest_lines().expect("lines"), expected.digest_lines().expect("lines"));
        prop_assert_eq!(violations(&db), 0);
    }
}
