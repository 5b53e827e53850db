//! `.todos/db.lock`: one writer at a time among all programs that open a project (client-engine 1.3).
//!
//! Duty: take it before a write transaction, give it back after; say who holds it when that takes too long.
//! Invariant: the file is never removed, only emptied: removing it would let two holders lock two different files.
//! Danger: not reentrant. A second acquire in the same process waits for itself until the time is over.

use crate::durable;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use td_engine::time::ClientTime;

/// How long a writer waits for another.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The lock, held.
#[derive(Debug)]
pub struct WriteLock(File);

/// Why the lock was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else held it all the time. The text is the reference's, because scripts look for it.
    #[error(
        "write lock timeout after 5s\n  holder: {holder}\n  try again or check if holder process is stuck"
    )]
    Busy {
        /// `pid:<n> since <time>`, or `unknown`.
        holder: String,
    },
    /// The lock file cannot be opened.
    #[error("{path}: {why}")]
    File {
        /// The lock file.
        path: PathBuf,
        /// The operating system's word.
        why: std::io::Error,
    },
}

impl WriteLock {
    /// Waits at most [`PATIENCE`] with growing pauses (5 ms, doubled, at most 50 ms).
    pub fn acquire(path: &Path, now: ClientTime) -> Result<Self, LockError> {
        let failed = |why| LockError::File { path: path.into(), why };
        let start = Instant::now();
        let mut pause = Duration::from_millis(5);
        loop {
            if let Some(mut file) = durable::try_lock(path).map_err(failed)? {
                let text = format!("pid:{}\ntime:{}\n", std::process::id(), now.rfc3339s_utc());
                file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(failed)?;
                file.sync_all().map_err(failed)?;
                return Ok(Self(file));
            }
            if start.elapsed() >= PATIENCE {
                return Err(LockError::Busy { holder: holder(path) });
            }
            wait(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "polls a lock with a limit of five seconds")]
fn wait(pause: Duration) {
    std::thread::sleep(pause);
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        // The holder's text is for people; failing to empty it changes nothing.
        let _ = self.0.set_len(0).and_then(|()| self.0.seek(SeekFrom::Start(0)));
    }
}

/// Who holds the lock, as far as the file tells.
fn holder(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name));
    let (Some(pid), Some(since)) = (field("pid:"), field("time:")) else { return "unknown".into() };
    let alive = pid
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .is_some_and(|p| !matches!(rustix::process::test_kill_process(p), Err(rustix::io::Errno::SRCH)));
    format!("pid:{pid} since {since}{}", if alive { "" } else { " (STALE - process dead)" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_named_and_the_lock_returns_with_its_guard() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("db.lock");
        let now = ClientTime::parse("2026-11-21T09:53:18Z").expect("time");
        let held = WriteLock::acquire(&path, now).expect("first");
        assert_eq!(holder(&path), format!("pid:{} since 2026-11-21T09:53:18Z", std::process::id()));
        assert!(durable::try_lock(&path).expect("open").is_none());
        drop(held);
        assert_eq!(std::fs::read_to_string(&path).expect("kept"), "");
        WriteLock::acquire(&path, now).expect("again");
    }

    #[test]
    fn a_dead_holder_is_called_stale() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("db.lock");
        std::fs::write(&path, "pid:999999999\ntime:2026-11-21T09:53:18Z\n").expect("write");
        assert!(holder(&path).ends_with("(STALE - process dead)"));
        std::fs::write(&path, "").expect("write");
        assert_eq!(holder(&path), "unknown");
    }
}
