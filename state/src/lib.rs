//! What setup remembers between runs: answers, journal, receipt, lock (anchors-installer e2, e5, e6, e8).
//!
//! Duty: put intent on disk before anything changes and tell, after any crash, what may have run (DESIGN laws 11, 12).
//! Invariant: nothing here opens a connection, a terminal or the environment; every decision is a function over data.
//! Danger: a guess about a damaged journal would undo or repeat what never happened, so damage is a refusal.

pub mod answers;
