//! The kept snapshots of one project.
//!
//! Duty: keep the newest one, make the next from it, and clear away what is old.
//! Invariant: the newest is served until the next one is published; only one is made at a time; nothing that is being
//! served, or was a moment ago (its download may be resumed), is removed.
//! Danger: two shelves of one project would clear away each other's files, so [`Shelves`] hands out one.

use super::build::{Base, make};
use super::store::{BlobStore, Folder};
use super::{Kept, Name, SnapshotError, Version};
use crate::live::is_damage;
use crate::log::{Clock, EventLog};
use crate::packing::Encoding;
use crate::secret;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use td_engine::db::Place;
use td_engine::id::{Epoch, ProjectId, Seq};
use tokio::sync::Semaphore;

/// A snapshot that was superseded is kept for so long after its last use.
const LINGER: Duration = Duration::from_secs(600);
/// Most snapshots that are kept because they may be asked for once more.
const MOST: usize = 4;
/// How often a copy is looked at before it is continued.
const CHECKED: Duration = Duration::from_secs(3600);
/// Snapshots that are made at the same time, over all projects.
const MAKERS: usize = 2;
/// A base that lies no further back than this is never left for the live view.
pub(super) const LONG_WAY: i64 = 5_000;
/// Bytes that are copied from a live view, and their indexes sorted, in the time that one event takes to be applied to a
/// copy of the base (measured: 3.5 us a row of 450 bytes, 12 us an event).
const BYTES_AN_EVENT: u64 = 1_500;

/// Whether a base of this size lies so far back that a live view is the shorter way.
fn is_far(behind: i64, bytes: u64) -> bool {
    behind > LONG_WAY && behind.unsigned_abs() > bytes / BYTES_AN_EVENT
}

/// The shelves of all projects.
pub struct Shelves {
    dir: PathBuf,
    version: Version,
    clock: Clock,
    makers: Arc<Semaphore>,
    all: Mutex<HashMap<ProjectId, Weak<Shelf>>>,
}

impl Shelves {
    /// Below the folder of projects, in this history.
    pub fn new(dir: PathBuf, history: &Epoch, clock: Clock) -> Self {
        let makers = Arc::new(Semaphore::new(MAKERS));
        Self { dir, version: Version::current(history), clock, makers, all: Mutex::default() }
    }

    /// The project's shelf: the same one as long as anybody uses it.
    pub fn of(&self, project: &ProjectId) -> Arc<Shelf> {
        let mut all = lock(&self.all);
        if let Some(shelf) = all.get(project).and_then(Weak::upgrade) {
            return shelf;
        }
        all.retain(|_, shelf| shelf.strong_count() > 0);
        // In the project's own folder: a deletion takes it along.
        let store = Arc::new(Folder::new(self.dir.join(project.as_str()).join("snap")));
        let mut shelf = Shelf::new(store, self.version.clone(), self.clock.clone());
        shelf.makers = self.makers.clone();
        let shelf = Arc::new(shelf);
        all.insert(project.clone(), Arc::downgrade(&shelf));
        shelf
    }
}

/// The kept snapshots of one project.
pub struct Shelf {
    store: Arc<dyn BlobStore>,
    version: Version,
    clock: Clock,
    state: Mutex<State>,
    /// When a copy was last looked at.
    checked: Mutex<Option<Instant>>,
    /// One at a time. Whoever gets it looks again whether it is still needed.
    pub(super) making: tokio::sync::Mutex<Option<(Instant, String)>>,
    pub(super) makers: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    is_read: bool,
    /// By sequence.
    kept: Vec<Arc<Kept>>,
}

impl Shelf {
    /// Over what a store has; looks at it when it is first asked.
    pub fn new(store: Arc<dyn BlobStore>, version: Version, clock: Clock) -> Self {
        let makers = Arc::new(Semaphore::new(MAKERS));
        let (state, checked, making) = (Mutex::default(), Mutex::default(), Default::default());
        Self { store, version, clock, state, checked, making, makers }
    }

    /// The newest snapshot. Blocks, the first time.
    pub fn newest(&self) -> io::Result<Option<Arc<Kept>>> {
        Ok(self.state()?.kept.last().cloned())
    }

