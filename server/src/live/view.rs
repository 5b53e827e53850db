//! `project.db`: the log of a project, applied.
//!
//! Duty: follow the log by sequence from its own cursor, and start afresh where that cannot be right.
//! Invariant: derived. The file may be deleted at any time and comes back equal (law 5), so damage is answered by
//! building it again, never by repair. Rows and cursor are one transaction, so what a crash leaves is the state after
//! some prefix of the log (server-protocol W13).
//! Danger: a cursor ahead of the log (files of two histories mixed) would skip events for ever; it means a rebuild.

use crate::log::{Clock, EventLog, LogError, ReadQuery};
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use td_engine::db::{OpenError, Place, ProjectDb, Purpose, Standing};
use td_engine::digest;
use td_engine::event::LogEvent;
use td_engine::id::Seq;
use td_engine::replay::ReplayError;

/// Most events applied per transaction.
pub const PAGE: usize = 16_000;
/// Payload bytes behind which a transaction ends.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Why a live view did not move, or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The file could not be opened or created.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The events could not be applied for reasons of storage.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The file could not be read.
    #[error("the live view failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file could not be removed for a rebuild.
    #[error("{path} cannot be removed: {source}")]
    Remove {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The thread that worked on it panicked.
    #[error("the work on the live view was lost: {0}")]
    Lost(String),
}

/// A state of a project and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDigest {
    /// The state after this sequence.
    pub seq: Seq,
    /// Lower-case hex.
    pub hex: String,
    /// Version of the digest's format.
    pub format: u32,
}

impl StateDigest {
    /// Of an open database. Reads all of it, from one moment.
    pub fn of(db: &ProjectDb) -> Result<Self, LiveError> {
        let moment = db.conn().unchecked_transaction()?;
        let digest = Self::of_moment(db)?;
        moment.finish()?;
        Ok(digest)
    }

    /// Of a database in which nothing changes meanwhile.
    pub(crate) fn of_moment(db: &ProjectDb) -> Result<Self, LiveError> {
        let Standing::At(seq) = db.standing()? else { return Err(ReplayError::MustRebuild.into()) };
        Ok(Self { seq, hex: db.digest()?.to_string(), format: digest::FORMAT })
    }
}

/// How much a state holds that did not simply apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Recorded {
    /// Events, or parts of events, without effect (law 7).
    pub skipped: i64,
    /// Of those, events that can have no effect on any state that this program knows.
    pub quarantined: i64,
    /// Losing sides that are kept (law 8).
    pub conflicts: i64,
}

impl Recorded {
    /// What was recorded behind a sequence. Both tables are in its order, so this costs what it counts.
    fn after(db: &ProjectDb, seq: Seq) -> rusqlite::Result<Self> {
        let count = |sql: &str| db.conn().prepare_cached(sql)?.query_row([seq.0], |r| r.get(0));
        Ok(Self {
            skipped: count("SELECT COUNT(*) FROM sync_skipped_events WHERE server_seq > ?1")?,
            quarantined: count(
                "SELECT COUNT(*) FROM sync_skipped_events WHERE server_seq > ?1 AND +reason = 'quarantined'",
            )?,
            conflicts: count("SELECT COUNT(*) FROM tdsync_conflict WHERE winner_seq > ?1")?,
        })
    }

    fn add(&mut self, more: Self) {
        self.skipped += more.skipped;
        self.quarantined += more.quarantined;
        self.conflicts += more.conflicts;
    }
}

/// A live view, opened when it is first needed.
pub struct LiveView {
    place: Place,
    clock: Clock,
    db: Option<ProjectDb>,
    /// Unknown until the file is opened for the first time.
    recorded: Option<Recorded>,
    builds: Arc<AtomicU64>,
}

impl LiveView {
    /// At a place; touches nothing yet.
    pub fn new(place: impl Into<Place>, clock: Clock) -> Self {
        let (db, recorded, builds) = (None, None, Arc::default());
        Self { place: place.into(), clock, db, recorded, builds }
    }

    /// Applies everything up to the log's head as it is now; returns the cursor. Blocks.
    pub fn catch_up(&mut self, log: &dyn EventLog) -> Result<Seq, LiveError> {
        let head = log.head().seq;
        loop {
            let cursor = self.step(log)?;
            if cursor >= head {
                return Ok(cursor);
            }
        }
    }

    /// Applies the next page of the log; returns the cursor. Blocks.
    pub fn step(&mut self, log: &dyn EventLog) -> Result<Seq, LiveError> {
        match self.follow(log) {
            // Once: a file that is damaged right after it was built is a broken disk, not a broken file.
            Err(e) if is_damage(&e) => {
                tracing::warn!(cause = %e, path = %self.place.path().display(), "the live view is built again from the log");
                self.discard()?;
                self.follow(log)
            }
            other => other,
        }
    }

    /// The digest at the log's head. Blocks.
    pub fn digest(&mut self, log: &dyn EventLog) -> Result<StateDigest, LiveError> {
        self.catch_up(log)?;
        StateDigest::of(self.open(log)?.0)
    }

