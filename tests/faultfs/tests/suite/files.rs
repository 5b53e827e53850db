//! The folder of snapshots on a faulty disk.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use td_engine::db::Place;
use td_faultfs::Disk;
use td_server::snapshot::{Blob, Files};

/// A disk's plain files. Folders are nothing but the beginning of a name.
pub struct FaultFiles(pub Arc<Disk>);

fn name(path: &Path) -> &str {
    path.to_str().expect("names of a test")
}

impl Files for FaultFiles {
    fn place(&self, path: &Path) -> Place {
        Place::on(self.0.vfs(), path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let prefix = format!("{}/", name(dir));
        let names = self.0.list(&prefix)?;
        Ok(names.iter().map(|name| name[prefix.len()..].to_owned()).collect())
    }

    fn make_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let bytes = self.0.read(name(from))?;
        self.0.create(name(to))?;
        self.0.append(name(to), &bytes)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Write>> {
        self.0.create(name(path))?;
        Ok(Box::new(Appending(self.0.clone(), name(path).to_owned())))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.0.sync(name(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(name(from), name(to))
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.0.sync_names()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Blob>> {
        Ok(Box::new(Content(self.0.read(name(path))?)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.0.unlink(name(path)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

struct Appending(Arc<Disk>, String);

impl Write for Appending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(&self.1, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Content(Vec<u8>);

impl Blob for Content {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(at).map_err(io::Error::other)?.min(self.0.len());
        let there = &self.0[from..(from + into.len()).min(self.0.len())];
        into[..there.len()].copy_from_slice(there);
        Ok(there.len())
    }
}
