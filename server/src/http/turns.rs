//! Pages that are being read for somebody: so many at once for one person, and for all together.
//!
//! Duty: keep clients that take a page slowly from occupying every thread and every reader of a log. A turn is waited for
//! a while, so that a fleet under one account, whose pages take milliseconds, never meets a refusal.
//! Invariant: a turn is given back when its [`Turn`] is dropped, however the page ended.

use crate::auth::Principal;
use crate::http::error::ApiError;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Most turns of one person: a quarter of the readers that a log has.
const EACH: usize = 8;
/// Most turns of all: half of the threads there are for such work.
const ALL: usize = 256;
/// How long a turn is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// When to come back.
const LATER: Duration = Duration::from_secs(5);
/// People who are remembered before those without a turn are forgotten.
const MOST: usize = 1_000;

/// All turns.
pub struct Turns {
    all: Arc<Semaphore>,
    each: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A turn that was taken.
#[derive(Debug)]
pub struct Turn(#[allow(dead_code, reason = "held until dropped")] [OwnedSemaphorePermit; 2]);

impl Default for Turns {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(ALL)), each: Mutex::default() }
    }
}

impl Turns {
    /// A turn for whoever calls. A public link is on its own: anybody may hold it, and must not use up its maker's.
    pub async fn take(&self, who: &Principal) -> Result<Turn, ApiError> {
        let mine = self.of(if who.is_public { &who.key_id } else { &who.user_id });
        let all = Arc::clone(&self.all);
        // Neither is ever closed, so only time can be up.
        let taken = timeout(PATIENCE, async {
            Some([mine.acquire_owned().await.ok()?, all.acquire_owned().await.ok()?])
        });
        taken.await.ok().flatten().map(Turn).ok_or_else(|| ApiError::rate_limited(LATER))
    }

    fn of(&self, who: &str) -> Arc<Semaphore> {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if each.len() >= MOST {
            each.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        Arc::clone(each.entry(who.into()).or_insert_with(|| Arc::new(Semaphore::new(EACH))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Scopes;

    fn who(user: &str, is_public: bool) -> Principal {
        Principal {
            key_id: format!("key of {user}"),
            user_id: user.into(),
            email: String::new(),
            is_admin: false,
            scopes: Scopes::stored("sync"),
            expires_at: None,
            grants: None,
            has_budget: false,
            is_public,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_has_so_many_turns_and_keeps_nobody_else_waiting() {
        let turns = Turns::default();
        let mut taken = Vec::new();
        for _ in 0..EACH {
            taken.push(turns.take(&who("ana", false)).await.expect("a turn"));
        }
        let begun = tokio::time::Instant::now();
        assert!(turns.take(&who("ana", false)).await.is_err());
        assert_eq!(begun.elapsed(), PATIENCE, "waited for, then refused");
        assert!(turns.take(&who("ben", false)).await.is_ok());
        assert!(turns.take(&who("ana", true)).await.is_ok(), "whoever holds her link");
        taken.pop();
        assert!(turns.take(&who("ana", false)).await.is_ok());
    }
}
