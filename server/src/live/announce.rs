//! What watchers of a project are told (server-protocol 4.7).
//!
//! Duty: turn new events of the log into frames of a stream, encoded once and shared by all watchers.
//! Invariant: a watcher that was at sequence n gets everything after n, or is told to load everything again. It never
//! gets less in silence. Frames are read from the log behind its head, so nothing is announced before it is on disk.
//! Danger: none of this may cost anything without watchers: there is no task here, the first one who asks reads. A push
//! wakes all watchers at once; each waited on a thread of its own for the first one's read, and took all there were.

use crate::log::{EventLog, LogError, ReadQuery};
use axum::body::Bytes;
use serde_json::Value;
use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use td_engine::id::Seq;
use td_engine::taxonomy::Schema;
use td_engine::time::ClientTime;
use tokio::sync::Mutex;

/// Newest events that are kept encoded.
const KEPT: usize = 256;
/// Longest id that is told to watchers. On the wire an id may be as long as a push, and this memory is not for that.
const LONGEST_ID: usize = 256;

/// The newest events of one project as frames.
#[derive(Default)]
pub struct Announcements(Arc<Mutex<Ring>>);

/// Frames of the events in (`from`, `to`].
#[derive(Default)]
struct Ring {
    begun: bool,
    from: Seq,
    to: Seq,
    frames: VecDeque<Frame>,
}

struct Frame {
    seq: Seq,
    /// `None`: load everything again.
    what: Option<(&'static str, String)>,
    text: Bytes,
}

/// What a watcher missed.
#[derive(Debug, PartialEq, Eq)]
pub struct Missed {
    /// Whole frames, to be sent in this order.
    pub frames: Vec<Bytes>,
    /// Where the watcher is afterwards.
    pub cursor: Seq,
}

impl Announcements {
    /// Everything after `cursor` up to the log's head. Of several changes of one issue only the last is told. One of all
    /// who ask reads, and the others find it done.
    pub async fn after(
        &self,
        cursor: Seq,
        log: Arc<dyn EventLog>,
        schema: Arc<dyn Schema>,
        now: ClientTime,
    ) -> Result<Missed, LogError> {
        let mut ring = Arc::clone(&self.0).lock_owned().await;
        if ring.is_at(log.head().seq) {
            return Ok(ring.after(cursor, now));
        }
        let read = tokio::task::spawn_blocking(move || {
            ring.extend(&*log, &*schema, now)?;
            Ok(ring.after(cursor, now))
        });
        read.await.unwrap_or_else(|e| Err(LogError::Storage(e.to_string())))
    }

    /// Whether a watcher that was at `cursor` can be told what it missed.
    pub async fn reaches(&self, cursor: Seq) -> bool {
        let ring = self.0.lock().await;
        ring.from <= cursor && cursor <= ring.to
    }
}

impl Ring {
    fn beginning_at(head: Seq) -> Self {
        Self { begun: true, from: head, to: head, frames: VecDeque::new() }
    }

    fn is_at(&self, head: Seq) -> bool {
        self.begun && head <= self.to
    }

    fn after(&self, cursor: Seq, now: ClientTime) -> Missed {
        if cursor < self.from {
            return Missed { frames: vec![refresh(&self.to.to_string(), now)], cursor: self.to };
        }
        let (mut told, mut frames) = (HashSet::new(), Vec::new());
        for frame in self.frames.iter().rev().take_while(|f| f.seq > cursor) {
            if told.insert(&frame.what) {
                frames.push(frame.text.clone());
            }
        }
        frames.reverse();
        Missed { frames, cursor: self.to }
    }

