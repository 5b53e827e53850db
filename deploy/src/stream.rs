//! The way of events from the engine to whoever shows them (anchors-installer e7).
//!
//! Duty: one bounded queue. What tells the story waits for a slow reader; progress and log lines make room for it and
//! are counted.
//! Invariant: every event has been through the redactor before it leaves the engine.
//! Danger: a reader that went away must not stop a run, so without a reader events go nowhere.

use crate::event::{Event, EventBody, Priority};
use crate::host::Clock;
use crate::view::{Tell, millis};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use td_state::secret::Redactor;

/// The engine's end. Without a reader it swallows events.
#[derive(Clone, Debug, Default)]
pub struct Sender(Option<Arc<Shared>>);

/// The reader's end.
#[derive(Debug)]
pub struct Receiver(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: usize,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    dropped: u64,
    writers_gone: bool,
    reader_gone: bool,
}

/// A queue for so many events.
pub fn channel(capacity: usize) -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        capacity: capacity.max(1),
        queue: Mutex::new(Queue::default()),
        changed: Condvar::new(),
    });
    (Sender(Some(Arc::clone(&shared))), Receiver(shared))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A reader that panicked leaves the queue as it was: whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    fn send(&self, mut event: Event) {
        let Some(shared) = &self.0 else { return };
        let mut queue = shared.lock();
        loop {
            if queue.reader_gone {
                return;
            }
            if queue.events.len() < shared.capacity {
                break;
            }
            if let Some(oldest) = queue.events.iter().position(|e| e.body.priority() == Priority::Low) {
                queue.events.remove(oldest);
                queue.dropped += 1;
                break;
            }
            if event.body.priority() == Priority::Low {
                queue.dropped += 1;
                return;
            }
            queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if let EventBody::RunFinished { dropped, .. } = &mut event.body {
            // Counted here, because making room for this very event may have dropped one more.
            *dropped = queue.dropped;
        }
        queue.events.push_back(event);
        shared.changed.notify_all();
    }

    /// Tells the reader that no more will come.
    pub fn close(&self) {
        if let Some(shared) = &self.0 {
            shared.lock().writers_gone = true;
            shared.changed.notify_all();
        }
    }
}

impl Receiver {
    /// The next event; none when there will be no more. Waits for it.
    pub fn next(&self) -> Option<Event> {
        let mut queue = self.0.lock();
        loop {
            if let Some(event) = queue.events.pop_front() {
                self.0.changed.notify_all();
                return Some(event);
            }
            if queue.writers_gone {
                return None;
            }
            queue = self.0.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next event if one comes within the time, so that a reader can say "still waiting". `Err` when there will be
    /// no more.
    pub fn next_within(&self, limit: Duration) -> Result<Option<Event>, Closed> {
        let queue = self.0.lock();
        let idle = |q: &mut Queue| q.events.is_empty() && !q.writers_gone;
        let (mut queue, _) =
            self.0.changed.wait_timeout_while(queue, limit, idle).unwrap_or_else(PoisonError::into_inner);
        let event = queue.events.pop_front();
        self.0.changed.notify_all();
        if event.is_none() && queue.writers_gone { Err(Closed) } else { Ok(event) }
    }
}

/// No more events will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.lock().reader_gone = true;
        self.0.changed.notify_all();
    }
}

/// Numbers, times and scrubs the events of one run.
pub(crate) struct Stream<'a> {
    clock: &'a dyn Clock,
    sender: Sender,
    redactor: Redactor,
    inner: RefCell<Inner>,
}

struct Inner {
    index: u64,
    run: Duration,
    step: Option<Duration>,
    attempt: Option<Duration>,
    file: Option<File>,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(clock: &'a dyn Clock, sender: Sender, redactor: Redactor, file: Option<File>) -> Self {
        let inner = Inner { index: 0, run: clock.monotonic(), step: None, attempt: None, file };
        Self { clock, sender, redactor, inner: RefCell::new(inner) }
    }
}

impl Tell for Stream<'_> {
    fn tell(&self, body: EventBody) {
        let now = self.clock.monotonic();
        let mut inner = self.inner.borrow_mut();
        match body {
            EventBody::StepStarted { .. } => (inner.step, inner.attempt) = (Some(now), Some(now)),
            EventBody::Attempt { .. } => inner.attempt = Some(now),
            _ => {}
        }
        inner.index += 1;
        let since = |t: Duration| millis(now.saturating_sub(t));
        let (run_ms, step_ms, attempt_ms) =
            (since(inner.run), inner.step.map(since), inner.attempt.map(since));
        let event = Event { index: inner.index, run_ms, step_ms, attempt_ms, body };
        if matches!(event.body, EventBody::StepFinished { .. }) {
            (inner.step, inner.attempt) = (None, None);
        }
        // An event that cannot be scrubbed is not sent.
        let Ok(mut value) = serde_json::to_value(&event) else { return };
        self.redactor.scrub_json(&mut value);
        if let Some(file) = &mut inner.file {
            // For a later look only; a full disk must not stop the run here (the journal will).
            let _ = writeln!(file, "{value}");
        }
        if let Ok(event) = serde_json::from_value(value) {
            self.sender.send(event);
        }
    }
}
