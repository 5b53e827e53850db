//! Reading beside the writer.
//!
//! Duty: hand out events in order from one consistent moment, streamed, without ever blocking a commit.
//! Invariants: one `SELECT` per page is one snapshot; WAL shows it only commits that are on disk. What no device may
//! show is taken out of what is read as it is of what is pushed: a log of an old reference still holds it
//! (server-protocol 5.4).
//! Danger: a reader that lingers keeps the WAL from starting over, so pages are bounded by their callers. And whoever
//! waits for a connection has a thread, so that has an end too.

use super::inspect::inspect;
use super::{Options, file, lock};
use crate::log::{Filter, Inspected, LogError, RawEvent};
use rusqlite::{Connection, Params, Row};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use td_engine::event::LogEvent;
use td_engine::id::{ActionId, DeviceId, Seq, SessionId};
use td_engine::payload::Payload;
use td_engine::taxonomy::{EntityType, Schema};
use td_engine::time::ClientTime;

/// Most connections per log. A page may be as slow as the client it is streamed to, so a few slow ones must not keep
/// everybody else, the live view included, from reading.
pub(super) const READERS: usize = 32;
/// Beside them, connections for reads that no client keeps waiting: the live view's, and the announcements', on which all
/// watchers wait.
const OWN: usize = 4;
/// How long a connection is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections that are kept for the next reader.
const KEPT: usize = 2;

/// After a sequence, without a device, so many.
pub(super) const PAGE: &str = "SELECT server_seq, device_id, session_id, client_action_id, action_type, entity_type, \
                               entity_id, payload, client_timestamp FROM events \
                               WHERE server_seq > ?1 AND (?2 IS NULL OR device_id <> ?2) \
                               ORDER BY server_seq LIMIT ?3";
/// The same, with the late events of the device.
pub(super) const PAGE_WITH_LATE: &str = "SELECT server_seq, device_id, session_id, client_action_id, action_type, \
                                         entity_type, entity_id, payload, client_timestamp FROM events \
                                         WHERE server_seq > ?1 AND (?2 IS NULL OR device_id <> ?2 OR EXISTS \
                                         (SELECT 1 FROM tdsync_late AS l WHERE l.server_seq = events.server_seq)) \
                                         ORDER BY server_seq LIMIT ?3";
/// Of an entity, after a sequence, so many. The index on entities ends with the sequence.
pub(super) const HISTORY: &str = "SELECT server_seq, device_id, session_id, client_action_id, action_type, \
                                  entity_type, entity_id, payload, client_timestamp FROM events \
                                  WHERE entity_type = ?1 AND entity_id = ?2 AND server_seq > ?3 \
                                  ORDER BY server_seq LIMIT ?4";

pub(super) struct Readers {
    path: Arc<PathBuf>,
    vfs: Option<String>,
    schema: Arc<dyn Schema>,
    pool: Mutex<Pool>,
    returned: Condvar,
}

struct Pool {
    idle: Vec<Connection>,
    out: usize,
    over: Option<LogError>,
}

/// A connection on loan; goes back when dropped.
struct Loan<'a>(&'a Readers, Option<Connection>);

impl Readers {
    pub(super) fn new(path: Arc<PathBuf>, options: &Options) -> Self {
        let pool = Mutex::new(Pool { idle: Vec::new(), out: 0, over: None });
        let (vfs, schema) = (options.vfs.clone(), Arc::clone(&options.schema));
        Self { path, vfs, schema, pool, returned: Condvar::new() }
    }

    pub(super) fn read(
        &self,
        sql: &str,
        values: impl Params,
        each: &mut dyn FnMut(LogEvent) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        self.with(self.borrow(READERS + OWN, PATIENCE)?, |conn| {
            page(conn, sql, values, |row| Ok(each(self.shown(event(row)?))))
        })
    }

    /// As [`Readers::read`], for whoever hands the events to a client.
    pub(super) fn read_out(
        &self,
        sql: &str,
        values: impl Params,
        each: &mut dyn FnMut(LogEvent) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        self.with(self.borrow(READERS, PATIENCE)?, |conn| {
            page(conn, sql, values, |row| Ok(each(self.shown(event(row)?))))
        })
    }

