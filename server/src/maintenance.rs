//! Maintenance mode: writes are held for a moment, then refused, while reads go on.
//!
//! Invariant: when [`Gate::close`] has closed it, no write is under way and none begins until [`Gate::open`].
//! It does not outlive the process: an upgrade that stops the server in maintenance starts the next one open.

use crate::http::ApiError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::time::timeout;

/// How long a write is held before it is refused. Shorter than a client's patience, longer than a quick backup cut.
const HOLD: Duration = Duration::from_secs(5);
/// How long closing waits for writes under way. Shorter, so that a write that waits behind it goes on if it gives up.
const PATIENCE: Duration = Duration::from_secs(4);

/// Lets writes through, or not.
#[derive(Default)]
pub struct Gate {
    lock: Arc<RwLock<()>>,
    /// One closes at a time: a second one would wait for a lock that the first one keeps.
    turning: tokio::sync::Mutex<()>,
    closed: Mutex<Option<OwnedRwLockWriteGuard<()>>>,
}

/// Proof that a write may go on.
pub struct Writing(#[allow(dead_code, reason = "held, never looked at")] OwnedRwLockReadGuard<()>);

impl Gate {
    /// Asks to write; waits for a closed gate for up to five seconds.
    pub async fn write(&self) -> Result<Writing, ApiError> {
        match timeout(HOLD, Arc::clone(&self.lock).read_owned()).await {
            Ok(guard) => Ok(Writing(guard)),
            Err(_) => Err(ApiError::unavailable("the server is in maintenance; try again shortly", HOLD)),
        }
    }

    /// Waits for writes that are under way and lets no new one begin; `false` if one does not end, and then it is open as
    /// before. Whoever wants to write waits meanwhile, so this has an end: one push that waited for its log once stopped
    /// every project. Closing a closed gate is fine.
    pub async fn close(&self) -> bool {
        let closing = async {
            let _turn = self.turning.lock().await;
            if !self.is_closed() {
                let guard = Arc::clone(&self.lock).write_owned().await;
                *self.closed() = Some(guard);
            }
        };
        timeout(PATIENCE, closing).await.is_ok()
    }

    /// Lets writes through again.
    pub fn open(&self) {
        self.closed().take();
    }

    /// Whether writes are held.
    pub fn is_closed(&self) -> bool {
        self.closed().is_some()
    }

    fn closed(&self) -> std::sync::MutexGuard<'_, Option<OwnedRwLockWriteGuard<()>>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_closed_gate_holds_a_write_and_then_refuses_it() {
        let gate = Arc::new(Gate::default());
        assert!(gate.close().await && gate.close().await);
        assert!(gate.write().await.is_err());
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.write().await.is_ok() }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        gate.open();
        assert!(waiting.await.expect("task"), "a write that was held goes on when the gate opens");
    }

    #[tokio::test(start_paused = true)]
    async fn closing_waits_for_the_write_that_is_under_way_and_gives_up() {
        let gate = Arc::new(Gate::default());
        let writing = gate.write().await.expect("open");
        let (closed, other) = tokio::join!(timeout(HOLD, gate.close()), gate.write());
        assert_eq!((closed, gate.is_closed()), (Ok(false), false));
        assert!(other.is_ok(), "what waited behind it goes on");
        let end = async {
            tokio::time::sleep(PATIENCE / 2).await;
            drop((writing, other));
        };
        let (closed, ()) = tokio::join!(gate.close(), end);
        assert!(closed && gate.is_closed());
    }
}
