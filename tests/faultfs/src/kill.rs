//! Killing a program at any write to its databases, without a second process.
//!
//! Duty: stand between SQLite and its ordinary filesystem, count the writes below a folder, and at the chosen one stop
//! everything there: what was written stays, what comes later does not happen. That is what SIGKILL leaves.
//! Invariant: installed as the default filesystem, so the programs under test open their databases as they always do.
//! Danger: a killed folder answers every call with an I/O error until [`Folder::revive`]; the handles that were open
//! must be dropped before, as they would be with their process.

use libsqlite3_sys as ffi;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

/// A folder whose databases can be stopped. Files opened while it exists stay watched after it; new ones are not.
pub struct Folder(Arc<State>);

struct State {
    path: PathBuf,
    dead: AtomicBool,
    /// Writes until death; negative when nobody is to die.
    left: AtomicI64,
    writes: AtomicU64,
}

static FOLDERS: RwLock<Vec<Arc<State>>> = RwLock::new(Vec::new());

impl Folder {
    /// Takes charge of every database that is opened below `path` from now on. Installs the filesystem at first use.
    pub fn watch(path: &Path) -> std::io::Result<Self> {
        install();
        let state = State {
            path: path.canonicalize()?,
            dead: AtomicBool::new(false),
            left: AtomicI64::new(-1),
            writes: AtomicU64::new(0),
        };
        let state = Arc::new(state);
        FOLDERS.write().unwrap_or_else(PoisonError::into_inner).push(state.clone());
        Ok(Self(state))
    }

    /// The write after the next `more` ones does not happen, nor does anything after it.
    pub fn kill_after(&self, more: u32) {
        self.0.left.store(i64::from(more), Ordering::SeqCst);
    }

    /// Stops everything now.
    pub fn kill(&self) {
        self.0.dead.store(true, Ordering::SeqCst);
    }

    /// Whether it was stopped.
    pub fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::SeqCst)
    }

    /// Lets a new program use the folder, and takes back a death that has not come.
    pub fn revive(&self) {
        self.0.left.store(-1, Ordering::SeqCst);
        self.0.dead.store(false, Ordering::SeqCst);
    }

    /// Writes, truncations, syncs and deletions so far.
    pub fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Folder({}, dead: {})", self.0.path.display(), self.is_dead())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let mut all = FOLDERS.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|state| !Arc::ptr_eq(state, &self.0));
    }
}

impl State {
    /// Counts one write; `false` if it must not happen.
    fn may_write(&self) -> bool {
        if self.dead.load(Ordering::SeqCst) {
            return false;
        }
        self.writes.fetch_add(1, Ordering::SeqCst);
        let before = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n >= 0).then(|| n - 1));
        if before == Ok(0) {
            self.dead.store(true, Ordering::SeqCst);
        }
        before != Ok(0)
    }
}

fn state_of(name: *const c_char) -> Option<Arc<State>> {
    if name.is_null() {
        return None;
    }
    // SAFETY: SQLite passes zero-terminated names that live through the call.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes();
    let path = Path::new(std::ffi::OsStr::from_bytes(bytes));
    let all = FOLDERS.read().unwrap_or_else(PoisonError::into_inner);
    all.iter().find(|state| path.starts_with(&state.path)).cloned()
}

/// What SQLite holds for an open file: this, and the ordinary filesystem's own record right behind it.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    /// From `Arc::into_raw`; null for files outside every watched folder.
    state: *const State,
}

/// The ordinary filesystem. Set once, before the first file is opened.
static REAL: OnceLock<usize> = OnceLock::new();

fn real() -> *mut ffi::sqlite3_vfs {
    *REAL.get().unwrap_or(&0) as *mut ffi::sqlite3_vfs
}

fn install() {
    static DONE: Mutex<bool> = Mutex::new(false);
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if *done {
        return;
    }
    // SAFETY: the default filesystem lives as long as the process, and so does the leaked copy. The copy keeps its
    // `pAppData`, which the ordinary functions that we do not replace look at.
    unsafe {
        // Counting memory takes a lock that all threads share, for figures nobody reads here. Refused, without harm, if
        // a database was opened before.
        ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int);
        ffi::sqlite3_initialize();
        let ordinary = ffi::sqlite3_vfs_find(ptr::null());
        assert!(!ordinary.is_null(), "SQLite has a filesystem");
        REAL.get_or_init(|| ordinary as usize);
        let mut ours = ptr::read(ordinary);
        ours.szOsFile = (*ordinary).szOsFile + size_of::<File>() as c_int;
        ours.pNext = ptr::null_mut();
        ours.zName = c"kill".as_ptr();
        ours.xOpen = Some(open);
        ours.xDelete = Some(delete);
        let code = ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 1);
        assert_eq!(code, ffi::SQLITE_OK, "registering a filesystem allocates nothing");
    }
    *done = true;
}

