//! Logs that live in this process: for the harness and for tests that need no disk.
//!
//! Duty: keep the same laws as the SQLite backend, with "on disk" meaning "in the [`MemoryLogs`] that made it": a log
//! survives being closed and opened again, and nothing survives the process.

use super::place::{Earlier, Rows, Taken, oversize, place};
use super::{
    Clock, EventLog, Filter, Head, HistoryQuery, Inspected, LogError, Logs, Outcome, ReadQuery, Rewrite,
    Rewritten, Ticket,
};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use td_engine::event::{LogEvent, NewEvent, Push};
use td_engine::id::{ActionId, DeviceId, ProjectId, Seq, SessionId};
use td_engine::payload::Payload;
use td_engine::taxonomy::{EntityType, TdSchema};
use td_engine::time::ClientTime;
use tokio::sync::{oneshot, watch};

/// One log in memory.
pub struct MemoryLog {
    clock: Clock,
    state: Mutex<State>,
    head: watch::Sender<Head>,
}

#[derive(Clone, Default)]
struct State {
    /// In order of sequence.
    rows: Vec<Inspected>,
    keys: HashMap<(DeviceId, String, ActionId), usize>,
    entities: HashMap<(EntityType, String), Vec<usize>>,
    late: BTreeSet<Seq>,
    late_of: HashSet<(DeviceId, EntityType, String)>,
    over: Option<LogError>,
}

impl MemoryLog {
    /// An empty log.
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default(), head: watch::Sender::new(Head::default()) }
    }

    fn end(&self, why: LogError) {
        self.lock().over = Some(why);
    }

    fn append_now(&self, push: &Push, most_new: i64) -> Result<Vec<Outcome>, LogError> {
        let mut state = self.open()?;
        if let Some(why) = oversize(push) {
            return Err(LogError::Refused(why));
        }
        let mut head = *self.head.borrow();
        // Only where there is a bound: this backend has no savepoint, and the copy costs what the log holds.
        let before = (most_new < i64::MAX).then(|| state.clone());
        let now = (self.clock)();
        let at = super::stamp(now).1.unwrap_or(now);
        let mut rows = OfDevice { state: &mut state, device: &push.device, at };
        let Ok(placed) = place(push, head.allocated, &TdSchema, &mut rows);
        if let Some(before) = before.filter(|_| placed.stored > most_new) {
            *state = before;
            return Err(LogError::TooMany);
        }
        head.allocated = placed.allocated;
        head.count += placed.stored;
        if let Some(newest) = placed.newest {
            head.seq = newest;
            head.last_time = super::stamp(now).1;
        }
        self.head.send_replace(head);
        Ok(placed.outcomes)
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, LogError> {
        let state = self.lock();
        match &state.over {
            Some(why) => Err(why.clone()),
            None => Ok(state),
        }
    }

    // A panic between two updates of the state is not possible: `place` cannot fail here.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventLog for MemoryLog {
    fn append_at_most(&self, push: Push, most_new: i64) -> Ticket {
        let (reply, ticket) = oneshot::channel();
        // The receiver is in our own hand, so sending cannot fail.
        let _ = reply.send(self.append_now(&push, most_new));
        ticket
    }

    fn read(
        &self,
        query: &ReadQuery,
        each: &mut dyn FnMut(LogEvent) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        let page: Vec<LogEvent> = {
            let state = self.open()?;
            let from = state.rows.partition_point(|row| row.event.seq <= query.after);
            let wanted = |event: &&LogEvent| {
                query.exclude.as_ref() != Some(&event.device) || state.late.contains(&event.seq)
            };
            let events = state.rows.iter().skip(from).map(|row| &row.event);
            events.filter(wanted).take(query.limit).cloned().collect()
        };
        Ok(hand_over(page, each))
    }

    fn history(
        &self,
        query: &HistoryQuery,
        each: &mut dyn FnMut(LogEvent) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        let page: Vec<LogEvent> = {
            let state = self.open()?;
            let entity = (query.entity_type.clone(), query.entity_id.clone());
            let rows = state.entities.get(&entity).into_iter().flatten().map(|at| &state.rows[*at].event);
            rows.filter(|row| row.seq > query.after).take(query.limit).cloned().collect()
        };
        Ok(hand_over(page, each))
    }

    fn inspect(
        &self,
        filter: &Filter,
        each: &mut dyn FnMut(Inspected) -> ControlFlow<()>,
    ) -> Result<usize, LogError> {
        let found: Vec<Inspected> = {
            let state = self.open()?;
            let found = state.rows.iter().filter(|row| filter.admits(&row.event, row.at));
            found.take(filter.limit).cloned().collect()
        };
        Ok(hand_over(found, each))
    }

    fn head(&self) -> Head {
        *self.head.borrow()
    }

    fn watch(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }
}

fn hand_over<T>(page: Vec<T>, each: &mut dyn FnMut(T) -> ControlFlow<()>) -> usize {
    let mut handed = 0;
    for event in page {
        handed += 1;
        if each(event).is_break() {
            break;
        }
    }
    handed
}

struct OfDevice<'a> {
    state: &'a mut State,
    device: &'a DeviceId,
    at: ClientTime,
}

