//! Pages and snapshots that are being sent to somebody: so many at once for one person, and for all together.
//!
//! Duty: keep clients that take a page slowly from occupying every thread and every reader of a log, and one account from
//! taking every place. A turn is waited for a while, so that a fleet under one account, whose pages take milliseconds,
//! never meets a refusal.
//! Invariant: a turn is given back when its [`Turn`] is dropped, however the page ended.

use crate::auth::Principal;
use crate::http::error::ApiError;
use crate::http::shares::Shares;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Most turns of one person: a quarter of the readers that a log has.
const EACH: usize = 8;
/// Most pages of all: half of the threads there are for such work.
const PAGES: usize = 256;
/// Most snapshots of all: each holds a file and three chunks in memory.
const DOWNLOADS: usize = 128;
/// How long a turn is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// When to come back.
const LATER: Duration = Duration::from_secs(5);

/// All turns.
pub struct Turns {
    all: Arc<Semaphore>,
    each: Shares<String>,
}

/// A turn that was taken.
#[derive(Debug)]
pub struct Turn(#[allow(dead_code, reason = "held until dropped")] [OwnedSemaphorePermit; 2]);

impl Turns {
    /// For pages.
    pub fn pages() -> Self {
        Self::new(PAGES)
    }

    /// For snapshots.
    pub fn downloads() -> Self {
        Self::new(DOWNLOADS)
    }

    fn new(all: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each: Shares::new(EACH) }
    }

    /// A turn for whoever calls. Public links are on their own, all of one maker together: anybody may hold one, and must
    /// not use up its maker's turns; and a maker of many must not have more than others.
    pub async fn take(&self, who: &Principal) -> Result<Turn, ApiError> {
        let mine = match who.is_public {
            true => self.each.of(format!("links of {}", who.counts_as)),
            false => self.each.of(who.counts_as.clone()),
        };
        let end = Instant::now() + PATIENCE;
        // Neither is ever closed, so only time can be up.
        let Ok(Ok(mine)) = timeout_at(end, mine.acquire_owned()).await else {
            return Err(ApiError::rate_limited(LATER));
        };
        match timeout_at(end, Arc::clone(&self.all).acquire_owned()).await {
            Ok(Ok(one)) => Ok(Turn([mine, one])),
            _ => Err(ApiError::unavailable("the server is sending as much as it can", LATER)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(user: &str, is_public: bool) -> Principal {
        Principal { is_public, ..Principal::of(user) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_has_so_many_turns_and_keeps_nobody_else_waiting() {
        let turns = Turns::pages();
        let mut taken = Vec::new();
        for _ in 0..EACH {
            taken.push(turns.take(&who("ana", false)).await.expect("a turn"));
        }
        let begun = tokio::time::Instant::now();
        assert!(turns.take(&who("ana", false)).await.is_err());
        assert_eq!(begun.elapsed(), PATIENCE, "waited for, then refused");
        assert!(turns.take(&who("ben", false)).await.is_ok());
        let invented = Principal { counts_as: "ana".into(), ..who("invented", false) };
        assert!(turns.take(&invented).await.is_err(), "an account that she alone vouches for has hers");
        taken.push(turns.take(&who("ana", true)).await.expect("whoever holds her link has a turn"));
        for _ in 0..EACH - 1 {
            taken.push(turns.take(&who("ana", true)).await.expect("a turn"));
        }
        let another = Principal { key_id: "another link".into(), ..who("ana", true) };
        assert!(turns.take(&another).await.is_err(), "a second link is no second set of turns");
        taken.swap_remove(0);
        assert!(turns.take(&who("ana", false)).await.is_ok());
    }
}
