//! What is held open for a client: live streams and waiting pulls, counted.
//!
//! Invariant: a place is given back when its [`Place`] is dropped, however the stream ended.

use crate::http::error::ApiError;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most places of a whole server.
const MOST: usize = 5_000;
/// When to come back to a server whose places are taken.
const LATER: Duration = Duration::from_secs(15);

/// All places.
pub struct Streams {
    per_key: usize,
    taken: Mutex<HashMap<String, usize>>,
}

/// A taken place.
pub struct Place {
    of: Arc<Streams>,
    key: String,
}

impl Streams {
    /// At most `per_key` for one key.
    pub fn new(per_key: usize) -> Arc<Self> {
        Arc::new(Self { per_key, taken: Mutex::default() })
    }

    /// A place for this key, or the refusal.
    pub fn take(self: &Arc<Self>, key: &str) -> Result<Place, ApiError> {
        let mut taken = self.taken();
        if taken.values().sum::<usize>() >= MOST {
            return Err(ApiError::unavailable("too many streams are open", LATER));
        }
        let mine = taken.entry(key.into()).or_default();
        if *mine >= self.per_key {
            return Err(ApiError::rate_limited(LATER));
        }
        *mine += 1;
        Ok(Place { of: Arc::clone(self), key: key.into() })
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.taken().values().sum()
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        if let Some(mine) = taken.get_mut(&self.key) {
            *mine -= 1;
            if *mine == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_so_many_places_and_gets_them_back() {
        let streams = Streams::new(2);
        let (one, _two) = (streams.take("a").expect("place"), streams.take("a").expect("place"));
        assert!(streams.take("a").is_err());
        assert!(streams.take("b").is_ok(), "keys are apart");
        drop(one);
        assert!(streams.take("a").is_ok());
        assert_eq!(streams.open(), 1);
    }
}
