//! Outstanding events to the log.
//!
//! Duty: batches of at most 500, each acknowledged in a transaction of its own.
//! Invariant: the key an event is sent under (device, session, number) is on disk before the first attempt and never
//! changes, so a lost answer costs a `duplicate` and nothing else (client-engine 11.6).
//! Danger: one event the server will never take must not be sent for ever, nor stop the others.

use super::{Sync, SyncError};
use crate::pending::{self, Action, Unsendable};
use crate::store::Tx;
use crate::transport::{PushRequest, PushResponse, Transport, TransportError, WireEvent};
use std::collections::BTreeMap;
use td_engine::event::NewEvent;
use td_engine::id::{ActionId, DeviceId, Seq, SessionId};

/// Events in one request, as the reference sends them.
pub const MAX_BATCH: usize = 500;
/// The server takes 10 MiB; some room for names around the payloads.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// What a push did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// New in the log.
    pub accepted: usize,
    /// Were there already: an earlier answer got lost.
    pub duplicates: usize,
    /// Will never be taken; recorded, see [`super::Status::rejected`].
    pub rejected: usize,
}

impl Pushed {
    /// Whether anything was sent.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

struct Batch {
    key: (DeviceId, SessionId),
    actions: Vec<(Action, NewEvent)>,
}

impl<T: Transport> Sync<'_, T> {
    /// Sends everything outstanding.
    pub fn push(&mut self) -> Result<Pushed, SyncError> {
        let _pause = self.pause()?;
        let mut total = Pushed::default();
        self.greet()?;
        while let Some(pushed) = self.push_batch(MAX_BATCH)? {
            total.accepted += pushed.accepted;
            total.duplicates += pushed.duplicates;
            total.rejected += pushed.rejected;
        }
        Ok(total)
    }

    /// Sends the oldest events that share a key, at most `limit`. `None`: nothing is outstanding.
    fn push_batch(&mut self, limit: usize) -> Result<Option<Pushed>, SyncError> {
        let (rejected, batch) = self.claim(limit)?;
        let Some(batch) = batch else {
            return Ok((rejected > 0).then(|| Pushed { rejected, ..Pushed::default() }));
        };
        let request = PushRequest {
            device_id: batch.key.0.clone(),
            session_id: batch.key.1.clone(),
            events: batch.actions.iter().map(|(_, event)| wire(event)).collect(),
        };
        let answer = match self.transport.push(&self.project, &request) {
            Err(TransportError::Refused { status: 400 | 413, code, message, .. })
                if !code.is_empty() || !message.is_empty() =>
            {
                // The whole batch was refused because of one of its events: halve until it stands alone.
                if let Some(half) = Some(batch.actions.len() / 2).filter(|half| *half > 0) {
                    return self.push_batch(half);
                }
                let why = format!("{code}: {message}");
                let tx = self.store.begin()?;
                for (action, _) in &batch.actions {
                    reject(&tx, &action.id, &why)?;
                }
                tx.commit()?;
                return Ok(Some(Pushed { rejected: rejected + 1, ..Pushed::default() }));
            }
            other => other?,
        };
        self.check_epoch()?;
        let mut pushed = self.settle(&batch, &answer)?;
        if pushed.is_nothing() {
            return Err(SyncError::Nonsense("it acknowledged none of the events it was sent".into()));
        }
        pushed.rejected += rejected;
        Ok(Some(pushed))
    }

