//! The model of the disk: what can be read, what is durable, and what lies between.
//!
//! Duty: decide what survives. No SQLite and no `unsafe` in here.
//! Invariant: `durable` changes only by a sync, or at a power cut by a part of what was pending.

use crate::rng::Rng;
use crate::shm::Shm;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

/// The unit in which a disk tears a write.
const SECTOR: usize = 512;

/// Why the disk did not do something; `vfs.rs` has the SQLite codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing runs, or the file was opened before the last death.
    Dead,
    /// A sync that failed.
    Sync,
    /// No room.
    Full,
    /// No such file.
    NoFile,
}

/// How everything that has files open can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The power goes: what was not synced is at the mercy of the seed.
    Cut,
    /// The process is killed: what was written stays in the page cache.
    Kill,
}

/// What was asked of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Writes.
    pub writes: u64,
    /// Syncs that were done.
    pub syncs: u64,
    /// Cuts and kills.
    pub deaths: u64,
    /// Pending changes that a cut lost, whole or in part.
    pub lost: u64,
}

type Ino = usize;

pub struct State {
    rng: Rng,
    /// Set while everything is dead.
    dead: Option<Death>,
    /// Counts cuts and kills; a handle of an older life is dead.
    life: u64,
    death: Option<(u64, Death)>,
    failing_syncs: u32,
    capacity: usize,
    files: Vec<File>,
    names: BTreeMap<String, Ino>,
    durable_names: BTreeMap<String, Ino>,
    next_handle: u64,
    pub work: Work,
}

#[derive(Default)]
struct File {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    locks: BTreeMap<u64, i32>,
    shm: Weak<Shm>,
}

enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Resize(usize),
}

/// An open file.
pub struct Handle {
    pub id: u64,
    ino: Ino,
    life: u64,
    /// Whether its first sync also makes its directory entry durable, as SQLite does it for journals and WALs.
    syncs_entry: bool,
    name: Option<String>,
    pub shm: Option<Arc<Shm>>,
}

