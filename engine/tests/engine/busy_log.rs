//! The recorded log of three people at work. It holds what real clients do, mistakes included.

use crate::events::{assert_expected, busy_log, replayed, violations};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use td_engine::conflict::list_conflicts;
use td_engine::db::ProjectDb;
use td_engine::replay::list_skipped;

#[test]
fn pages_of_1_7_and_1000_give_one_digest() {
    let log = busy_log();
    let digests = [1, 7, 1000].map(|size| {
        let mut db = crate::events::empty();
        for page in log.chunks(size) {
            db.apply_page(page, page[page.len() - 1].seq).expect("page");
        }
        assert_eq!(violations(&db), 0);
        db.digest_at_cursor().expect("digest")
    });
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
}

#[test]
fn what_cannot_apply_and_what_was_overwritten_is_named() {
    let mut db = replayed(&busy_log());
    let mut text = String::new();
    writeln!(text, "digest {}", db.digest_at_cursor().expect("digest")).expect("write");
    for e in list_skipped(db.conn()).expect("skipped") {
        let line = format!("{} {} {} {}: {}", e.seq, e.action, e.entity_type, e.entity_id, e.reason);
        writeln!(text, "skipped {line}: {}", e.error).expect("write");
    }
    for c in list_conflicts(db.conn()).expect("conflicts") {
        let fields: Vec<_> = c.fields().collect();
        let (kind, seqs) = (c.kind.as_str(), format!("{} over {}", c.winner_seq, c.loser_seq));
        writeln!(
            text,
            "conflict {} {kind} {} {} {seqs}: {}",
            c.id,
            c.entity_type,
            c.entity_id,
            fields.join(" ")
        )
        .expect("write");
    }
    assert_expected("td-0.62/busy/expected.txt", &text);
}

#[test]
fn the_rows_are_those_of_the_recorded_live_view() {
    assert_expected("td-0.62/busy/project-rows.txt", &row_hashes(&replayed(&busy_log())));
}

/// A hash per row: enough to tell that two databases agree, and where they do not.
fn row_hashes(db: &ProjectDb) -> String {
    let mut text = String::new();
    for line in db.digest_lines().expect("lines") {
        if line == "quarantine\n" {
            break;
        }
        let hash: String = Sha256::digest(&line).iter().take(6).map(|b| format!("{b:02x}")).collect();
        if line.starts_with("table ") {
            text.push_str(&line)
        } else {
            writeln!(text, "{hash}").expect("write")
        }
    }
    text
}

/// Not a test of ours: writes the expected rows from a copy of the recorded `project.db` that `TD_RECORDED` names.
#[test]
#[ignore = "needs the recorded database"]
fn write_recorded_rows() {
    let path = std::env::var("TD_RECORDED").expect("TD_RECORDED");
    let db = ProjectDb::open_read_only(path.as_ref()).expect("recorded database");
    std::fs::write(crate::events::fixture("td-0.62/busy/project-rows.txt"), row_hashes(&db)).expect("write");
}