    /// The kept snapshot whose bytes (and packing) a tag stands for.
    pub fn by_tag(&self, tag: &str) -> io::Result<Option<(Arc<Kept>, Option<Encoding>)>> {
        let state = self.state()?;
        let forms = || [None].into_iter().chain(Encoding::ALL.map(Some));
        let find =
            |kept: &Arc<Kept>| forms().find(|form| kept.tag(*form) == tag).map(|form| (kept.clone(), form));
        Ok(state.kept.iter().find_map(find))
    }

    /// The snapshot at exactly this sequence.
    pub fn at(&self, seq: Seq) -> io::Result<Option<Arc<Kept>>> {
        Ok(self.state()?.kept.iter().rev().find(|kept| kept.seq() == seq).cloned())
    }

    /// Sequences of what is kept, ascending.
    pub fn points(&self) -> io::Result<Vec<Seq>> {
        Ok(self.state()?.kept.iter().map(|kept| kept.seq()).collect())
    }

    /// Makes the snapshot at the log's head, publishes it and clears away. `view` may be the project's live view, with
    /// its cursor. Blocks; must not run twice at once ([`super::fresh`] sees to it).
    pub fn make(&self, log: &dyn EventLog, view: Option<(&Place, Seq)>) -> Result<Arc<Kept>, SnapshotError> {
        let target = log.head().seq;
        if target <= Seq(0) {
            return Err(SnapshotError::Empty);
        }
        let newest = self.newest()?;
        if let Some(kept) = newest.as_ref().filter(|kept| kept.seq() == target) {
            return Ok(kept.clone());
        }
        let random = secret::hex(&secret::bytes::<4>().map_err(io::Error::other)?);
        let published = self.make_at(&random, log, newest.as_ref(), view, target).and_then(|seq| {
            let name = Name { version: self.version.clone(), seq, random: random.clone() };
            self.store.publish(&random, &name.to_string())?;
            Ok(name)
        });
        let name = published.inspect_err(|_| {
            // Also swept when the shelf is next read; not reported, for the first failure is.
            let _ = self.store.workplace(&random);
        })?;
        let kept = Arc::new(Kept::new(name, self.store.clone()));
        // Or its own base would count as in use.
        drop(newest);
        let mut state = self.state()?;
        state.kept.push(kept.clone());
        self.tidy(&mut state);
        Ok(kept)
    }

    /// Makes it at a workplace, from the best base that works.
    fn make_at(
        &self,
        work: &str,
        log: &dyn EventLog,
        newest: Option<&Arc<Kept>>,
        view: Option<(&Place, Seq)>,
        target: Seq,
    ) -> Result<Seq, SnapshotError> {
        for base in self.bases(newest, view, target) {
            let place = self.store.workplace(work)?;
            let made = match (&base, newest) {
                (Base::Copied(..), Some(kept)) => match self.store.start_from(&kept.file(None), work) {
                    Ok(()) => make(log, &base, &place, target),
                    Err(e) => Err(e.into()),
                },
                _ => make(log, &base, &place, target),
            };
            // Law 5: what is damaged, or was taken away, is made from something else. So is what a view's copy has no
            // room for: its indexes are sorted in temporary files, wherever those are.
            let useless = match &made {
                Err(SnapshotError::Build(e)) => is_damage(e) || matches!(base, Base::View(_)),
                Err(SnapshotError::Store(e)) => e.kind() == io::ErrorKind::NotFound,
                _ => false,
            };
            if !useless || matches!(base, Base::Nothing(_)) {
                return made;
            }
            tracing::warn!(cause = ?made.err(), ?base, "no snapshot can be made from this; trying another way");
            if let (Base::Copied(..), Some(kept)) = (&base, newest) {
                self.forget(kept);
            }
        }
        unreachable!("the last base is Nothing, which returns")
    }

