//! Writing a backup folder.

use crate::check::{measure, open_copy};
use crate::manifest::{FILE, FORMAT, Manifest, StoredDatabase, StoredFile, hash_file};
use crate::{BackupError, io_error, sqlite};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a copy may find its database locked. A log in WAL mode never is.
const LOCKED: Duration = Duration::from_secs(30);

/// A database to copy.
#[derive(Clone, Debug)]
pub struct Database {
    /// Path within the backup.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// SQL that gives head and count.
    pub measure: Option<String>,
}

/// A backup being written: add what it shall hold, then [`finish`](Export::finish). Dropped unfinished, it leaves
/// nothing.
pub struct Export {
    to: PathBuf,
    half: PathBuf,
    manifest: Manifest,
    finished: bool,
}

/// Begins a backup at `to`, which must not exist or be an empty folder.
pub fn export(to: &Path, made_at: &str, epoch: &str) -> Result<Export, BackupError> {
    let taken = fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some());
    if taken || to.is_file() {
        return Err(BackupError::TargetExists { path: to.to_path_buf() });
    }
    let mut half = to.as_os_str().to_os_string();
    half.push(format!(".half-{}", std::process::id()));
    let half = PathBuf::from(half);
    remove_tree(&half)?;
    make_dir(&half)?;
    let manifest = Manifest {
        format: FORMAT,
        made_at: made_at.into(),
        epoch: epoch.into(),
        databases: Vec::new(),
        files: Vec::new(),
    };
    Ok(Export { to: to.to_path_buf(), half, manifest, finished: false })
}

impl Export {
    /// Copies a database as it is at one moment during the call, opens the copy, checks and measures it.
    pub fn database(&mut self, db: &Database) -> Result<(), BackupError> {
        let path = self.place(&db.name)?;
        copy(&db.path, &path).map_err(sqlite(&db.name))?;
        let copy = open_copy(&path, &db.name)?;
        let measured = measure(&copy, db.measure.as_deref(), &db.name)?;
        drop(copy);
        File::open(&path).and_then(|f| f.sync_all()).map_err(io_error("sync", &path))?;
        let (sha256, bytes) = hash_file(&path)?;
        self.manifest.databases.push(StoredDatabase {
            name: db.name.clone(),
            sha256,
            bytes,
            measure: db.measure.clone(),
            head: measured.map(|m| m.0),
            count: measured.map(|m| m.1),
        });
        Ok(())
    }

    /// Copies a small file with its permissions.
    pub fn file(&mut self, name: &str, from: &Path) -> Result<(), BackupError> {
        let path = self.place(name)?;
        fs::copy(from, &path).map_err(io_error("copy", from))?;
        File::open(&path).and_then(|f| f.sync_all()).map_err(io_error("sync", &path))?;
        let sha256 = hash_file(&path)?.0;
        self.manifest.files.push(StoredFile { name: name.into(), sha256 });
        Ok(())
    }

    /// Writes the manifest and gives the folder its name.
    pub fn finish(mut self) -> Result<Manifest, BackupError> {
        let path = self.half.join(FILE);
        let text = serde_json::to_string_pretty(&self.manifest).map_err(io::Error::from);
        let written =
            text.and_then(|t| fs::write(&path, t + "\n")).and_then(|()| File::open(&path)?.sync_all());
        written.map_err(io_error("write", &path))?;
        sync_dir(&self.half)?;
        fs::rename(&self.half, &self.to).map_err(io_error("rename", &self.half))?;
        self.finished = true;
        if let Some(parent) = self.to.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
        Ok(self.manifest.clone())
    }

    fn place(&self, name: &str) -> Result<PathBuf, BackupError> {
        let path = self.half.join(name);
        if let Some(parent) = path.parent() {
            make_dir(parent)?;
        }
        Ok(path)
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if !self.finished {
            // A rest that cannot be removed is removed by the next export to the same place.
            let _ = fs::remove_dir_all(&self.half);
        }
    }
}

fn copy(from: &Path, to: &Path) -> rusqlite::Result<()> {
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    source.busy_timeout(Duration::from_secs(5))?;
    let mut target = Connection::open(to)?;
    {
        let backup = Backup::new(&source, &mut target)?;
        let begun = Instant::now();
        // All pages in one step: one read transaction, which a writer in WAL mode does not notice.
        loop {
            match backup.step(-1)? {
                StepResult::Done => break,
                StepResult::Busy | StepResult::Locked if begun.elapsed() > LOCKED => {
                    let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                    return Err(rusqlite::Error::SqliteFailure(busy, None));
                }
                _ => {
                    #[allow(clippy::disallowed_methods, reason = "polls a lock of SQLite, up to a limit")]
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
    // The copy says WAL as its original does; as a single file it must not need side files to be read.
    target.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    Ok(())
}

fn make_dir(path: &Path) -> Result<(), BackupError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("create", path))
}

fn remove_tree(path: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path)(e)),
        _ => Ok(()),
    }
}

fn sync_dir(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|d| d.sync_all()).map_err(io_error("sync", path))
}
