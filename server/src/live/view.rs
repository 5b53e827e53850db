//! `project.db`: the log of a project, applied.
//!
//! Duty: follow the log by sequence from its own cursor, and start afresh where that cannot be right.
//! Invariant: derived. The file may be deleted at any time and comes back equal (law 5), so damage is answered by
//! building it again, never by repair.
//! Danger: a cursor ahead of the log (files of two histories mixed) would skip events for ever; it means a rebuild.

use crate::log::{Clock, EventLog, LogError, ReadQuery};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use td_engine::db::{OpenError, ProjectDb, Purpose, Standing};
use td_engine::digest;
use td_engine::event::LogEvent;
use td_engine::id::Seq;
use td_engine::replay::ReplayError;

/// Most events applied per transaction.
pub const PAGE: usize = 8_000;
/// Payload bytes behind which a transaction ends.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Why a live view did not move.
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

/// A live view, opened when it is first needed.
pub struct LiveView {
    path: PathBuf,
    clock: Clock,
    db: Option<ProjectDb>,
    known: Option<StateDigest>,
}

impl LiveView {
    /// At a path; touches nothing yet.
    pub fn new(path: PathBuf, clock: Clock) -> Self {
        Self { path, clock, db: None, known: None }
    }

    /// Applies everything up to the log's head as it is now; returns the cursor. Blocks.
    pub fn catch_up(&mut self, log: &dyn EventLog) -> Result<Seq, LiveError> {
        match self.follow(log) {
            // Once: a file that is damaged right after it was built is a broken disk, not a broken file.
            Err(e) if is_damage(&e) => {
                tracing::warn!(cause = %e, path = %self.path.display(), "the live view is built again from the log");
                self.discard()?;
                self.follow(log)
            }
            other => other,
        }
    }

    /// The digest at the log's head. Blocks.
    pub fn digest(&mut self, log: &dyn EventLog) -> Result<StateDigest, LiveError> {
        let seq = self.catch_up(log)?;
        if let Some(known) = self.known.as_ref().filter(|known| known.seq == seq) {
            return Ok(known.clone());
        }
        let hex = self.open(log)?.0.digest()?.to_string();
        let digest = StateDigest { seq, hex, format: digest::FORMAT };
        self.known = Some(digest.clone());
        Ok(digest)
    }

    fn follow(&mut self, log: &dyn EventLog) -> Result<Seq, LiveError> {
        let head = log.head().seq;
        let (db, cursor) = self.open(log)?;
        apply(db, log, cursor, head)
    }

    /// The open file and its cursor; built afresh if it is missing or cannot be continued.
    fn open(&mut self, log: &dyn EventLog) -> Result<(&mut ProjectDb, Seq), LiveError> {
        let known = match self.db.take() {
            Some(db) => Some(db),
            None => match ProjectDb::open(&self.path, Purpose::LiveView) {
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
                    return Ok((self.db.insert(db), cursor));
                }
                Standing::At(cursor) => {
                    tracing::warn!(%cursor, "the live view is ahead of the log; it is built again");
                }
                Standing::Rebuild(reason) => {
                    tracing::info!(?reason, path = %self.path.display(), "the live view is built again from the log");
                }
            }
        }
        self.discard()?;
        let db = ProjectDb::create(&self.path, Purpose::LiveView, (self.clock)())?;
        Ok((self.db.insert(db), Seq(0)))
    }

    fn discard(&mut self) -> Result<(), LiveError> {
        (self.db, self.known) = (None, None);
        remove_database(&self.path)
    }
}

/// Applies the log from behind `cursor` up to `target` in pages.
pub(crate) fn apply(
    db: &mut ProjectDb,
    log: &dyn EventLog,
    cursor: Seq,
    target: Seq,
) -> Result<Seq, LiveError> {
    let mut cursor = cursor;
    while cursor < target {
        let mut page: Vec<LogEvent> = Vec::new();
        let query = ReadQuery { after: cursor, limit: PAGE, exclude: None };
        let (mut bytes, mut full) = (0, false);
        log.read(&query, &mut |event| {
            if event.seq > target {
                return ControlFlow::Break(());
            }
            bytes += event.payload.as_str().len();
            page.push(event);
            full = page.len() == PAGE || bytes >= PAGE_BYTES;
            if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let up_to = page.last().filter(|_| full).map_or(target, |event| event.seq);
        db.apply_page(&page, up_to)?;
        cursor = up_to;
    }
    Ok(cursor)
}

/// Removes a SQLite file and what stands beside it.
pub(crate) fn remove_database(path: &Path) -> Result<(), LiveError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_os_string();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(LiveError::Remove { path: name.into(), source });
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_corrupt_open(error: &OpenError) -> bool {
    matches!(error, OpenError::Sqlite(e) if is_corrupt(e))
}

fn is_damage(error: &LiveError) -> bool {
    match error {
        LiveError::Sqlite(e) => is_corrupt(e),
        LiveError::Replay(ReplayError::Storage(e)) => is_corrupt(&e.0),
        LiveError::Replay(ReplayError::MustRebuild | ReplayError::LocalChanges) => true,
        _ => false,
    }
}

fn is_corrupt(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}
