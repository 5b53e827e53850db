//! Limits per minute as exact windows: never more than the limit within any 60 seconds.
//!
//! State is lost on restart, on purpose: a limit that outlived the process would need a write per refusal.
//! Invariant: bounded. Beyond [`MOST`] keys within a minute, newcomers share one window; those that are known keep theirs.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a limit counts over.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Most keys with a window of their own.
const MOST: usize = 50_000;
/// Idle keys are looked for at most so often.
const SWEEP: Duration = Duration::from_secs(10);

/// One limit over many keys.
#[derive(Debug)]
pub struct Bucket<K> {
    limit: usize,
    most: usize,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    hits: HashMap<K, VecDeque<Instant>>,
    /// Shared by newcomers when there is no room.
    others: VecDeque<Instant>,
    swept: Option<Instant>,
}

impl<K: Hash + Eq> Bucket<K> {
    /// At most `limit` hits a minute and key.
    pub fn new(limit: usize) -> Self {
        let state = State { hits: HashMap::new(), others: VecDeque::new(), swept: None };
        Self { limit, most: MOST, state: Mutex::new(state) }
    }

    /// Counts a hit, or says how long until one is allowed. A refused hit costs nothing.
    pub fn hit(&self, key: K, now: Instant) -> Result<(), Duration> {
        // A panic while counting leaves whole counts behind: the lock's poison means nothing here.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sweep(now);
        let State { hits, others, .. } = &mut *state;
        let times = if hits.len() < self.most || hits.contains_key(&key) {
            hits.entry(key).or_default()
        } else {
            others
        };
        while times.front().is_some_and(|t| now.duration_since(*t) >= WINDOW) {
            times.pop_front();
        }
        match times.front() {
            Some(oldest) if times.len() >= self.limit => {
                Err(WINDOW.saturating_sub(now.duration_since(*oldest)))
            }
            _ => {
                times.push_back(now);
                Ok(())
            }
        }
    }
}

impl<K> State<K> {
    /// Drops keys whose window is over. Costs little per hit, because it looks rarely.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|at| now.duration_since(at) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        self.hits.retain(|_, times| times.back().is_some_and(|t| now.duration_since(*t) < WINDOW));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_60_seconds_hold_more_than_the_limit() {
        let bucket = Bucket::new(2);
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        assert!(bucket.hit("a", at(0)).is_ok());
        assert!(bucket.hit("a", at(50)).is_ok());
        assert_eq!(bucket.hit("a", at(59)), Err(Duration::from_secs(1)));
        assert!(bucket.hit("b", at(59)).is_ok(), "keys are apart");
        assert!(bucket.hit("a", at(60)).is_ok());
        assert_eq!(bucket.hit("a", at(61)), Err(Duration::from_secs(49)));
    }

    #[test]
    fn more_keys_than_there_is_room_for_share_one_window_and_known_ones_keep_theirs() {
        let bucket = Bucket { most: 2, ..Bucket::new(2) };
        let now = Instant::now();
        for key in ["a", "b", "c", "d"] {
            assert!(bucket.hit(key, now).is_ok(), "{key}");
        }
        assert!(bucket.hit("e", now).is_err(), "c and d have used the shared window up");
        assert!(bucket.hit("a", now).is_ok());
        assert!(bucket.hit("e", now + WINDOW).is_ok(), "a minute later there is room again");
    }
}
