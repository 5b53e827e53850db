//! Standard error, a page of lines at a time when there are many.
//!
//! Duty: one write for all requests that were answered since the last look around. Each write wakes whoever reads the
//! log, which was a tenth of what an empty pull costs.
//! Invariant: order is kept; only lines of [`REQUESTS`] wait, and never past the moment their thread has nothing to do
//! ([`flush`] is what the runtime calls then).
//! Danger: a process that is killed loses what waits. So a line that tells of trouble, and whatever waits before it, is
//! written before the program goes on.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError, TryLockError};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Target of the one line that every request has.
pub const REQUESTS: &str = "td_server::requests";

/// As much as a page of them may be.
const PAGE: usize = 8 * 1024;

static WAITING: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Writes what waits, unless somebody is at it: a thread that has nothing to write must not wait for whoever reads.
pub fn flush() {
    match WAITING.try_lock() {
        Ok(mut waiting) => write(&mut waiting),
        // What a panic leaves here is still whole lines.
        Err(TryLockError::Poisoned(waiting)) => write(&mut waiting.into_inner()),
        Err(TryLockError::WouldBlock) => {}
    }
}

fn write(waiting: &mut Vec<u8>) {
    if !waiting.is_empty() {
        // With nobody left who reads, there is nobody to tell.
        let _ = io::stderr().write_all(waiting);
        waiting.clear();
    }
}

/// Where `tracing` writes.
pub(super) struct StandardError;

/// One line's way out.
pub(super) struct Line {
    may_wait: bool,
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend_from_slice(line);
        if !self.may_wait || waiting.len() >= PAGE {
            write(&mut waiting);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for StandardError {
    type Writer = Line;

    fn make_writer(&'w self) -> Line {
        Line { may_wait: false }
    }

    fn make_writer_for(&'w self, of: &Metadata<'_>) -> Line {
        Line { may_wait: of.target() == REQUESTS && *of.level() > Level::WARN }
    }
}
