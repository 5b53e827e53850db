//! Which folder a command means: the base directory of a project (client-engine 1.1).
//!
//! Duty: the reference's order of rules, without running git.
//! Invariant: nothing is created here; a folder that is no project is kept as it was named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folder in a base directory that holds everything of a project.
pub const TODOS: &str = ".todos";

/// The base directory for `start` (a flag, `TD_WORK_DIR` or the current folder). `associations` is the text of Go's
/// `associations.json`, if there is one.
pub fn base_dir(start: &Path, associations: Option<&str>) -> PathBuf {
    let start = match start.file_name() {
        Some(name) if name == TODOS => start.parent().unwrap_or(start),
        _ => start,
    };
    let known: BTreeMap<PathBuf, PathBuf> =
        associations.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let associated = |dir: &Path| std::path::absolute(dir).ok().and_then(|abs| known.get(&abs).cloned());

    here(start)
        .or_else(|| associated(start))
        .or_else(|| {
            let top = git_top(start)?;
            here(&top)
                .or_else(|| associated(&top))
                .or_else(|| main_worktree(&top).and_then(|main| here(&main)))
        })
        .unwrap_or_else(|| start.to_path_buf())
}

/// A redirection file or a project folder in `dir` itself.
fn here(dir: &Path) -> Option<PathBuf> {
    if let Ok(text) = std::fs::read_to_string(dir.join(".td-root")) {
        return Some(dir.join(text.trim()));
    }
    dir.join(TODOS).is_dir().then(|| dir.to_path_buf())
}

/// The nearest folder upwards that has a `.git` (a folder, or a file in worktrees).
pub fn git_top(start: &Path) -> Option<PathBuf> {
    let abs = std::fs::canonicalize(start).ok()?;
    abs.ancestors().find(|dir| dir.join(".git").exists()).map(Path::to_path_buf)
}

/// The main worktree of the linked worktree `top`.
fn main_worktree(top: &Path) -> Option<PathBuf> {
    let git_dir = git_dir(top)?;
    let common = std::fs::read_to_string(git_dir.join("commondir")).ok()?;
    let common = std::fs::canonicalize(git_dir.join(common.trim())).ok()?;
    common.parent().map(Path::to_path_buf)
}

/// The current branch of the repository at `top`: `main`, or `detached-<8 hex>`; `default` outside of git.
pub fn branch(top: Option<&Path>) -> String {
    let head = top.and_then(git_dir).and_then(|dir| std::fs::read_to_string(dir.join("HEAD")).ok());
    let Some(head) = head else { return "default".into() };
    match head.trim().strip_prefix("ref: refs/heads/") {
        Some(name) => name.into(),
        None => format!("detached-{}", head.trim().chars().take(8).collect::<String>()),
    }
}

fn git_dir(top: &Path) -> Option<PathBuf> {
    let dot_git = top.join(".git");
    if dot_git.is_dir() {
        return Some(dot_git);
    }
    let text = std::fs::read_to_string(dot_git).ok()?;
    Some(top.join(text.trim().strip_prefix("gitdir:")?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};

    #[test]
    fn the_rules_apply_in_the_order_of_the_reference() {
        let root = tempfile::tempdir().expect("folder");
        let root = std::fs::canonicalize(root.path()).expect("path");
        let dir = |name: &str| {
            let path = root.join(name);
            create_dir_all(&path).expect("folder");
            path
        };
        let (project, plain, redirected) = (dir("project"), dir("plain"), dir("redirected"));
        dir("project/.todos");
        assert_eq!(base_dir(&project.join(".todos"), None), project, "the folder itself means its parent");
        assert_eq!(base_dir(&project, None), project);
        assert_eq!(base_dir(&plain, None), plain, "kept unchanged");

        write(redirected.join(".td-root"), "../project\n").expect("write");
        dir("redirected/.todos");
        assert_eq!(base_dir(&redirected, None), redirected.join("../project"), ".td-root comes first");

        let map = serde_json::json!({ plain.to_str().expect("utf-8"): project }).to_string();
        assert_eq!(base_dir(&plain, Some(&map)), project);
        assert_eq!(base_dir(&plain, Some("not json")), plain);

        let (repo, deep) = (dir("repo"), dir("repo/a/b"));
        dir("repo/.git");
        dir("repo/.todos");
        assert_eq!(base_dir(&deep, None), repo, "the git top level");

        let tree = dir("tree");
        let git_dir = dir("repo/.git/worktrees/tree");
        write(tree.join(".git"), format!("gitdir: {}\n", git_dir.display())).expect("write");
        write(git_dir.join("commondir"), "../..\n").expect("write");
        write(git_dir.join("HEAD"), "ref: refs/heads/topic/x\n").expect("write");
        assert_eq!(base_dir(&tree, None), repo, "a worktree uses the main one's project");
        assert_eq!(branch(Some(&tree)), "topic/x");
        assert_eq!(branch(None), "default");
    }
}
