//! What is written behind: key use, cursors, counters and audit records.
//!
//! Invariant: everything here is derived or advisory; losing the last 30 seconds in a crash harms nobody.
//! Danger: a client chooses its id, so the number and the length of cursors are capped (server-protocol W14).

use super::Audit;
use std::collections::HashMap;
use td_engine::id::Seq;
use td_engine::time::ClientTime;

/// Longest client id that gets a cursor row.
const LONGEST_CLIENT: usize = 256;
/// Most cursors remembered between two writes.
const MOST_CURSORS: usize = 10_000;
/// Most refusals remembered between two writes; a flood must not become one of rows.
const MOST_REFUSALS: usize = 1_000;

/// A call that a limit refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whose key; `None` before a sign-in.
    pub key_id: Option<String>,
    /// From where.
    pub client: String,
    /// `auth`, `push`, `pull` or `other`.
    pub class: &'static str,
    /// When.
    pub at: ClientTime,
}

/// What happened since the last write.
#[derive(Debug, Default)]
pub struct Usage {
    /// Key id → last use.
    pub keys: HashMap<String, ClientTime>,
    /// (project, client) → highest sequence seen.
    pub cursors: HashMap<(String, String), Seq>,
    /// Project → stored events and time of the newest, as the log's head says.
    pub counts: HashMap<String, (i64, Option<ClientTime>)>,
    /// Audit records, in order.
    pub audit: Vec<Audit>,
    /// Refused calls, in order.
    pub refused: Vec<Refused>,
}

impl Usage {
    /// Remembers a cursor; it only moves forward.
    pub fn cursor(&mut self, project: &str, client: &str, seq: Seq) {
        if client.is_empty() || client.len() > LONGEST_CLIENT || self.cursors.len() >= MOST_CURSORS {
            return;
        }
        let at = self.cursors.entry((project.into(), client.into())).or_insert(seq);
        *at = seq.max(*at);
    }

    /// Remembers a refusal, if there are not too many already.
    pub fn refused(&mut self, refused: Refused) {
        if self.refused.len() < MOST_REFUSALS {
            self.refused.push(refused);
        }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        let Self { keys, cursors, counts, audit, refused } = self;
        keys.is_empty() && cursors.is_empty() && counts.is_empty() && audit.is_empty() && refused.is_empty()
    }

    /// Takes back what could not be written; newer entries win.
    pub fn merge_older(&mut self, older: Usage) {
        for (k, v) in older.keys {
            self.keys.entry(k).or_insert(v);
        }
        for ((project, client), seq) in older.cursors {
            self.cursor(&project, &client, seq);
        }
        for (k, v) in older.counts {
            self.counts.entry(k).or_insert(v);
        }
        self.audit.splice(0..0, older.audit);
        self.refused.splice(0..0, older.refused);
        self.refused.truncate(MOST_REFUSALS);
    }
}
