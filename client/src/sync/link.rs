//! Linking a database to a project of a server.
//!
//! Duty: let everything our own `td` recorded before become publishable, and refuse by name what it cannot explain.
//! Invariant: exactly one row in `sync_state`; Go reads whichever comes first (client-engine 11.9).
//! Danger: rows without an event would stay on this device for ever, and be lost at the first replay.

use super::{LinkState, SyncError, link_state};
use crate::pending;
use crate::store::{Store, set_value, value};
use td_engine::db::ProjectDb;
use td_engine::id::{ProjectId, Seq};

/// What linking did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// It was linked to this project already; nothing changed.
    Already,
    /// It was linked to it before and goes on where it was.
    Again,
    /// For the first time.
    First,
}

/// Links `store` to `project`.
pub fn link(store: &mut Store, project: &ProjectId) -> Result<Linked, SyncError> {
    if link_state(store).ok().flatten().is_some_and(|s| s.project == *project) {
        return Ok(Linked::Already);
    }
    if !store.is_ours()? {
        return Err(SyncError::WrittenByGo("it held data before this program first opened it".into()));
    }
    let known = value(store.conn(), "project")?.map(|p| ProjectId::parse(&p)).transpose()?;
    let cursor = pending::cursor(store.conn())?;
    let done = match known {
        Some(known) if known == *project => Linked::Again,
        Some(known) if has_history(store, cursor)? => {
            return Err(SyncError::OtherProject { known, wanted: project.clone() });
        }
        _ => {
            explain_all_rows(store)?;
            Linked::First
        }
    };
    let tx = store.begin()?;
    tx.conn().execute("DELETE FROM sync_state", [])?;
    tx.conn().execute(
        "INSERT INTO sync_state (project_id, last_pushed_action_id, last_pulled_server_seq, sync_disabled) \
         VALUES (?1, 0, ?2, 0)",
        (project.as_str(), cursor.0),
    )?;
    set_value(tx.conn(), "project", project.as_str())?;
    tx.commit()?;
    Ok(done)
}

/// Removes the link and keeps everything else, so that linking to the same project goes on where it was. Returns
/// whether there was one.
pub fn unlink(store: &mut Store) -> Result<Option<ProjectId>, SyncError> {
    let was = link_state(store)?.map(|LinkState { project, .. }| project);
    let tx = store.begin()?;
    tx.conn().execute("DELETE FROM sync_state", [])?;
    tx.commit()?;
    Ok(was)
}

/// Whether anything here came from or went to a server.
fn has_history(store: &Store, cursor: Seq) -> rusqlite::Result<bool> {
    let mut sent = store.conn().prepare_cached("SELECT 1 FROM action_log WHERE synced_at IS NOT NULL")?;
    Ok(cursor > Seq(0) || sent.exists([])?)
}

/// Replays the recorded actions into an empty database and compares: every row must come from an action of ours.
fn explain_all_rows(store: &Store) -> Result<(), SyncError> {
    let foreign: i64 = store.conn().query_row(
        "SELECT count(*) FROM action_log a LEFT JOIN tdsync_action t ON t.action_id = a.id \
         WHERE t.meta IS NULL AND a.undone = 0",
        [],
        |r| r.get(0),
    )?;
    if foreign > 0 {
        return Err(SyncError::WrittenByGo(format!("{foreign} of its actions were recorded by it")));
    }
    let mut copy = ProjectDb::in_memory(store.ambient().now()).map_err(crate::store::StoreError::from)?;
    let write = copy.write()?;
    for action in pending::outstanding(store.conn(), Seq(0))? {
        if let Ok(event) = action.event() {
            let _ = write.apply_local((&event).into())?;
        }
    }
    write.commit()?;
    if copy.digest()? != store.db().digest()? {
        return Err(SyncError::WrittenByGo("it has rows that no recorded action explains".into()));
    }
    Ok(())
}
