//! The disk as SQLite sees it.
//!
//! Duty: translate SQLite's calls to the model in `disk.rs`, and its faults to SQLite's codes.
//! Invariant of every callback: `file` points to a [`FaultFile`] whose handle `open` made and `close` has not yet taken,
//! and a VFS's `pAppData` to the [`Shared`] that [`Registered`] keeps; SQLite guarantees both by its own contract.

use crate::disk::{Fault, Handle, State};
use libsqlite3_sys as ffi;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Shared = Arc<Mutex<State>>;

/// A VFS that SQLite knows, as long as this lives. Connections must be closed before.
pub struct Registered {
    vfs: Box<ffi::sqlite3_vfs>,
    name: CString,
    app: *mut Shared,
}

// SAFETY: the registration is only read after it was made, and SQLite locks its own list.
unsafe impl Send for Registered {}
// SAFETY: as above; shared access reads the name only.
unsafe impl Sync for Registered {}

#[repr(C)]
struct FaultFile {
    base: ffi::sqlite3_file,
    open: *mut Open,
}

struct Open {
    state: Shared,
    handle: Handle,
}

impl Registered {
    pub fn new(state: Shared) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("td-faultfs-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let name = CString::new(name).unwrap_or_default();
        let app = Box::into_raw(Box::new(state));
        let mut vfs = Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: size_of::<FaultFile>() as c_int,
            mxPathname: 512,
            pNext: null_mut(),
            zName: name.as_ptr(),
            pAppData: app.cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(get_last_error),
            xCurrentTimeInt64: Some(current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        });
        // SAFETY: the structure and its name live on the heap until `drop` has taken it off SQLite's list.
        let code = unsafe { ffi::sqlite3_vfs_register(&mut *vfs, 0) };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite did not take the VFS");
        Self { vfs, name, app }
    }

    pub fn name(&self) -> &str {
        self.name.to_str().unwrap_or_default()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: registered in `new`; no connection is open any more, so nothing calls back into `app`.
        unsafe {
            ffi::sqlite3_vfs_unregister(&mut *self.vfs);
            drop(Box::from_raw(self.app));
        }
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// # Safety
/// `file` is as the module says.
unsafe fn of<'a>(file: *mut ffi::sqlite3_file) -> (MutexGuard<'a, State>, &'a mut Handle) {
    // SAFETY: by the invariant of the module; SQLite uses a file from one thread at a time.
    let open = unsafe { &mut *(*file.cast::<FaultFile>()).open };
    (open.state.lock().unwrap_or_else(PoisonError::into_inner), &mut open.handle)
}

/// # Safety
/// `vfs` is as the module says.
unsafe fn state<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Shared {
    // SAFETY: by the invariant of the module.
    unsafe { &*(*vfs).pAppData.cast::<Shared>() }
}

/// # Safety
/// `name` is null or a C string that outlives the use of the result.
unsafe fn text<'a>(name: *const c_char) -> Option<&'a str> {
    // SAFETY: by contract of the caller.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_str().unwrap_or_default())
}

