//! What there is a bounded number of, shared out: so much for each of those who want some.
//!
//! Invariant: what was taken is given back when its permit is dropped.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Holders that are remembered before those that have nothing are forgotten.
const MOST: usize = 1_000;

/// A semaphore of the same size for each holder.
pub struct Shares<K> {
    each: usize,
    held: Mutex<HashMap<K, Arc<Semaphore>>>,
}

impl<K: Eq + Hash> Shares<K> {
    /// So many for each.
    pub fn new(each: usize) -> Self {
        Self { each, held: Mutex::default() }
    }

    /// The share of one.
    pub fn of(&self, holder: K) -> Arc<Semaphore> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST {
            held.retain(|_, share| Arc::strong_count(share) > 1);
        }
        Arc::clone(held.entry(holder).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
    }
}
