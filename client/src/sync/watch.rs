//! Syncing again and again until told to stop.
//!
//! Invariant: the wait ends at once when cancelled; a failing server is asked less and less often.

use super::{Round, Sync, SyncError};
use crate::transport::{Transport, TransportError};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The longest pause between two attempts at a server that does not answer.
const LONGEST: Duration = Duration::from_secs(300);

/// Tells a watch to end. Clones tell the same one.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<(Mutex<bool>, Condvar)>);

impl Cancel {
    /// Ends it.
    pub fn cancel(&self) {
        let (flag, bell) = &*self.0;
        *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        bell.notify_all();
    }

    /// Whether it was told to end.
    pub fn is_cancelled(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits; true if cancelled meanwhile.
    fn wait(&self, time: Duration) -> bool {
        let (flag, bell) = &*self.0;
        let guard = flag.lock().unwrap_or_else(PoisonError::into_inner);
        let (guard, _) =
            bell.wait_timeout_while(guard, time, |done| !*done).unwrap_or_else(PoisonError::into_inner);
        *guard
    }
}

impl<T: Transport> Sync<'_, T> {
    /// Runs a round every `every`, tells `seen` about each, and returns when cancelled. A pause is not an error: the
    /// round is left out. Errors that trying again cannot heal end the watch.
    pub fn watch(
        &mut self,
        every: Duration,
        cancel: &Cancel,
        mut seen: impl FnMut(&Result<Round, SyncError>),
    ) -> Result<(), SyncError> {
        let mut pause = every;
        while !cancel.is_cancelled() {
            let round = self.round();
            seen(&round);
            pause = match round {
                Ok(_) | Err(SyncError::Paused) => every,
                Err(SyncError::Transport(error)) if may_heal(&error) => {
                    let asked = match &error {
                        TransportError::Refused { retry_after: Some(wait), .. } => *wait,
                        _ => Duration::ZERO,
                    };
                    (pause * 2).clamp(asked.min(LONGEST), LONGEST).max(every)
                }
                Err(error) => return Err(error),
            };
            if cancel.wait(pause) {
                break;
            }
        }
        Ok(())
    }
}

fn may_heal(error: &TransportError) -> bool {
    match error {
        TransportError::Offline { .. } | TransportError::Foreign { .. } => true,
        TransportError::Refused { status, .. } => *status == 429 || *status >= 500,
    }
}