fn guard(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn code<T>(result: Result<T, Fault>, otherwise: c_int) -> c_int {
    match result {
        Ok(_) => ffi::SQLITE_OK,
        Err(Fault::Dead) => otherwise,
        Err(Fault::Sync) => ffi::SQLITE_IOERR_FSYNC,
        Err(Fault::Full) => ffi::SQLITE_FULL,
        Err(Fault::NoFile) => ffi::SQLITE_CANTOPEN,
    }
}

fn offset(at: i64) -> usize {
    usize::try_from(at).unwrap_or(0)
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: `name` is null or a C string, `vfs` is ours, `file` has room for a `FaultFile`.
    unsafe {
        let this = file.cast::<FaultFile>();
        (*this).base.pMethods = std::ptr::null();
        let shared = state(vfs);
        let create = flags & ffi::SQLITE_OPEN_CREATE != 0;
        let journal = flags & (ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL) != 0;
        let opened = guard(shared).open(text(name), create, journal);
        match opened {
            Ok(handle) => {
                (*this).open = Box::into_raw(Box::new(Open { state: shared.clone(), handle }));
                (*this).base.pMethods = &METHODS;
                if !out_flags.is_null() {
                    *out_flags = flags;
                }
                ffi::SQLITE_OK
            }
            Err(fault) => code::<()>(Err(fault), ffi::SQLITE_IOERR),
        }
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once, and does not touch it afterwards.
    unsafe {
        {
            let (mut state, handle) = of(file);
            state.close(handle);
            if let Some(shm) = &handle.shm {
                shm.forget(handle.id);
            }
        }
        drop(Box::from_raw((*file.cast::<FaultFile>()).open));
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, n: c_int, at: i64) -> c_int {
    // SAFETY: `to` has room for `n` bytes.
    let (state, handle, into) = unsafe {
        let (state, handle) = of(file);
        (state, handle, std::slice::from_raw_parts_mut(to.cast::<u8>(), offset(n.into())))
    };
    match state.read(handle, offset(at), into) {
        Ok(got) if got < into.len() => ffi::SQLITE_IOERR_SHORT_READ,
        other => code(other, ffi::SQLITE_IOERR_READ),
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, n: c_int, at: i64) -> c_int {
    // SAFETY: `from` holds `n` bytes.
    let (mut state, handle, bytes) = unsafe {
        let (state, handle) = of(file);
        (state, handle, std::slice::from_raw_parts(from.cast::<u8>(), offset(n.into())))
    };
    code(state.write(handle, offset(at), bytes), ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: as the module says.
    let (mut state, handle) = unsafe { of(file) };
    code(state.truncate(handle, offset(size)), ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: as the module says.
    let (mut state, handle) = unsafe { of(file) };
    code(state.sync(handle), ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: as the module says; `size` is a place for the answer.
    let (state, handle) = unsafe { of(file) };
    let result = state.size(handle);
    // SAFETY: as above.
    unsafe { *size = result.unwrap_or(0) as i64 };
    code(result, ffi::SQLITE_IOERR_FSTAT)
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: as the module says.
    let (mut state, handle) = unsafe { of(file) };
    match state.lock(handle, level) {
        Ok(false) => ffi::SQLITE_BUSY,
        other => code(other, ffi::SQLITE_IOERR_LOCK),
    }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: as the module says.
    let (mut state, handle) = unsafe { of(file) };
    state.unlock(handle, level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: as the module says; `out` is a place for the answer.
    let (state, handle) = unsafe { of(file) };
    let result = state.is_reserved(handle);
    // SAFETY: as above.
    unsafe { *out = c_int::from(result == Ok(true)) };
    code(result, ffi::SQLITE_IOERR_CHECKRESERVEDLOCK)
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    4096
}

/// What SQLite assumes of a real disk by default.
unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    make: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: as the module says; `out` is a place for the answer.
    let (mut state, handle) = unsafe { of(file) };
    let shm = state.shm(handle);
    let address =
        shm.as_ref().ok().and_then(|shm| shm.region(offset(region.into()), offset(bytes.into()), make != 0));
    // SAFETY: as above.
    unsafe { *out = address.map_or(null_mut(), |address| address.as_ptr().cast()) };
    code(shm, ffi::SQLITE_IOERR_SHMMAP)
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, first: c_int, n: c_int, flags: c_int) -> c_int {
    // SAFETY: as the module says.
    let (state, handle) = unsafe { of(file) };
    // A dead process holds no locks; what it releases was released by its death.
    match (state.alive(handle), &handle.shm) {
        (Err(_), _) if flags & ffi::SQLITE_SHM_UNLOCK != 0 => ffi::SQLITE_OK,
        (Ok(()), Some(shm)) if shm.change_lock(handle.id, first as u32, n as u32, flags) => ffi::SQLITE_OK,
        (Ok(()), _) => ffi::SQLITE_BUSY,
        (Err(_), _) => ffi::SQLITE_IOERR_SHMLOCK,
    }
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
    // SAFETY: as the module says. Taking the lock orders us with the other connections too.
    drop(unsafe { of(file) });
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: as the module says.
    let (_state, handle) = unsafe { of(file) };
    if let Some(shm) = handle.shm.take() {
        shm.forget(handle.id);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    // SAFETY: as the module says; `name` is a C string.
    let (state, name) = unsafe { (state(vfs), text(name).unwrap_or_default()) };
    match guard(state).delete(name, sync_dir != 0) {
        Err(Fault::NoFile) => ffi::SQLITE_IOERR_DELETE_NOENT,
        other => code(other, ffi::SQLITE_IOERR_DELETE),
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: as the module says; `name` is a C string and `out` a place for the answer.
    unsafe { *out = c_int::from(guard(state(vfs)).exists(text(name).unwrap_or_default())) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: `name` is a C string, `out` has `room` bytes.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > offset(room.into()) {
            return ffi::SQLITE_CANTOPEN;
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, n: c_int, out: *mut c_char) -> c_int {
    // SAFETY: as the module says; `out` has `n` bytes.
    let (state, bytes) =
        unsafe { (state(vfs), std::slice::from_raw_parts_mut(out.cast::<u8>(), offset(n.into()))) };
    let mut state = guard(state);
    bytes.iter_mut().for_each(|byte| *byte = state.draw() as u8);
    n
}

/// SQLite calls this between attempts to get a lock, up to its busy timeout.
#[allow(clippy::disallowed_methods, reason = "SQLite polls a condition with a limit of its own")]
unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, micros: c_int) -> c_int {
    std::thread::sleep(std::time::Duration::from_micros(offset(micros.into()) as u64));
    micros
}

/// Always the same moment: nothing that is tested here may depend on SQLite's clock.
const JULIAN_MILLIS: i64 = 212_000_000_000_000;

unsafe extern "C" fn current_time(_vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: `out` is a place for the answer.
    unsafe { *out = JULIAN_MILLIS as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time_int64(_vfs: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    // SAFETY: `out` is a place for the answer.
    unsafe { *out = JULIAN_MILLIS };
    ffi::SQLITE_OK
}

unsafe extern "C" fn get_last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}
