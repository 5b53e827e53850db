//! Taking away what is ours from a folder of ours, and nothing else (DESIGN law 16).
//!
//! Duty: a person puts notes, copies and links into any folder there is. What is not of the names that our programs give
//! stays, and is named; a link is never walked through, wherever it was put.
//! Danger: a name that a later version of a program uses is a stranger here until it is added; it stays and is named, and
//! the tests that look for leftovers say so.

use crate::error::StepError;
use crate::host::{EntryKind, Removed};
use crate::step::UndoOutcome;
use crate::view::Apply;
use std::path::{Component, Path, PathBuf};

/// Whether a path, told from the folder that is cleared, is one of ours.
pub(super) type Ours = fn(&Path) -> bool;

/// Names that are listed one by one; more would be a page.
const NAMED: usize = 5;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Cleared {
    /// Something was removed.
    pub gone: bool,
    /// What is not ours and still there.
    pub left: Vec<PathBuf>,
}

/// Clears one folder and removes it if nothing is left. An absent one is cleared.
pub(super) fn clear(cx: &Apply<'_>, root: &Path, ours: Ours) -> Result<Cleared, StepError> {
    let mut cleared = Cleared::default();
    match cx.stat(root)?.map(|stat| stat.kind) {
        None => {}
        Some(EntryKind::Dir) => walk(cx, root, Path::new(""), ours, &mut cleared)?,
        Some(_) => cleared.left.push(root.to_owned()),
    }
    Ok(cleared)
}

fn walk(
    cx: &Apply<'_>,
    root: &Path,
    below: &Path,
    ours: Ours,
    cleared: &mut Cleared,
) -> Result<(), StepError> {
    let dir = root.join(below);
    let before = cleared.left.len();
    for name in cx.list(&dir)?.unwrap_or_default() {
        let (path, told) = (dir.join(&name), below.join(&name));
        match cx.stat(&path)?.map(|stat| stat.kind) {
            None => {}
            // A folder of a person may lie among ours; it is theirs as a whole.
            Some(EntryKind::Dir) if ours(&told) => walk(cx, root, &told, ours, cleared)?,
            Some(EntryKind::File | EntryKind::Other) if ours(&told) => {
                cleared.gone |= cx.remove_file(&path)? == Removed::Gone;
            }
            Some(_) => cleared.left.push(path),
        }
    }
    if cleared.left.len() == before {
        match cx.remove_dir(&dir)? {
            Removed::Gone => cleared.gone = true,
            Removed::Absent => {}
            // A name that is no text cannot be listed.
            Removed::NotEmpty => cleared.left.push(dir),
        }
    }
    Ok(())
}

impl Cleared {
    /// As the outcome of an undo.
    pub fn outcome(&self) -> UndoOutcome {
        match (self.left.is_empty(), self.gone) {
            (true, true) => UndoOutcome::Restored,
            (true, false) => UndoOutcome::NothingToDo,
            (false, _) => {
                UndoOutcome::LeftAlone { why: format!("not ours, so it stays: {}", listed(&self.left)) }
            }
        }
    }
}

/// Two outcomes of one step.
pub(super) fn both(one: UndoOutcome, two: UndoOutcome) -> UndoOutcome {
    match (one, two) {
        (UndoOutcome::LeftAlone { why: one }, UndoOutcome::LeftAlone { why: two }) if one != two => {
            UndoOutcome::LeftAlone { why: format!("{one}\n{two}") }
        }
        (left @ UndoOutcome::LeftAlone { .. }, _) | (_, left @ UndoOutcome::LeftAlone { .. }) => left,
        (UndoOutcome::NothingToDo, UndoOutcome::NothingToDo) => UndoOutcome::NothingToDo,
        _ => UndoOutcome::Restored,
    }
}

/// Paths for a person.
pub(super) fn listed(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    match paths.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The parts of a path that is told from its root.
fn parts(path: &Path) -> Vec<&str> {
    path.components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str().unwrap_or_default(),
            _ => "",
        })
        .collect()
}

/// A database with what SQLite puts beside it, also what a program of ours has moved aside.
fn database(name: &str, stem: &str) -> bool {
    name.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
}

/// What the server keeps in its data directory, and an export of it in a copy.
pub(super) fn server_data(path: &Path) -> bool {
    match parts(path)[..] {
        [name] => {
            database(name, "server.db")
                || matches!(
                    name,
                    "LOCK"
                        | "epoch"
                        | "identity.key"
                        | "td-sync.sock"
                        | "manifest.json"
                        | "projects"
                        | "staging"
                        | "tls"
                )
        }
        ["staging" | "tls", ..] => true,
        ["projects", project] => project.starts_with("p_"),
        ["projects", _, name] => {
            database(name, "events.db") || database(name, "project.db") || name == "snap"
        }
        ["projects", _, "snap", ..] => true,
        _ => false,
    }
}

/// What supervisor and server keep in setup's folder.
pub(super) fn host_state(path: &Path) -> bool {
    matches!(parts(path)[..], ["server.log" | "server.log.1" | "supervisor.lock" | "supervisor.sock"])
}

/// What stands in the folder of a release.
pub(super) fn release(path: &Path) -> bool {
    matches!(parts(path)[..], ["td" | "td-sync" | "td-sync-setup"])
        || matches!(parts(path)[..], [name] if name.starts_with(".td-tmp-"))
}

/// What the tracker keeps in `.todos`, ours and the stock one.
pub(super) fn tracker(path: &Path) -> bool {
    match parts(path)[..] {
        [name] => {
            database(name, "issues.db")
                || name.starts_with("td-sync.")
                || matches!(name, "db.lock" | "config.json" | "config.json.lock" | "sessions")
        }
        ["sessions", ..] => true,
        _ => false,
    }
}

/// Nothing at all.
pub(super) fn nothing(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_our_programs_are_ours_and_no_others() {
        for path in [
            "server.db",
            "server.db-wal",
            "projects/p_0123456789abcdef/events.db-shm",
            "projects/p_0123456789abcdef/snap/38-1.db",
            "staging/half/made",
            "td-sync.sock",
        ] {
            assert!(server_data(Path::new(path)), "{path}");
        }
        for path in [
            "notes.txt",
            "server.dbx",
            "projects/notes",
            "projects/p_1/notes.txt",
            "other/server.db",
            "LOCK/x",
        ] {
            assert!(!server_data(Path::new(path)), "{path}");
        }
        assert!(tracker(Path::new("issues.db-journal")) && !tracker(Path::new("notes.md")));
        assert!(release(Path::new("td")) && !release(Path::new("td.bak")));
        assert!(host_state(Path::new("server.log.1")) && !host_state(Path::new("my.log")));
    }

    #[test]
    fn what_is_left_is_named_up_to_a_number() {
        let paths: Vec<_> = (0..7).map(|n| PathBuf::from(format!("/a/{n}"))).collect();
        assert_eq!(listed(&paths[..2]), "/a/0, /a/1");
        assert_eq!(listed(&paths), "/a/0, /a/1, /a/2, /a/3, /a/4 and 2 more");
    }
}
