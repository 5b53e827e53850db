//! What is held open for a client: live streams and waiting pulls, counted for its key and for its person, who may have a
//! thousand keys.
//!
//! Invariant: a place is given back when its [`Place`] is dropped, however the stream ended.

use crate::auth::Principal;
use crate::http::error::ApiError;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most places of a whole server.
const MOST: usize = 5_000;
/// Most of one person: an eighth.
const EACH: usize = MOST / 8;
/// When to come back to a server whose places are taken.
const LATER: Duration = Duration::from_secs(15);

/// All places.
pub struct Streams {
    per_key: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    keys: HashMap<String, usize>,
    people: HashMap<String, usize>,
}

/// A taken place.
pub struct Place {
    of: Arc<Streams>,
    key: String,
    person: String,
}

impl Streams {
    /// At most `per_key` for one key.
    pub fn new(per_key: usize) -> Arc<Self> {
        Arc::new(Self { per_key, taken: Mutex::default() })
    }

    /// A place for whoever calls, or the refusal.
    pub fn take(self: &Arc<Self>, who: &Principal) -> Result<Place, ApiError> {
        let mut taken = self.taken();
        if taken.all >= MOST {
            return Err(ApiError::unavailable("too many streams are open", LATER));
        }
        // Anybody may hold a link, and must not take its maker's places.
        let person =
            if who.is_public { format!("links of {}", who.counts_as) } else { who.counts_as.clone() };
        let of = |counts: &HashMap<String, usize>, whose: &str| counts.get(whose).copied().unwrap_or(0);
        if of(&taken.keys, &who.key_id) >= self.per_key || of(&taken.people, &person) >= EACH {
            return Err(ApiError::rate_limited(LATER));
        }
        taken.all += 1;
        *taken.keys.entry(who.key_id.clone()).or_default() += 1;
        *taken.people.entry(person.clone()).or_default() += 1;
        Ok(Place { of: Arc::clone(self), key: who.key_id.clone(), person })
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.taken().all
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        taken.all -= 1;
        less(&mut taken.keys, &self.key);
        less(&mut taken.people, &self.person);
    }
}

fn less(counts: &mut HashMap<String, usize>, whose: &str) {
    if let Some(count) = counts.get_mut(whose) {
        *count -= 1;
        if *count == 0 {
            counts.remove(whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(key: &str, person: &str) -> Principal {
        Principal { key_id: key.into(), ..Principal::of(person) }
    }

    #[test]
    fn a_key_has_so_many_places_and_gets_them_back() {
        let streams = Streams::new(2);
        let take = |key| streams.take(&who(key, "ana"));
        let (one, _two) = (take("a").expect("place"), take("a").expect("place"));
        assert!(take("a").is_err());
        assert!(take("b").is_ok(), "keys are apart");
        drop(one);
        assert!(take("a").is_ok());
        assert_eq!(streams.open(), 1);
    }

    #[test]
    fn a_person_with_many_keys_leaves_places_to_others() {
        let streams = Streams::new(1);
        let held: Vec<_> =
            (0..EACH).map(|n| streams.take(&who(&n.to_string(), "ana")).expect("a place")).collect();
        assert!(streams.take(&who("one more", "ana")).is_err());
        assert!(streams.take(&who("b", "ben")).is_ok());
        let link = Principal { is_public: true, ..who("link", "ana") };
        assert!(streams.take(&link).is_ok(), "whoever holds her link has a place");
        drop(held);
        let taken = streams.taken();
        assert_eq!((taken.all, taken.keys.len(), taken.people.len()), (0, 0, 0));
    }
}
