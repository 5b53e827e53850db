//! Where the finished snapshots of one project are kept.
//!
//! Duty: a file is made at a workplace and becomes visible whole, under its name, or not at all.
//! Danger: a rename that is on disk before the content is. [`BlobStore::publish`] syncs content, then name.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
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

/// A folder. Its parent must exist, or nothing is made: a deleted project must not get a folder back.
pub struct Folder(PathBuf);

impl Folder {
    /// At a path that may not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn half(&self, work: &str) -> PathBuf {
        self.0.join(format!("{work}{HALF}"))
    }
}

impl BlobStore for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.0) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        // A name that is no UTF-8 is none of ours.
        entries.filter_map(|e| e.map(|e| e.file_name().into_string().ok()).transpose()).collect()
    }

    fn workplace(&self, work: &str) -> io::Result<Place> {
        match fs::create_dir(&self.0) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let place = Place::new(self.half(work));
        place.remove()?;
        Ok(place)
    }

    fn start_from(&self, from: &str, work: &str) -> io::Result<()> {
        // The kernel copies, or shares the blocks where the filesystem can.
        fs::copy(self.0.join(from), self.half(work)).map(drop)
    }

    fn write(&self, work: &str) -> io::Result<Box<dyn Write>> {
        Ok(Box::new(BufWriter::with_capacity(256 * 1024, File::create(self.half(work))?)))
    }

    fn publish(&self, work: &str, name: &str) -> io::Result<()> {
        let half = self.half(work);
        File::open(&half)?.sync_all()?;
        fs::rename(&half, self.0.join(name))?;
        sync_dir(&self.0)
    }

    fn place(&self, name: &str) -> Place {
        Place::new(self.0.join(name))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Blob>> {
        Ok(Box::new(File::open(self.0.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.0.join(name)) {
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
