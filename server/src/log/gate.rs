//! How many logs may commit at the same time.
//!
//! Duty: keep one noisy project from owning the disk queue.
//! Invariant: permits are granted in the order of asking. A log has one writer, which asks once per group, so the order
//! of asking is a round over the busy projects.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A counting semaphore with a queue. Shared by all logs of a server.
pub struct CommitGate {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    free: usize,
    next_ticket: u64,
    serving: u64,
}

/// Permission to commit; ends when dropped.
pub(super) struct Permit<'a>(&'a CommitGate);

impl CommitGate {
    /// A gate for `permits` concurrent commits (at least one).
    pub fn new(permits: usize) -> Self {
        let state = State { free: permits.max(1), next_ticket: 0, serving: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn pass(&self) -> Permit<'_> {
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        while state.serving != ticket || state.free == 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.serving += 1;
        state.free -= 1;
        self.changed.notify_all();
        Permit(self)
    }

    // Every update above is a single assignment, so a poisoned state is still a consistent one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for CommitGate {
    /// Four: enough to hide one project's fsync behind another's on two cores.
    fn default() -> Self {
        Self::new(4)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.lock().free += 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn never_more_pass_than_there_are_permits_and_all_get_through() {
        let gate = Arc::new(CommitGate::new(3));
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (gate, inside, most) = (gate.clone(), inside.clone(), most.clone());
                std::thread::spawn(move || {
                    for _ in 0..200 {
                        let _permit = gate.pass();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().expect("thread"));
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
        assert_eq!(gate.lock().free, 3);
    }
}
