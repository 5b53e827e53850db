//! The sync engine: what an event is, what it does to a project's state, and how two copies are compared.
//!
//! Duty: state is a function of the log. Given the same events in the same order, [`apply`] leaves the same rows,
//! conflicts and quarantine on a server's live view, in a snapshot and on every device.
//! Invariant: nothing in this crate touches the network, the clock, the environment or a key.
//! Danger: a rule changed here changes what *every* copy computes; old and new programs must agree on it.

pub mod apply;
pub mod before;
pub mod conflict;
pub mod db;
pub mod digest;
pub mod event;
pub mod id;
pub mod payload;
pub mod replay;
pub mod shape;
pub mod taxonomy;
pub mod time;
