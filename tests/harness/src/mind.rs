//! A simulated machine's clock and dice.
//!
//! Invariant: nothing in a world reads the real clock or the real random source, so a seed repeats every byte.

use crate::random::Random;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use td_client::ambient::Ambient;
use td_engine::time::ClientTime;

/// 2026-11-21T00:00:00Z.
const START: i64 = 1_795_219_200_000_000_000;

/// One machine's.
#[derive(Debug)]
pub struct Mind {
    nanos: AtomicI64,
    random: Mutex<Random>,
}

impl Mind {
    /// A clock that is `skew` seconds off, and dice.
    pub fn new(seed: u64, skew: i64) -> Self {
        Self { nanos: AtomicI64::new(START + skew * 1_000_000_000), random: Mutex::new(Random::new(seed)) }
    }

    /// Lets time pass (or go back).
    pub fn pass(&self, seconds: i64) {
        self.nanos.fetch_add(seconds * 1_000_000_000, Ordering::SeqCst);
    }

    /// Now. Every look at the clock takes a little time.
    pub fn time(&self) -> ClientTime {
        let nanos = self.nanos.fetch_add(1_013, Ordering::SeqCst);
        // Out of range only after tens of thousands of years of jumps.
        ClientTime::from_unix_nanos(nanos.into()).unwrap_or_else(|_| unreachable!("a time this side of 9999"))
    }
}

impl Ambient for Mind {
    fn now(&self) -> ClientTime {
        self.time()
    }

    fn fill(&self, out: &mut [u8]) {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).fill(out);
    }
}
