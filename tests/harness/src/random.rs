//! Random numbers that a printed seed repeats (SplitMix64).
//!
//! Invariant: two streams of one seed are equal on every machine, so a seed in a report is a reproduction.

/// A stream of numbers from a seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        // The bias of the remainder is far below what a fault schedule could notice.
        self.draw().checked_rem(n as u64).map_or(0, |r| usize::try_from(r).unwrap_or(0))
    }

    /// True in `percent` of a hundred draws.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of them; `None` of nothing.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.draw().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// The seed of the `index`-th world of a run. The first world has the run's own seed, so `--count 1 --seed X` repeats
/// whichever world printed X.
pub fn world_seed(run: u64, index: usize) -> u64 {
    if index == 0 { run } else { Random::new(run ^ (index as u64) << 20).draw() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_world_has_the_seed_of_the_run() {
        assert_eq!(world_seed(7, 0), 7);
        let all: std::collections::BTreeSet<_> = (0..5_000).map(|i| world_seed(7, i)).collect();
        assert_eq!(all.len(), 5_000);
    }
}
