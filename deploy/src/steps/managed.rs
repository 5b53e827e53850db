//! A text file of ours: written whole, and put back as it was.

use crate::error::{Remedy, StepError};
use crate::host::{Digest, EntryKind, Mode, Removed, Stat};
use crate::step::{Change, Diff, Outcome, UndoOutcome};
use crate::view::{Apply, Capture, Kept, Probe};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use td_state::shell;

/// Larger files are none of ours.
const LIMIT: u64 = 1 << 20;

/// A file with exactly this text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ManagedFile {
    pub path: PathBuf,
    pub text: String,
    pub mode: Mode,
}

/// The file as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct FileSeen {
    pub stat: Option<Stat>,
    pub text: Option<String>,
}

/// The file as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileBefore {
    path: PathBuf,
    /// Content and mode, if there was one.
    former: Option<(Kept, Mode)>,
    /// Of what we write: a file that differs was edited since and is the person's.
    ours: Digest,
}

pub(super) fn observe(cx: &Probe<'_>, path: &std::path::Path) -> Result<FileSeen, StepError> {
    let stat = cx.stat(path)?;
    let text = match &stat {
        Some(stat) if stat.kind == EntryKind::File => cx.read(path, LIMIT)?,
        _ => None,
    };
    Ok(FileSeen { stat, text: text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) })
}

/// Undo data of a change; every change that acts has a file.
pub(super) fn before(cx: &Capture<'_>, change: &Change<ManagedFile>) -> Result<FileBefore, StepError> {
    match change.desired() {
        Some(file) => file.capture(cx),
        None => Ok(FileBefore { path: PathBuf::new(), former: None, ours: Digest::of(b"") }),
    }
}

/// Writes it, if the change wants it written.
pub(super) fn apply(cx: &Apply<'_>, change: &Change<ManagedFile>) -> Result<Outcome, StepError> {
    let Some(file) = change.desired() else { return Ok(Outcome::Unchanged) };
    cx.put(&file.path, file.text.as_bytes(), file.mode)?;
    Ok(Outcome::Changed)
}

impl ManagedFile {
    pub fn plan(self, seen: &FileSeen) -> Change<Self> {
        let Some(stat) = &seen.stat else { return Change::Create { desired: self } };
        if stat.kind != EntryKind::File {
            return Change::Blocked {
                code: "E-FILE-IN-THE-WAY".into(),
                why: format!(
                    "{} is not a regular file, and setup follows no links there",
                    self.path.display()
                ),
                remedy: Remedy::run(
                    "move it away, then run setup again",
                    format!("ls -ld {}", shell::path(&self.path)),
                ),
            };
        }
        let mut diff = Diff::default();
        let old = seen.text.as_deref().unwrap_or_default();
        if old != self.text {
            diff = lines(diff, old, &self.text);
        }
        if stat.mode != self.mode {
            diff = diff.and("mode", format!("{:?}", stat.mode), format!("{:?}", self.mode));
        }
        if diff.0.is_empty() { Change::Noop } else { Change::Update { diff, desired: self } }
    }

    fn capture(&self, cx: &Capture<'_>) -> Result<FileBefore, StepError> {
        let stat = cx.stat(&self.path)?;
        let former = match cx.read(&self.path, LIMIT)?.zip(stat) {
            Some((bytes, stat)) => Some((cx.keep(&bytes)?, stat.mode)),
            None => None,
        };
        Ok(FileBefore { path: self.path.clone(), former, ours: Digest::of(self.text.as_bytes()) })
    }
}

impl FileBefore {
    pub fn creates(&self) -> Vec<String> {
        if self.former.is_some() { Vec::new() } else { vec![self.path.display().to_string()] }
    }

    pub fn undo(&self, cx: &Apply<'_>) -> Result<UndoOutcome, StepError> {
        if cx.stat(&self.path)?.is_some_and(|stat| stat.kind != EntryKind::File) {
            return Ok(UndoOutcome::LeftAlone {
                why: format!("{} is no file any more", self.path.display()),
            });
        }
        let now = cx.digest(&self.path)?;
        let former = self
            .former
            .as_ref()
            .map(|(kept, mode)| Ok::<_, StepError>((cx.kept(kept)?, *mode)))
            .transpose()?;
        if now == former.as_ref().map(|(bytes, _)| Digest::of(bytes)) {
            return Ok(UndoOutcome::NothingToDo);
        }
        if now.is_some_and(|now| now != self.ours) {
            return Ok(UndoOutcome::LeftAlone {
                why: format!("{} was edited since, so it stays", self.path.display()),
            });
        }
        match former {
            Some((bytes, mode)) => cx.put(&self.path, &bytes, mode)?,
            None if cx.remove_file(&self.path)? == Removed::Absent => return Ok(UndoOutcome::NothingToDo),
            None => {}
        }
        Ok(UndoOutcome::Restored)
    }
}

/// Every line that only one side has. Settings are independent lines, so this reads better than a true diff.
fn lines(mut diff: Diff, old: &str, new: &str) -> Diff {
    let only = |a: &str, b: &str| -> Vec<String> {
        a.lines().filter(|line| !b.lines().any(|other| other == *line)).map(str::to_owned).collect()
    };
    let (gone, added) = (only(old, new), only(new, old));
    let count = gone.len().max(added.len());
    for index in 0..count {
        let side = |lines: &[String]| lines.get(index).cloned().unwrap_or_default();
        diff = diff.and("line", side(&gone), side(&added));
    }
    if count == 0 { diff.and("order of lines", "", "") } else { diff }
}
