//! The log's events to the rows.
//!
//! Duty: page by page, in one transaction each: take the local changes back, apply the page, put what is still
//! outstanding on top again, move the cursor (decision 1).
//! Invariant: after every commit, rows = log at the cursor + outstanding events. Own events are never left out.
//! Danger: between the request and the transaction another process may have pulled; the cursor is read again.

use super::push::acknowledge;
use super::{Sync, SyncError};
use crate::pending::{self, Action};
use crate::store::{Store, StoreError, Tx};
use crate::transport::{PullPage, Transport};
use td_engine::id::Seq;

/// Events in one page.
const PAGE: u32 = 1000;

/// What a pull did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulled {
    /// Events received, own ones included.
    pub events: usize,
    /// Of those, events that changed rows as they say.
    pub applied: usize,
    /// Events recorded as skipped or quarantined.
    pub skipped: usize,
    /// Losing sides that were kept.
    pub conflicts: usize,
    /// The cursor now.
    pub cursor: Seq,
}

impl<T: Transport> Sync<'_, T> {
    /// Receives everything up to the head.
    pub fn pull(&mut self) -> Result<Pulled, SyncError> {
        let _pause = self.pause()?;
        if self.remote.is_none() {
            self.greet()?;
        }
        let mut total = Pulled { cursor: pending::cursor(self.store.conn())?, ..Pulled::default() };
        loop {
            let after = total.cursor;
            let page = self.transport.pull(&self.project, after, PAGE)?;
            self.check_epoch()?;
            check(&page, after)?;
            let more = page.has_more && !page.events.is_empty();
            if !page.events.is_empty() {
                self.take_in(&page, after, &mut total)?;
            }
            if !more {
                break;
            }
        }
        // A page that was taken in has said so already.
        if total.events == 0 {
            self.store.touch()?;
        }
        Ok(total)
    }

    fn take_in(&mut self, page: &PullPage, after: Seq, total: &mut Pulled) -> Result<(), SyncError> {
        let tx = self.store.begin()?;
        let now_at = pending::cursor(tx.conn())?;
        if now_at != after {
            // Another process was faster. What it took in must not be taken in twice; go on from where it is.
            total.cursor = now_at;
            return Ok(());
        }
        let local = tx.write.restore_before()?;
        let report = tx.write.apply_page(&page.events, page.last_server_seq)?;
        recognise_own(&tx, page)?;
        reapply(&tx, &pending::outstanding(tx.conn(), report.cursor)?)?;
        tx.write.put_back(local)?;
        tx.conn().execute(
            "UPDATE sync_state SET last_pulled_server_seq = ?1, last_sync_at = ?2",
            (report.cursor.0, tx.now().sql_utc()),
        )?;
        tx.commit()?;
        total.events += page.events.len();
        total.applied += report.applied;
        total.skipped += report.skipped + report.quarantined;
        total.conflicts += report.conflicts;
        total.cursor = report.cursor;
        Ok(())
    }
}

impl Store {
    /// Remembers that the server was reached.
    fn touch(&mut self) -> Result<(), StoreError> {
        let tx = self.begin()?;
        tx.conn().execute("UPDATE sync_state SET last_sync_at = ?1", [tx.now().sql_utc()])?;
        tx.commit()
    }
}

/// Puts outstanding events on the rows again, saving images anew. One that no longer applies stays outstanding: the log
/// decides about it when it gets there.
pub(super) fn reapply(tx: &Tx<'_>, actions: &[Action]) -> Result<(), SyncError> {
    for event in actions.iter().filter_map(|a| a.event().ok()) {
        let _ = tx.write.apply_local((&event).into())?;
    }
    Ok(())
}

/// Acknowledges own events that came back before (or without) the answer to their push.
fn recognise_own(tx: &Tx<'_>, page: &PullPage) -> Result<(), SyncError> {
    for event in &page.events {
        let Some(action) = pending::one(tx.conn(), event.action_id.0)? else { continue };
        if action.is(event) {
            acknowledge(tx, &action.id, event.seq)?;
        }
    }
    Ok(())
}

fn check(page: &PullPage, after: Seq) -> Result<(), SyncError> {
    let mut last = after;
    for event in &page.events {
        if event.seq <= last {
            return Err(SyncError::Nonsense(format!("event {} stands after event {last}", event.seq)));
        }
        last = event.seq;
    }
    if page.last_server_seq < last {
        return Err(SyncError::Nonsense(format!("a page up to {} holds event {last}", page.last_server_seq)));
    }
    Ok(())
}