    pub(super) fn read_raw(
        &self,
        sql: &str,
        values: impl Params,
        each: &mut dyn FnMut(&RawEvent<'_>) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        let pass_on = |row: &Row<'_>| match raw(row) {
            Some(mut raw) => {
                if let Some(scrubbed) = self.schema.scrub(raw.entity_type, &raw.payload) {
                    raw.payload = scrubbed.as_str().to_string().into();
                }
                Ok(each(&raw))
            }
            // Written in another way than ours, or damaged.
            None => Ok(each(&RawEvent::from(&self.shown(event(row)?)))),
        };
        self.with(self.borrow(READERS, PATIENCE)?, |conn| page(conn, sql, values, pass_on))
    }

    pub(super) fn inspect(
        &self,
        filter: &Filter,
        each: &mut dyn FnMut(Inspected) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        self.with(self.borrow(READERS, PATIENCE)?, |conn| {
            inspect(conn, filter, &mut |row| each(Inspected { event: self.shown(row.event), ..row }))
        })
    }

    fn shown(&self, event: LogEvent) -> LogEvent {
        match self.schema.scrub(event.entity_type.as_str(), event.payload.as_str()) {
            Some(payload) => LogEvent { payload, ..event },
            None => event,
        }
    }

    fn with<T>(
        &self,
        mut loan: Loan<'_>,
        read: impl FnOnce(&Connection) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let conn = match loan.1.take() {
            Some(conn) => loan.1.insert(conn),
            None => loan.1.insert(file::open_reader(&self.path, self.vfs.as_deref())?),
        };
        let result = read(conn);
        if matches!(result, Err(LogError::Storage(_))) {
            // Whatever it ran into, the next reader starts with a connection of its own.
            loan.1 = None;
        }
        result
    }

    /// Readers under way finish; their connections close when they return.
    pub(super) fn close(&self, why: LogError) {
        let mut pool = lock(&self.pool);
        pool.over = Some(why);
        pool.idle.clear();
        self.returned.notify_all();
    }

    /// Whether nobody reads any more, at the latest after `limit`. Only once it is closed do no new ones come.
    pub(super) fn wait_until_gone(&self, limit: Duration) -> bool {
        let waited = self.returned.wait_timeout_while(lock(&self.pool), limit, |pool| pool.out > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.out == 0
    }

    /// A connection, once fewer than `most` are out.
    fn borrow(&self, most: usize, patience: Duration) -> Result<Loan<'_>, LogError> {
        let is_full = |pool: &mut Pool| pool.over.is_none() && pool.out >= most;
        let waited = self.returned.wait_timeout_while(lock(&self.pool), patience, is_full);
        let mut pool = waited.unwrap_or_else(PoisonError::into_inner).0;
        if let Some(why) = &pool.over {
            return Err(why.clone());
        }
        if pool.out >= most {
            return Err(LogError::Busy { retry_after: Duration::from_secs(1) });
        }
        pool.out += 1;
        Ok(Loan(self, pool.idle.pop()))
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let mut pool = lock(&self.0.pool);
        pool.out -= 1;
        if pool.over.is_none() && pool.idle.len() < KEPT {
            // Its pages are the next page's at best, and the system has them too.
            let conn = self.1.take().inspect(|conn| drop(conn.release_memory()));
            pool.idle.extend(conn);
        }
        // Some may have to wait on where others need not.
        self.0.returned.notify_all();
    }
}

fn page(
    conn: &Connection,
    sql: &str,
    values: impl Params,
    mut each: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, LogError>,
) -> Result<usize, LogError> {
    let mut statement = conn.prepare_cached(sql).map_err(file::storage)?;
    let mut rows = statement.query(values).map_err(file::storage)?;
    let mut handed = 0;
    while let Some(row) = rows.next().map_err(file::storage)? {
        handed += 1;
        if each(row)?.is_break() {
            break;
        }
    }
    Ok(handed)
}

/// The row as it is; `None` where it takes more than looking at it.
fn raw<'r>(row: &'r Row<'_>) -> Option<RawEvent<'r>> {
    let text = |column: usize| row.get_ref(column).ok()?.as_str().ok().filter(|text| !text.is_empty());
    let payload = row.get_ref(7).ok()?.as_bytes().ok()?;
    Some(RawEvent {
        seq: Seq(row.get(0).ok()?),
        device: text(1)?,
        session: text(2)?,
        action_id: row.get(3).ok()?,
        action: text(4)?,
        entity_type: text(5)?,
        entity_id: text(6)?,
        payload: match std::str::from_utf8(payload) {
            Ok(payload) => payload.into(),
            Err(_) => String::from_utf8_lossy(payload),
        },
        client_time: ClientTime::wire_form(text(8)?)?,
    })
}

/// From the first nine columns, in the order of [`PAGE`].
pub(crate) fn event(row: &Row<'_>) -> Result<LogEvent, LogError> {
    let seq = Seq(row.get(0).map_err(file::storage)?);
    let damaged = |what: String| LogError::Damaged { seq, what };
    let text = |column: usize| row.get::<_, String>(column).map_err(|e| damaged(e.to_string()));
    Ok(LogEvent {
        seq,
        device: DeviceId::new(text(1)?).map_err(|e| damaged(e.to_string()))?,
        session: SessionId::new(text(2)?).map_err(|e| damaged(e.to_string()))?,
        action_id: ActionId(row.get(3).map_err(|e| damaged(e.to_string()))?),
        action: text(4)?,
        entity_type: EntityType::stored(text(5)?),
        entity_id: text(6)?,
        payload: payload(row, 7).map_err(|e| damaged(e.to_string()))?,
        client_time: ClientTime::parse_stored(&text(8)?).map_err(|e| damaged(e.to_string()))?,
    })
}

/// BLOB as the reference writes it, or TEXT as tools do (server-protocol 6.3). The reference lets bytes through that are
/// not UTF-8; every reader of its answers sees the replacement character there, and so does ours.
pub(super) fn payload(row: &Row<'_>, column: usize) -> rusqlite::Result<Payload> {
    let value = row.get_ref(column)?;
    let bytes = value
        .as_bytes()
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, value.data_type(), Box::new(e)))?;
    Ok(Payload::stored(String::from_utf8_lossy(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each waits on a thread, of which the whole server has so many.
    #[test]
    fn waiting_for_a_connection_has_an_end() {
        let readers = Readers::new(Arc::default(), &Options::new(crate::clock::system()));
        let one = readers.borrow(1, Duration::ZERO).expect("free");
        assert!(matches!(readers.borrow(1, Duration::from_millis(10)), Err(LogError::Busy { .. })));
        drop(one);
        assert!(readers.borrow(1, Duration::ZERO).is_ok());
        readers.close(LogError::Closed);
        assert!(matches!(readers.borrow(1, PATIENCE), Err(LogError::Closed)));
    }
}
