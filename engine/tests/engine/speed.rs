//! How fast a log is applied. Run with `cargo test --release -p td-engine --test engine -- --ignored --nocapture speed`.

use crate::events::{at, create, update};
use serde_json::json;
use std::time::Instant;
use td_engine::db::{ProjectDb, Purpose};
use td_engine::event::LogEvent;

/// A project's usual mixture: of ten events, three create issues, four change one, three add logs or comments.
fn usual(events: i64) -> Vec<LogEvent> {
    let device = |seq: i64| if seq % 3 == 0 { "A" } else { "B" };
    let usual = |seq: i64| {
        let (id, time) = (format!("td-{}", seq / 10 * 3 + seq % 3), at(seq % 99).fixed_utc());
        let issue = |title: &str, status: &str| {
            json!({"id": id, "title": title, "description": "a line about what has to be done", "status": status,
                   "type": "task", "priority": "P2", "points": 0, "labels": ["a", "b"], "implementer_session": "",
                   "creator_session": "ses_1", "reviewer_session": "", "created_at": time, "updated_at": time,
                   "minor": false, "defer_count": 0})
        };
        match seq % 10 {
            0..=2 => create(seq + 1, device(seq), "issues", &id, issue("shed", "open")),
            3..=6 => {
                update(seq + 1, device(seq), "issues", &id, issue("shed", "open"), issue("barn", "closed"))
            }
            7 | 8 => create(
                seq + 1,
                device(seq),
                "logs",
                &format!("lg-{seq}"),
                json!({"issue_id": id, "session_id": "s", "message": "did it", "timestamp": time}),
            ),
            _ => create(
                seq + 1,
                device(seq),
                "comments",
                &format!("cm-{seq}"),
                json!({"issue_id": id, "session_id": "s", "text": "fine", "created_at": time}),
            ),
        }
    };
    (0..events).map(usual).collect()
}

/// Of this thread; what a busy machine leaves comparable.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e9
}

#[test]
#[ignore = "a measurement"]
fn speed_of_applying() {
    let log = usual(100_000);
    let dir = tempfile::tempdir().expect("folder");
    for (name, purpose) in [("device", Purpose::Device), ("live view", Purpose::LiveView)] {
        let mut db = ProjectDb::create(&dir.path().join(name), purpose, at(0)).expect("create");
        let (start, cpu) = (Instant::now(), cpu_seconds());
        for page in log.chunks(1000) {
            db.apply_page(page, page[page.len() - 1].seq).expect("page");
        }
        let rate = 100_000.0 / start.elapsed().as_secs_f64();
        let cpu_rate = 100_000.0 / (cpu_seconds() - cpu);
        let start = Instant::now();
        db.digest().expect("digest");
        let digest = start.elapsed();
        println!(
            "figure: {name}: {rate:.0} events/s applied, {cpu_rate:.0} per second of CPU; digest {digest:?}"
        );
    }
}
