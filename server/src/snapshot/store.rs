//! Where the finished snapshots of one project are kept.
//!
//! Duty: a file is made at a workplace and becomes visible whole, under its name, or not at all.
//! Danger: a rename that is on disk before the content is. [`Folder::publish`] syncs content, then name; the crash tests
//! run it on a disk that forgets.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use td_engine::db::Place;

/// Ending of a file that is being made.
const HALF: &str = ".half";

/// A kept file, open: it can be read to its end whatever happens to its name.
pub trait Blob: Send + Sync {
    /// Bytes in it.
    fn size(&self) -> io::Result<u64>;
    /// Reads from a position; 0 only at the end.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;
}

/// A project's kept files, by name. All methods block. Names are ours, and safe in a path.
pub trait BlobStore: Send + Sync {
    /// Every name that is there, half-made files included (they are for [`BlobStore::remove`]).
    fn list(&self) -> io::Result<Vec<String>>;
    /// A workplace to make a file at. Empty when this returns.
    fn workplace(&self, work: &str) -> io::Result<Place>;
    /// Makes the workplace a copy of the kept file `from`.
    fn start_from(&self, from: &str, work: &str) -> io::Result<()>;
    /// Writes the workplace from its beginning.
    fn write(&self, work: &str) -> io::Result<Box<dyn Write>>;
    /// The file at the workplace becomes visible under a name that nobody has. When it returns, content and name are on
    /// disk; after a crash before that, the name is whole or not there.
    fn publish(&self, work: &str, name: &str) -> io::Result<()>;
    /// Where SQLite can read a kept file.
    fn place(&self, name: &str) -> Place;
    /// Opens a kept file.
    fn open(&self, name: &str) -> io::Result<Box<dyn Blob>>;
    /// Removes a file; one that is not there is fine. Whoever has it open reads on.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// What a [`Folder`] asks of a filesystem.
pub trait Files: Send + Sync {
    /// Where SQLite finds a file.
    fn place(&self, path: &Path) -> Place;
    /// Names in a folder; none where there is no folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes a folder in one that exists, unless it is there.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;
    /// A new file with another one's content.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// A new file, or an old one emptied.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Write>>;
    /// Makes a file's content durable.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a folder's names durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Blob>>;
    /// Removes a file; one that is not there is fine.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// A folder. Its parent must exist, or nothing is made: a deleted project must not get a folder back.
pub struct Folder {
    path: PathBuf,
    files: Arc<dyn Files>,
}

impl Folder {
    /// At a path that may not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self::on(Arc::new(System), path)
    }

    /// On another filesystem than the system's.
    pub fn on(files: Arc<dyn Files>, path: PathBuf) -> Self {
        Self { path, files }
    }

    fn half(&self, work: &str) -> PathBuf {
        self.path.join(format!("{work}{HALF}"))
    }
}

impl BlobStore for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list(&self.path)
    }

    fn workplace(&self, work: &str) -> io::Result<Place> {
        self.files.make_dir(&self.path)?;
        let half = self.half(work);
        for beside in ["", "-journal", "-wal", "-shm"] {
            let mut name = half.as_os_str().to_os_string();
            name.push(beside);
            self.files.remove(Path::new(&name))?;
        }
        Ok(self.files.place(&half))
    }

    fn start_from(&self, from: &str, work: &str) -> io::Result<()> {
        self.files.copy(&self.path.join(from), &self.half(work))
    }

    fn write(&self, work: &str) -> io::Result<Box<dyn Write>> {
        Ok(Box::new(BufWriter::with_capacity(256 * 1024, self.files.create(&self.half(work))?)))
    }

    fn publish(&self, work: &str, name: &str) -> io::Result<()> {
        let half = self.half(work);
        self.files.sync(&half)?;
        self.files.rename(&half, &self.path.join(name))?;
        self.files.sync_dir(&self.path)
    }

    fn place(&self, name: &str) -> Place {
        self.files.place(&self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Blob>> {
        self.files.open(&self.path.join(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(&self.path.join(name))
    }
}

/// The system's filesystem.
struct System;

impl Files for System {
    fn place(&self, path: &Path) -> Place {
        Place::new(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        // A name that is no UTF-8 is none of ours.
        entries.filter_map(|e| e.map(|e| e.file_name().into_string().ok()).transpose()).collect()
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        match fs::create_dir(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => Ok(()),
        }
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        // The kernel copies, or shares the blocks where the filesystem can.
        fs::copy(from, to).map(drop)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Write>> {
        Ok(Box::new(File::create(path)?))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        sync_dir(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Blob>> {
        Ok(Box::new(File::open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

impl Blob for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, into, at)
    }
}

pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
