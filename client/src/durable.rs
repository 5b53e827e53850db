//! Small files that are either the old text or the new one, and the lock under which they change.
//!
//! Duty: temp file in the same folder, fsync, rename, fsync of the folder (STYLE 15).
//! Invariant: a file that holds a secret has its mode before it has its content.

use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Replaces `path` by `bytes` with `mode`. If this fails, the old file is untouched.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temp = tempfile::Builder::new()
        .prefix(".td-")
        .permissions(std::fs::Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    // `permissions` above is subject to the umask; the mode asked for is the one that must stand.
    temp.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    temp.write_all(bytes)?;
    temp.as_file().sync_all()?;
    temp.persist(path).map_err(|e| e.error)?;
    File::open(folder)?.sync_all()
}

/// The text of `path`, `None` if there is no such file.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// An exclusive lock on `path` (created 0600 if missing), held until dropped; waits as long as it takes.
pub fn lock(path: &Path) -> io::Result<File> {
    let file = open_lock(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// As [`lock`], but `None` at once if somebody holds it.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = open_lock(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
