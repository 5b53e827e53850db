//! A disk that fails, or a process that does, without losing power at once.

use crate::logs::options;
use std::path::Path;
use td_faultfs::{Death, Disk};
use td_laws::build::{after, append, event, push, seqs, stored};
use td_server::log::{CheckpointPolicy, EventLog, LogError, Options, Outcome, SqliteLog};

const FILE: &str = "/p/events.db";

fn create(disk: &Disk) -> SqliteLog {
    SqliteLog::create(Path::new(FILE), &options(disk)).expect("a log");
    disk.sync_directory();
    open(disk)
}

/// Without checkpoints, so that the test decides what the disk is asked for.
fn open(disk: &Disk) -> SqliteLog {
    let options = Options { checkpoint: CheckpointPolicy::Sidecar, ..options(disk) };
    SqliteLog::open(Path::new(FILE), options).expect("the log")
}

fn cut(disk: &Disk, log: SqliteLog) -> SqliteLog {
    disk.die(Death::Cut);
    drop(log);
    disk.restart();
    open(disk)
}

/// The page cache shows what a killed process wrote but did not sync. A restarted server that serves it has made it
/// visible, so it must not go with the next power cut (law 1).
#[test]
fn what_is_read_after_a_kill_survives_the_next_power_cut() {
    let mut revived = 0;
    for nth in 1..40 {
        let disk = Disk::new(nth);
        let log = create(&disk);
        disk.die_at(nth, Death::Kill);
        let acknowledged = (1..).take_while(|n| append(&log, push("d", [event(*n)])).is_ok()).count();
        drop(log);
        disk.restart();
        let log = open(&disk);
        let seen = seqs(&after(&log, 0));
        assert!(seen.len() >= acknowledged);
        revived += seen.len() - acknowledged;
        let log = cut(&disk, log);
        assert_eq!(seqs(&after(&log, 0)), seen, "killed at {nth}");
    }
    assert!(revived > 0, "no kill fell between a write and its sync: this test has shown nothing");
}

/// Linux reports a failed fsync once, then takes the pages for written. Whoever believes the next fsync loses them.
#[test]
fn a_failed_sync_is_not_believed_when_a_later_one_succeeds() {
    for failures in 1..4 {
        let disk = Disk::new(failures.into());
        let log = create(&disk);
        stored(&log, "d", [event(1)]);
        disk.fail_syncs(failures);
        assert!(matches!(append(&log, push("d", [event(2)])), Err(LogError::Storage(_))));
        assert_eq!(seqs(&after(&log, 0)), [1], "a failed commit is visible");
        let outcome = (2..6).find_map(|n| append(&log, push("d", [event(n), event(n + 10)])).ok());
        assert!(matches!(outcome.as_deref(), Some([Outcome::Accepted { .. }, _])), "{outcome:?}");
        let seen = seqs(&after(&log, 0));
        assert_eq!(seen.len(), 3);
        let log = cut(&disk, log);
        assert_eq!(seqs(&after(&log, 0)), seen, "{failures} failed syncs");
    }
}

/// The push fails, nothing else does; with room again the log goes on, without a restart and without reusing numbers.
#[test]
fn a_full_disk_refuses_pushes_and_recovers() {
    let disk = Disk::new(1);
    let log = create(&disk);
    disk.set_capacity(200_000);
    let taken = (1..).take_while(|n| append(&log, push("d", [event(*n)])).is_ok()).count();
    assert!((5..100).contains(&taken), "{taken}");
    let full = (taken + 1..).map(|n| append(&log, push("d", [event(n as i64)])));
    assert!(full.take(3).all(|answer| matches!(answer, Err(LogError::Storage(_)))));
    assert_eq!(after(&log, 0).len(), taken, "what was there can be read");
    disk.set_capacity(usize::MAX);
    let outcome = stored(&log, "d", [event(taken as i64 + 1)]);
    assert_eq!(outcome, [Outcome::Accepted { seq: log.head().seq, moved: false }]);
    let seen = seqs(&after(&log, 0));
    assert_eq!(seen.len(), taken + 1);
    assert_eq!(seqs(&after(&cut(&disk, log), 0)), seen);
}
