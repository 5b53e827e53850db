//! The machine that is being set up, behind interfaces small enough to model.
//!
//! Duty: say for each operation what is true of the host afterwards, also when it fails.
//! Invariant: [`Look`] has no operation that changes anything, so a step that holds a [`crate::Probe`] cannot.
//! Danger: an operation that some host does half would make resume guess; both hosts pass one contract suite
//! (`deploy/tests/host_contract.rs`).

mod command;
mod error;
mod files;
mod local;
pub mod model;

pub use command::{Commands, Detached, ProcessId, Program, Queries, Ran, Signal};
pub use error::HostError;
pub use files::{Digest, EntryKind, Made, Mode, ReadFiles, Removed, Stat, WriteFiles};
pub use local::LocalHost;

use crate::facts::Facts;
use std::net::SocketAddr;
use std::time::Duration;

/// What can be seen without changing anything.
pub trait Look: ReadFiles + Queries + Ports + Clock + Send + Sync {
    /// Reads the facts now.
    fn facts(&self) -> Result<Facts, HostError>;
}

/// A host that can also be changed. Only [`crate::Apply`] hands it out, and only once the intent is on disk.
pub trait Host: Look + WriteFiles + Commands {}

impl<T: Look + WriteFiles + Commands> Host for T {}

/// Who listens where.
pub trait Ports {
    /// Whether a listener could be opened there now. Found out without keeping the port.
    fn port_is_free(&self, at: SocketAddr) -> Result<bool, HostError>;
    /// Whether somebody accepts connections there within the limit.
    fn port_answers(&self, at: SocketAddr, limit: Duration) -> Result<bool, HostError>;
}

/// Time, so that waits can be tested without waiting.
pub trait Clock {
    /// Grows, starts anywhere.
    fn monotonic(&self) -> Duration;
    /// Since 1970, UTC.
    fn unix(&self) -> Duration;
    /// Between two looks at a condition that has a limit; nowhere else.
    fn pause(&self, for_: Duration);
}
