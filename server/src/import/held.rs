//! Who has the files of a source open.
//!
//! Duty: find a server, a replicator or a tool that could write while we read; and notice afterwards if one did.
//! Danger: an idle server of the reference holds no lock in rollback mode, so locks alone do not show it; open files do
//! (Linux). Processes of other users, and of machines that share the disk, cannot be seen: [`Stamps`] catches what they
//! write.

use super::error::ImportError;
use super::tree::shown;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Who holds something.
pub(super) struct Holders {
    /// One sentence per holder.
    pub found: Vec<String>,
    /// Processes that we were not allowed to look at.
    pub unseen: usize,
}

/// Asks for every file. Call it before SQLite opens any of them: closing a file drops the locks that this process has
/// on it.
pub(super) fn holders(files: &[PathBuf]) -> Holders {
    let mut found: BTreeMap<(Option<u32>, &str), BTreeSet<PathBuf>> = BTreeMap::new();
    let mut known = HashMap::new();
    for path in files {
        // Only a regular file: opening a pipe waits for its other end.
        let Some(meta) = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file) else { continue };
        known.insert((meta.dev(), meta.ino()), path.as_path());
        if let Some(pid) = locked(path) {
            found.entry((pid, "locked")).or_default().insert(path.clone());
        }
    }
    let unseen = open_for_writing(&known, &mut |path, pid| {
        found.entry((Some(pid), "open for writing")).or_default().insert(path.to_path_buf());
    });
    let sentence = |((pid, how), paths): (_, BTreeSet<PathBuf>)| sentence(pid, how, &paths);
    Holders { found: found.into_iter().map(sentence).collect(), unseen }
}

fn sentence(pid: Option<u32>, how: &str, paths: &BTreeSet<PathBuf>) -> String {
    let who = match pid {
        Some(pid) => {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("process {pid} ({})", name.trim().escape_default())
        }
        None => "another process".into(),
    };
    let first = paths.first().map(|p| shown(p)).unwrap_or_default();
    match paths.len() {
        0 | 1 => format!("{first} is in use: {who} has it {how}"),
        more => format!("{first} and {} more files are in use: {who} has them {how}", more - 1),
    }
}

/// A process with a lock of either kind: SQLite's are POSIX locks, the `db.lock` of a project folder is a `flock`.
fn locked(path: &Path) -> Option<Option<u32>> {
    let file = File::open(path).ok()?;
    let whole = Flock {
        start: 0,
        length: 0,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    if let Ok(Some(lock)) = fcntl_getlk(&file, &whole) {
        return Some(lock.pid.and_then(|p| u32::try_from(p.as_raw_nonzero().get()).ok()));
    }
    // Let go again when the file is closed.
    flock(&file, FlockOperation::NonBlockingLockShared).is_err().then_some(None)
}

/// Walks `/proc`. Returns how many processes it could not look at; all of them count as none where there is no `/proc`.
fn open_for_writing(files: &HashMap<(u64, u64), &Path>, found: &mut dyn FnMut(&Path, u32)) -> usize {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let mut unseen = 0;
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        if pid == std::process::id() {
            continue;
        }
        let handles = match fs::read_dir(process.path().join("fd")) {
            Ok(handles) => handles,
            Err(e) => {
                unseen += usize::from(e.kind() == io::ErrorKind::PermissionDenied);
                continue;
            }
        };
        for handle in handles.flatten() {
            let Ok(meta) = fs::metadata(handle.path()) else { continue };
            let Some(path) = files.get(&(meta.dev(), meta.ino())) else { continue };
            let info = process.path().join("fdinfo").join(handle.file_name());
            if is_writable(&fs::read_to_string(info).unwrap_or_default()) {
                found(path, pid);
            }
        }
    }
    unseen
}

/// `flags:` of a file handle: octal, its last two bits say read, write or both.
fn is_writable(info: &str) -> bool {
    let flags = info.lines().find_map(|l| l.strip_prefix("flags:")).map(str::trim).unwrap_or_default();
    u32::from_str_radix(flags, 8).is_ok_and(|flags| flags & 3 != 0)
}

/// What files looked like when they were read.
pub(super) struct Stamps(BTreeMap<PathBuf, Option<(u64, u64, i64, i64)>>);

impl Stamps {
    pub(super) fn take(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(files.into_iter().map(|path| (path.clone(), stamp(&path))).collect())
    }

    /// Fails with the first file that is not what it was.
    pub(super) fn check(&self) -> Result<(), ImportError> {
        match self.0.iter().find(|(path, before)| stamp(path) != **before) {
            Some((path, _)) => Err(ImportError::Changed { path: path.clone() }),
            None => Ok(()),
        }
    }
}

fn stamp(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let meta = fs::symlink_metadata(path).ok()?;
    Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_that_has_a_file_open_for_writing_is_named_and_a_reader_is_not() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("events.db");
        fs::write(&path, "x").expect("file");
        for (redirection, is_found) in [("3<>", true), ("3<", false)] {
            let script = format!("exec {redirection} \"$0\"; echo ready; read x");
            let mut child = Command::new("sh")
                .args(["-c", &script])
                .arg(&path)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("sh");
            let mut line = String::new();
            BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("ready");
            let found = holders(std::slice::from_ref(&path)).found;
            child.kill().expect("kill");
            child.wait().expect("ended");
            assert_eq!(!found.is_empty(), is_found, "{redirection} {found:?}");
            if is_found {
                let whole = format!("process {} (sh) has it open for writing", child.id());
                assert!(found.iter().all(|f| f.ends_with(&whole)), "{found:?}");
            }
        }
        assert!(holders(&[path]).found.is_empty());
    }

    #[test]
    fn a_file_that_was_written_is_noticed() {
        let dir = tempfile::tempdir().expect("dir");
        let (a, b) = (dir.path().join("a"), dir.path().join("a-wal"));
        fs::write(&a, "x").expect("file");
        let stamps = Stamps::take([a.clone(), b.clone()]);
        stamps.check().expect("unchanged");
        fs::write(&b, "frames").expect("file");
        assert!(matches!(stamps.check(), Err(ImportError::Changed { path }) if path == b));
    }
}