/// The ordinary record behind ours. `File` is a multiple of 8 bytes, so it is aligned.
unsafe fn inner(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: SQLite allocated `szOsFile` bytes, which leaves room for both.
    unsafe { file.cast::<File>().add(1).cast() }
}

unsafe fn state<'f>(file: *mut ffi::sqlite3_file) -> Option<&'f State> {
    // SAFETY: set by `open` and valid until `close`.
    unsafe { (*file.cast::<File>()).state.as_ref() }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let state = state_of(name);
    // SAFETY: `file` has room for both records; without methods SQLite does not call `close` on it.
    unsafe {
        (*file).pMethods = ptr::null();
        if state.as_ref().is_some_and(|s| s.dead.load(Ordering::SeqCst)) {
            return ffi::SQLITE_IOERR;
        }
        let Some(real_open) = (*real()).xOpen else { return ffi::SQLITE_CANTOPEN };
        let code = real_open(real(), name, inner(file), flags, out_flags);
        if !(*inner(file)).pMethods.is_null() {
            (*file.cast::<File>()).state = state.map_or(ptr::null(), Arc::into_raw);
            (*file).pMethods = &METHODS;
        }
        code
    }
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    if state_of(name).is_some_and(|s| !s.may_write()) {
        return ffi::SQLITE_IOERR_DELETE;
    }
    // SAFETY: passed through.
    unsafe { (*real()).xDelete.map_or(ffi::SQLITE_IOERR, |f| f(real(), name, sync)) }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the last call for this file; the counted reference of `open` is given back.
    unsafe {
        let code = (*(*inner(file)).pMethods).xClose.map_or(ffi::SQLITE_OK, |f| f(inner(file)));
        let state = (*file.cast::<File>()).state;
        if !state.is_null() {
            drop(Arc::from_raw(state));
        }
        code
    }
}

/// A method that is handed on. `write` ones are counted and stop with the folder; `read` ones only stop with it.
macro_rules! hand_on {
    ($name:ident, $method:ident, $error:expr, write, ($($arg:ident: $type:ty),*)) => {
        hand_on!($name, $method, $error, |s: &State| s.may_write(), ($($arg: $type),*));
    };
    ($name:ident, $method:ident, $error:expr, read, ($($arg:ident: $type:ty),*)) => {
        hand_on!($name, $method, $error, |s: &State| !s.dead.load(Ordering::SeqCst), ($($arg: $type),*));
    };
    ($name:ident, $method:ident, $error:expr, always, ($($arg:ident: $type:ty),*)) => {
        hand_on!($name, $method, $error, |_: &State| true, ($($arg: $type),*));
    };
    ($name:ident, $method:ident, $error:expr, $may:expr, ($($arg:ident: $type:ty),*)) => {
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file, $($arg: $type),*) -> c_int {
            // SAFETY: `file` was set up by `open`; the ordinary method gets its own record.
            unsafe {
                if state(file).is_some_and(|s| !($may)(s)) {
                    return $error;
                }
                (*(*inner(file)).pMethods).$method.map_or($error, |f| f(inner(file), $($arg),*))
            }
        }
    };
}

