//! A disk for SQLite that forgets what was not synced when its power is cut.
//!
//! Duty: make a missing fsync visible. On a healthy machine a program without any sync passes every test; on this disk
//! it loses acknowledged data within a few cuts.
//! What it models: writes, size changes and directory entries are volatile until synced; at a cut each volatile one
//! survives whole, in 512-byte pieces, or not at all, by seed; a killed process (in contrast) leaves them all in the
//! page cache; a failed sync is reported once and its data never reaches the disk although it can be read; a full disk.
//! Plain files can be kept on it too. What it does not model: reordering *inside* synced data, and bit rot.
//! [`kill`] is the other, simpler half: real files, and a program that stops at a write.
//! Danger: the only `unsafe` of the workspace is in `vfs.rs`, `shm.rs` and `kill.rs`, and no product crate may depend on this one.

mod disk;
pub mod kill;
mod plain;
mod rng;
mod shm;
mod vfs;

pub use disk::{Death, Work};
pub use rng::Rng;

use disk::State;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk, reachable by its VFS name. Names of files are plain keys; there are no folders.
pub struct Disk {
    vfs: vfs::Registered,
    state: Arc<Mutex<State>>,
}

impl Disk {
    /// An empty disk. The seed decides what each cut spares.
    pub fn new(seed: u64) -> Self {
        let state = Arc::new(Mutex::new(State::new(seed)));
        Self { vfs: vfs::Registered::new(state.clone()), state }
    }

    /// The name under which SQLite opens files here.
    pub fn vfs(&self) -> &str {
        self.vfs.name()
    }

    /// Ends everything during the n-th write, sync, size change or removal from now.
    pub fn die_at(&self, nth: u64, how: Death) {
        self.lock().die_at(nth, how);
    }

    /// Ends everything now. Whatever has files open only sees errors from then on.
    pub fn die(&self, how: Death) {
        self.lock().die(how);
    }

    /// After a death: a new start on what it spared. Files opened before stay dead. Without a death it is one of a
    /// process that closed nothing.
    pub fn restart(&self) {
        self.lock().restart();
    }

    /// Lets the next `n` syncs fail. What they should have written can be read until the power is cut, but no later
    /// sync will write it (as Linux does it).
    pub fn fail_syncs(&self, n: u32) {
        self.lock().fail_syncs(n);
    }

    /// Sets how many bytes all files together may have.
    pub fn set_capacity(&self, bytes: usize) {
        self.lock().set_capacity(bytes);
    }

    /// Makes all creations and removals so far durable, as an fsync of their directory does.
    pub fn sync_directory(&self) {
        self.lock().sync_directory();
    }

    /// Removes the files whose names begin so, durably.
    pub fn remove(&self, prefix: &str) {
        self.lock().remove(prefix);
    }

    /// What was asked of the disk so far.
    pub fn work(&self) -> Work {
        self.lock().work
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
