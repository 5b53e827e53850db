//! A log that is rewritten while others read it.

use super::*;
use crate::log::{Logs, Rewrite, Rewritten};

/// Replaces what every event says.
#[derive(Default)]
struct Emptied {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Rewrite for Emptied {
    fn change(&self, _: &LogEvent) -> Option<Payload> {
        Some(Payload::stored("{}"))
    }
    fn begin(&self, _: &[Rewritten]) -> std::io::Result<()> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn end(&self) -> std::io::Result<()> {
        self.ended.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A page as slow as its client left the log rewritten, its WAL full and all that was made from it in place.
#[test]
fn a_rewrite_waits_for_a_slow_page_before_it_changes_anything() {
    let dir = tempfile::tempdir().expect("a folder");
    let projects = projects(&dir);
    let log = projects.create(&project(1)).expect("a log");
    log.append(push(1)).blocking_recv().expect("an answer").expect("stored");
    let (started, starts) = std::sync::mpsc::channel();
    let (finish, wait) = std::sync::mpsc::channel::<()>();
    let by = Emptied::default();
    std::thread::scope(|s| {
        s.spawn(move || {
            let query = ReadQuery { after: Seq(0), limit: 1, exclude: None };
            log.read(&query, &mut |_| {
                started.send(()).expect("the test is there");
                let _ = wait.recv();
                ControlFlow::Continue(())
            })
        });
        starts.recv().expect("the reader begins");
        let rewrite = s.spawn(|| projects.rewrite(&project(1), &by));
        let is_early = until_within(50, || by.begun.load(Ordering::SeqCst) > 0 || rewrite.is_finished());
        // Whoever opens it does not wait with it: on a thread each, they took every thread of the server.
        let (tell, told) = std::sync::mpsc::channel();
        let projects = &projects;
        s.spawn(move || {
            tell.send(until_within(500, || matches!(projects.open(&project(1)), Err(LogError::Closed))))
        });
        let is_answered = told.recv_timeout(Duration::from_secs(20));
        drop(finish);
        assert!(!is_early, "it began beside the reader");
        assert_eq!(is_answered, Ok(true));
        rewrite.join().expect("no panic").expect("rewritten");
    });
    assert_eq!((by.begun.into_inner(), by.ended.into_inner()), (1, 1));
    let wal = projects.dir(&project(1)).join("events.db-wal");
    assert_eq!(wal.metadata().expect("a WAL").len(), 0);
}

#[test]
fn waiting_for_readers_has_an_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_, log) = new_log(&dir, options());
    append(&log, push(1)).expect("stored");
    let query = ReadQuery { after: Seq(0), limit: 1, exclude: None };
    log.read(&query, &mut |_| {
        log.close(LogError::Closed);
        assert!(!log.wait_for_readers(Duration::from_millis(10)));
        ControlFlow::Continue(())
    })
    .expect("readable");
    assert!(log.wait_for_readers(Duration::ZERO));
}

/// Another program's reader cannot be waited for: the file keeps what it was, but nothing that is made from it does.
#[test]
fn a_file_that_a_stranger_reads_is_not_emptied_and_the_rest_is_done_and_said() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, log) = new_log(&dir, options());
    append(&log, push(1)).expect("stored");
    drop(log);
    let stranger = Connection::open(&path).expect("a file");
    stranger.execute_batch("BEGIN; SELECT * FROM events").expect("a reader");
    let by = Emptied::default();
    assert!(matches!(SqliteLog::rewrite(&path, &options(), &by), Err(LogError::InUse)));
    assert_eq!(by.ended.load(Ordering::SeqCst), 1);
    drop(stranger);
    SqliteLog::rewrite(&path, &options(), &by).expect("again");
    assert_eq!(dir.path().join("events.db-wal").metadata().expect("a WAL").len(), 0);
}
