//! Setting up a server, step by step, so that every interruption can be run again (DESIGN 7, laws 11-20).
//!
//! Duty: the step engine, the hosts it acts on, and the steps themselves.
//! Invariant: what to do = answers − probe; what may be undone = journal; intent is on disk before a byte changes.
//! Danger: a step that acts outside [`step::Apply`] is invisible to resume and undo.

pub mod engine;
pub mod error;
pub mod event;
pub mod exit;
pub mod facts;
pub mod fault;
pub mod host;
pub mod signals;
pub mod step;
pub mod steps;
pub mod stream;
pub mod supervisor;
mod view;

pub use view::{Apply, Cancel, Capture, Kept, Probe, STOPPED, Wait};
