//! The data directory: who may open the files in it, and which history they hold.
//!
//! Duty: hand out [`DataDir`], whose existence proves that this process holds the directory's `LOCK`; nothing opens a
//! database of the directory without one (DESIGN 5, "Who opens the files").
//! Invariant: the lock is the kernel's (`flock`), so it dies with its holder; epoch and identity are created under it,
//! re-read under it, and written with temp + fsync + rename (STYLE 15).
//! Danger: two servers on one directory would both give out sequence numbers.

use crate::secret;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use td_engine::id::Epoch;

/// What the server keeps in the directory beside its databases. `staging` is emptied by every start; the others are read,
/// replaced or refused as what their names say.
pub const OWN_NAMES: [&str; 6] = ["LOCK", "epoch", "identity.key", "staging", "td-sync.sock", "tls"];

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds the lock.
    #[error("the data directory {} is in use by process {holder}", .dir.display())]
    Held {
        /// Which directory.
        dir: PathBuf,
        /// What the lock file says about its holder.
        holder: String,
    },
    /// The operating system refused something.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A file of ours holds something else.
    #[error("{} does not hold what it should: {why}", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No randomness.
    #[error(transparent)]
    NoRandom(#[from] secret::NoRandom),
}

impl DataDirError {
    /// Stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Held { .. } => "data_dir_in_use",
            Self::Io { .. } => "data_dir_io",
            Self::Damaged { .. } => "data_dir_damaged",
            Self::NoRandom(_) => "no_random",
        }
    }

    /// What helps.
    pub fn remedy(&self) -> String {
        match self {
            Self::Held { .. } => {
                "stop that process first, or give this one another SYNC_SERVER_DB_PATH".into()
            }
            Self::Damaged { path, .. } => format!("restore {} from a backup", path.display()),
            Self::Io { .. } | Self::NoRandom(_) => "td-sync doctor".into(),
        }
    }
}

/// A data directory that this process alone may write.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    epoch: Epoch,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it is missing, takes the lock (waiting for up to `patience`), and reads or makes the
    /// epoch.
    pub fn take(path: &Path, patience: Duration) -> Result<Self, DataDirError> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|e| io_error("create", path, e))?;
        let lock = lock(path, patience)?;
        let epoch = read_or_make_epoch(path)?;
        Ok(Self { path: path.to_path_buf(), epoch, _lock: lock })
    }

    /// Empties `staging/`, where half-made files of a previous life may lie.
    pub fn clear_staging(&self) -> Result<(), DataDirError> {
        let staging = self.staging();
        match std::fs::remove_dir_all(&staging) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error("empty", &staging, e)),
            _ => {}
        }
        std::fs::create_dir(&staging).map_err(|e| io_error("create", &staging, e))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which history this is.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// On the same filesystem as everything else, so that renames out of it are atomic.
    pub fn staging(&self) -> PathBuf {
        self.path.join("staging")
    }
}

/// Whether somebody holds the lock of the directory, and who, without taking it for longer than the question needs.
pub fn holder(dir: &Path) -> Result<Option<String>, DataDirError> {
    let path = dir.join("LOCK");
    match File::open(&path) {
        Ok(file) => match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(_) => Ok(Some(read_holder(&path))),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error("open", &path, e)),
    }
}

fn lock(dir: &Path, patience: Duration) -> Result<File, DataDirError> {
    let path = dir.join("LOCK");
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = opened.map_err(|e| io_error("open", &path, e))?;
    let begun = Instant::now();
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if begun.elapsed() >= patience {
            return Err(DataDirError::Held { dir: dir.to_path_buf(), holder: read_holder(&path) });
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "polls a lock that the kernel cannot wait for with a limit"
        )]
        std::thread::sleep(Duration::from_millis(20));
    }
    let note =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    note.map_err(|e| io_error("write", &path, e))?;
    Ok(file)
}

fn read_holder(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    if text.trim().is_empty() { "unknown".into() } else { text.trim().into() }
}

fn read_or_make_epoch(dir: &Path) -> Result<Epoch, DataDirError> {
    let path = dir.join("epoch");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // An epoch that got lost is a new history as far as a client can tell: it resyncs, which is safe.
            let fresh = format!("{}\n", secret::hex(&secret::bytes::<16>()?));
            write_durably(&path, fresh.as_bytes(), 0o644)?;
            fresh
        }
        Err(e) => return Err(io_error("read", &path, e)),
    };
    Epoch::parse(text.trim()).map_err(|e| DataDirError::Damaged { path, why: e.to_string() })
}

/// Afterwards `path` holds `content`, also after a power loss; a crash leaves it as it was.
pub fn write_durably(path: &Path, content: &[u8], mode: u32) -> Result<(), DataDirError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let temp = path.with_extension(format!("tmp{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temp)?;
        // `mode` above is cut by the umask and ignored for a file that was there.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temp, path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|e| io_error("write", path, e))
}

/// Reads a small file, or `None` if it is not there.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, DataDirError> {
    let mut content = Vec::new();
    match File::open(path).and_then(|mut f| f.read_to_end(&mut content)) {
        Ok(_) => Ok(Some(content)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error("read", path, e)),
    }
}

fn io_error(what: &'static str, path: &Path, source: io::Error) -> DataDirError {
    DataDirError::Io { what, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_has_it() {
        let dir = tempfile::tempdir().expect("dir");
        let first = DataDir::take(dir.path(), Duration::ZERO).expect("first");
        let err = DataDir::take(dir.path(), Duration::ZERO).expect_err("second");
        assert!(err.to_string().ends_with(&format!("in use by process {}", std::process::id())), "{err}");
        assert_eq!(holder(dir.path()).expect("asked"), Some(std::process::id().to_string()));
        drop(first);
        assert_eq!(holder(dir.path()).expect("asked"), None);
        DataDir::take(dir.path(), Duration::ZERO).expect("free again");
    }

    #[test]
    fn the_epoch_outlives_its_maker() {
        let dir = tempfile::tempdir().expect("dir");
        let first = DataDir::take(dir.path(), Duration::ZERO).expect("take").epoch().clone();
        let second = DataDir::take(dir.path(), Duration::ZERO).expect("take").epoch().clone();
        assert_eq!(first, second);
    }

    #[test]
    fn a_damaged_epoch_is_refused_instead_of_replaced() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join("epoch"), "garbage\n").expect("write");
        let err = DataDir::take(dir.path(), Duration::ZERO).expect_err("damaged");
        assert_eq!(err.code(), "data_dir_damaged");
        assert_eq!(std::fs::read_to_string(dir.path().join("epoch")).expect("read"), "garbage\n");
    }

    #[test]
    fn staging_is_empty_after_a_start() {
        let dir = tempfile::tempdir().expect("dir");
        let data = DataDir::take(dir.path(), Duration::ZERO).expect("take");
        data.clear_staging().expect("clear");
        std::fs::write(data.staging().join("half"), "x").expect("write");
        data.clear_staging().expect("clear");
        assert_eq!(std::fs::read_dir(data.staging()).expect("list").count(), 0);
    }
}
