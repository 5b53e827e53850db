//! Directories that several steps need: made parents first, taken away again if they are still empty.

use super::clearing::{Ours, both, clear, listed};
use crate::error::{Remedy, StepError};
use crate::host::{EntryKind, Made, Mode, Removed};
use crate::step::{Change, UndoOutcome};
use crate::view::{Apply, Probe};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use td_state::shell;

/// Directories that shall be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dirs {
    /// Parents before children.
    pub dirs: Vec<PathBuf>,
}

/// What stands at each of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Standing(Vec<(PathBuf, Option<EntryKind>)>);

/// What was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MadeDirs {
    /// In the order in which they were made.
    pub made: Vec<PathBuf>,
    /// Those of them whose content is ours as well.
    pub with_content: Vec<PathBuf>,
}

impl Dirs {
    /// These and all their parents.
    pub fn with_parents(leaves: &[&Path]) -> Self {
        let mut dirs = Vec::new();
        for leaf in leaves {
            let mut chain: Vec<_> = leaf.ancestors().filter(|dir| dir.parent().is_some()).collect();
            chain.reverse();
            for dir in chain {
                if !dirs.iter().any(|known: &PathBuf| known == dir) {
                    dirs.push(dir.to_owned());
                }
            }
        }
        Self { dirs }
    }

    pub fn observe(&self, cx: &Probe<'_>) -> Result<Standing, StepError> {
        let look = |dir: &PathBuf| -> Result<_, StepError> {
            let mut kind = cx.stat(dir)?.map(|stat| stat.kind);
            // A link to a directory serves as one; `list` follows it.
            if kind == Some(EntryKind::Link) && cx.list(dir)?.is_some() {
                kind = Some(EntryKind::Dir);
            }
            Ok((dir.clone(), kind))
        };
        Ok(Standing(self.dirs.iter().map(look).collect::<Result<_, _>>()?))
    }

    pub fn plan(self, standing: &Standing) -> Change<Self> {
        let in_the_way = standing.0.iter().find(|(_, kind)| kind.is_some_and(|kind| kind != EntryKind::Dir));
        if let Some((path, _)) = in_the_way {
            return Change::Blocked {
                code: "E-DIR-IN-THE-WAY".into(),
                why: format!("{} is not a directory", path.display()),
                remedy: Remedy::run(
                    "move it away, then run setup again",
                    format!("ls -ld {}", shell::path(path)),
                ),
            };
        }
        if standing.0.iter().all(|(_, kind)| kind.is_some()) {
            Change::Noop
        } else {
            Change::Create { desired: self }
        }
    }

    /// What `apply` will make. The content of `ours` will be ours too, where we make it.
    pub fn missing(&self, cx: &Probe<'_>, ours: &[&Path]) -> Result<MadeDirs, StepError> {
        let standing = self.observe(cx)?;
        let made: Vec<_> =
            standing.0.into_iter().filter(|(_, kind)| kind.is_none()).map(|(path, _)| path).collect();
        let with_content = made.iter().filter(|dir| ours.contains(&dir.as_path())).cloned().collect();
        Ok(MadeDirs { made, with_content })
    }

    pub fn apply(&self, cx: &Apply<'_>) -> Result<bool, StepError> {
        let mut changed = false;
        for dir in &self.dirs {
            if cx.stat(dir)?.is_none() {
                changed |= cx.make_dir(dir, Mode::PRIVATE_DIR)? == Made::Created;
            }
        }
        Ok(changed)
    }
}

impl MadeDirs {
    /// Removes what was made, where nothing else is in it. What is ours with its content is cleared first, by the names in
    /// `ours`; [`clearing::nothing`](super::clearing::nothing) keeps its content.
    pub fn undo(&self, cx: &Apply<'_>, ours: Ours) -> Result<UndoOutcome, StepError> {
        let mut outcome = UndoOutcome::NothingToDo;
        for dir in self.made.iter().rev() {
            outcome = both(outcome, self.undo_one(cx, dir, ours)?);
        }
        Ok(outcome)
    }

    fn undo_one(&self, cx: &Apply<'_>, dir: &Path, ours: Ours) -> Result<UndoOutcome, StepError> {
        // We made directories. What is a link now was put there by somebody, and what it leads to is theirs.
        for made in self.made.iter().filter(|made| dir.starts_with(made)) {
            if cx.stat(made)?.is_some_and(|stat| stat.kind != EntryKind::Dir) {
                return Ok(UndoOutcome::LeftAlone {
                    why: format!("{} is no folder any more", made.display()),
                });
            }
        }
        if self.with_content.iter().any(|ours| ours == dir) {
            return Ok(clear(cx, dir, ours)?.outcome());
        }
        Ok(match cx.remove_dir(dir)? {
            Removed::Gone => UndoOutcome::Restored,
            Removed::Absent => UndoOutcome::NothingToDo,
            Removed::NotEmpty => {
                let names = cx.list(dir)?.unwrap_or_default();
                let names: Vec<_> = names.iter().map(PathBuf::from).collect();
                UndoOutcome::LeftAlone { why: format!("{} is not empty: {}", dir.display(), listed(&names)) }
            }
        })
    }

    pub fn names(&self) -> Vec<String> {
        self.made.iter().map(|dir| dir.display().to_string()).collect()
    }
}
