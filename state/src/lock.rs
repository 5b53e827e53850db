//! One run at a time on a target (anchors-installer e6).
//!
//! Duty: a lock the kernel holds, so that no crash leaves it behind.
//! Invariant: only `flock` decides; the content is for messages, and empty when nobody holds it.

use crate::dir::TargetDir;
use crate::error::StateError;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;

/// Holding it is holding the lock.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock or says who holds it. The folder must be there.
    pub fn take(dir: &TargetDir, verb: &str) -> Result<Self, StateError> {
        let path = dir.lock();
        let io = |e| StateError::io("lock", &path, e);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(io)?;
        let mut looks = 0;
        while let Err(e) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            match e {
                Errno::WOULDBLOCK => {}
                Errno::NOLCK | Errno::NOTSUP | Errno::NOSYS => return Err(StateError::NoLocks { path }),
                e => return Err(io(e.into())),
            }
            let mut owner = String::new();
            let _ = file.rewind().and_then(|()| (&file).take(512).read_to_string(&mut owner));
            looks += 1;
            // A holder without a name has just begun, or is somebody who only looks whether there is one.
            if !owner.trim().is_empty() || looks > 50 {
                return Err(StateError::Locked { owner: owner.trim().to_owned() });
            }
            wait_a_moment();
        }
        let now = time::OffsetDateTime::now_utc();
        let since = now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
        let content = format!("{verb}, process {}, since {since}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(content.as_bytes()))
            .map_err(io)?;
        Ok(Self(file))
    }

    /// Who holds it, if anybody does. Takes nothing for longer than the look.
    pub fn owner(dir: &TargetDir) -> Option<String> {
        let mut file = File::open(dir.lock()).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => {
                let mut owner = String::new();
                file.read_to_string(&mut owner).ok()?;
                Some(owner.trim().to_owned())
            }
            _ => None,
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "between two tries, at most fifty")]
fn wait_a_moment() {
    std::thread::sleep(std::time::Duration::from_millis(4));
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file releases it; this only leaves no stale words behind.
        let _ = self.0.set_len(0);
    }
}
