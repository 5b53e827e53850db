//! The log file of server and supervisor, which never grows past its limit.
//!
//! The server writes straight into the file, in append mode, so that it keeps its log (and meets no broken pipe) when its
//! supervisor is killed. The price: a turn copies and truncates, and lines written between the two are lost.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Opens the log for appending, readable by its owner only.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Where the former part of a log goes.
fn former(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Moves a log over its limit aside. Not being able to is no reason to stop a server.
pub(super) fn turn(path: &Path, limit: u64) {
    let over = path.metadata().is_ok_and(|meta| meta.len() > limit);
    if over && std::fs::copy(path, former(path)).is_ok() {
        let _ = open(path).and_then(|file| file.set_len(0));
    }
}

/// A line of the supervisor's own.
pub(super) fn say(path: &Path, text: &str) {
    let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
    let _ = open(path).and_then(|mut file| file.write_all(format!("{now} supervisor: {text}\n").as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_over_its_limit_is_moved_aside_and_an_open_writer_goes_on_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.log");
        let mut writer = open(&path).unwrap();
        writer.write_all(b"0123456789").unwrap();
        turn(&path, 10);
        assert_eq!(std::fs::read(&path).unwrap(), b"0123456789", "the limit itself is allowed");
        writer.write_all(b"x").unwrap();
        turn(&path, 10);
        writer.write_all(b"next").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"next");
        assert_eq!(std::fs::read(former(&path)).unwrap(), b"0123456789x");
    }
}
