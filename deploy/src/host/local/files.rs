//! Files of this machine.
//!
//! Invariant: content, mode and name are durable when an operation returns: temporary, sync, rename, sync of the folder.

use super::{LocalHost, io_error};
use crate::host::{Digest, EntryKind, HostError, Made, Mode, ReadFiles, Removed, Stat, WriteFiles};
use sha2::{Digest as _, Sha256};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// "Not there" is an answer when reading.
fn absent(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn kind_of(meta: &fs::Metadata) -> EntryKind {
    let t = meta.file_type();
    match (t.is_file(), t.is_dir(), t.is_symlink()) {
        (true, ..) => EntryKind::File,
        (_, true, _) => EntryKind::Dir,
        (.., true) => EntryKind::Link,
        _ => EntryKind::Other,
    }
}

fn named(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "a file",
        EntryKind::Dir => "a directory",
        EntryKind::Link => "a link",
        EntryKind::Other => "something that is no file",
    }
}

fn open(path: &Path) -> Result<Option<(File, u64)>, HostError> {
    let op = "read";
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if absent(&e) => return Ok(None),
        Err(e) => return Err(io_error(op, path, &e)),
    };
    // Before opening: to open a pipe is to wait for its writer.
    if !meta.is_file() {
        return Err(HostError::InTheWay { op, path: path.into(), found: named(kind_of(&meta)) });
    }
    match File::open(path) {
        Ok(file) => Ok(Some((file, meta.len()))),
        Err(e) if absent(&e) => Ok(None),
        Err(e) => Err(io_error(op, path, &e)),
    }
}

fn hash(file: &mut File) -> io::Result<Digest> {
    let mut sum = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(Digest::from_sha256(&sum.finalize())),
            n => sum.update(&chunk[..n]),
        }
    }
}

