//! Files of the machine in memory.

use super::{ModelHost, Node, World};
use crate::host::{Digest, EntryKind, HostError, Made, Mode, ReadFiles, Removed, Stat, WriteFiles};
use std::path::{Path, PathBuf};

/// As many links as a real system follows, roughly.
const HOPS: usize = 16;

impl World {
    fn stat(&self, path: &Path) -> Option<&Node> {
        self.files.get(path)
    }

    /// The node behind links in the last part. Links in earlier parts are not modelled.
    fn follow(&self, path: &Path) -> Option<&Node> {
        let mut at = path.to_path_buf();
        for _ in 0..HOPS {
            match self.files.get(&at)? {
                Node::Link { to } => at = at.parent().unwrap_or(Path::new("/")).join(to),
                node => return Some(node),
            }
        }
        None
    }

    pub(super) fn read(&self, path: &Path) -> Option<&Vec<u8>> {
        if let Node::File { content, .. } = self.follow(path)? { Some(content) } else { None }
    }

    fn children(&self, dir: &Path) -> impl Iterator<Item = &PathBuf> {
        self.files.keys().filter(move |p| p.parent() == Some(dir))
    }

    /// The folder a name is to stand in must be there.
    fn folder(&self, op: &'static str, path: &Path) -> Result<(), HostError> {
        let missing = || HostError::Missing { op, path: path.into() };
        let mut dirs = path.ancestors().skip(1);
        if dirs.any(|d| matches!(self.files.get(d), Some(Node::File { .. }))) {
            return Err(HostError::InTheWay {
                op,
                path: path.into(),
                found: "something that is no directory",
            });
        }
        match self.files.get(path.parent().ok_or_else(missing)?) {
            Some(Node::Dir { .. }) => Ok(()),
            Some(_) => Err(HostError::Unmodelled(format!("a link on the way to {}", path.display()))),
            None => Err(missing()),
        }
    }

    pub(super) fn put(&mut self, path: &Path, node: Node, op: &'static str) -> Result<(), HostError> {
        self.folder(op, path)?;
        if matches!(self.files.get(path), Some(Node::Dir { .. })) {
            return Err(HostError::InTheWay { op, path: path.into(), found: "a directory" });
        }
        self.files.insert(path.into(), node);
        Ok(())
    }
}

fn found(node: &Node) -> &'static str {
    match node {
        Node::Dir { .. } => "a directory",
        Node::File { .. } => "a file",
        Node::Link { .. } => "a link",
    }
}

impl ReadFiles for ModelHost {
    fn stat(&self, path: &Path) -> Result<Option<Stat>, HostError> {
        let state = self.lock();
        let uid = state.facts.uid;
        Ok(state.world.stat(path).map(|node| match node {
            Node::Dir { mode } => Stat { kind: EntryKind::Dir, mode: Mode(*mode), size: 0, uid },
            Node::File { mode, content } => {
                Stat { kind: EntryKind::File, mode: Mode(*mode), size: content.len() as u64, uid }
            }
            Node::Link { .. } => Stat { kind: EntryKind::Link, mode: Mode(0o777), size: 0, uid },
        }))
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, HostError> {
        let state = self.lock();
        match state.world.follow(path) {
            None => Ok(None),
            Some(Node::File { content, .. }) if content.len() as u64 > limit => {
                Err(HostError::TooLarge { path: path.into(), size: content.len() as u64, limit })
            }
            Some(Node::File { content, .. }) => Ok(Some(content.clone())),
            Some(other) => Err(HostError::InTheWay { op: "read", path: path.into(), found: found(other) }),
        }
    }

    fn digest(&self, path: &Path) -> Result<Option<Digest>, HostError> {
        Ok(self.read(path, u64::MAX)?.map(|content| Digest::of(&content)))
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        let state = self.lock();
        Ok(if let Some(Node::Link { to }) = state.world.stat(path) { Some(to.clone()) } else { None })
    }

    fn list(&self, dir: &Path) -> Result<Option<Vec<String>>, HostError> {
        let state = self.lock();
        match state.world.follow(dir) {
            None => Ok(None),
            Some(Node::Dir { .. }) => {
                let name = |p: &PathBuf| p.file_name().map(|n| n.to_string_lossy().into_owned());
                Ok(Some(state.world.children(dir).filter_map(name).collect()))
            }
            Some(_) => Err(HostError::InTheWay {
                op: "list",
                path: dir.into(),
                found: "something that is no directory",
            }),
        }
    }

    fn free_bytes(&self, _: &Path) -> Result<u64, HostError> {
        Ok(100 << 30)
    }

    fn may_write(&self, path: &Path) -> Result<bool, HostError> {
        let state = self.lock();
        let there = path.ancestors().find_map(|parent| state.world.follow(parent));
        Ok(matches!(there, Some(Node::Dir { .. })))
    }
}

impl WriteFiles for ModelHost {
    fn make_dir(&self, path: &Path, mode: Mode) -> Result<Made, HostError> {
        let op = "make the folder";
        self.change(op, path, |state| match state.world.follow(path) {
            Some(Node::Dir { .. }) => Ok(Made::Existed),
            _ => {
                state.world.folder(op, path)?;
                if let Some(node) = state.world.stat(path) {
                    return Err(HostError::InTheWay { op, path: path.into(), found: found(node) });
                }
                state.world.files.insert(path.into(), Node::Dir { mode: mode.0 });
                Ok(Made::Created)
            }
        })
    }

