//! The directory that is being made.
//!
//! Duty: nothing at the place until everything is there, on disk and checked.
//! Invariant: work happens in `<place>.half`, on the same disk, and one rename gives it its name. Whoever is killed
//! leaves that folder; the next run finds its mark, sees that nobody holds it, and begins anew.
//! Danger: a folder of that name that is not ours. Without the mark it is never touched.

use super::error::{ImportError, Refusal, io_error};
use super::look::{sync, with_suffix};
use super::tree::shown;
use crate::disk::free_bytes;
use rustix::fs::{Access, FlockOperation, flock};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const MARK: &str = ".import";

/// A half-made directory; dropped unfinished, it is removed.
pub(super) struct Half {
    place: PathBuf,
    dir: PathBuf,
    is_done: bool,
    _lock: File,
}

/// The place without links and dots, if the folder above it exists.
pub(super) fn real(place: &Path) -> Option<PathBuf> {
    match place.file_name() {
        Some(name) => Some(fs::canonicalize(parent(place)).ok()?.join(name)),
        // `..` and `/` end in no name; they exist, and that is the answer.
        None => fs::canonicalize(place).ok(),
    }
}

/// What keeps a directory from being made at `place`. Changes nothing.
pub(super) fn obstacles(
    place: &Path,
    source: &Path,
    projects: &Path,
    keep_free: u64,
    needed: u64,
) -> Vec<Refusal> {
    let mut found = Vec::new();
    let Some(real) = real(place) else {
        let above = shown(parent(place));
        return vec![Refusal::new(
            "into_no_parent",
            format!("there is no folder {above}"),
            format!("mkdir -p {above}"),
        )];
    };
    let real_parent = parent(&real);
    let elsewhere = "give another folder with --into";
    if real.to_str().is_none() {
        let message = format!("{} is no UTF-8, and no setting could name it", shown(&real));
        found.push(Refusal::new("into_no_text", message, elsewhere));
    }
    if [source, projects].iter().any(|s| real.starts_with(s) || s.starts_with(&real)) {
        let message = format!("{} and {} contain one another", shown(place), shown(source));
        found.push(Refusal::new("into_in_source", message, elsewhere));
    }
    match fs::symlink_metadata(&real) {
        Ok(meta) if !meta.is_dir() => {
            found.push(Refusal::new("into_taken", format!("{} is no folder", shown(place)), elsewhere));
        }
        Ok(meta) => {
            if !fs::read_dir(&real).is_ok_and(|mut all| all.next().is_none()) {
                let message = format!("{} is not empty, or cannot be read", shown(place));
                found.push(Refusal::new("into_taken", message, elsewhere));
            } else if fs::metadata(real_parent).is_ok_and(|p| p.dev() != meta.dev()) {
                let message =
                    format!("{} is a mount point, so it cannot appear whole in one step", shown(place));
                let remedy = format!("give a folder inside it: --into {}/td-sync", shown(place));
                found.push(Refusal::new("into_mount_point", message, remedy));
            }
        }
        Err(_) => {}
    }
    found.extend(leftovers(&with_suffix(&real, ".half")));
    if rustix::fs::access(real_parent, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let message = format!("you may not write in {}", shown(real_parent));
        found.push(Refusal::new(
            "into_not_writable",
            message,
            "run this as its owner, or give another folder",
        ));
    }
    match free_bytes(real_parent) {
        Ok(free) if free < needed.saturating_add(keep_free) => {
            let message = format!(
                "{} MiB are needed on the disk of {} and {} MiB of it must stay free, but {} MiB are",
                mib(needed),
                shown(real_parent),
                mib(keep_free),
                mib(free)
            );
            found.push(Refusal::new(
                "no_room",
                message,
                "make room there, or give another folder with --into",
            ));
        }
        _ => {}
    }
    found
}

/// Rounded up.
pub(super) fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

