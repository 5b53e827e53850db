//! Many logs: how many are open, and what becomes of those that are made and deleted.

use super::*;
use crate::log::Logs;

#[test]
fn open_logs_are_bounded_and_the_longest_unused_one_makes_room() {
    let dir = tempfile::tempdir().expect("a folder");
    let projects = projects(&dir);
    let first = projects.create(&project(1)).expect("a log");
    let second = projects.create(&project(2)).expect("a log");
    assert!(matches!(projects.create(&project(3)), Err(LogError::Busy { .. })), "both are in use");
    assert!(matches!(projects.open(&project(2)), Ok(log) if Arc::ptr_eq(&log, &second)));
    drop((first, second));
    drop(projects.create(&project(3)).expect("room"));
    let open = || (1..=3).filter(|n| projects.is_open(&project(*n))).collect::<Vec<_>>();
    assert_eq!(open(), [2, 3]);
    assert_eq!(projects.close_idle(Duration::from_secs(3600)), 0);
    assert_eq!(projects.close_idle(Duration::ZERO), 2);
    assert_eq!(open(), [0; 0]);
    assert!(matches!(projects.open(&project(9)), Err(LogError::Missing)));
    assert!(!dir.path().join(project(9).as_str()).exists());
}

#[test]
fn who_waits_for_news_keeps_no_log_open_and_misses_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let projects = projects(&dir);
    let mut watched: Vec<_> = (1..=3).map(|n| projects.create(&project(n)).expect("room").watch()).collect();
    assert!(!projects.is_open(&project(1)), "two may be open");
    assert_eq!(projects.close_idle(Duration::ZERO), 2);
    for (n, watcher) in (1..=3).zip(&mut watched) {
        watcher.mark_unchanged();
        let log = projects.open(&project(n)).expect("room");
        log.append(push(1)).blocking_recv().expect("an answer").expect("stored");
        assert_eq!((watcher.has_changed().expect("alive"), watcher.borrow_and_update().seq), (true, Seq(1)));
    }
    projects.delete(&project(3)).expect("deleted");
    assert!(watched[2].has_changed().is_err(), "nothing comes any more");
    assert!(watched[0].has_changed().is_ok());
}

#[test]
fn a_start_clears_away_what_a_crash_left_of_creations_and_deletions() {
    let dir = tempfile::tempdir().expect("a folder");
    drop(projects(&dir).create(&project(1)).expect("a log"));
    for left in [".new-p_0000000000000002", ".gone-p_0000000000000003"] {
        std::fs::create_dir(dir.path().join(left)).expect("a folder");
        std::fs::write(dir.path().join(left).join("events.db"), "half").expect("a file");
    }
    let projects = projects(&dir);
    let names = || std::fs::read_dir(dir.path()).expect("readable").count();
    assert_eq!(names(), 1);
    projects.delete(&project(1)).expect("deleted");
    assert_eq!(names(), 0);
}
