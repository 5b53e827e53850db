//! Random events: whatever a log holds, it applies, and where its pages are cut does not matter.

use crate::events::{empty, replayed, violations};
use crate::random_log::log;
use proptest::prelude::*;
use td_engine::id::Seq;

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
