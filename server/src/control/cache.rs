//! The control store as requests see it: answers from memory, changes that end the memory, use written behind.
//!
//! Invariant: an answer read from the store enters the memory only if no change ended the generation meanwhile, so a
//! revocation is effective at the next request.

use super::{Audit, ControlError, ControlStore, Membership, Refused, Usage};
use crate::auth::Principal;
use crate::log::Clock;
use crate::log::Head;
use crate::logging::blocking;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use td_engine::id::Seq;
use td_engine::time::ClientTime;

/// Beyond so many entries the memory starts afresh.
const MOST_ENTRIES: usize = 10_000;

#[derive(Default)]
struct Memory {
    generation: u64,
    principals: HashMap<String, Arc<Principal>>,
    /// By project, then by user: looked up without making a key.
    memberships: HashMap<String, HashMap<String, Membership>>,
    entries: usize,
}

/// A control store with a memory. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    store: Arc<dyn ControlStore>,
    memory: Arc<Mutex<Memory>>,
    usage: Arc<Mutex<Usage>>,
    clock: Clock,
}

/// Nothing that is done under these locks can leave a half-made value behind, so a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Control {
    /// Over a store.
    pub fn new(store: Arc<dyn ControlStore>, clock: Clock) -> Self {
        Self { store, memory: Arc::default(), usage: Arc::default(), clock }
    }

    /// The time by which keys expire and rows are stamped.
    pub fn now(&self) -> ClientTime {
        (self.clock)()
    }

    /// Asks the store, off the async threads.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn ControlStore) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let store = Arc::clone(&self.store);
        blocking(move || question(&*store)).await.unwrap_or(Err(ControlError::Abandoned))
    }

    /// [`Control::ask`] for admins, who also see what is not written down yet (DESIGN 5).
    pub async fn seen<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn ControlStore) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let control = self.clone();
        let asked = blocking(move || {
            control.flush()?;
            question(&*control.store)
        });
        asked.await.unwrap_or(Err(ControlError::Abandoned))
    }

    /// Changes the store and ends the memory's generation, whatever came of it.
    pub async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&dyn ControlStore, ClientTime) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let (control, now) = (self.clone(), self.now());
        let done = blocking(move || control.change_now(|store| change(store, now)));
        done.await.unwrap_or(Err(ControlError::Abandoned))
    }

    /// Changes the store by something that no remembered answer depends on: a login under way, a new key, an event.
    pub async fn add<T: Send + 'static>(
        &self,
        change: impl FnOnce(&dyn ControlStore, ClientTime) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let now = self.now();
        self.ask(move |store| change(store, now)).await
    }

    /// [`Control::change`] for callers that may block.
    pub fn change_now<T>(
        &self,
        change: impl FnOnce(&dyn ControlStore) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        let result = change(&*self.store);
        let mut memory = lock(&self.memory);
        *memory = Memory { generation: memory.generation + 1, ..Memory::default() };
        result
    }

    /// The store, for callers that only look and may block.
    pub fn store(&self) -> &dyn ControlStore {
        &*self.store
    }

    /// Who holds the token with this hash; expired and unknown are the same.
    pub async fn holder(&self, hash: &str) -> Result<Option<Arc<Principal>>, ControlError> {
        let (generation, known) = {
            let memory = lock(&self.memory);
            (memory.generation, memory.principals.get(hash).cloned())
        };
        let principal = match known {
            Some(principal) => principal,
            None => {
                let key = hash.to_string();
                let Some(found) = self.ask(move |s| s.principal(&key)).await? else { return Ok(None) };
                let found = Arc::new(found);
                self.remember(generation, |m| {
                    m.principals.insert(hash.to_string(), Arc::clone(&found));
                });
                found
            }
        };
        let now = self.now();
        if principal.expired(now) {
            return Ok(None);
        }
        lock(&self.usage).used(&principal.key_id, now);
        Ok(Some(principal))
    }

    /// The user's membership in a project.
    pub async fn membership(&self, project: &str, user: &str) -> Result<Option<Membership>, ControlError> {
        let (generation, known) = {
            let memory = lock(&self.memory);
            (memory.generation, memory.memberships.get(project).and_then(|of| of.get(user)).copied())
        };
        if known.is_some() {
            return Ok(known);
        }
        let (p, u) = (project.to_string(), user.to_string());
        let found = self.ask(move |s| s.membership(&p, &u)).await?;
        if let Some(found) = found {
            self.remember(generation, |m| {
                m.memberships.entry(project.into()).or_default().insert(user.into(), found);
            });
        }
        Ok(found)
    }

    fn remember(&self, generation: u64, put: impl FnOnce(&mut Memory)) {
        let mut memory = lock(&self.memory);
        if memory.generation != generation {
            return;
        }
        if memory.entries >= MOST_ENTRIES {
            *memory = Memory { generation, ..Memory::default() };
        }
        memory.entries += 1;
        put(&mut memory);
    }

    /// Remembers how far a client has come.
    pub fn saw_cursor(&self, project: &str, client: &str, seq: Seq) {
        lock(&self.usage).cursor(project, client, seq);
    }

    /// Remembers a log's size.
    pub fn saw_head(&self, project: &str, head: Head) {
        lock(&self.usage).counts.insert(project.into(), (head.count, head.last_time));
    }

    /// Remembers something for the audit table.
    pub fn audit(&self, record: Audit) {
        lock(&self.usage).audit.push(record);
    }

    /// Remembers a call that a limit refused.
    pub fn refused(&self, refused: Refused) {
        lock(&self.usage).refused(refused);
    }

    /// Remembers a mail that was not sent because one had just left for its address.
    pub fn refused_mail(&self, client: &str) {
        self.refused(Refused { key_id: None, client: client.into(), class: "auth", at: self.now() });
    }

    /// Writes behind what was remembered. Blocks. What cannot be written is kept for the next time.
    pub fn flush(&self) -> Result<(), ControlError> {
        let usage = std::mem::take(&mut *lock(&self.usage));
        if usage.is_empty() {
            return Ok(());
        }
        let result = self.store.record(&usage, self.now());
        if result.is_err() {
            lock(&self.usage).merge_older(usage);
        }
        result
    }
}