impl OfDevice<'_> {
    fn of(&self, event: &NewEvent) -> (DeviceId, EntityType, String) {
        (self.device.clone(), event.entity_type.clone(), event.entity_id.clone())
    }
}

impl Rows for OfDevice<'_> {
    type Error = std::convert::Infallible;

    fn insert(
        &mut self,
        seq: Seq,
        session: &str,
        event: &NewEvent,
        payload: &Payload,
    ) -> Result<bool, Self::Error> {
        let key = (self.device.clone(), session.to_owned(), event.action_id);
        if self.state.keys.contains_key(&key) {
            return Ok(false);
        }
        // A session is the push's own, which is not empty, or that one with a suffix.
        let Ok(session) = SessionId::new(session) else { return Ok(false) };
        let at = self.state.rows.len();
        self.state.keys.insert(key, at);
        let entity = (event.entity_type.clone(), event.entity_id.clone());
        self.state.entities.entry(entity).or_default().push(at);
        let event = LogEvent {
            seq,
            device: self.device.clone(),
            session,
            action_id: event.action_id,
            action: event.action.as_str().to_owned(),
            entity_type: event.entity_type.clone(),
            entity_id: event.entity_id.clone(),
            payload: payload.clone(),
            client_time: event.client_time,
        };
        self.state.rows.push(Inspected { event, at: self.at });
        Ok(true)
    }

    fn find(&mut self, session: &str, action: ActionId) -> Result<Option<Taken>, Self::Error> {
        let key = (self.device.clone(), session.to_owned(), action);
        let row = self.state.keys.get(&key).and_then(|at| self.state.rows.get(*at));
        Ok(row.map(|row| &row.event).map(|row| Taken {
            seq: row.seq,
            action: row.action.clone(),
            entity_type: row.entity_type.as_str().to_owned(),
            entity_id: row.entity_id.clone(),
            payload: row.payload.clone(),
        }))
    }

    fn is_marked(&mut self, event: &NewEvent) -> Result<bool, Self::Error> {
        Ok(self.state.late_of.contains(&self.of(event)))
    }

    fn before(
        &mut self,
        event: &NewEvent,
        seq: Seq,
        each: &mut dyn FnMut(Earlier) -> ControlFlow<()>,
    ) -> Result<(), Self::Error> {
        let entity = (event.entity_type.clone(), event.entity_id.clone());
        let rows = self.state.entities.get(&entity).into_iter().flatten().rev();
        for row in rows.map(|at| &self.state.rows[*at].event).filter(|row| row.seq < seq) {
            let earlier = Earlier {
                is_own: row.device == *self.device,
                action: row.action.clone(),
                payload: row.payload.clone(),
                client_time: row.client_time,
            };
            if each(earlier).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn mark(&mut self, event: &NewEvent, seq: Seq) -> Result<(), Self::Error> {
        let of = self.of(event);
        self.state.late_of.insert(of);
        self.state.late.insert(seq);
        Ok(())
    }
}

/// All logs of a server in memory.
pub struct MemoryLogs {
    clock: Clock,
    logs: Mutex<HashMap<ProjectId, Arc<MemoryLog>>>,
}

impl MemoryLogs {
    /// No logs yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, logs: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProjectId, Arc<MemoryLog>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logs for MemoryLogs {
    fn create(&self, project: &ProjectId) -> Result<Arc<dyn EventLog>, LogError> {
        let mut logs = self.lock();
        if logs.contains_key(project) {
            return Err(LogError::Exists);
        }
        let log = Arc::new(MemoryLog::new(self.clock.clone()));
        logs.insert(project.clone(), log.clone());
        Ok(log)
    }

    fn open(&self, project: &ProjectId) -> Result<Arc<dyn EventLog>, LogError> {
        let mut logs = self.lock();
        let slot = logs.get_mut(project).ok_or(LogError::Missing)?;
        let closed = slot.lock().over.is_some();
        if closed {
            let state = State { over: None, ..std::mem::take(&mut *slot.lock()) };
            slot.end(LogError::Closed);
            let (clock, head) = (self.clock.clone(), slot.head());
            let state = Mutex::new(state);
            *slot = Arc::new(MemoryLog { clock, state, head: watch::Sender::new(head) });
        }
        Ok(slot.clone())
    }

    fn delete(&self, project: &ProjectId) -> Result<(), LogError> {
        self.lock().remove(project).ok_or(LogError::Missing)?.end(LogError::Missing);
        Ok(())
    }

    fn rewrite(&self, project: &ProjectId, by: &dyn Rewrite) -> Result<(), LogError> {
        let logs = self.lock();
        let log = logs.get(project).ok_or(LogError::Missing)?;
        log.end(LogError::Closed);
        let failed = |e: std::io::Error| LogError::Storage(e.to_string());
        let mut state = log.lock();
        let found = state.rows.iter().filter(|row| by.change(&row.event).is_some());
        by.begin(&found.map(|row| Rewritten::of(&row.event)).collect::<Vec<_>>()).map_err(failed)?;
        for row in &mut state.rows {
            if let Some(payload) = by.change(&row.event) {
                row.event.payload = payload;
            }
        }
        by.end().map_err(failed)
    }

    fn close_idle(&self, _idle: Duration) -> usize {
        0
    }

    fn close_all(&self) {
        self.lock().values().for_each(|log| log.end(LogError::Closed));
    }
}
