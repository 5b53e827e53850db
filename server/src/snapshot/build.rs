//! Making a snapshot: a base that is copied, and the events behind it.
//!
//! Invariant: whatever the base, the rows are the log at the target; so are conflicts and quarantine. A snapshot that
//! was continued from another one equals one that was replayed from the first event (a property holds it).
//! Danger: what is left in the file ends on somebody's laptop, where another program reads it. See [`finish`].

use super::SnapshotError;
use crate::live::{LiveError, apply};
use crate::log::EventLog;
use td_engine::db::{OpenError, Place, ProjectDb, Purpose, Standing};
use td_engine::id::Seq;
use td_engine::replay::ReplayError;
use td_engine::time::ClientTime;

/// What the file at the workplace is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// A copy of an older snapshot is there already. With `true`, whether it is sound is looked at.
    Copied(Seq, bool),
    /// The live view, as it is at this moment.
    View(Place),
    /// Nothing: every event is applied. `now` dates the built-in board, which is no part of the state.
    Nothing(ClientTime),
}

/// Makes the state after `target` at an empty (or copied) workplace. Nothing is synced. Returns the sequence reached: a
/// live view may be further already.
pub(super) fn make(log: &dyn EventLog, base: &Base, at: &Place, target: Seq) -> Result<Seq, SnapshotError> {
    let mut db = match base {
        Base::Nothing(now) => ProjectDb::create_at(at, Purpose::Snapshot, *now).map_err(LiveError::from)?,
        Base::Copied(_, check) => {
            let copy = open(at)?;
            if *check && !is_sound(&copy).map_err(LiveError::from)? {
                return Err(must_rebuild());
            }
            copy
        }
        Base::View(view) => {
            copy_view(view, at).map_err(LiveError::from)?;
            open(at)?
        }
    };
    let cursor = match (db.standing().map_err(LiveError::from)?, base) {
        // The name said something else than the file: not what we made.
        (Standing::At(cursor), Base::Copied(seq, _)) if cursor != *seq => return Err(must_rebuild()),
        (Standing::At(cursor), _) => cursor,
        _ => return Err(must_rebuild()),
    };
    let reached = apply(&mut db, log, cursor, target.max(cursor))?;
    finish(&mut db).map_err(LiveError::from)?;
    Ok(reached)
}

fn open(at: &Place) -> Result<ProjectDb, LiveError> {
    Ok(ProjectDb::open_at(at, Purpose::Snapshot)?)
}

fn is_sound(db: &ProjectDb) -> rusqlite::Result<bool> {
    let verdict: String = db.conn().query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(verdict == "ok")
}

fn must_rebuild() -> SnapshotError {
    SnapshotError::Build(ReplayError::MustRebuild.into())
}

/// One commit of the live view, as a file of its own without the table that only live views have.
fn copy_view(view: &Place, to: &Place) -> Result<(), OpenError> {
    let view = ProjectDb::open_read_only_at(view)?;
    view.conn().execute("VACUUM INTO ?1", [to.path().to_string_lossy()])?;
    let mut copy = ProjectDb::open_at(to, Purpose::Snapshot)?;
    let write = copy.write()?;
    write.conn().execute_batch("DROP TABLE IF EXISTS applied_events")?;
    Ok(write.commit()?)
}

/// Takes out what a device that starts from the file must not find: the reference's list of overwritten rows, which
/// stock programs show as losses of *this* device. Everything else that is not the log's state is empty anyway; our own
/// tables stay, for a device of ours continues conflicts and quarantine from them, and stock programs do not look.
fn finish(db: &mut ProjectDb) -> rusqlite::Result<()> {
    let write = db.write()?;
    write.conn().execute_batch(
        "DELETE FROM sync_conflicts; DELETE FROM sqlite_sequence WHERE name = 'sync_conflicts'",
    )?;
    write.commit()
}
