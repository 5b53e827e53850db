//! One sync at a time per project, and none while somebody paused it.
//!
//! Invariant: for a project folder the gate is a file lock, so that it also holds between processes and opens when a
//! process dies.

use super::SyncError;
use crate::durable;
use crate::store::StoreError;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where two syncs of one project meet.
#[derive(Clone, Debug)]
pub enum Gate {
    /// A lock file.
    File(PathBuf),
    /// For a database in memory.
    Memory(Arc<AtomicBool>),
}

/// Syncing held off until this is dropped.
#[derive(Debug)]
pub struct Pause {
    _held: Held,
}

#[derive(Debug)]
enum Held {
    File { _lock: File },
    Memory(Arc<AtomicBool>),
}

impl Gate {
    /// A gate of its own.
    pub fn in_memory() -> Self {
        Self::Memory(Arc::default())
    }

    /// Closes the gate; `None` if it is closed already.
    pub(super) fn close(&self) -> Result<Option<Pause>, SyncError> {
        match self {
            Self::File(path) => {
                let lock =
                    durable::try_lock(path).map_err(|why| StoreError::File { path: path.clone(), why })?;
                Ok(lock.map(|lock| Pause { _held: Held::File { _lock: lock } }))
            }
            Self::Memory(flag) => {
                let was_closed = flag.swap(true, Ordering::SeqCst);
                Ok((!was_closed).then(|| Pause { _held: Held::Memory(flag.clone()) }))
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Self::Memory(flag) = self {
            flag.store(false, Ordering::SeqCst);
        }
    }
}
