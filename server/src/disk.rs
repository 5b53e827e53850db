//! How much room is left, and when it is too little.
//!
//! Invariant: below the floor no event is taken any more, so that what runs on (checkpoints, key use, a deletion that
//! makes room) still finds some. A disk that is full to the last byte fails in worse places than a push.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How old a reading may be.
const FRESH: Duration = Duration::from_secs(1);

/// Bytes an ordinary process may still write to the filesystem of `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The room in a data directory.
pub struct Room {
    dir: PathBuf,
    floor: u64,
    read: Mutex<Option<(Instant, u64)>>,
}

impl Room {
    /// In `dir`; too little below `floor` bytes.
    pub fn new(dir: PathBuf, floor: u64) -> Self {
        Self { dir, floor, read: Mutex::new(None) }
    }

    /// The free bytes, if they are too few. A reading of at most [`FRESH`] age; a disk that cannot be asked is not
    /// called full.
    pub fn shortage(&self) -> Option<u64> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let free = match *read {
            Some((at, free)) if at.elapsed() < FRESH => free,
            _ => {
                let free = free_bytes(&self.dir).unwrap_or(u64::MAX);
                *read = Some((Instant::now(), free));
                free
            }
        };
        (free < self.floor).then_some(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_shortage_below_the_floor_only() {
        let dir = tempfile::tempdir().expect("dir");
        assert_eq!(Room::new(dir.path().into(), 1).shortage(), None);
        assert!(Room::new(dir.path().into(), u64::MAX).shortage().is_some_and(|free| free > 0));
        assert_eq!(Room::new(dir.path().join("gone"), u64::MAX - 1).shortage(), None);
    }
}
