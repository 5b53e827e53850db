//! What is written behind: key use, cursors, counters and audit records.
//!
//! Invariant: everything here is derived or advisory; losing the last 30 seconds in a crash harms nobody.
//! Danger: a client chooses its id, so the number and the length of cursors are capped (server-protocol W14).

use super::Audit;
use crate::limit::network;
use std::collections::HashMap;
use std::net::IpAddr;
use td_engine::id::Seq;
use td_engine::time::ClientTime;

/// Longest client id that gets a cursor row.
const LONGEST_CLIENT: usize = 256;
/// Most cursors remembered between two writes.
const MOST_CURSORS: usize = 10_000;
/// Most refusals remembered between two writes; a flood must not become one of rows.
const MOST_REFUSALS: usize = 1_000;
/// Most of them of one client and key for one kind of route. More would tell an operator nothing new, and one stranger
/// who does not stop once wrote more rows an hour than the hourly tidying took away.
const MOST_OF_ONE: usize = 50;

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
    /// Remembers that a key was used.
    pub fn used(&mut self, key: &str, at: ClientTime) {
        match self.keys.get_mut(key) {
            Some(last) => *last = at,
            None => drop(self.keys.insert(key.into(), at)),
        }
    }

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
        let client = owner(&refused.client);
        let is_alike = |r: &&Refused| {
            (&r.key_id, r.class) == (&refused.key_id, refused.class) && owner(&r.client) == client
        };
        if self.refused.len() < MOST_REFUSALS && self.refused.iter().filter(is_alike).count() < MOST_OF_ONE {
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

/// Who a client is, as limits count it: an IPv6 client has more addresses than there are rows.
fn owner(client: &str) -> Option<IpAddr> {
    client.parse().ok().map(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_that_does_not_stop_leaves_room_for_the_refusals_of_others() {
        let mut usage = Usage::default();
        let refused = |key: Option<&str>, client: &str, class| Refused {
            key_id: key.map(str::to_string),
            client: client.into(),
            class,
            at: crate::clock::at(0),
        };
        for n in 0..5_000 {
            usage.refused(refused(None, "203.0.113.9", "auth"));
            usage.refused(refused(None, &format!("2001:db8::{n:x}"), "auth"));
        }
        assert_eq!(usage.refused.len(), 2 * MOST_OF_ONE);
        usage.refused(refused(None, "203.0.113.10", "auth"));
        usage.refused(refused(None, "203.0.113.9", "push"));
        usage.refused(refused(Some("ak_1"), "203.0.113.9", "auth"));
        assert_eq!(usage.refused.len(), 2 * MOST_OF_ONE + 3);
        (0..5_000).for_each(|n: u16| {
            usage.refused(refused(None, &format!("10.0.{}.{}", n / 250, n % 250), "auth"))
        });
        assert_eq!(usage.refused.len(), MOST_REFUSALS);
    }
}
