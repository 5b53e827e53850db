//! A log without a network: takes, numbers and returns events as the protocol says, and loses answers when told to.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use td_client::transport::{
    Ack, PullPage, PushRequest, PushResponse, Rejection, RemoteDigest, RemoteStatus, Transport,
    TransportError,
};
use td_engine::db::ProjectDb;
use td_engine::event::{LogEvent, digest8};
use td_engine::id::{Epoch, ProjectId, Seq, SessionId};
use td_engine::taxonomy::{Schema, TdSchema};
use td_engine::time::ClientTime;

pub const PROJECT: &str = "p_0123456789abcdef";

/// What happens to the next calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cable {
    /// Everything arrives.
    Whole,
    /// Nothing arrives.
    Cut,
    /// Requests arrive, answers do not.
    DropsAnswers,
}

/// Device, session, action id.
type Key = (String, String, i64);

/// A project's log.
pub struct FakeServer {
    pub events: RefCell<Vec<LogEvent>>,
    keys: RefCell<BTreeMap<Key, (Seq, String)>>,
    pub cable: Cell<Cable>,
    pub epoch: RefCell<Option<Epoch>>,
    /// The largest push seen.
    pub largest: Cell<usize>,
    /// Events of this entity id make the whole batch a 400.
    pub poison: RefCell<Option<String>>,
    page: u32,
}

impl FakeServer {
    pub fn new(page: u32) -> Self {
        Self {
            events: RefCell::default(),
            keys: RefCell::default(),
            cable: Cell::new(Cable::Whole),
            epoch: RefCell::default(),
            largest: Cell::new(0),
            poison: RefCell::default(),
            page,
        }
    }

    /// A fresh replay of the whole log.
    pub fn replayed(&self) -> ProjectDb {
        let mut db =
            ProjectDb::in_memory(ClientTime::parse("2026-01-01T00:00:00Z").expect("time")).expect("db");
        let events = self.events.borrow();
        let head = events.last().map_or(Seq(0), |e| e.seq);
        db.apply_page(&events, head).expect("replay");
        db
    }

    /// The log as an older copy had it.
    pub fn put_back(&self, events: Vec<LogEvent>) {
        let kept: Vec<Seq> = events.iter().map(|e| e.seq).collect();
        self.keys.borrow_mut().retain(|_, (seq, _)| kept.contains(seq));
        *self.events.borrow_mut() = events;
    }

    fn request(&self) -> Result<(), TransportError> {
        if self.cable.get() == Cable::Cut { Err(offline()) } else { Ok(()) }
    }

    fn answer<R>(&self, answer: R) -> Result<R, TransportError> {
        if self.cable.get() == Cable::DropsAnswers { Err(offline()) } else { Ok(answer) }
    }
}

fn offline() -> TransportError {
    TransportError::Offline { url: "fake".into(), why: "the cable is out".into() }
}

impl Transport for FakeServer {
    fn push(&self, _: &ProjectId, request: &PushRequest) -> Result<PushResponse, TransportError> {
        self.request()?;
        self.largest.set(self.largest.get().max(request.events.len()));
        if let Some(poison) = self.poison.borrow().as_ref()
            && request.events.iter().any(|e| e.entity_id == *poison)
        {
            return Err(TransportError::Refused {
                status: 400,
                code: "bad_request".into(),
                message: "invalid something".into(),
                retry_after: None,
            });
        }
        let (mut events, mut keys) = (self.events.borrow_mut(), self.keys.borrow_mut());
        let mut answer = PushResponse::default();
        for event in &request.events {
            let entity_type = TdSchema.entity_type(&event.entity_type).expect("a canonical type");
            let content = digest8(&event.action_type, &entity_type, &event.entity_id, &event.payload);
            let mut session = request.session_id.to_string();
            let key = |s: &str| (request.device_id.to_string(), s.to_string(), event.client_action_id.0);
            if keys.get(&key(&session)).is_some_and(|(_, known)| *known != content) {
                session = format!("{session}~{content}");
            }
            if event.entity_id.is_empty() {
                let reason = "empty entity_id".to_string();
                answer.rejected.push(Rejection {
                    client_action_id: event.client_action_id,
                    reason,
                    server_seq: None,
                });
                continue;
            }
            if let Some((seq, _)) = keys.get(&key(&session)) {
                let (reason, server_seq) = ("duplicate".to_string(), Some(*seq));
                answer.rejected.push(Rejection {
                    client_action_id: event.client_action_id,
                    reason,
                    server_seq,
                });
                continue;
            }
            // Gaps are legal, so there are some.
            let seq = Seq(events.last().map_or(0, |e| e.seq.0) + 1 + event.client_action_id.0 % 2);
            keys.insert(key(&session), (seq, content));
            events.push(LogEvent {
                seq,
                device: request.device_id.clone(),
                session: SessionId::new(session).expect("not empty"),
                action_id: event.client_action_id,
                action: event.action_type.clone(),
                entity_type,
                entity_id: event.entity_id.clone(),
                payload: event.payload.clone(),
                client_time: event.client_timestamp,
            });
            answer.acks.push(Ack { client_action_id: event.client_action_id, server_seq: seq });
        }
        answer.accepted = answer.acks.len() as i64;
        self.answer(answer)
    }

    fn pull(&self, _: &ProjectId, after: Seq, _: u32) -> Result<PullPage, TransportError> {
        self.request()?;
        let all = self.events.borrow();
        let events: Vec<LogEvent> =
            all.iter().filter(|e| e.seq > after).take(self.page as usize).cloned().collect();
        let last_server_seq = events.last().map_or(after, |e| e.seq);
        self.answer(PullPage { has_more: events.len() == self.page as usize, last_server_seq, events })
    }

    fn status(&self, _: &ProjectId) -> Result<RemoteStatus, TransportError> {
        self.request()?;
        let events = self.events.borrow();
        let last_server_seq = events.last().map_or(Seq(0), |e| e.seq);
        self.answer(RemoteStatus { event_count: events.len() as i64, last_server_seq, last_event_time: None })
    }

    fn digest(&self, _: &ProjectId) -> Result<RemoteDigest, TransportError> {
        self.request()?;
        let seq = self.events.borrow().last().map_or(Seq(0), |e| e.seq);
        let digest = self.replayed().digest().expect("digest").to_string();
        self.answer(RemoteDigest { seq, digest, format: 1 })
    }

    fn epoch(&self) -> Option<Epoch> {
        self.epoch.borrow().clone()
    }
}
