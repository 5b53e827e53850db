//! The one writer of a log.
//!
//! Duty: take what is queued, commit it as one group, and only then show and answer it.
//! Invariants: sequences come from memory and grow in commit order; the head moves after COMMIT and before the replies.
//! Danger: a failed commit may be in the page cache though the disk never got it, and no later fsync will write it.
//! Whoever opens the WAL from scratch would find it there and take it for a fact, see [`Writer::renew`].

use super::late::{HasMarks, Marks};
use super::{CheckpointPolicy, Counters, Options, file, reader};
use crate::log::place::{Earlier, Placed, Rows, Taken, oversize, place};
use crate::log::{Head, LogError, Outcome, stamp};
use rusqlite::{
    CachedStatement, Connection, DEFAULT_NAME, ErrorCode, OptionalExtension, wal::CheckpointMode,
};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;
use td_engine::event::{NewEvent, Push};
use td_engine::id::{ActionId, Seq};
use td_engine::payload::Payload;
use tokio::sync::{oneshot, watch};

/// A group ends when it holds so many events, or so many bytes.
const GROUP_EVENTS: usize = 4_000;
const GROUP_BYTES: usize = 4 * 1024 * 1024;

const INSERT: &str = "INSERT INTO events (server_seq, device_id, session_id, client_action_id, action_type, \
                      entity_type, entity_id, payload, client_timestamp, server_timestamp) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
                      ON CONFLICT (device_id, session_id, client_action_id) DO NOTHING";
const FIND: &str = "SELECT server_seq, action_type, entity_type, entity_id, payload FROM events \
                    WHERE device_id = ?1 AND session_id = ?2 AND client_action_id = ?3";

type Answer = Result<Vec<Outcome>, LogError>;

/// One queued push.
pub(super) struct Job {
    push: Push,
    most_new: i64,
    load: Load,
    pub(super) reply: oneshot::Sender<Answer>,
}

impl Job {
    pub(super) fn new(
        push: Push,
        most_new: i64,
        reply: oneshot::Sender<Answer>,
        queued: &Arc<AtomicUsize>,
        counters: &Arc<Counters>,
    ) -> Self {
        let size = |e: &NewEvent| e.entity_id.len() + e.payload.as_ref().map_or(0, |p| p.as_str().len());
        let bytes = push.events.iter().map(size).sum();
        queued.fetch_add(bytes, Ordering::Relaxed);
        count(&counters.waiting, 1);
        let load = Load { bytes, queued: Arc::clone(queued), counters: Arc::clone(counters) };
        Self { push, most_new, load, reply }
    }

    /// Whether it may have to be taken back for storing more than its sender may.
    fn may_be_too_many(&self) -> bool {
        i64::try_from(self.push.events.len()).map_or(true, |events| events > self.most_new)
    }

    /// Whether more waits than may, this push included. A push alone is never too much.
    pub(super) fn overloads(&self, most: usize) -> bool {
        let waiting = self.load.queued.load(Ordering::Relaxed);
        waiting > most && waiting > self.load.bytes
    }
}

/// A push and its bytes, counted until it is answered.
struct Load {
    bytes: usize,
    queued: Arc<AtomicUsize>,
    counters: Arc<Counters>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.queued.fetch_sub(self.bytes, Ordering::Relaxed);
        self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) struct Writer {
    path: Arc<PathBuf>,
    options: Options,
    conn: Connection,
    /// After a storage error, until there is a new connection.
    broken: bool,
    head: watch::Sender<Head>,
    late: HasMarks,
    /// Whether the WAL may hold something that the database file does not.
    behind: bool,
    page_bytes: u64,
}

impl Writer {
    pub(super) fn open(
        path: Arc<PathBuf>,
        options: Options,
        head: watch::Sender<Head>,
        late: HasMarks,
    ) -> Result<Self, LogError> {
        let (conn, newest) = file::open_writer(&path, &options)?;
        late.look(&conn).map_err(file::storage)?;
        let page_bytes: i64 =
            conn.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(file::storage)?;
        head.send_replace(newest);
        let page_bytes = page_bytes.unsigned_abs();
        Ok(Self { path, options, conn, broken: false, head, late, behind: true, page_bytes })
    }

