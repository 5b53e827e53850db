//! The laws of the place where the logs are.

use crate::build::*;
use crate::{Backend, create, is_missing, open, project};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use td_engine::event::LogEvent;
use td_engine::id::{ProjectId, Seq};
use td_engine::payload::Payload;
use td_server::log::{LogError, Rewrite, Rewritten};

/// [`td_server::log::Logs::create`] and `open`.
pub fn a_log_is_made_once_and_never_by_opening(backend: &mut dyn Backend) {
    assert!(is_missing(backend));
    assert!(is_missing(backend), "asking for it has made it");
    assert!(matches!(backend.logs().delete(&project()), Err(LogError::Missing)));
    stored(&*create(backend), "d", [event(1)]);
    assert!(matches!(backend.logs().create(&project()), Err(LogError::Exists)));
    backend.crash();
    assert!(matches!(backend.logs().create(&project()), Err(LogError::Exists)));
    assert_eq!(after(&*open(backend), 0).len(), 1);
    let other = ProjectId::parse("p_fedcba9876543210").expect("well formed");
    let other = backend.logs().create(&other).expect("another log");
    assert_eq!(other.head().seq, Seq(0), "projects have logs of their own");
}

/// Law 7. What was queued is answered, what comes later is told.
pub fn deleted_means_gone(backend: &mut dyn Backend) {
    let log = create(backend);
    stored(&*log, "d", [event(1)]);
    let queued = log.append(push("d", [event(2)]));
    backend.logs().delete(&project()).expect("deleted");
    assert_eq!(queued.blocking_recv().expect("answer").expect("stored"), [accepted(2)]);
    assert!(matches!(append(&*log, push("d", [event(3)])), Err(LogError::Missing)));
    let query = td_server::log::ReadQuery { after: Seq(0), limit: 1, exclude: None };
    assert!(matches!(log.read(&query, &mut |_| panic!("read after deletion")), Err(LogError::Missing)));
    assert!(is_missing(backend));
    drop(log);
    backend.crash();
    assert!(is_missing(backend), "back after a crash");
    backend.restart();
    assert!(is_missing(backend), "back after a restart");
    assert!(matches!(backend.logs().delete(&project()), Err(LogError::Missing)));
}

struct Retitled;

impl Rewrite for Retitled {
    fn change(&self, event: &LogEvent) -> Option<Payload> {
        let payload = event.payload.as_str();
        payload.contains("old").then(|| Payload::stored(payload.replace("old", "new")))
    }
    fn begin(&self, found: &[Rewritten]) -> io::Result<()> {
        let found: Vec<_> = found.iter().map(|f| (f.seq.0, f.entity_id.as_str())).collect();
        assert_eq!(found, [(1, "td-1"), (3, "td-3")]);
        Ok(())
    }
    fn end(&self) -> io::Result<()> {
        Ok(())
    }
}

/// [`td_server::log::Logs::rewrite`].
pub fn a_rewritten_log_has_other_payloads_and_nothing_else_is_new(backend: &mut dyn Backend) {
    let log = create(backend);
    stored(&*log, "d", [titled(1, "old"), event(2), titled(3, "old")]);
    // A duplicate takes a number that no row has.
    stored(&*log, "d", [event(2)]);
    let before = after(&*log, 0);
    backend.logs().rewrite(&project(), &Retitled).expect("rewritten");
    assert!(matches!(append(&*log, push("d", [event(9)])), Err(LogError::Closed)));
    drop(log);
    backend.crash();
    let log = open(backend);
    let now = after(&*log, 0);
    assert_eq!(now.len(), 3);
    for (was, is) in before.into_iter().zip(now) {
        let payload = Retitled.change(&was).unwrap_or_else(|| was.payload.clone());
        assert_eq!(is, LogEvent { payload, ..was });
    }
    assert_eq!(stored(&*log, "d", [event(4)]), [accepted(5)], "numbers are not given again");
}

/// Law 7: nothing of the old log shines through.
pub fn a_project_made_again_starts_empty(backend: &mut dyn Backend) {
    stored(&*create(backend), "d", [event(1), event(2)]);
    backend.logs().delete(&project()).expect("deleted");
    let log = create(backend);
    assert_eq!((log.head().seq, after(&*log, 0).len()), (Seq(0), 0));
    assert_eq!(stored(&*log, "d", [event(1)]), [accepted(1)]);
    drop(log);
    backend.crash();
    assert_eq!(seqs(&after(&*open(backend), 0)), [1]);
}

/// [`LogError::Closed`], and the log opened anew goes on where the closed one ended.
pub fn a_closed_log_says_so(backend: &mut dyn Backend) {
    let log = create(backend);
    let queued = log.append(push("d", [event(1)]));
    backend.logs().close_all();
    assert_eq!(queued.blocking_recv().expect("answer").expect("stored"), [accepted(1)]);
    assert!(matches!(append(&*log, push("d", [event(2)])), Err(LogError::Closed)));
    let again = open(backend);
    assert!(matches!(append(&*log, push("d", [event(2)])), Err(LogError::Closed)), "closed stays closed");
    assert_eq!(stored(&*again, "d", [event(2)]), [accepted(2)]);
}

/// One log per project: what one caller stores, the other sees; and a log that is held is not idle.
pub fn two_callers_get_the_same_log(backend: &mut dyn Backend) {
    let one = create(backend);
    let two = open(backend);
    assert!(Arc::ptr_eq(&one, &two));
    stored(&*one, "d", [event(1)]);
    assert_eq!(two.head().seq, Seq(1));
    backend.logs().close_idle(Duration::ZERO);
    assert_eq!(stored(&*two, "d", [event(2)]), [accepted(2)], "closed under a holder");
    drop((one, two));
    backend.logs().close_idle(Duration::ZERO);
    assert_eq!(seqs(&after(&*open(backend), 0)), [1, 2]);
}
