//! Replay: pages of the log become rows, conflicts and quarantine.
//!
//! Duty: server view, snapshot, pulled page all call [`Write::apply_page`]; the cursor moves in the same transaction.
//! Invariant: what comes out depends on the events, not on where the pages were cut.
//! Danger: rows must be exactly the log's when a page begins; a device restores its before-images first.

use crate::apply::{ApplyError, Outcome};
use crate::db::{ProjectDb, Standing, Write, set_meta, standing};
use crate::event::LogEvent;
use crate::id::Seq;
use crate::{apply, before, conflict};
use rusqlite::params;
use std::ops::ControlFlow;

/// What became of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageReport {
    /// Events that changed rows as they say.
    pub applied: usize,
    /// Of those, events of which a part was left out and recorded.
    pub in_part: usize,
    /// Events without effect by rule, recorded.
    pub skipped: usize,
    /// Events that cannot apply, recorded.
    pub quarantined: usize,
    /// Events at or below the cursor, passed over.
    pub repeated: usize,
    /// Losing sides that were kept.
    pub conflicts: usize,
    /// The new cursor.
    pub cursor: Seq,
}

/// Why a page was not applied. Nothing of it stays.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] ApplyError),
    /// The rows cannot be continued ([`Standing::Rebuild`]).
    #[error(
        "the rows were made by other rules, or by another program, and have to be built again from the log"
    )]
    MustRebuild,
    /// Local changes still stand on the rows ([`Write::restore_before`]).
    #[error("a page of the log was to be applied on top of local changes")]
    LocalChanges,
    /// The page is not in ascending order, or goes beyond its own end.
    #[error("event {seq} of the page stands after event {after}")]
    OutOfOrder {
        /// The misplaced event.
        seq: Seq,
        /// What came before it (or the end of the page).
        after: Seq,
    },
}

impl ReplayError {
    /// Stable word for `--json`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Storage(e) => e.code(),
            Self::MustRebuild => "rebuild_needed",
            Self::LocalChanges => "local_changes",
            Self::OutOfOrder { .. } => "page_out_of_order",
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Storage(e) => e.remedy(),
            Self::MustRebuild => "run `td resync`; local changes that were not sent yet are kept",
            Self::LocalChanges => "this is a fault of the program; please report it",
            Self::OutOfOrder { .. } => {
                "the answer is not td-sync's: see whether a proxy changes it, then sync again"
            }
        }
    }
}

impl From<rusqlite::Error> for ReplayError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(ApplyError(error))
    }
}

impl ProjectDb {
    /// [`Write::apply_page`] in a transaction of its own.
    pub fn apply_page(&mut self, events: &[LogEvent], up_to: Seq) -> Result<PageReport, ReplayError> {
        let write = self.write()?;
        let report = write.apply_page(events, up_to)?;
        write.commit()?;
        Ok(report)
    }
}

impl Write<'_> {
    /// Applies the next events of the log, in ascending order, and moves the cursor to `up_to`: the last sequence that
    /// the page covers, which may be above its last event (gaps) but never below. Events at or below the cursor are
    /// passed over, so a page may be repeated.
    ///
    /// After an error the transaction must be dropped.
    pub fn apply_page(&self, events: &[LogEvent], up_to: Seq) -> Result<PageReport, ReplayError> {
        let conn = self.conn();
        let Standing::At(cursor) = standing(conn)? else { return Err(ReplayError::MustRebuild) };
        if before::has_images(conn)? {
            return Err(ReplayError::LocalChanges);
        }
        let mut report = PageReport { cursor: cursor.max(up_to), ..PageReport::default() };
        let mut last = Seq(i64::MIN);
        for event in events {
            if event.seq <= last || event.seq > up_to {
                return Err(ReplayError::OutOfOrder { seq: event.seq, after: last.min(up_to) });
            }
            last = event.seq;
            if event.seq <= cursor {
                report.repeated += 1;
                continue;
            }
            self.apply_logged(event, &mut report)?;
        }
        if report.cursor > cursor {
            self.move_cursor(report.cursor, events.last())?;
        }
        Ok(report)
    }

    fn apply_logged(&self, event: &LogEvent, report: &mut PageReport) -> Result<(), ReplayError> {
        let applied = apply::apply_event(self.conn(), self.catalog(), event.into())?;
        report.conflicts += conflict::record(self.conn(), self.catalog(), event, &applied)?;
        match &applied.outcome {
            Outcome::Applied { note } => {
                report.applied += 1;
                report.in_part += usize::from(note.is_some());
            }
            Outcome::Skipped(_) => report.skipped += 1,
            Outcome::Quarantined(_) => report.quarantined += 1,
        }
        if let Some(reason) = applied.outcome.reason() {
            // Dated by the event: a clock would make copies differ.
            let mut put = self.conn().prepare_cached(
                "INSERT OR REPLACE INTO sync_skipped_events (server_seq, device_id, action_type, entity_type,
                 entity_id, reason, error, payload, skipped_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            put.execute(params![
                event.seq.0,
                event.device.as_str(),
                event.action,
                event.entity_type.as_str(),
                event.entity_id,
                reason.code(),
                reason.to_string(),
                event.payload.as_str(),
                event.client_time.sql_utc(),
            ])?;
        }
        Ok(())
    }

    fn move_cursor(&self, cursor: Seq, newest: Option<&LogEvent>) -> rusqlite::Result<()> {
        set_meta(self.conn(), "cursor", &cursor.to_string())?;
        if let (true, Some(event)) = (self.catalog().has_applied_events, newest) {
            // The reference takes the largest number for its cursor; one per page is enough for it.
            let put = "INSERT OR REPLACE INTO applied_events (server_seq, applied_at) VALUES (?1, ?2)";
            self.conn().prepare_cached(put)?.execute(params![event.seq.0, event.client_time.sql_utc()])?;
        }
        Ok(())
    }
}

/// One recorded event that had no effect, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SkippedEvent {
    /// Place in the log.
    #[serde(rename = "server_seq")]
    pub seq: Seq,
    /// Author.
    pub device: String,
    /// Action word.
    pub action: String,
    /// Entity type.
    pub entity_type: String,
    /// Entity.
    pub entity_id: String,
    /// `quarantined`, `orphaned_parent`, `missing_row`, `cycle_edge` or `unknown_columns`.
    pub reason: String,
    /// The sentence.
    pub error: String,
}

/// Every recorded event, in order of the log (law 7).
pub fn list_skipped(conn: &rusqlite::Connection) -> rusqlite::Result<Vec<SkippedEvent>> {
    let mut all = Vec::new();
    each_skipped(conn, Seq(i64::MIN), &mut |event| {
        all.push(event);
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

/// The recorded events behind a sequence, in order of the log, until `each` has enough. Costs what is handed over.
pub fn each_skipped(
    conn: &rusqlite::Connection,
    after: Seq,
    each: &mut dyn FnMut(SkippedEvent) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let mut ask = conn.prepare_cached(
        "SELECT server_seq, device_id, action_type, entity_type, entity_id, reason, error
         FROM sync_skipped_events WHERE server_seq > ?1 ORDER BY server_seq",
    )?;
    let mut rows = ask.query([after.0])?;
    while let Some(r) = rows.next()? {
        let event = SkippedEvent {
            seq: Seq(r.get(0)?),
            device: r.get(1)?,
            action: r.get(2)?,
            entity_type: r.get(3)?,
            entity_id: r.get(4)?,
            reason: r.get(5)?,
            error: r.get(6)?,
        };
        if each(event).is_break() {
            break;
        }
    }
    Ok(())
}