    /// Works until the other end of the queue is gone and the queue is empty.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Some(first) = self.next(jobs) {
            // Waiting for the gate lets the queue, and so the group, grow.
            let gate = self.options.gate.clone();
            let _permit = gate.pass();
            let (mut events, mut bytes) = (first.push.events.len(), first.load.bytes);
            let mut group = vec![first];
            while events < GROUP_EVENTS && bytes < GROUP_BYTES {
                let Ok(job) = jobs.try_recv() else { break };
                events += job.push.events.len();
                bytes += job.load.bytes;
                group.push(job);
            }
            self.serve(group);
            self.checkpoint_when_large();
        }
    }

    fn next(&mut self, jobs: &Receiver<Job>) -> Option<Job> {
        while let (CheckpointPolicy::Own { idle, .. }, true) = (self.options.checkpoint, self.behind) {
            match jobs.recv_timeout(idle) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    let gate = self.options.gate.clone();
                    let _permit = gate.pass();
                    self.checkpoint();
                    // Pages kept for the next push, which nobody seems to send.
                    let _ = self.conn.release_memory();
                }
            }
        }
        jobs.recv().ok()
    }

    fn serve(&mut self, group: Vec<Job>) {
        let ready = if self.broken { self.renew() } else { Ok(()) };
        let (before, begun) = (*self.head.borrow(), Instant::now());
        let committed = ready.and_then(|()| commit(&self.conn, &group, before, &self.options, &self.late));
        match committed {
            Ok((answers, head)) => {
                count(&self.options.counters.commits, 1);
                count(&self.options.counters.pushes, answers.len() as u64);
                self.options.counters.groups.add(answers.len() as u64);
                let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.options.counters.durations.add(took);
                count(&self.options.counters.events, (head.count - before.count).unsigned_abs());
                self.behind = true;
                self.head.send_replace(head);
                for (job, answer) in group.into_iter().zip(answers) {
                    // A client that went away does not need its answer.
                    let _ = job.reply.send(answer);
                }
            }
            Err(why) => {
                count(&self.options.counters.failures, 1);
                tracing::error!(log = %self.path.display(), error = %why, "a group of pushes was not committed");
                self.broken = true;
                // At once, and not with the next push: until then a restart would find the failed commit. If the disk
                // still refuses, the next push tries again.
                let _ = self.renew();
                for job in group {
                    let _ = job.reply.send(Err(why.clone()));
                }
            }
        }
    }

    /// Replaces the connection after a storage error. The old one stays until the new one is there: it keeps the WAL
    /// index, by which the failed commit does not exist, alive. So the new one does not recover that commit from the
    /// page cache but writes its own first commit over it.
    fn renew(&mut self) -> Result<(), LogError> {
        // It may have been rolled back already; either way it must not hold the write lock any longer.
        let _ = self.conn.execute_batch("ROLLBACK");
        let (conn, mut head) = file::open_writer(&self.path, &self.options)?;
        head.allocated = head.allocated.max(self.head.borrow().allocated);
        self.conn = conn;
        self.broken = false;
        self.head.send_replace(head);
        Ok(())
    }

    fn checkpoint_when_large(&mut self) {
        let CheckpointPolicy::Own { bytes, .. } = self.options.checkpoint else { return };
        let Ok((frames, done)) = self.conn.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::NOOP) else {
            return;
        };
        let waiting = u64::from((frames - done).max(0).unsigned_abs()) * self.page_bytes;
        if waiting >= bytes {
            self.checkpoint();
        }
    }

    /// Never waits for readers. What they hold back stays for the next time.
    fn checkpoint(&mut self) {
        match self.conn.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::PASSIVE) {
            Ok((frames, done)) => {
                count(&self.options.counters.checkpoints, 1);
                self.behind = done < frames;
            }
            // Nothing is lost: the WAL keeps it all, and it is tried again after the next commit.
            Err(e) => {
                tracing::warn!(log = %self.path.display(), error = %e, "a checkpoint failed");
                self.behind = false;
            }
        }
    }
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Commits a group. Any error means that the connection must not be used again; a push that the storage refuses is an
/// answer of its own and takes no neighbour with it.
fn commit(
    conn: &Connection,
    group: &[Job],
    before: Head,
    options: &Options,
    late: &HasMarks,
) -> Result<(Vec<Answer>, Head), LogError> {
    let (time, shown) = stamp((options.clock)());
    let step = |sql: &str| -> rusqlite::Result<()> { conn.prepare_cached(sql)?.execute([]).map(drop) };
    let mut apart = false;
    loop {
        let marks = Marks::of(conn, late);
        let (mut head, mut answers) = (before, Vec::with_capacity(group.len()));
        let committed = (|| {
            step("BEGIN IMMEDIATE")?;
            let mut rows = InFile::new(conn, &marks, &time)?;
            for job in group {
                if let Some(why) = oversize(&job.push) {
                    answers.push(Err(LogError::Refused(why)));
                    continue;
                }
                // A savepoint costs a copy of every page that the push writes.
                let alone = apart || job.may_be_too_many();
                if alone {
                    step("SAVEPOINT push")?;
                }
                rows.device = job.push.device.as_str();
                let refused = match place(&job.push, head.allocated, &*options.schema, &mut rows) {
                    Ok(placed) if placed.stored > job.most_new => LogError::TooMany,
                    Ok(placed) => {
                        advance(&mut head, &placed);
                        answers.push(Ok(placed.outcomes));
                        if alone {
                            step("RELEASE push")?;
                        }
                        continue;
                    }
                    Err(e) if only_this_push(&e) => LogError::Refused(e.to_string()),
                    Err(e) => return Err(e),
                };
                if !alone {
                    return Ok(false);
                }
                step("ROLLBACK TO push")?;
                marks.rolled_back()?;
                step("RELEASE push")?;
                answers.push(Err(refused));
            }
            if head.allocated > before.allocated {
                file::save_head(conn, &head)?;
            }
            step("COMMIT")?;
            Ok(true)
        })();
        if committed.map_err(file::storage)? {
            marks.committed(late);
            if head.seq > before.seq {
                head.last_time = shown;
            }
            return Ok((answers, head));
        }
        // One push cannot be taken out of the others' midst: all once more, each so that it can.
        step("ROLLBACK").map_err(file::storage)?;
        apart = true;
    }
}

