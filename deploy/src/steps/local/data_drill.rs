//! Gate: the first copy opens again and holds what was copied.

use super::asking;
use super::data_first_backup::{FIRST, MANIFEST};
use super::places::Places;
use super::server_admin::admin_program;
use crate::error::StepError;
use crate::facts::Facts;
use crate::host::{Digest, EntryKind, Mode, Removed};
use crate::step::{Change, Kind, Outcome, Step, StepKey, UndoOutcome, Wanted};
use crate::view::{Apply, Capture, Probe};
use std::path::PathBuf;
use td_state::answers::Answers;

/// Beside the copy: digest of the manifest that was drilled. A copy is opened once, not at each run.
const DRILLED: &str = "first.drilled";

pub(super) struct DataDrill;

impl Step for DataDrill {
    /// The copy.
    type Desired = PathBuf;
    /// Its drill has passed.
    type Observed = bool;
    /// The note of the drill.
    type Undo = PathBuf;
    const KEY: StepKey = StepKey::DATA_DRILL;
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Prove the backup copy by opening it".into()
    }

    fn why(&self) -> &'static str {
        "a backup is one that was opened again and compared, not a file that exists"
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::DATA_FIRST_BACKUP]
    }

    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<PathBuf>, StepError> {
        let places = Places::of(answers, facts);
        Ok(match places.release {
            Some(_) => Wanted::This(places.backups.join(FIRST)),
            None => Wanted::After(StepKey::SERVER_RELEASE),
        })
    }

    fn observe(&self, cx: &Probe<'_>, copy: &PathBuf) -> Result<bool, StepError> {
        let manifest = cx.digest(&copy.join(MANIFEST))?;
        let drilled = cx.read(&copy.with_file_name(DRILLED), 256)?;
        Ok(manifest.is_some_and(|manifest| drilled.as_deref() == Some(manifest.as_str().as_bytes())))
    }

    fn plan(&self, passed: &bool, desired: PathBuf) -> Change<PathBuf> {
        if *passed { Change::Noop } else { Change::Create { desired } }
    }

    fn capture(&self, cx: &Capture<'_>, change: &Change<PathBuf>) -> Result<PathBuf, StepError> {
        let copy = change.desired().cloned();
        let copy = copy.unwrap_or_else(|| Places::of(cx.answers(), cx.facts()).backups.join(FIRST));
        Ok(copy.with_file_name(DRILLED))
    }

    fn creates(&self, undo: &PathBuf) -> Vec<String> {
        vec![undo.display().to_string()]
    }

    fn apply(&self, cx: &mut Apply<'_>, change: Change<PathBuf>) -> Result<Outcome, StepError> {
        let Some(copy) = change.desired() else { return Ok(Outcome::Unchanged) };
        let places = Places::of(cx.answers(), cx.facts());
        let shown = copy.display().to_string();
        let check = admin_program(&places, &**cx, &["backup", "check", &shown])?;
        asking::succeeded(&check, cx.run(&check)?, &places.log)?;
        let manifest = cx.digest(&copy.join(MANIFEST))?.unwrap_or_else(|| Digest::of(b""));
        cx.put(&copy.with_file_name(DRILLED), manifest.as_str().as_bytes(), Mode::PRIVATE)?;
        Ok(Outcome::Changed)
    }

    fn undo(&self, cx: &mut Apply<'_>, note: PathBuf) -> Result<UndoOutcome, StepError> {
        if cx.stat(&note)?.is_some_and(|stat| stat.kind != EntryKind::File) {
            return Ok(UndoOutcome::LeftAlone { why: format!("{} is no file any more", note.display()) });
        }
        Ok(match cx.remove_file(&note)? {
            Removed::Absent => UndoOutcome::NothingToDo,
            Removed::Gone | Removed::NotEmpty => UndoOutcome::Restored,
        })
    }
}
