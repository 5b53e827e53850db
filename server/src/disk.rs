//! How much room is left.

use std::io;
use std::path::Path;

/// Bytes an ordinary process may still write to the filesystem of `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