fn advance(head: &mut Head, placed: &Placed) {
    head.allocated = placed.allocated;
    head.count += placed.stored;
    head.seq = placed.newest.unwrap_or(head.seq);
}

/// By code, never by text. Everything else (I/O, disk full, memory, corruption, locks) is the group's.
fn only_this_push(e: &rusqlite::Error) -> bool {
    matches!(
        e.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
    )
}

struct InFile<'c> {
    insert: CachedStatement<'c>,
    find: CachedStatement<'c>,
    marks: &'c Marks<'c>,
    device: &'c str,
    time: &'c str,
}

impl<'c> InFile<'c> {
    /// For one group; whose push it is has to be said for each.
    fn new(conn: &'c Connection, marks: &'c Marks<'c>, time: &'c str) -> rusqlite::Result<Self> {
        let (insert, find) = (conn.prepare_cached(INSERT)?, conn.prepare_cached(FIND)?);
        Ok(Self { insert, find, marks, device: "", time })
    }
}

impl Rows for InFile<'_> {
    type Error = rusqlite::Error;

    fn insert(
        &mut self,
        seq: Seq,
        session: &str,
        event: &NewEvent,
        payload: &Payload,
    ) -> rusqlite::Result<bool> {
        let stored = self.insert.execute((
            seq.0,
            self.device,
            session,
            event.action_id.0,
            event.action.as_str(),
            event.entity_type.as_str(),
            event.entity_id.as_str(),
            payload.as_str().as_bytes(),
            event.client_time.canonical(),
            self.time,
        ))?;
        Ok(stored == 1)
    }

    fn find(&mut self, session: &str, action: ActionId) -> rusqlite::Result<Option<Taken>> {
        let taken = |row: &rusqlite::Row<'_>| {
            Ok(Taken {
                seq: Seq(row.get(0)?),
                action: row.get(1)?,
                entity_type: row.get(2)?,
                entity_id: row.get(3)?,
                payload: reader::payload(row, 4)?,
            })
        };
        self.find.query_row((self.device, session, action.0), taken).optional()
    }

    fn is_marked(&mut self, event: &NewEvent) -> rusqlite::Result<bool> {
        self.marks.has(event, self.device)
    }

    fn before(
        &mut self,
        event: &NewEvent,
        seq: Seq,
        each: &mut dyn FnMut(Earlier) -> ControlFlow<()>,
    ) -> rusqlite::Result<()> {
        self.marks.before(event, self.device, seq, each)
    }

    fn mark(&mut self, event: &NewEvent, seq: Seq) -> rusqlite::Result<()> {
        self.marks.add(event, self.device, seq)
    }
}