fn leftovers(half: &Path) -> Option<Refusal> {
    let meta = fs::symlink_metadata(half).ok()?;
    let remedy = format!("see what it is, and move it away: mv {0} {0}.old", shown(half));
    if !meta.is_dir() || !is_ours_or_empty(half) {
        let message = format!("{} is there and is not left of an import", shown(half));
        return Some(Refusal::new("half_is_foreign", message, remedy));
    }
    let mark = File::open(half.join(MARK)).ok()?;
    flock(&mark, FlockOperation::NonBlockingLockShared).err()?;
    let message = format!("another import is working in {}", shown(half));
    Some(Refusal::new("import_running", message, "wait until it ends"))
}

fn is_ours_or_empty(half: &Path) -> bool {
    let marked = fs::symlink_metadata(half.join(MARK)).is_ok_and(|m| m.is_file());
    marked || fs::read_dir(half).is_ok_and(|mut all| all.next().is_none())
}

fn parent(place: &Path) -> &Path {
    place.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Half {
    /// Begins, over what a killed run may have left.
    pub(super) fn begin(place: &Path) -> Result<Self, ImportError> {
        let place = real(place).unwrap_or_else(|| place.to_path_buf());
        let dir = with_suffix(&place, ".half");
        if fs::symlink_metadata(&dir).is_ok() {
            // Asked again: the plan is a moment old.
            if let Some(refusal) = leftovers(&dir) {
                let in_use = io::Error::other(refusal.message);
                return Err(io_error("begin in", &dir)(in_use));
            }
            fs::remove_dir_all(&dir).map_err(io_error("remove", &dir))?;
        }
        DirBuilder::new().mode(0o700).create(&dir).map_err(io_error("create", &dir))?;
        let mark = dir.join(MARK);
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&mark);
        let lock = opened
            .and_then(|file| Ok(flock(&file, FlockOperation::NonBlockingLockExclusive).map(|()| file)?));
        let lock = lock.map_err(io_error("lock", &mark))?;
        Ok(Self { place, dir, is_done: false, _lock: lock })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a folder and those above it.
    pub(super) fn folder(&self, name: &str, mode: u32) -> Result<PathBuf, ImportError> {
        let path = self.dir.join(name);
        let made = DirBuilder::new().recursive(true).mode(mode).create(&path);
        made.map_err(io_error("create", &path))?;
        Ok(path)
    }

    /// Sets the permissions of everything in it, folders and files; it itself stays private.
    pub(super) fn permit(&self, folders: u32, files: u32) -> Result<(), ImportError> {
        each(&self.dir, &mut |path, is_dir| {
            if path == self.dir {
                return Ok(());
            }
            let mode = fs::Permissions::from_mode(if is_dir { folders } else { files });
            fs::set_permissions(path, mode).map_err(io_error("set permissions of", path))
        })
    }

    /// Syncs everything and gives it its name.
    pub(super) fn publish(mut self) -> Result<(), ImportError> {
        each(&self.dir, &mut |path, _| sync(path))?;
        fs::rename(&self.dir, &self.place).map_err(io_error("rename", &self.dir))?;
        self.is_done = true;
        sync(parent(&self.place))?;
        // The directory is whole with the mark as well as without it.
        let _ = fs::remove_file(self.place.join(MARK));
        Ok(())
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        if !self.is_done {
            // A rest that cannot be removed is removed by the next run.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Everything below a folder, and at last the folder itself.
fn each(dir: &Path, act: &mut dyn FnMut(&Path, bool) -> Result<(), ImportError>) -> Result<(), ImportError> {
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let entry = entry.map_err(io_error("list", dir))?;
        let kind = entry.file_type().map_err(io_error("look at", &entry.path()))?;
        if kind.is_dir() {
            each(&entry.path(), act)?;
        } else if kind.is_file() {
            act(&entry.path(), false)?;
        }
    }
    act(dir, true)
}
