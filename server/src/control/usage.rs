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

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.cursors.is_empty() && self.counts.is_empty() && self.audit.is_empty()
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
    }
}