    fn remove_dir(&self, path: &Path) -> Result<Removed, HostError> {
        let op = "remove the folder";
        self.change(op, path, |state| match state.world.stat(path) {
            None => Ok(Removed::Absent),
            Some(Node::Dir { .. }) if state.world.children(path).next().is_some() => Ok(Removed::NotEmpty),
            Some(Node::Dir { .. }) => {
                state.world.files.remove(path);
                Ok(Removed::Gone)
            }
            Some(_) => {
                Err(HostError::InTheWay { op, path: path.into(), found: "something that is no directory" })
            }
        })
    }

    fn put(&self, path: &Path, content: &[u8], mode: Mode) -> Result<(), HostError> {
        let node = Node::File { mode: mode.0, content: content.to_vec() };
        self.change("write", path, |state| state.world.put(path, node, "write"))
    }

    fn put_copy(&self, from: &Path, to: &Path, mode: Mode) -> Result<Digest, HostError> {
        self.change("write", to, |state| {
            let missing = || HostError::Missing { op: "read", path: from.into() };
            let content = state.world.read(from).cloned().ok_or_else(missing)?;
            let digest = Digest::of(&content);
            state.world.put(to, Node::File { mode: mode.0, content }, "write")?;
            Ok(digest)
        })
    }

    fn put_link(&self, path: &Path, points_to: &Path) -> Result<(), HostError> {
        let node = Node::Link { to: points_to.into() };
        self.change("link", path, |state| state.world.put(path, node, "link"))
    }

    fn remove_file(&self, path: &Path) -> Result<Removed, HostError> {
        self.change("remove", path, |state| match state.world.stat(path) {
            None => Ok(Removed::Absent),
            Some(Node::Dir { .. }) => {
                Err(HostError::InTheWay { op: "remove", path: path.into(), found: "a directory" })
            }
            Some(_) => {
                state.world.files.remove(path);
                Ok(Removed::Gone)
            }
        })
    }

    fn remove_tree(&self, path: &Path) -> Result<Removed, HostError> {
        self.change("remove", path, |state| match state.world.stat(path) {
            None => Ok(Removed::Absent),
            Some(Node::Dir { .. }) => {
                state.world.files.retain(|p, _| !p.starts_with(path));
                Ok(Removed::Gone)
            }
            Some(other) => Err(HostError::InTheWay { op: "remove", path: path.into(), found: found(other) }),
        })
    }

    fn set_mode(&self, path: &Path, mode: Mode) -> Result<(), HostError> {
        let op = "set the mode of";
        self.change(op, path, |state| match state.world.files.get_mut(path) {
            None => Err(HostError::Missing { op, path: path.into() }),
            Some(Node::Dir { mode: m } | Node::File { mode: m, .. }) => {
                *m = mode.0;
                Ok(())
            }
            Some(Node::Link { .. }) => Err(HostError::Unmodelled("the mode of a link".into())),
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        let op = "rename";
        self.change(op, from, |state| {
            if matches!(state.world.stat(to), Some(Node::Dir { .. })) {
                return Err(HostError::InTheWay { op, path: to.into(), found: "a directory" });
            }
            let Some(node) = state.world.stat(from).cloned() else {
                return Err(HostError::Missing { op, path: from.into() });
            };
            state.world.folder(op, to)?;
            state.world.files.remove(from);
            state.world.files.insert(to.into(), node);
            let below: Vec<PathBuf> =
                state.world.files.keys().filter(|p| p.starts_with(from)).cloned().collect();
            for old in below {
                if let (Ok(rest), Some(node)) = (old.strip_prefix(from), state.world.files.remove(&old)) {
                    state.world.files.insert(to.join(rest), node);
                }
            }
            Ok(())
        })
    }
}
