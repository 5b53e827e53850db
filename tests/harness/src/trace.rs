//! What happened in a world, for people: counted always, told line by line when asked.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// Counts and, if wanted, the story.
#[derive(Debug, Default)]
pub struct Trace {
    faults: RefCell<BTreeMap<&'static str, u64>>,
    lines: Option<RefCell<Vec<String>>>,
}

impl Trace {
    /// With or without the story.
    pub fn new(tells: bool) -> Self {
        Self { faults: RefCell::default(), lines: tells.then(RefCell::default) }
    }

    /// One fault that really struck.
    pub fn fault(&self, kind: &'static str) {
        *self.faults.borrow_mut().entry(kind).or_default() += 1;
    }

    /// One line of the story, composed only if somebody reads it.
    pub fn tell(&self, line: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            lines.borrow_mut().push(line());
        }
    }

    /// Faults by kind, and the story.
    pub fn finish(&self) -> (BTreeMap<&'static str, u64>, Vec<String>) {
        (self.faults.take(), self.lines.as_ref().map(RefCell::take).unwrap_or_default())
    }
}