impl ReadFiles for LocalHost {
    fn stat(&self, path: &Path) -> Result<Option<Stat>, HostError> {
        match fs::symlink_metadata(path) {
            Ok(meta) => Ok(Some(Stat {
                kind: kind_of(&meta),
                mode: Mode(meta.mode() & 0o7777),
                size: if meta.is_file() { meta.len() } else { 0 },
                uid: meta.uid(),
            })),
            Err(e) if absent(&e) => Ok(None),
            Err(e) => Err(io_error("look at", path, &e)),
        }
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, HostError> {
        let Some((file, size)) = open(path)? else { return Ok(None) };
        let mut content = Vec::new();
        file.take(limit.saturating_add(1))
            .read_to_end(&mut content)
            .map_err(|e| io_error("read", path, &e))?;
        if content.len() as u64 > limit {
            return Err(HostError::TooLarge { path: path.into(), size: size.max(limit + 1), limit });
        }
        Ok(Some(content))
    }

    fn digest(&self, path: &Path) -> Result<Option<Digest>, HostError> {
        let Some((mut file, _)) = open(path)? else { return Ok(None) };
        hash(&mut file).map(Some).map_err(|e| io_error("read", path, &e))
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        match fs::read_link(path) {
            Ok(to) => Ok(Some(to)),
            Err(e) if absent(&e) || e.kind() == ErrorKind::InvalidInput => Ok(None),
            Err(e) => Err(io_error("read the link", path, &e)),
        }
    }

    fn list(&self, dir: &Path) -> Result<Option<Vec<String>>, HostError> {
        let io = |e: io::Error| io_error("list", dir, &e);
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(io)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(Some(names))
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, HostError> {
        let there = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
        let fs = rustix::fs::statvfs(there).map_err(|e| io_error("look at", there, &e.into()))?;
        Ok(fs.f_bavail.saturating_mul(fs.f_frsize))
    }

    fn may_write(&self, path: &Path) -> Result<bool, HostError> {
        use rustix::fs::{Access, AtFlags, CWD, accessat};
        use rustix::io::Errno;
        let there = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
        if !there.is_dir() {
            return Ok(false);
        }
        match accessat(CWD, there, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
            Ok(()) => Ok(true),
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Ok(false),
            Err(e) => Err(io_error("look at", there, &e.into())),
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(op: &'static str, path: &Path) -> Result<(), HostError> {
    File::open(folder(path)).and_then(|d| d.sync_all()).map_err(|e| io_error(op, path, &e))
}

/// A private temporary beside `path`, or why there can be none.
fn temporary(op: &'static str, path: &Path) -> Result<NamedTempFile, HostError> {
    if let Some(dir) = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_dir) {
        return Err(HostError::InTheWay { op, path: path.into(), found: named(kind_of(&dir)) });
    }
    tempfile::Builder::new().prefix(".td-tmp-").tempfile_in(folder(path)).map_err(|e| io_error(op, path, &e))
}

fn finish(op: &'static str, temp: NamedTempFile, path: &Path, mode: Mode) -> Result<(), HostError> {
    let file = temp.as_file();
    file.set_permissions(Permissions::from_mode(mode.0))
        .and_then(|()| file.sync_all())
        .map_err(|e| io_error(op, path, &e))?;
    temp.persist(path).map_err(|e| io_error(op, path, &e.error))?;
    sync_folder(op, path)
}

impl WriteFiles for LocalHost {
    fn make_dir(&self, path: &Path, mode: Mode) -> Result<Made, HostError> {
        let op = "make the folder";
        match DirBuilder::new().mode(mode.0 & 0o700).create(path) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                // A link to a folder is a folder here: homes are often made of them.
                if path.is_dir() {
                    return Ok(Made::Existed);
                }
                let found = fs::symlink_metadata(path).map_or("something", |m| named(kind_of(&m)));
                return Err(HostError::InTheWay { op, path: path.into(), found });
            }
            Err(e) => return Err(io_error(op, path, &e)),
        }
        fs::set_permissions(path, Permissions::from_mode(mode.0)).map_err(|e| io_error(op, path, &e))?;
        sync_folder(op, path)?;
        Ok(Made::Created)
    }

    fn remove_dir(&self, path: &Path) -> Result<Removed, HostError> {
        let op = "remove the folder";
        match fs::remove_dir(path) {
            Ok(()) => sync_folder(op, path).map(|()| Removed::Gone),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Removed::Absent),
            Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => Ok(Removed::NotEmpty),
            Err(e) => Err(io_error(op, path, &e)),
        }
    }

    fn put(&self, path: &Path, content: &[u8], mode: Mode) -> Result<(), HostError> {
        let op = "write";
        let mut temp = temporary(op, path)?;
        temp.write_all(content).map_err(|e| io_error(op, path, &e))?;
        finish(op, temp, path, mode)
    }

    fn put_copy(&self, from: &Path, to: &Path, mode: Mode) -> Result<Digest, HostError> {
        let op = "write";
        let missing = || HostError::Missing { op: "read", path: from.into() };
        let (mut source, _) = open(from)?.ok_or_else(missing)?;
        let mut temp = temporary(op, to)?;
        io::copy(&mut source, &mut temp).map_err(|e| io_error(op, to, &e))?;
        // What was written is read back: a short copy must not become a program.
        let written = temp.reopen().and_then(|mut f| hash(&mut f)).map_err(|e| io_error(op, to, &e))?;
        let meant = open(from)?.ok_or_else(missing)?.0;
        if hash(&mut { meant }).map_err(|e| io_error("read", from, &e))? != written {
            return Err(HostError::Io {
                op,
                path: to.into(),
                why: format!("it differs from {}", from.display()),
            });
        }
        finish(op, temp, to, mode)?;
        Ok(written)
    }

    fn put_link(&self, path: &Path, points_to: &Path) -> Result<(), HostError> {
        let op = "link";
        // Only its name is wanted, and it is free again for the link a moment later; a collision is an error.
        let name = temporary(op, path)?.into_temp_path();
        let temp = name.to_path_buf();
        name.close().map_err(|e| io_error(op, path, &e))?;
        std::os::unix::fs::symlink(points_to, &temp).map_err(|e| io_error(op, path, &e))?;
        if let Err(e) = fs::rename(&temp, path) {
            let _ = fs::remove_file(&temp);
            return Err(io_error(op, path, &e));
        }
        sync_folder(op, path)
    }

    fn remove_file(&self, path: &Path) -> Result<Removed, HostError> {
        let op = "remove";
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => {
                return Err(HostError::InTheWay { op, path: path.into(), found: "a directory" });
            }
            Ok(_) => {}
            Err(e) if absent(&e) => return Ok(Removed::Absent),
            Err(e) => return Err(io_error(op, path, &e)),
        }
        match fs::remove_file(path) {
            Ok(()) => sync_folder(op, path).map(|()| Removed::Gone),
            Err(e) if absent(&e) => Ok(Removed::Absent),
            Err(e) => Err(io_error(op, path, &e)),
        }
    }

    fn remove_tree(&self, path: &Path) -> Result<Removed, HostError> {
        let op = "remove";
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => {}
            Ok(meta) => {
                return Err(HostError::InTheWay { op, path: path.into(), found: named(kind_of(&meta)) });
            }
            Err(e) if absent(&e) => return Ok(Removed::Absent),
            Err(e) => return Err(io_error(op, path, &e)),
        }
        fs::remove_dir_all(path).map_err(|e| io_error(op, path, &e))?;
        sync_folder(op, path).map(|()| Removed::Gone)
    }

    fn set_mode(&self, path: &Path, mode: Mode) -> Result<(), HostError> {
        let op = "set the mode of";
        fs::set_permissions(path, Permissions::from_mode(mode.0))
            .and_then(|()| File::open(path)?.sync_all())
            .map_err(|e| io_error(op, path, &e))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        let op = "rename";
        // The system would replace an empty directory by another; whoever made it would miss it.
        if fs::symlink_metadata(to).is_ok_and(|m| m.is_dir()) {
            return Err(HostError::InTheWay { op, path: to.into(), found: "a directory" });
        }
        fs::rename(from, to).map_err(|e| io_error(op, from, &e))?;
        sync_folder(op, to)?;
        if folder(from) == folder(to) { Ok(()) } else { sync_folder(op, from) }
    }
}