impl State {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            dead: None,
            life: 0,
            death: None,
            failing_syncs: 0,
            capacity: usize::MAX,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            next_handle: 0,
            work: Work::default(),
        }
    }

    pub fn die_at(&mut self, nth: u64, how: Death) {
        self.death = Some((nth.max(1), how));
    }

    pub fn die(&mut self, how: Death) {
        self.death = None;
        self.dead = Some(how);
    }

    pub fn fail_syncs(&mut self, n: u32) {
        self.failing_syncs = n;
    }

    pub fn set_capacity(&mut self, bytes: usize) {
        self.capacity = bytes;
    }

    pub fn sync_directory(&mut self) {
        self.durable_names = self.names.clone();
    }

    pub fn remove(&mut self, prefix: &str) {
        self.names.retain(|name, _| !name.starts_with(prefix));
        self.sync_directory();
    }

    /// Starts a new life on what the death has spared.
    pub fn restart(&mut self) {
        if self.dead.take() == Some(Death::Cut) {
            self.lose();
        }
        self.life += 1;
        self.work.deaths += 1;
        for file in &mut self.files {
            file.locks.clear();
            file.shm = Weak::new();
        }
    }

    fn lose(&mut self) {
        let rng = &mut self.rng;
        for file in &mut self.files {
            for change in file.pending.drain(..) {
                self.work.lost += u64::from(!apply_in_part(&mut file.durable, change, rng));
            }
            file.seen = file.durable.clone();
        }
        let all: BTreeSet<String> = self.names.keys().chain(self.durable_names.keys()).cloned().collect();
        for name in all {
            let (seen, durable) = (self.names.get(&name).copied(), self.durable_names.get(&name).copied());
            if seen != durable && rng.below(2) == 0 {
                match seen {
                    Some(ino) => drop(self.durable_names.insert(name, ino)),
                    None => drop(self.durable_names.remove(&name)),
                }
            }
        }
        self.names = self.durable_names.clone();
    }

    pub fn open(&mut self, name: Option<&str>, create: bool, syncs_entry: bool) -> Result<Handle, Fault> {
        if self.dead.is_some() {
            return Err(Fault::Dead);
        }
        let known = name.and_then(|name| self.names.get(name).copied());
        let ino = match known {
            Some(ino) => ino,
            None if create || name.is_none() => {
                self.files.push(File::default());
                let ino = self.files.len() - 1;
                if let Some(name) = name {
                    self.names.insert(name.to_owned(), ino);
                }
                ino
            }
            None => return Err(Fault::NoFile),
        };
        self.next_handle += 1;
        let name = name.map(str::to_owned);
        Ok(Handle { id: self.next_handle, ino, life: self.life, syncs_entry, name, shm: None })
    }

    pub fn close(&mut self, handle: &Handle) {
        if self.is_alive(handle) {
            self.files[handle.ino].locks.remove(&handle.id);
        }
    }

    pub fn delete(&mut self, name: &str, durably: bool) -> Result<(), Fault> {
        self.tick()?;
        self.names.remove(name).ok_or(Fault::NoFile)?;
        if durably {
            self.durable_names.remove(name);
        }
        Ok(())
    }

    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), Fault> {
        self.tick()?;
        let ino = self.names.remove(from).ok_or(Fault::NoFile)?;
        self.names.insert(to.to_owned(), ino);
        Ok(())
    }

    pub fn list(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        if self.dead.is_some() {
            return Err(Fault::Dead);
        }
        Ok(self.names.keys().filter(|name| name.starts_with(prefix)).cloned().collect())
    }

    pub fn exists(&self, name: &str) -> bool {
        self.dead.is_none() && self.names.get(name).is_some_and(|ino| !self.files[*ino].seen.is_empty())
    }

    pub fn read(&self, handle: &Handle, at: usize, into: &mut [u8]) -> Result<usize, Fault> {
        self.alive(handle)?;
        let seen = &self.files[handle.ino].seen;
        let there = seen.get(at..seen.len().min(at + into.len())).unwrap_or(&[]);
        into[..there.len()].copy_from_slice(there);
        into[there.len()..].fill(0);
        Ok(there.len())
    }

    pub fn write(&mut self, handle: &Handle, at: usize, bytes: &[u8]) -> Result<(), Fault> {
        self.alive(handle)?;
        let used: usize = self.names.values().map(|ino| self.files[*ino].seen.len()).sum();
        let growth = (at + bytes.len()).saturating_sub(self.files[handle.ino].seen.len());
        if growth > 0 && used + growth > self.capacity {
            return Err(Fault::Full);
        }
        self.work.writes += 1;
        let powered = self.tick();
        let file = &mut self.files[handle.ino];
        let change = Change::Write { at, bytes: bytes.to_vec() };
        change.apply(&mut file.seen);
        file.pending.push(change);
        powered
    }

    pub fn truncate(&mut self, handle: &Handle, size: usize) -> Result<(), Fault> {
        self.alive(handle)?;
        let powered = self.tick();
        let file = &mut self.files[handle.ino];
        file.seen.resize(size, 0);
        file.pending.push(Change::Resize(size));
        powered
    }

    pub fn sync(&mut self, handle: &Handle) -> Result<(), Fault> {
        self.alive(handle)?;
        self.tick()?;
        let file = &mut self.files[handle.ino];
        let pending = std::mem::take(&mut file.pending);
        if self.failing_syncs > 0 {
            self.failing_syncs -= 1;
            return Err(Fault::Sync);
        }
        for change in pending {
            change.apply(&mut file.durable);
        }
        self.work.syncs += 1;
        if let Some(name) = handle.name.as_ref().filter(|_| handle.syncs_entry)
            && self.names.get(name) == Some(&handle.ino)
        {
            self.durable_names.insert(name.clone(), handle.ino);
        }
        Ok(())
    }

    pub fn size(&self, handle: &Handle) -> Result<usize, Fault> {
        self.alive(handle)?;
        Ok(self.files[handle.ino].seen.len())
    }

    /// SQLite's five lock levels. Returns whether the level was reached.
    pub fn lock(&mut self, handle: &Handle, level: i32) -> Result<bool, Fault> {
        use libsqlite3_sys::{SQLITE_LOCK_EXCLUSIVE, SQLITE_LOCK_PENDING, SQLITE_LOCK_RESERVED};
        use libsqlite3_sys::{SQLITE_LOCK_NONE, SQLITE_LOCK_SHARED};
        self.alive(handle)?;
        let locks = &mut self.files[handle.ino].locks;
        let mine = locks.get(&handle.id).copied().unwrap_or(SQLITE_LOCK_NONE);
        let others = || locks.iter().filter(|(id, _)| **id != handle.id).map(|(_, level)| *level);
        let highest = others().max().unwrap_or(SQLITE_LOCK_NONE);
        let reached = if level <= mine {
            mine
        } else if level == SQLITE_LOCK_SHARED && highest < SQLITE_LOCK_PENDING
            || level == SQLITE_LOCK_RESERVED && highest < SQLITE_LOCK_RESERVED
            || level == SQLITE_LOCK_EXCLUSIVE && highest == SQLITE_LOCK_NONE
        {
            level
        } else if level == SQLITE_LOCK_EXCLUSIVE && highest < SQLITE_LOCK_RESERVED {
            SQLITE_LOCK_PENDING
        } else {
            mine
        };
        locks.insert(handle.id, reached);
        Ok(reached >= level)
    }

    pub fn unlock(&mut self, handle: &Handle, level: i32) {
        if self.is_alive(handle) {
            self.files[handle.ino].locks.insert(handle.id, level);
        }
    }

    pub fn is_reserved(&self, handle: &Handle) -> Result<bool, Fault> {
        self.alive(handle)?;
        let levels = self.files[handle.ino].locks.values();
        Ok(levels.max().is_some_and(|level| *level >= libsqlite3_sys::SQLITE_LOCK_RESERVED))
    }

    /// The shared memory of the file in this life. A dead handle keeps the one it had.
    pub fn shm(&mut self, handle: &mut Handle) -> Result<Arc<Shm>, Fault> {
        self.alive(handle)?;
        if let Some(shm) = &handle.shm {
            return Ok(shm.clone());
        }
        let slot = &mut self.files[handle.ino].shm;
        let shm = slot.upgrade().unwrap_or_default();
        *slot = Arc::downgrade(&shm);
        Ok(handle.shm.insert(shm).clone())
    }

    pub fn alive(&self, handle: &Handle) -> Result<(), Fault> {
        if self.is_alive(handle) { Ok(()) } else { Err(Fault::Dead) }
    }

    pub fn draw(&mut self) -> u64 {
        self.rng.draw()
    }

    fn is_alive(&self, handle: &Handle) -> bool {
        self.dead.is_none() && handle.life == self.life
    }

    /// Counts towards the death. The call it hits does not return well, but may have reached the disk.
    pub fn tick(&mut self) -> Result<(), Fault> {
        match &mut self.death {
            Some((1, how)) => {
                let how = *how;
                self.die(how);
                return Err(Fault::Dead);
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        if self.dead.is_some() { Err(Fault::Dead) } else { Ok(()) }
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Change::Resize(size) => file.resize(*size, 0),
            Change::Write { at, bytes } => {
                file.resize(file.len().max(at + bytes.len()), 0);
                file[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

/// Applies a change that was pending when the power went: whole, not at all, or sector by sector. Returns whether whole.
fn apply_in_part(durable: &mut Vec<u8>, change: Change, rng: &mut Rng) -> bool {
    match (rng.below(4), change) {
        (0, change) => {
            change.apply(durable);
            true
        }
        (1, Change::Write { at, bytes }) => {
            let mut start = 0;
            while start < bytes.len() {
                let end = bytes.len().min(start + SECTOR - (at + start) % SECTOR);
                if rng.below(2) == 0 {
                    Change::Write { at: at + start, bytes: bytes[start..end].to_vec() }.apply(durable);
                }
                start = end;
            }
            false
        }
        _ => false,
    }
}
