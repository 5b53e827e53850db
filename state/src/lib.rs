//! What setup remembers between runs: answers, journal, receipt, lock (anchors-installer e2, e5, e6, e8).
//!
//! Duty: put intent on disk before anything changes and tell, after any crash, what may have run (DESIGN laws 11, 12).
//! Invariant: nothing here opens a connection, a terminal or the environment; every decision is a function over data.
//! Danger: a guess about a damaged journal would undo or repeat what never happened, so damage is a refusal.

pub mod answers;
pub mod dir;
pub mod durable;
mod error;
pub mod journal;
pub mod ledger;
pub mod legality;
pub mod lock;
pub mod receipt;
pub mod record;
pub mod resume;
pub mod run;
pub mod secret;
pub mod shell;

pub use error::StateError;