    /// Chooses the next batch and fixes its key on disk. Events that can never be sent are recorded on the way.
    fn claim(&mut self, limit: usize) -> Result<(usize, Option<Batch>), SyncError> {
        let own = (self.store.device().id.clone(), self.store.device().session.clone());
        // Local-only actions stay among the unsent for ever; they must not fill the window.
        let actions = pending::unsent(self.store.conn())?;
        let (mut chosen, mut unusable, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut key: Option<(DeviceId, SessionId)> = None;
        for action in actions {
            let event = match action.event() {
                Ok(event) => event,
                Err(Unsendable::LocalOnly(_)) => continue,
                Err(why) => {
                    unusable.push((action.id, why.to_string()));
                    continue;
                }
            };
            let of_action = action.key.clone().unwrap_or_else(|| own.clone());
            bytes += event.payload.as_ref().map_or(0, |p| p.as_str().len()) + 200;
            let fits = chosen.is_empty() || bytes <= MAX_BYTES && chosen.len() < limit;
            if !fits || key.as_ref().is_some_and(|k| *k != of_action) {
                break;
            }
            key = Some(of_action);
            chosen.push((action, event));
        }
        let unkeyed: Vec<&str> =
            chosen.iter().filter(|(a, _)| a.key.is_none()).map(|(a, _)| a.id.as_str()).collect();
        if !unusable.is_empty() || !unkeyed.is_empty() {
            let tx = self.store.begin()?;
            for (id, why) in &unusable {
                reject(&tx, id, why)?;
            }
            for id in unkeyed {
                tx.conn()
                    .prepare_cached(
                        "INSERT INTO tdsync_action (action_id, device, session) VALUES (?1, ?2, ?3) \
                         ON CONFLICT(action_id) DO UPDATE SET device = excluded.device, session = excluded.session",
                    )?
                    .execute((id, own.0.as_str(), own.1.as_str()))?;
            }
            tx.commit()?;
        }
        Ok((unusable.len(), key.map(|key| Batch { key, actions: chosen })))
    }

    /// Records what the server said about a batch.
    fn settle(&mut self, batch: &Batch, answer: &PushResponse) -> Result<Pushed, SyncError> {
        let ids: BTreeMap<ActionId, &str> =
            batch.actions.iter().map(|(a, _)| (ActionId(a.rowid), a.id.as_str())).collect();
        let mut pushed = Pushed::default();
        let tx = self.store.begin()?;
        for ack in &answer.acks {
            if let Some(id) = ids.get(&ack.client_action_id) {
                acknowledge(&tx, id, ack.server_seq)?;
                pushed.accepted += 1;
            }
        }
        for rejection in &answer.rejected {
            let Some(id) = ids.get(&rejection.client_action_id) else { continue };
            match rejection.server_seq {
                Some(seq) if rejection.reason == "duplicate" && seq > Seq(0) => {
                    acknowledge(&tx, id, seq)?;
                    pushed.duplicates += 1;
                }
                _ => {
                    reject(&tx, id, &rejection.reason)?;
                    pushed.rejected += 1;
                }
            }
        }
        let newest = ids.keys().next_back().map_or(0, |id| id.0);
        tx.conn().execute(
            "UPDATE sync_state SET last_pushed_action_id = max(last_pushed_action_id, ?1), last_sync_at = ?2",
            (newest, tx.now().sql_utc()),
        )?;
        tx.commit()?;
        Ok(pushed)
    }
}

/// The log has the action.
pub(super) fn acknowledge(tx: &Tx<'_>, action_id: &str, seq: Seq) -> rusqlite::Result<()> {
    tx.conn()
        .prepare_cached("UPDATE action_log SET synced_at = ?1, server_seq = ?2 WHERE id = ?3")?
        .execute((tx.now().sql_utc(), seq.0, action_id))
        .map(drop)
}

/// The log will never have the action.
fn reject(tx: &Tx<'_>, action_id: &str, why: &str) -> rusqlite::Result<()> {
    tx.conn()
        .prepare_cached(
            "INSERT INTO tdsync_action (action_id, rejected) VALUES (?1, ?2) \
             ON CONFLICT(action_id) DO UPDATE SET rejected = excluded.rejected",
        )?
        .execute((action_id, why))
        .map(drop)
}

fn wire(event: &NewEvent) -> WireEvent {
    WireEvent {
        client_action_id: event.action_id,
        action_type: event.action.as_str().into(),
        entity_type: event.entity_type.to_string(),
        entity_id: event.entity_id.clone(),
        // Every event of `Action::event` has one.
        payload: event.payload.clone().unwrap_or_else(|| td_engine::payload::Payload::stored("{}")),
        client_timestamp: event.client_time,
    }
}