hand_on!(read, xRead, ffi::SQLITE_IOERR_READ, read, (to: *mut c_void, n: c_int, at: i64));
hand_on!(write, xWrite, ffi::SQLITE_IOERR_WRITE, write, (from: *const c_void, n: c_int, at: i64));
hand_on!(truncate, xTruncate, ffi::SQLITE_IOERR_TRUNCATE, write, (size: i64));
hand_on!(sync, xSync, ffi::SQLITE_IOERR_FSYNC, write, (flags: c_int));
hand_on!(size, xFileSize, ffi::SQLITE_IOERR_FSTAT, read, (size: *mut i64));
hand_on!(lock, xLock, ffi::SQLITE_IOERR_LOCK, read, (level: c_int));
// The kernel takes a dead process's locks and maps away, so these always pass.
hand_on!(unlock, xUnlock, ffi::SQLITE_OK, always, (level: c_int));
hand_on!(reserved, xCheckReservedLock, ffi::SQLITE_IOERR_CHECKRESERVEDLOCK, read, (out: *mut c_int));
hand_on!(control, xFileControl, ffi::SQLITE_NOTFOUND, always, (op: c_int, arg: *mut c_void));
hand_on!(sector, xSectorSize, 4096, always, ());
hand_on!(traits, xDeviceCharacteristics, 0, always, ());
hand_on!(shm_map, xShmMap, ffi::SQLITE_IOERR_SHMMAP, read, (page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void));
hand_on!(shm_lock, xShmLock, ffi::SQLITE_IOERR_SHMLOCK, always, (at: c_int, n: c_int, flags: c_int));
hand_on!(shm_unmap, xShmUnmap, ffi::SQLITE_OK, always, (delete: c_int));
hand_on!(fetch, xFetch, ffi::SQLITE_IOERR_MMAP, read, (at: i64, n: c_int, out: *mut *mut c_void));
hand_on!(unfetch, xUnfetch, ffi::SQLITE_OK, always, (at: i64, page: *mut c_void));

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: as above.
    unsafe {
        if let Some(f) = (*(*inner(file)).pMethods).xShmBarrier {
            f(inner(file));
        }
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector),
    xDeviceCharacteristics: Some(traits),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: Some(fetch),
    xUnfetch: Some(unfetch),
};

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    fn table(path: &Path, mode: &str) -> rusqlite::Result<Connection> {
        let conn = Connection::open(path)?;
        conn.pragma_update_and_check(None, "journal_mode", mode, |_| Ok(()))?;
        conn.execute_batch("CREATE TABLE IF NOT EXISTS t (a INTEGER, b TEXT)")?;
        Ok(conn)
    }

    fn rows(conn: &Connection) -> i64 {
        conn.query_row("SELECT COUNT(*) FROM t", [], |r| r.get(0)).expect("count")
    }

    /// Two inserts in one transaction are both there or neither, and once acknowledged they are there.
    #[test]
    fn a_kill_at_every_write_leaves_whole_transactions() {
        for mode in ["TRUNCATE", "WAL"] {
            let (mut died, mut whole) = (0, 0);
            for at in 0..40 {
                let dir = tempfile::tempdir().expect("folder");
                let path = dir.path().join("t.db");
                table(&path, mode).expect("table");
                let folder = Folder::watch(dir.path()).expect("folder");
                let conn = table(&path, mode).expect("table");
                folder.kill_after(at);
                let text = "x".repeat(9_000);
                let both = format!(
                    "BEGIN; INSERT INTO t VALUES (1, '{text}'); INSERT INTO t VALUES (2, '{text}'); COMMIT"
                );
                let done = conn.execute_batch(&both);
                died += i32::from(folder.is_dead());
                drop(conn);
                folder.revive();
                let count = rows(&table(&path, mode).expect("reopened"));
                assert!(
                    count == 0 && done.is_err() || count == 2,
                    "{mode} {at}: {count} rows after {done:?}"
                );
                assert!(done.is_ok() || folder.writes() > 0);
                whole += i32::from(done.is_ok());
            }
            assert!(died > 3 && whole > 3, "{mode}: died {died}, whole {whole}");
        }
    }

    #[test]
    fn other_folders_live_on() {
        let (a, b) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        let (folder, _other) = (Folder::watch(a.path()).expect("a"), Folder::watch(b.path()).expect("b"));
        folder.kill();
        assert!(table(&a.path().join("t.db"), "WAL").is_err());
        assert_eq!(rows(&table(&b.path().join("t.db"), "WAL").expect("b")), 0);
        folder.revive();
        assert_eq!(rows(&table(&a.path().join("t.db"), "WAL").expect("a")), 0);
    }

    /// Once an older handle on the same folder was found first, and the kill meant for the new one never came.
    #[test]
    fn a_folder_that_is_watched_again_obeys_its_new_handle() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("t.db");
        let first = Folder::watch(dir.path()).expect("folder");
        let left_open = table(&path, "WAL").expect("open");
        drop(first);
        let second = Folder::watch(dir.path()).expect("folder");
        second.kill();
        assert!(table(&path, "WAL").is_err());
        second.revive();
        assert_eq!(rows(&left_open), 0);
    }
}
