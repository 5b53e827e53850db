//! How often a value fell where.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts per bound, and the sum of all values.
#[derive(Debug, Default)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One more than bounds: what lies above the last one.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// An empty one; `bounds` grow.
    pub fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts a value. A bound belongs to what lies below it.
    pub fn add(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// (bound, values up to it) for every bound, all values, and their sum.
    pub fn read(&self) -> (Vec<(u64, u64)>, u64, u64) {
        let counts = self.counts.iter().map(|c| c.load(Ordering::Relaxed));
        let mut all = 0;
        let upto: Vec<u64> = counts
            .map(|n| {
                all += n;
                all
            })
            .collect();
        (self.bounds.iter().copied().zip(upto).collect(), all, self.sum.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_holds_itself_and_everything_below() {
        let h = Histogram::new(&[1, 10]);
        for value in [0, 1, 2, 10, 11] {
            h.add(value);
        }
        assert_eq!(h.read(), (vec![(1, 2), (10, 4)], 5, 24));
    }
}