    /// What its state holds that did not simply apply, as of the last page.
    pub fn recorded(&self) -> Recorded {
        self.recorded.unwrap_or_default()
    }

    /// Gives back what is kept in memory of the rows.
    pub fn release(&self) {
        // Only memory is at stake.
        let _ = self.db.as_ref().map(|db| db.conn().release_memory());
    }

    /// Closes the file until the next page.
    pub fn rest(&mut self) {
        self.db = None;
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Counts how often it was built from nothing: whoever reads it beside us has to open it again when this moves.
    pub fn builds(&self) -> Arc<AtomicU64> {
        self.builds.clone()
    }

    /// Throws the file away; the next page is the log's first one.
    pub fn discard(&mut self) -> Result<(), LiveError> {
        (self.db, self.recorded) = (None, Some(Recorded::default()));
        self.builds.fetch_add(1, Ordering::SeqCst);
        let path = || self.place.path().to_path_buf();
        self.place.remove().map_err(|source| LiveError::Remove { path: path(), source })
    }

    fn follow(&mut self, log: &dyn EventLog) -> Result<Seq, LiveError> {
        let head = log.head().seq;
        let (db, cursor) = self.open(log)?;
        let reached = apply_page(db, log, cursor, head)?;
        let more = Recorded::after(db, cursor)?;
        self.recorded.get_or_insert_default().add(more);
        Ok(reached)
    }

    /// The open file and its cursor; built afresh if it is missing or cannot be continued.
    fn open(&mut self, log: &dyn EventLog) -> Result<(&mut ProjectDb, Seq), LiveError> {
        let known = match self.db.take() {
            Some(db) => Some(db),
            None => match ProjectDb::open_at(&self.place, Purpose::LiveView) {
                Ok(db) => Some(db),
                Err(OpenError::Missing { .. }) => None,
                Err(e @ (OpenError::Io { .. } | OpenError::Sqlite(_))) if !is_corrupt_open(&e) => {
                    return Err(e.into());
                }
                Err(e) => {
                    tracing::warn!(cause = %e, "the live view is built again from the log");
                    None
                }
            },
        };
        if let Some(db) = known {
            match db.standing()? {
                Standing::At(cursor) if cursor <= log.head().allocated => {
                    if self.recorded.is_none() {
                        self.recorded = Some(Recorded::after(&db, Seq(i64::MIN))?);
                    }
                    return Ok((self.db.insert(db), cursor));
                }
                Standing::At(cursor) => {
                    tracing::warn!(%cursor, "the live view is ahead of the log; it is built again");
                }
                Standing::Rebuild(reason) => {
                    tracing::info!(?reason, path = %self.place.path().display(), "the live view is built again from the log");
                }
            }
        }
        self.discard()?;
        let db = ProjectDb::create_at(&self.place, Purpose::LiveView, (self.clock)())?;
        Ok((self.db.insert(db), Seq(0)))
    }
}

/// Applies the log from behind `cursor` up to `target`.
pub(crate) fn apply(
    db: &mut ProjectDb,
    log: &dyn EventLog,
    cursor: Seq,
    target: Seq,
) -> Result<Seq, LiveError> {
    let mut cursor = cursor;
    while cursor < target {
        cursor = apply_page(db, log, cursor, target)?;
    }
    Ok(cursor)
}

/// Applies the next page of the log, as far as `target`, and returns the new cursor.
fn apply_page(db: &mut ProjectDb, log: &dyn EventLog, cursor: Seq, target: Seq) -> Result<Seq, LiveError> {
    if cursor >= target {
        return Ok(cursor);
    }
    let mut page: Vec<LogEvent> = Vec::new();
    let (mut bytes, mut is_cut) = (0, false);
    let query = ReadQuery { after: cursor, limit: PAGE, exclude: None };
    log.read(&query, &mut |event| {
        if event.seq > target {
            return ControlFlow::Break(());
        }
        bytes += event.payload.as_str().len();
        page.push(event);
        is_cut = page.len() == PAGE || bytes >= PAGE_BYTES;
        if is_cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let up_to = page.last().filter(|_| is_cut).map_or(target, |event| event.seq);
    db.apply_page(&page, up_to)?;
    Ok(up_to)
}

fn is_corrupt_open(error: &OpenError) -> bool {
    matches!(error, OpenError::Sqlite(e) if is_corrupt(e))
}

pub(crate) fn is_damage(error: &LiveError) -> bool {
    match error {
        LiveError::Sqlite(e) => is_corrupt(e),
        LiveError::Open(e) => !matches!(e, OpenError::Io { .. } | OpenError::Sqlite(_)) || is_corrupt_open(e),
        LiveError::Replay(ReplayError::Storage(e)) => is_corrupt(&e.0),
        LiveError::Replay(ReplayError::MustRebuild | ReplayError::LocalChanges) => true,
        _ => false,
    }
}

fn is_corrupt(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}
