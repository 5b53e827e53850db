//! The first copy of the data.

use super::asking;
use super::places::Places;
use super::server_admin::admin_program;
use crate::error::StepError;
use crate::facts::Facts;
use crate::host::Removed;
use crate::step::{Change, Kind, ManualLine, Outcome, Step, StepKey, StepTraits, UndoOutcome, Wanted};
use crate::view::{Apply, Capture, Probe};
use std::path::PathBuf;
use std::time::Duration;
use td_state::answers::Answers;

/// Name of the first copy in the folder of copies.
pub(super) const FIRST: &str = "first";
/// Written last, so a copy that has it is complete.
pub(super) const MANIFEST: &str = "manifest.json";

pub(super) struct DataFirstBackup;

impl Step for DataFirstBackup {
    /// Where it goes.
    type Desired = PathBuf;
    /// It is there, completely.
    type Observed = bool;
    /// The copy, if it was not there before us.
    type Undo = Option<PathBuf>;
    const KEY: StepKey = StepKey::DATA_FIRST_BACKUP;
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Make the first backup copy".into()
    }

    fn why(&self) -> &'static str {
        "a server is set up when its data have been copied, not before"
    }

    fn manual(&self, answers: &Answers) -> Vec<ManualLine> {
        let folder = answers.text(&super::questions::BACKUPS).unwrap_or_else(|| "FOLDER".into());
        vec![ManualLine(format!("td-sync backup export --to {folder}/today"))]
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::SERVER_ADMIN, StepKey::DATA_TARGET]
    }

    fn traits(&self) -> StepTraits {
        StepTraits { time: Duration::from_secs(2), ..StepTraits::default() }
    }

    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<PathBuf>, StepError> {
        let places = Places::of(answers, facts);
        Ok(match places.release {
            Some(_) => Wanted::This(places.backups.join(FIRST)),
            None => Wanted::After(StepKey::SERVER_RELEASE),
        })
    }

    fn observe(&self, cx: &Probe<'_>, copy: &PathBuf) -> Result<bool, StepError> {
        Ok(cx.stat(&copy.join(MANIFEST))?.is_some())
    }

    fn plan(&self, complete: &bool, desired: PathBuf) -> Change<PathBuf> {
        if *complete { Change::Noop } else { Change::Create { desired } }
    }

    fn capture(&self, cx: &Capture<'_>, change: &Change<PathBuf>) -> Result<Option<PathBuf>, StepError> {
        Ok(match change.desired() {
            Some(copy) if cx.stat(copy)?.is_none() => Some(copy.clone()),
            _ => None,
        })
    }

    fn creates(&self, undo: &Option<PathBuf>) -> Vec<String> {
        undo.iter().map(|copy| copy.display().to_string()).collect()
    }

    fn apply(&self, cx: &mut Apply<'_>, change: Change<PathBuf>) -> Result<Outcome, StepError> {
        let Some(copy) = change.desired() else { return Ok(Outcome::Unchanged) };
        let places = Places::of(cx.answers(), cx.facts());
        let to = copy.display().to_string();
        let export = admin_program(&places, &**cx, &["backup", "export", "--to", &to, "--json"])?;
        asking::succeeded(&export, cx.run(&export)?, &places.log)?;
        Ok(Outcome::Changed)
    }

    fn undo(&self, cx: &mut Apply<'_>, undo: Option<PathBuf>) -> Result<UndoOutcome, StepError> {
        let Some(copy) = undo else { return Ok(UndoOutcome::NothingToDo) };
        Ok(match cx.remove_tree(&copy)? {
            Removed::Absent => UndoOutcome::NothingToDo,
            Removed::Gone | Removed::NotEmpty => UndoOutcome::Restored,
        })
    }
}
