//! Names of runs.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A ULID: 26 characters that sort by time. Each new one sorts after all runs that are there, also when the clock was
/// set back, because journals are read in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// A new one, later than `last`.
    pub fn after(last: Option<&RunId>) -> Result<Self, getrandom::Error> {
        let mut random = [0u8; 10];
        getrandom::fill(&mut random)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        let floor = last.and_then(|r| r.millis()).map_or(0, |ms| ms + 1);
        let random = random.iter().fold(0u128, |n, b| n << 8 | u128::from(*b));
        Ok(Self::from_number((now.max(floor) & 0xffff_ffff_ffff) << 80 | random))
    }

    /// Accepts exactly the form above.
    pub fn parse(text: &str) -> Option<Self> {
        let ok = text.len() == 26
            && text.starts_with(|c: char| c <= '7')
            && text.bytes().all(|b| ALPHABET.contains(&b));
        ok.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn from_number(n: u128) -> Self {
        let letter = |i: u32| char::from(ALPHABET[(n >> (5 * (25 - i)) & 31) as usize]);
        Self((0..26).map(letter).collect())
    }

    fn millis(&self) -> Option<u128> {
        let digit = |b: u8| ALPHABET.iter().position(|a| *a == b).map(|p| p as u128);
        self.0.bytes().take(10).try_fold(0u128, |n, b| Some(n << 5 | digit(b)?))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_run_sorts_after_one_from_the_future() {
        let future = RunId::from_number(((1u128 << 48) - 2) << 80 | 7);
        let next = RunId::after(Some(&future)).unwrap();
        assert!(next > future, "{next} {future}");
        assert_eq!(RunId::parse(next.as_str()), Some(next));
    }

    #[test]
    fn a_name_that_is_no_run_is_not_taken_for_one() {
        for bad in ["", "..", "01J", "81HGW5T0000000000000000000", "01hgw5t0000000000000000000"] {
            assert_eq!(RunId::parse(bad), None, "{bad}");
        }
    }
}
