//! What the server counts about itself.
//!
//! Duty: one set of numbers behind `/metricz`, `/metrics` and the admin overview.
//! Invariant: a request adds to atomics and nothing else; whatever has to be looked up is looked up by whoever asks, or by
//! housekeeping. Every label has a bounded number of values: no path, no key and no user is one.

mod class;
mod histogram;
mod text;

pub use class::RequestClass;
pub use histogram::Histogram;
pub use text::{Page, content_type};

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Statuses that are told apart; the last place stands for all others.
const STATUSES: [u16; 24] = [
    200, 201, 202, 204, 206, 302, 303, 304, 307, 400, 401, 403, 404, 405, 409, 410, 413, 416, 422, 429, 431,
    500, 503, 0,
];
const CLASSES: usize = RequestClass::ALL.len();

/// Bounds of request durations, in microseconds.
const DURATIONS: &[u64] = &[
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// What the housekeeping found about one project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectSize {
    /// Which.
    pub project: String,
    /// Events in its log.
    pub events: i64,
    /// Bytes of its folder.
    pub bytes: u64,
}

/// All numbers that are not somebody else's already.
pub struct Metrics {
    begun: Instant,
    requests: [[AtomicU64; STATUSES.len()]; CLASSES],
    durations: [Histogram; CLASSES],
    server_errors: AtomicU64,
    client_errors: AtomicU64,
    pushed: AtomicU64,
    pulls: AtomicU64,
    /// When the certificate in use ends, in seconds since 1970; 0 where there is none. Set by whoever serves TLS.
    pub certificate_ends: AtomicI64,
    sizes: Mutex<Vec<ProjectSize>>,
}

/// What `/metricz` shows (server-protocol 4.2).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Since the start.
    pub uptime_seconds: f64,
    /// Answered requests.
    pub requests: u64,
    /// Of them, with a status from 500.
    pub server_errors: u64,
    /// Of them, with a status from 400 to 499.
    pub client_errors: u64,
    /// Events that were stored.
    pub push_events_accepted: u64,
    /// Pulls that were let through, also those with a bad query.
    pub pull_requests: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            requests: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            durations: std::array::from_fn(|_| Histogram::new(DURATIONS)),
            server_errors: AtomicU64::new(0),
            client_errors: AtomicU64::new(0),
            pushed: AtomicU64::new(0),
            pulls: AtomicU64::new(0),
            certificate_ends: AtomicI64::new(0),
            sizes: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Counts an answered request. `took` ends with the head of the answer, not with its body.
    pub fn answered(&self, path: &str, status: u16, took: Duration) {
        let class = RequestClass::of(path) as usize;
        let place = STATUSES.iter().position(|s| *s == status).unwrap_or(STATUSES.len() - 1);
        add(&self.requests[class][place], 1);
        self.durations[class].add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        match status {
            500.. => add(&self.server_errors, 1),
            400..500 => add(&self.client_errors, 1),
            _ => {}
        }
    }

    /// Counts stored events.
    pub fn stored(&self, events: usize) {
        add(&self.pushed, events as u64);
    }

    /// Counts a pull that was let through.
    pub fn pulled(&self) {
        add(&self.pulls, 1);
    }

    /// Replaces what is known about the sizes of projects.
    pub fn measured(&self, sizes: Vec<ProjectSize>) {
        *self.sizes() = sizes;
    }

    /// The numbers of `/metricz`.
    pub fn summary(&self) -> Summary {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Summary {
            uptime_seconds: self.begun.elapsed().as_secs_f64(),
            requests: self.requests.iter().flatten().map(get).sum(),
            server_errors: get(&self.server_errors),
            client_errors: get(&self.client_errors),
            push_events_accepted: get(&self.pushed),
            pull_requests: get(&self.pulls),
        }
    }

    fn sizes(&self) -> MutexGuard<'_, Vec<ProjectSize>> {
        // Replaced whole, so a panic elsewhere leaves nothing half done.
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_counts_once_and_an_unknown_status_too() {
        let m = Metrics::default();
        for status in [200, 404, 418, 500, 599, 101] {
            m.answered("/healthz", status, Duration::from_millis(3));
        }
        let s = m.summary();
        assert_eq!((s.requests, s.client_errors, s.server_errors), (6, 2, 2));
    }
}
