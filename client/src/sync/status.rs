//! Where a project stands (DESIGN 6.1, `td sync --status --json`).

use super::{Sync, SyncError, link_state};
use crate::pending;
use crate::store::Store;
use crate::transport::{Transport, TransportError};
use serde::Serialize;
use td_engine::conflict::list_conflicts;
use td_engine::id::Seq;

/// The state of one device's copy. `null` where not known.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Linked project.
    pub project: Option<String>,
    /// Its server's address.
    pub server: Option<String>,
    /// Whether there is a link.
    pub linked: bool,
    /// Events that wait to be pushed.
    pub pending: i64,
    /// When the oldest of them was made, RFC 3339.
    pub oldest_pending: Option<String>,
    /// Newest sequence in the rows.
    pub cursor: Option<Seq>,
    /// Newest sequence of the log; `null` when the server was not asked or did not answer.
    pub head: Option<Seq>,
    /// The log's state at the cursor, computed here.
    pub digest: Option<DigestAt>,
    /// Losing sides that are kept.
    pub conflicts: usize,
    /// Events recorded as skipped or quarantined.
    pub quarantined: i64,
    /// When the server was last reached, RFC 3339.
    pub last_sync: Option<String>,
    /// Events the server will never take.
    pub rejected: Vec<Rejected>,
    /// Whether the server's digest at the same sequence equals ours; `null` where it could not be compared.
    pub in_step: Option<bool>,
}

/// A digest and the sequence it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DigestAt {
    /// Sequence.
    pub seq: Seq,
    /// Lower-case hex.
    pub value: String,
}

/// An event the server will never take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// What it is about.
    pub entity_type: String,
    /// Which.
    pub entity_id: String,
    /// Why.
    pub reason: String,
}

impl Status {
    /// What can be said without a server.
    pub fn local(store: &mut Store, server: Option<String>) -> Result<Self, SyncError> {
        let state = link_state(store)?;
        let digest = store.db_mut().digest_at_cursor()?;
        let conn = store.conn();
        let cursor = pending::cursor(conn)?;
        let waiting = pending::waiting(conn)?;
        let quarantined = conn.query_row("SELECT count(*) FROM sync_skipped_events", [], |r| r.get(0))?;
        let mut ask = conn.prepare_cached(
            "SELECT a.entity_type, a.entity_id, t.rejected FROM tdsync_action t JOIN action_log a ON a.id = t.action_id \
             WHERE t.rejected IS NOT NULL ORDER BY a.rowid",
        )?;
        let rejected = ask
            .query_map([], |r| {
                Ok(Rejected { entity_type: r.get(0)?, entity_id: r.get(1)?, reason: r.get(2)? })
            })?
            .collect::<Result<_, _>>()?;
        let last_sync = state.as_ref().and_then(|s| s.last_sync.as_deref());
        Ok(Self {
            server,
            linked: state.is_some(),
            pending: waiting.len() as i64,
            oldest_pending: waiting.first().map(|e| e.client_time.rfc3339n()),
            cursor: state.as_ref().map(|_| cursor),
            head: None,
            digest: state.as_ref().map(|_| DigestAt { seq: cursor, value: digest.to_string() }),
            conflicts: list_conflicts(conn)?.len(),
            quarantined,
            last_sync: last_sync.map(|text| {
                td_engine::time::ClientTime::parse_stored(text).map_or_else(|_| text.into(), |t| t.rfc3339n())
            }),
            rejected,
            in_step: None,
            project: state.map(|s| s.project.to_string()),
        })
    }
}

impl<T: Transport> Sync<'_, T> {
    /// [`Status::local`] with what the server says. A server without the digest route leaves `in_step` open.
    pub fn status(&mut self, server: Option<String>) -> Result<Status, SyncError> {
        let mut status = Status::local(self.store, server)?;
        status.head = Some(self.greet()?.last_server_seq);
        if status.head == status.cursor {
            match self.transport.digest(&self.project) {
                Ok(remote) => {
                    let ours = status.digest.as_ref().filter(|d| d.seq == remote.seq && remote.format == 1);
                    status.in_step = ours.map(|d| d.value == remote.digest);
                }
                Err(TransportError::Refused { status: 404 | 503, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(status)
    }
}
