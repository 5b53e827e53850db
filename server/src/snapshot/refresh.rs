//! A snapshot for a request: the newest, a newer one, or the one that is there.
//!
//! Duty: let a device start from a state that is as new as it can be without waiting long; make nothing twice.
//! Invariant: a snapshot that was begun is finished, whether or not whoever asked for it still waits.

use super::shelf::{LONG_WAY, Shelf};
use super::{Kept, SnapshotError};
use crate::live::OpenProject;
use std::sync::Arc;
use std::time::{Duration, Instant};
use td_engine::id::Seq;
use tokio::time::timeout;

/// A kept snapshot that lies further back is not served while a newer one can be made. The device pulls what it lacks.
pub const FAR_BEHIND: i64 = 1000;
/// How long a request waits for a newer one while one is kept that is near enough.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long it waits where none is. The device waits half a minute; what is made stays for its next attempt.
const LIMIT: Duration = Duration::from_secs(300);
/// How long a snapshot waits for the live view to have done the work already.
const VIEW: Duration = Duration::from_secs(120);

/// The snapshot to serve now.
pub async fn fresh(open: &Arc<OpenProject>) -> Result<Arc<Kept>, SnapshotError> {
    let head = open.log.head().seq;
    if head <= Seq(0) {
        return Err(SnapshotError::Empty);
    }
    let newest = blocking(&open.shelf, |shelf| Ok(shelf.newest()?)).await?;
    if let Some(kept) = newest.as_ref().filter(|kept| kept.seq() >= head) {
        return Ok(kept.clone());
    }
    let work = tokio::spawn(make(Arc::clone(open), head));
    let near = newest.filter(|kept| head.0 - kept.seq().0 <= FAR_BEHIND);
    let patience = if near.is_some() { PATIENCE } else { LIMIT };
    let made = match timeout(patience, work).await {
        Err(_) => Err(SnapshotError::Late),
        Ok(Err(lost)) => Err(SnapshotError::Joined(lost.to_string())),
        Ok(Ok(made)) => made,
    };
    match (made, near) {
        (Err(e), Some(kept)) => {
            if !matches!(e, SnapshotError::Late) {
                tracing::error!(pid = %open.id, cause = %e, "no newer snapshot could be made; the kept one is served");
            }
            Ok(kept)
        }
        (made, _) => made,
    }
}

async fn make(open: Arc<OpenProject>, want: Seq) -> Result<Arc<Kept>, SnapshotError> {
    let asked = Instant::now();
    let mut failed = open.shelf.making.lock().await;
    let newest = blocking(&open.shelf, |shelf| Ok(shelf.newest()?)).await?;
    if let Some(kept) = newest.as_ref().filter(|kept| kept.seq() >= want) {
        return Ok(kept.clone());
    }
    // Everybody who waited meanwhile shares the failure, instead of trying in turn.
    if let Some((_, why)) = failed.as_ref().filter(|(when, _)| *when > asked) {
        return Err(SnapshotError::Joined(why.clone()));
    }
    let base = newest.map_or(Seq(0), |kept| kept.seq());
    if want.0 - base.0 > LONG_WAY && !open.applied_to(Seq(want.0 - LONG_WAY), VIEW).await {
        tracing::warn!(pid = %open.id, "the live view is far behind; a snapshot is made without it");
    }
    // Never closed.
    let _maker = open.shelf.makers.acquire().await;
    let project = Arc::clone(&open);
    let made = blocking(&open.shelf, move |shelf| {
        shelf.make(&*project.log, Some((project.place(), project.applied())))
    });
    let made = made.await;
    *failed = made.as_ref().err().map(|e| (Instant::now(), e.to_string()));
    made
}

async fn blocking<T: Send + 'static>(
    shelf: &Arc<Shelf>,
    work: impl FnOnce(&Shelf) -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, SnapshotError> {
    let shelf = Arc::clone(shelf);
    let done = tokio::task::spawn_blocking(move || work(&shelf)).await;
    done.unwrap_or_else(|e| Err(SnapshotError::Joined(e.to_string())))
}
