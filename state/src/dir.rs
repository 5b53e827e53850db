//! The folder of a target: where everything is (DESIGN 7, anchors-installer e5).
//!
//! ```text
//! $XDG_STATE_HOME/td-sync-setup/targets/<id>/
//!     target.toml     what the target is, and which folders above it we made
//!     answers.toml    what the person chose
//!     lock            held by a run; its content is for people
//!     receipt.json    what stands now
//!     undo/           before-images, named by the number of their intent or by their digest
//!     runs/<ulid>/    journal.jsonl, events.jsonl
//! ```
//!
//! Duty: the names, and making and removing the folder.
//! Invariant: all of it belongs to the person alone (0700, 0600). Reading verbs make nothing.

use crate::durable;
use crate::error::StateError;
use crate::run::RunId;
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const SCHEMA: i64 = 1;
/// Everything that setup keeps in the folder.
const OURS: &[&str] =
    &["target.toml", "answers.toml", "answers.edit.toml", "lock", "receipt.json", "undo", "runs"];

/// The folder of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetDir {
    id: String,
    path: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct TargetFile {
    schema: i64,
    id: String,
    #[serde(default)]
    made: Vec<PathBuf>,
    #[serde(flatten)]
    other: toml::Table,
}

impl TargetDir {
    /// Names the folder of the target `id` (`[a-z0-9._-]`, not a dot first) below `state_home`. Makes nothing.
    pub fn at(state_home: &Path, id: &str) -> Option<Self> {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        let good = !id.is_empty() && id.len() <= 64 && !id.starts_with('.') && id.bytes().all(letter);
        good.then(|| Self { id: id.into(), path: state_home.join("td-sync-setup").join("targets").join(id) })
    }

    /// The target's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `answers.toml`
    pub fn answers(&self) -> PathBuf {
        self.path.join("answers.toml")
    }

    /// `receipt.json`
    pub fn receipt(&self) -> PathBuf {
        self.path.join("receipt.json")
    }

    /// `lock`
    pub fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// `undo`
    pub fn undo(&self) -> PathBuf {
        self.path.join("undo")
    }

    /// `runs`
    pub fn runs_dir(&self) -> PathBuf {
        self.path.join("runs")
    }

    /// `runs/<run>`
    pub fn run(&self, run: &RunId) -> PathBuf {
        self.runs_dir().join(run.as_str())
    }

    /// `runs/<run>/journal.jsonl`
    pub fn journal(&self, run: &RunId) -> PathBuf {
        self.run(run).join("journal.jsonl")
    }

    /// `runs/<run>/events.jsonl`
    pub fn events(&self, run: &RunId) -> PathBuf {
        self.run(run).join("events.jsonl")
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.target_file().exists()
    }

    /// Makes it, if it is not there, and remembers which folders above it were made for it.
    pub fn make(&self) -> Result<(), StateError> {
        let file = self.target_file();
        let known = durable::read(&file)?.map(|found| parse(&file, &found)).transpose()?;
        let missing: Vec<PathBuf> =
            self.path.ancestors().skip(1).take_while(|a| !a.exists()).map(Path::to_path_buf).collect();
        for dir in missing.iter().rev().chain([&self.path, &self.runs_dir(), &self.undo()]) {
            match fs::DirBuilder::new().mode(0o700).create(dir) {
                Ok(()) => durable::sync_dir(dir.parent().unwrap_or(dir))?,
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(StateError::io("make", dir, e)),
            }
        }
        if known.is_some() {
            return Ok(());
        }
        let made =
            TargetFile { schema: SCHEMA, id: self.id.clone(), made: missing, other: toml::Table::new() };
        let text = toml::to_string(&made)
            .map_err(|e| StateError::Unreadable { path: file.clone(), why: e.to_string() })?;
        durable::replace(&file, text.as_bytes())
    }

