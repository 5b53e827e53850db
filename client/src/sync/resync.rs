//! A project's rows made anew from the server's log.
//!
//! Duty: when rows and log no longer belong together (the server was put back to a copy, another program moved the
//! cursor, the rules changed), fetch the whole log, replay it, and put what the log does not hold on top again.
//! Invariant: all of it happens in a copy; the project becomes that copy in one transaction, or stays as it was. What
//! had been acknowledged and is not in the log any more waits to be sent again (law 9), so nothing of ours is lost.
//! Danger: a command that records a change meanwhile. The project's write lock is held from the copy to the exchange.

use super::pull::reapply;
use super::{Gate, Sync, SyncError, link_state};
use crate::lock::WriteLock;
use crate::pending;
use crate::store::{Store, StoreError};
use crate::transport::Transport;
use std::path::Path;
use td_engine::db::{ProjectDb, Purpose};
use td_engine::id::{Epoch, Seq};

/// What a resync did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Resynced {
    /// Events replayed.
    pub events: usize,
    /// The cursor now.
    pub cursor: Seq,
    /// Changes of this device that wait to be sent.
    pub pending: usize,
    /// Of those, changes that the server had acknowledged and does not have any more.
    pub lost_by_server: usize,
    /// The history the project counts in now, if the server names one.
    pub epoch: Option<Epoch>,
}

/// No sequence of any log: an action that the replay has not met yet.
const NOT_MET: i64 = 0;

/// Rebuilds `store` from the log behind `transport`. `scratch` is a name for the copy; what stands there is replaced.
pub fn resync<T: Transport>(
    store: &mut Store,
    transport: T,
    gate: &Gate,
    scratch: &Path,
) -> Result<Resynced, SyncError> {
    let _pause = gate.close()?.ok_or(SyncError::Paused)?;
    let project = link_state(store)?.ok_or(SyncError::NotLinked)?.project;
    if !store.is_ours()? {
        return Err(SyncError::WrittenByGo("it held data before this program first opened it".into()));
    }
    let lock = store.lock_writes()?;
    let mut copy = Scratch::of(store, scratch)?;
    let mut sync = Sync {
        store: &mut copy.store,
        transport,
        project,
        gate: Gate::in_memory(),
        known_epoch: None,
        remote: None,
    };
    let pulled = sync.pull()?;
    let epoch = sync.known_epoch.take();
    let (pending, lost_by_server) = copy.put_own_changes_on_top()?;
    copy.store.quick_check()?;
    store.become_copy_of(&copy.store, &lock)?;
    Ok(Resynced { events: pulled.events, cursor: pulled.cursor, pending, lost_by_server, epoch })
}

/// The copy that is rebuilt. Its files go when it is dropped.
struct Scratch<'p> {
    store: Store,
    path: &'p Path,
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        // What cannot be removed is replaced by the next resync.
        let _ = remove(self.path);
    }
}

impl<'p> Scratch<'p> {
    /// Without anything that came from the log, and with every own action as one that the replay has yet to meet.
    fn of(store: &Store, path: &'p Path) -> Result<Self, SyncError> {
        let failed = |why| StoreError::File { path: path.into(), why };
        remove(path).map_err(failed)?;
        store.db().copy_to(path)?;
        let mut db = ProjectDb::open(path, Purpose::Device).map_err(StoreError::from)?;
        db.reset()?;
        let store = Store::new(db, store.device().clone(), store.ambient().clone(), None)?;
        let mut scratch = Self { store, path };
        let tx = scratch.store.begin()?;
        tx.conn().execute_batch(&format!(
            "CREATE TEMP TABLE acknowledged AS
                 SELECT id FROM action_log WHERE synced_at IS NOT NULL AND undone = 0;
             UPDATE action_log SET synced_at = CURRENT_TIMESTAMP, server_seq = {NOT_MET} WHERE undone = 0;"
        ))?;
        tx.commit()?;
        Ok(scratch)
    }

    /// How many changes of this device wait now, and how many of them the server had acknowledged.
    fn put_own_changes_on_top(&mut self) -> Result<(usize, usize), SyncError> {
        let tx = self.store.begin()?;
        let lost = "SELECT count(*) FROM action_log JOIN acknowledged USING (id) WHERE server_seq = ?1 AND undone = 0";
        let lost: i64 = tx.conn().query_row(lost, [NOT_MET], |r| r.get(0))?;
        tx.conn().execute(
            "UPDATE action_log SET synced_at = NULL, server_seq = NULL WHERE server_seq = ?1 AND undone = 0",
            [NOT_MET],
        )?;
        let cursor = pending::cursor(tx.conn())?;
        reapply(&tx, &pending::outstanding(tx.conn(), cursor)?)?;
        tx.write.drop_orphans()?;
        let waiting = pending::waiting(tx.conn())?.len();
        tx.commit()?;
        Ok((waiting, usize::try_from(lost).unwrap_or(0)))
    }
}

/// A database and what SQLite may have left beside it.
fn remove(path: &Path) -> std::io::Result<()> {
    for suffix in ["", "-journal"] {
        let mut name = path.as_os_str().to_os_string();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

impl Store {
    /// The project's write lock, for what is more than one transaction.
    fn lock_writes(&self) -> Result<Option<WriteLock>, StoreError> {
        let now = self.ambient().now();
        Ok(self.lock_path().map(|path| WriteLock::acquire(path, now)).transpose()?)
    }

    fn become_copy_of(&mut self, copy: &Self, _held: &Option<WriteLock>) -> Result<(), StoreError> {
        Ok(self.db_mut().become_copy_of(copy.db())?)
    }
}