    /// Reads what is new. Blocks.
    fn extend(&mut self, log: &dyn EventLog, schema: &dyn Schema, now: ClientTime) -> Result<(), LogError> {
        let head = log.head().seq;
        if !self.begun {
            // The first watcher: what was before it is nothing that anybody watched.
            *self = Self::beginning_at(head);
        }
        if self.is_at(head) {
            return Ok(());
        }
        let mut new = VecDeque::new();
        let query = ReadQuery { after: self.to, limit: KEPT + 1, exclude: None };
        log.read(&query, &mut |event| {
            let what = schema
                .announcement(event.entity_type.as_str(), &event.action)
                .filter(|_| event.entity_id.len() <= LONGEST_ID)
                .map(|kind| (kind, event.entity_id.clone()));
            let token = event.seq.to_string();
            let text = match &what {
                Some((kind, id)) => frame(kind, Some(id), &token, now),
                None => refresh(&token, now),
            };
            new.push_back(Frame { seq: event.seq, what, text });
            ControlFlow::Continue(())
        })?;
        if new.len() > KEPT {
            *self = Self::beginning_at(head);
            return Ok(());
        }
        self.to = new.back().map_or(head, |f| f.seq).max(head);
        self.frames.append(&mut new);
        while self.frames.len() > KEPT {
            // Whoever is before a dropped frame cannot be told everything any more.
            if let Some(dropped) = self.frames.pop_front() {
                self.from = dropped.seq;
            }
        }
        Ok(())
    }
}

/// The frame that says "load everything again". `token` is echoed as the id.
pub fn refresh(token: &str, now: ClientTime) -> Bytes {
    frame("refresh", None, token, now)
}

fn frame(kind: &str, issue: Option<&str>, token: &str, now: ClientTime) -> Bytes {
    // In the recorded order, by hand: recordings of streams are compared as text. A JSON text holds no line feed, so an
    // id cannot break out of its frame; a token comes from a header, which holds none either.
    let issue = issue.map(|id| format!(r#""issue_id":{},"#, Value::from(id))).unwrap_or_default();
    let (quoted, time) = (Value::from(token), now.utc().rfc3339n());
    let data = format!(r#"{{"type":"{kind}",{issue}"change_token":{quoted},"timestamp":"{time}"}}"#);
    format!("event: {kind}\ndata: {data}\nid: {token}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::MemoryLog;
    use td_engine::event::{NewEvent, Push};
    use td_engine::id::{ActionId, DeviceId, SessionId};
    use td_engine::payload::Payload;
    use td_engine::taxonomy::TdSchema;

    fn now() -> ClientTime {
        ClientTime::parse("2026-11-21T10:00:00Z").expect("time")
    }

    /// What one who watches alone is told.
    fn after(ring: &mut Ring, cursor: Seq, log: &MemoryLog) -> Missed {
        ring.extend(log, &TdSchema, now()).expect("read");
        ring.after(cursor, now())
    }

    fn reaches(ring: &Ring, cursor: Seq) -> bool {
        ring.from <= cursor && cursor <= ring.to
    }

    fn push(log: &MemoryLog, first: i64, entities: &[(&str, &str, &str)]) {
        let events = entities.iter().zip(first..).map(|((entity, action, id), n)| NewEvent {
            action_id: ActionId(n),
            action: TdSchema.action(action),
            entity_type: TdSchema.entity_type(entity).expect("known"),
            entity_id: id.to_string(),
            payload: Some(Payload::parse("{}").expect("json")),
            client_time: now(),
        });
        let push = Push {
            device: DeviceId::new("d").expect("device"),
            session: SessionId::new("s").expect("session"),
            events: events.collect(),
        };
        log.append(push).blocking_recv().expect("ticket").expect("stored");
    }

    fn kinds(missed: &Missed) -> Vec<String> {
        let text = |f: &Bytes| String::from_utf8_lossy(f).into_owned();
        missed.frames.iter().map(text).map(|t| t.replace(&now().rfc3339n(), "T")).collect()
    }

    fn log() -> MemoryLog {
        MemoryLog::new(std::sync::Arc::new(now))
    }

    #[test]
    fn a_watcher_gets_what_came_after_it_and_of_one_issue_only_the_last() {
        let (log, mut ring) = (log(), Ring::default());
        let mut after = |cursor| after(&mut ring, cursor, &log);
        assert_eq!(
            after(Seq(i64::MAX)),
            Missed { frames: vec![], cursor: Seq(0) },
            "an empty log has a beginning"
        );
        push(&log, 1, &[("issues", "create", "td-1")]);
        assert_eq!(after(Seq(0)).frames.len(), 1);
        push(
            &log,
            2,
            &[("issues", "update", "td-1"), ("issues", "delete", "td-2"), ("issues", "update", "td-1")],
        );
        push(&log, 5, &[("comments", "create", "cm-1"), ("logs", "create", "lg-1")]);
        let missed = after(Seq(1));
        assert_eq!(missed.cursor, Seq(6));
        assert_eq!(
            kinds(&missed),
            [
                "event: issue.deleted\ndata: {\"type\":\"issue.deleted\",\"issue_id\":\"td-2\",\
                 \"change_token\":\"3\",\"timestamp\":\"T\"}\nid: 3\n\n",
                "event: issue.upserted\ndata: {\"type\":\"issue.upserted\",\"issue_id\":\"td-1\",\
                 \"change_token\":\"4\",\"timestamp\":\"T\"}\nid: 4\n\n",
                "event: refresh\ndata: {\"type\":\"refresh\",\"change_token\":\"6\",\"timestamp\":\"T\"}\nid: 6\n\n",
            ]
        );
        assert_eq!(after(Seq(4)).frames.len(), 1);
        push(&log, 7, &[("issues", "create", &"x".repeat(LONGEST_ID + 1))]);
        assert!(kinds(&after(Seq(6)))[0].starts_with("event: refresh\n"), "its id is not kept");
    }

    #[test]
    fn a_watcher_that_is_too_far_behind_is_told_to_load_everything() {
        let (log, mut ring) = (log(), Ring::default());
        push(&log, 1, &[("issues", "create", "td-1")]);
        assert_eq!(after(&mut ring, Seq(1), &log).cursor, Seq(1));
        let many: Vec<_> = (0..=KEPT).map(|_| ("issues", "update", "td-1")).collect();
        push(&log, 2, &many);
        let missed = after(&mut ring, Seq(1), &log);
        assert!(kinds(&missed)[0].starts_with("event: refresh\n"), "{missed:?}");
        assert!(!reaches(&ring, Seq(1)) && reaches(&ring, missed.cursor));
        // One by one, so that the ring drops its oldest frames instead of being skipped.
        for n in 0..=KEPT as i64 {
            push(&log, 1000 + n, &[("issues", "update", "td-1")]);
            after(&mut ring, missed.cursor, &log);
        }
        assert!(!reaches(&ring, missed.cursor));
        let again = after(&mut ring, missed.cursor, &log);
        assert!(kinds(&again)[0].starts_with("event: refresh\n"), "{again:?}");
    }
}
