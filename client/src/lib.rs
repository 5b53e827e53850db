//! td, the client, as a library: a project on disk and its synchronisation.
//!
//! Duty: local changes and their events in one transaction; push, pull and replay without loss or duplication.
//! Invariant: nothing here reads the terminal, the home folder or the environment; the CLI passes them in.

pub mod ambient;
pub mod config;
pub mod connect;
pub mod durable;
pub mod http;
pub mod identity;
pub mod lock;
pub mod place;
pub mod resolve;
pub mod transport;