    /// What to make it from, the cheapest first. Replaying everything is the last resort: a log only grows.
    fn bases(&self, newest: Option<&Arc<Kept>>, view: Option<(&Place, Seq)>, target: Seq) -> Vec<Base> {
        let kept = newest.map(|kept| Base::Copied(kept.seq(), self.is_check_due()));
        let view = view.filter(|(_, at)| *at > Seq(0)).map(|(place, at)| (Base::View(place.clone()), at));
        let nothing = Base::Nothing((self.clock)());
        // If its size cannot be told, its copy will tell why.
        let size = |kept: &Arc<Kept>| self.store.open(&kept.file(None)).and_then(|blob| blob.size());
        let bytes = newest.and_then(|kept| size(kept).ok()).unwrap_or(0);
        match (kept, view) {
            (Some(Base::Copied(at, check)), Some((view, seen)))
                if seen > at && is_far(target.0 - at.0, bytes) =>
            {
                vec![view, Base::Copied(at, check), nothing]
            }
            (kept, view) => kept.into_iter().chain(view.map(|(view, _)| view)).chain([nothing]).collect(),
        }
    }

    /// Whether the next copy should be looked at. A page that rotted is copied from one snapshot to the next; to look each
    /// time would take longer than all the rest of making one.
    fn is_check_due(&self) -> bool {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = checked.is_none_or(|at| at.elapsed() >= CHECKED);
        if due {
            *checked = Some(Instant::now());
        }
        due
    }

    /// Forgets everything that is kept. What is being served is served to its end.
    pub fn clear(&self) {
        if let Ok(mut state) = self.state() {
            let all = std::mem::take(&mut state.kept);
            drop(state);
            all.iter().for_each(|kept| self.discard(kept));
        }
    }

    /// Forgets one whose file turned out to be useless.
    pub fn forget(&self, kept: &Arc<Kept>) {
        if let Ok(mut state) = self.state() {
            state.kept.retain(|k| !Arc::ptr_eq(k, kept));
        }
        self.discard(kept);
    }

    /// Nobody finds it any more, so nobody starts to use it while its files go.
    fn discard(&self, kept: &Kept) {
        for form in Encoding::ALL.map(Some).into_iter().chain([None]) {
            if let Err(e) = self.store.remove(&kept.file(form)) {
                tracing::warn!(cause = %e, name = %kept.name, "an old snapshot could not be removed");
            }
        }
    }

    /// Never the newest; never one in use; the others when nobody asked for them lately, or when there are too many.
    fn tidy(&self, state: &mut State) {
        let Some(newest) = state.kept.pop() else { return };
        let (mut free, mut stay): (Vec<_>, Vec<_>) =
            state.kept.drain(..).partition(|kept| Arc::strong_count(kept) == 1);
        free.sort_by_key(|kept| kept.unused_for());
        for (n, kept) in free.into_iter().enumerate() {
            if n + 1 >= MOST || kept.unused_for() > LINGER {
                self.discard(&kept);
            } else {
                stay.push(kept);
            }
        }
        stay.push(newest);
        stay.sort_by_key(|kept| kept.seq());
        state.kept = stay;
    }

    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = lock(&self.state);
        if !state.is_read {
            state.kept = self.read()?;
            state.is_read = true;
        }
        Ok(state)
    }

    /// Nothing is being made or served yet, so everything that is no whole snapshot of this version can go.
    fn read(&self) -> io::Result<Vec<Arc<Kept>>> {
        let files = self.store.list()?;
        let names = files.iter().filter_map(|file| Name::parse(file));
        let mut kept: Vec<Arc<Kept>> = names
            .filter(|name| name.version == self.version)
            .map(|name| Arc::new(Kept::new(name, self.store.clone())))
            .filter(|kept| kept.is_whole())
            .collect();
        kept.sort_by_key(|kept| kept.seq());
        for file in &files {
            let found = kept.iter().find_map(|kept| {
                let forms = [None].into_iter().chain(Encoding::ALL.map(Some));
                forms.into_iter().find(|form| kept.file(*form) == *file).map(|form| (kept, form))
            });
            match found {
                Some((kept, Some(packed))) => kept.is_packed(packed),
                Some((_, None)) => {}
                None => self.store.remove(file)?,
            }
        }
        Ok(kept)
    }
}

/// What is guarded here is replaced whole, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::is_far;

    #[test]
    fn a_view_is_copied_where_that_takes_less_than_the_events_since() {
        let mebibyte = 1 << 20;
        assert!(!is_far(5_000, 0), "a few events are always applied");
        assert!(is_far(5_001, mebibyte));
        assert!(!is_far(50_000, 100 * mebibyte));
        assert!(is_far(80_000, 100 * mebibyte));
    }
}
