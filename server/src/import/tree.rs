//! What lies in a data directory.
//!
//! Duty: find the databases and account for everything else, so that nothing stays behind unnamed.
//! Invariant: no link is followed below the folder that was given, and only `p_` and 16 hex digits name a project
//! (server-protocol W24).

use super::error::{ImportError, Refusal, io_error};
use super::plan::Left;
use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use td_engine::id::ProjectId;

/// The folder of a project.
#[derive(Default)]
pub(super) struct Folder {
    /// Its log, if there is one.
    pub events: Option<PathBuf>,
    /// Its live view, if there is one.
    pub state: Option<PathBuf>,
    /// The highest sequence that a kept snapshot is named after.
    pub snapshot: i64,
    /// Lock files.
    pub locks: Vec<PathBuf>,
}

/// A data directory.
#[derive(Default)]
pub(super) struct Tree {
    /// `server.db`, if it is there.
    pub server_db: Option<PathBuf>,
    /// By project.
    pub folders: BTreeMap<ProjectId, Folder>,
    /// Everything that is neither.
    pub left: Vec<Left>,
    /// What makes it unusable.
    pub refusals: Vec<Refusal>,
}

/// Which program made the directory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    Reference,
    Us,
}

/// Names that only this program makes in a data directory.
const OWN_MARKS: [&str; 2] = ["epoch", "identity.key"];
const SIDES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Whether this program has been at home there.
pub(super) fn is_ours(dir: &Path) -> bool {
    OWN_MARKS.iter().any(|name| fs::symlink_metadata(dir.join(name)).is_ok())
}

impl Tree {
    /// Reads two levels of folders. `dir` and `projects` must be canonical.
    pub(super) fn read(dir: &Path, projects: &Path, maker: Maker) -> Result<Self, ImportError> {
        let mut tree = Self::default();
        for entry in entries(dir)? {
            let (name, path) = (name(&entry), entry.path());
            if path == projects {
                continue;
            }
            match name.as_str() {
                "server.db" => tree.server_db = Some(path),
                _ if is_side(&name, "server.db") => {}
                _ => tree.leave(name.clone(), stranger(&name, &entry, maker)),
            }
        }
        if fs::symlink_metadata(projects).is_ok() {
            tree.read_projects(projects, maker)?;
        }
        Ok(tree)
    }

    fn read_projects(&mut self, projects: &Path, maker: Maker) -> Result<(), ImportError> {
        let mut snapshots = None;
        for entry in entries(projects)? {
            let (name, path) = (name(&entry), entry.path());
            let shown = format!("projects/{name}");
            let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
            match ProjectId::parse(&name) {
                Ok(id) if is_dir => self.read_folder(id, &path, maker)?,
                Ok(_) if entry.file_type().is_ok_and(|t| t.is_symlink()) => self.refusals.push(Refusal::new(
                    "link_in_source",
                    format!("{} is a link; links are not followed", super::tree::shown(&path)),
                    "put the folder that it points to in its place",
                )),
                Err(_) if name == "snapshots" && is_dir => {
                    self.leave(shown, "kept snapshots; they are made again when somebody asks".into());
                    snapshots = Some(path);
                }
                Err(_) if is_dir => self.leave(shown, "its name is no project id".into()),
                _ => self.leave(shown, stranger(&name, &entry, maker)),
            }
        }
        if let Some(path) = snapshots {
            for (id, folder) in &mut self.folders {
                folder.snapshot = newest_snapshot(&path.join(id.as_str()));
            }
        }
        Ok(())
    }

    fn read_folder(&mut self, id: ProjectId, dir: &Path, maker: Maker) -> Result<(), ImportError> {
        let mut folder = Folder::default();
        for entry in entries(dir)? {
            let (name, path) = (name(&entry), entry.path());
            let shown = format!("projects/{id}/{name}");
            match name.as_str() {
                "events.db" => folder.events = Some(path),
                "project.db" => folder.state = Some(path),
                ".todos" => folder.locks.push(path.join("db.lock")),
                _ if is_side(&name, "events.db") || is_side(&name, "project.db") => {}
                _ if name.contains(".db-mj") => self.refusals.push(Refusal::new(
                    "source_unclean",
                    format!("{shown} is left of a write to two databases that was cut off"),
                    "start the reference once on this directory, let it come up, stop it, and try again",
                )),
                _ => self.leave(shown, stranger(&name, &entry, maker)),
            }
        }
        self.folders.insert(id, folder);
        Ok(())
    }

    fn leave(&mut self, what: String, why: String) {
        self.left.push(Left { what, why });
    }

    /// Every file that somebody could write to while we read.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let folders = self.folders.values();
        let databases = folders.clone().flat_map(|f| f.events.iter().chain(&f.state)).chain(&self.server_db);
        let beside = databases.clone().flat_map(|path| SIDES.map(|s| super::look::with_suffix(path, s)));
        databases.cloned().chain(beside).chain(folders.flat_map(|f| f.locks.clone())).collect()
    }
}

fn entries(dir: &Path) -> Result<Vec<DirEntry>, ImportError> {
    let listed = fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut all: Vec<DirEntry> = listed.map_err(io_error("list", dir))?;
    all.sort_by_key(DirEntry::file_name);
    Ok(all)
}

fn name(entry: &DirEntry) -> String {
    entry.file_name().to_string_lossy().into_owned()
}

/// For a person: without anything that a terminal would obey.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string().chars().flat_map(visible).collect()
}

pub(super) fn visible(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}

fn is_side(name: &str, database: &str) -> bool {
    name.strip_prefix(database).is_some_and(|suffix| SIDES.contains(&suffix))
}

/// What something is that is no database of a project.
fn stranger(name: &str, entry: &DirEntry, maker: Maker) -> String {
    let own = match name {
        "LOCK" | "staging" | "td-sync.sock" => Some("of a running td-sync"),
        "epoch" => Some("the history's name, which the reference does not know"),
        "identity.key" => Some("this server's identity, which the reference does not know"),
        "tls" => Some("certificates and the account that gets them; the reference has none of its own"),
        super::REPORT => Some("the report of the import that made this directory"),
        "snap" | "snapshots" => Some("kept snapshots; they are made again when somebody asks"),
        _ => None,
    };
    match own.filter(|_| maker == Maker::Us) {
        Some(why) => why.into(),
        None if name.ends_with("-litestream") => {
            "Litestream's working folder; its replica is not touched".into()
        }
        None if entry.file_type().is_ok_and(|t| t.is_symlink()) => "a link, which is not followed".into(),
        None => "not part of the data".into(),
    }
}

/// Files are called after the sequence they show.
fn newest_snapshot(dir: &Path) -> i64 {
    let Ok(listed) = fs::read_dir(dir) else { return 0 };
    let number = |e: DirEntry| e.file_name().to_str()?.strip_suffix(".db")?.parse::<i64>().ok();
    listed.flatten().filter_map(number).max().unwrap_or(0)
}
