//! Limits per minute as exact windows: never more than the limit within any 60 seconds.
//!
//! State is lost on restart, on purpose: a limit that outlived the process would need a write per refusal.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);
/// Beyond so many keys, idle ones are dropped before a new one is added.
const SWEEP_AT: usize = 4096;

/// One limit over many keys.
#[derive(Debug)]
pub struct Bucket<K> {
    limit: usize,
    hits: Mutex<HashMap<K, VecDeque<Instant>>>,
}

impl<K: Hash + Eq> Bucket<K> {
    /// At most `limit` hits a minute and key.
    pub fn new(limit: usize) -> Self {
        Self { limit, hits: Mutex::new(HashMap::new()) }
    }

    /// Counts a hit, or says how long until one is allowed. A refused hit costs nothing.
    pub fn hit(&self, key: K, now: Instant) -> Result<(), Duration> {
        // A panic while counting leaves whole counts behind: the lock's poison means nothing here.
        let mut all = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SWEEP_AT {
            all.retain(|_, times| times.back().is_some_and(|t| now.duration_since(*t) < WINDOW));
        }
        let times = all.entry(key).or_default();
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
}
