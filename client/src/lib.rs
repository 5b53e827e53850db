//! td, the client, as a library: a project on disk and its synchronisation.
//!
//! Duty: local changes and their events in one transaction; push, pull and replay without loss or duplication.
//! Invariant: nothing here reads the terminal, the home folder or the environment; the CLI passes them in.

pub mod ambient;
pub mod canary;
pub mod checks;
pub mod config;
pub mod connect;
pub mod device;
pub mod durable;
pub mod http;
pub mod identity;
pub mod lock;
mod pending;
pub mod place;
pub mod project;
pub mod server_url;
pub mod session;
pub mod store;
pub mod sync;
pub mod transport;
pub mod write;