    /// Removes it with all that setup keeps in it, and the folders above it that were made for it and are empty now. The
    /// last act of an uninstall, under the lock; nothing can be undone afterwards. It is renamed first, so that a crash
    /// leaves either the whole target or none; what is left of a removal is swept by the next one. What somebody else put
    /// into it gets its place back and is returned; a link is removed, never followed.
    pub fn remove(&self) -> Result<Vec<PathBuf>, StateError> {
        let gone = self.path.with_file_name(format!(".gone-{}", self.id));
        let io = |e| StateError::io("remove", &self.path, e);
        if self.exists() {
            match kind(&gone).map_err(io)? {
                None => {}
                Some(kind) if kind.is_dir() => {
                    self.give_back(&gone)?;
                    fs::remove_dir_all(&gone).map_err(io)?;
                }
                Some(_) => fs::remove_file(&gone).map_err(io)?,
            }
            fs::rename(&self.path, &gone).map_err(io)?;
        }
        match kind(&gone).map_err(io)? {
            None => return Ok(Vec::new()),
            Some(kind) if kind.is_dir() => {}
            Some(_) => {
                fs::remove_file(&gone).map_err(io)?;
                return Ok(Vec::new());
            }
        }
        let strangers = self.give_back(&gone)?;
        let file = gone.join("target.toml");
        let made = match durable::read(&file)? {
            Some(bytes) => parse(&file, &bytes)?.made,
            None => Vec::new(),
        };
        for entry in fs::read_dir(&gone).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if kind(&path).map_err(io)?.is_some_and(|kind| kind.is_dir()) {
                fs::remove_dir_all(&path).map_err(io)?;
            } else if path != file {
                fs::remove_file(&path).map_err(io)?;
            }
        }
        fs::remove_dir_all(&gone).map_err(io)?;
        // These two carry our name whether or not we know that we made them; the rest only if we do. Stops at the first
        // that somebody else uses too.
        let ours = self.path.ancestors().skip(1).take(2).map(Path::to_path_buf);
        let above = ours
            .chain(made.into_iter().skip_while(|m| m.ends_with("targets") || m.ends_with("td-sync-setup")));
        let _ = above.map(fs::remove_dir).try_for_each(|removed| removed);
        Ok(strangers)
    }

    /// Moves what setup does not keep in a target's folder from the renamed one back to where it was.
    fn give_back(&self, gone: &Path) -> Result<Vec<PathBuf>, StateError> {
        let io = |e| StateError::io("move back", gone, e);
        let mut strangers = Vec::new();
        for entry in fs::read_dir(gone).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            let text = name.to_string_lossy();
            if OURS.contains(&&*text) || text.starts_with(".td-tmp-") {
                continue;
            }
            match fs::DirBuilder::new().mode(0o700).create(&self.path) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(io(e)),
                _ => {}
            }
            let place = self.path.join(&name);
            fs::rename(gone.join(&name), &place).map_err(io)?;
            strangers.push(place);
        }
        strangers.sort();
        Ok(strangers)
    }

    /// Runs that have a folder, oldest first.
    pub fn runs(&self) -> Result<Vec<RunId>, StateError> {
        let dir = self.runs_dir();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(StateError::io("list", &dir, e)),
        };
        let mut runs = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| StateError::io("list", &dir, e))?;
            runs.extend(entry.file_name().to_str().and_then(RunId::parse));
        }
        runs.sort();
        Ok(runs)
    }

    fn target_file(&self) -> PathBuf {
        self.path.join("target.toml")
    }
}

/// What stands there; a link is a link.
fn kind(path: &Path) -> std::io::Result<Option<fs::FileType>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta.file_type())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<TargetFile, StateError> {
    let unreadable = |why: String| StateError::Unreadable { path: path.into(), why };
    let text = std::str::from_utf8(bytes).map_err(|e| unreadable(e.to_string()))?;
    let file: TargetFile = toml::from_str(text).map_err(|e| unreadable(e.message().to_owned()))?;
    if file.schema > SCHEMA {
        return Err(StateError::Newer { path: path.into(), found: file.schema, known: SCHEMA });
    }
    Ok(file)
}
