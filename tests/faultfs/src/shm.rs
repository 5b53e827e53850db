//! The shared memory of SQLite's WAL index, on the heap of this process.
//!
//! Duty: give every connection of one life of a file the same memory and the same eight locks.
//! Invariant: regions never move and are freed with the last handle, because SQLite keeps their addresses.

use libsqlite3_sys::{SQLITE_SHM_EXCLUSIVE, SQLITE_SHM_NLOCK, SQLITE_SHM_UNLOCK};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Default)]
pub struct Shm(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    regions: Vec<(NonNull<u8>, Layout)>,
    /// Per handle: shared and exclusive slots, as bits.
    held: BTreeMap<u64, (u32, u32)>,
}

// SAFETY: the regions are owned by `Shm`, which only hands out addresses; SQLite orders its own accesses to them.
unsafe impl Send for Inner {}

impl Shm {
    /// The address of a region; `None` if it does not exist and is not to be made.
    pub fn region(&self, index: usize, bytes: usize, make: bool) -> Option<NonNull<u8>> {
        let mut inner = self.lock();
        while make && inner.regions.len() <= index {
            let layout = Layout::from_size_align(bytes.max(1), 16).ok()?;
            // SAFETY: the layout has a size of at least one byte.
            let address = unsafe { alloc_zeroed(layout) };
            let Some(address) = NonNull::new(address) else { handle_alloc_error(layout) };
            inner.regions.push((address, layout));
        }
        inner.regions.get(index).map(|(address, _)| *address)
    }

    /// Takes or releases `n` slots from `first`. Returns whether it could.
    pub fn change_lock(&self, handle: u64, first: u32, n: u32, flags: i32) -> bool {
        debug_assert!(first + n <= SQLITE_SHM_NLOCK as u32);
        let bits = ((1 << n) - 1) << first;
        let mut inner = self.lock();
        if flags & SQLITE_SHM_UNLOCK != 0 {
            let mine = inner.held.entry(handle).or_default();
            *mine = (mine.0 & !bits, mine.1 & !bits);
            return true;
        }
        let exclusive = flags & SQLITE_SHM_EXCLUSIVE != 0;
        let others = inner.held.iter().filter(|(id, _)| **id != handle).map(|(_, held)| held);
        let taken = others.fold(0, |taken, (s, x)| taken | x | if exclusive { *s } else { 0 });
        if taken & bits != 0 {
            return false;
        }
        let mine = inner.held.entry(handle).or_default();
        if exclusive {
            mine.1 |= bits;
        } else {
            mine.0 |= bits;
        }
        true
    }

    pub fn forget(&self, handle: u64) {
        self.lock().held.remove(&handle);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for (address, layout) in self.regions.drain(..) {
            // SAFETY: allocated above with this layout, and no handle is left that could know the address.
            unsafe { dealloc(address.as_ptr(), layout) };
        }
    }
}
