//! Folders of releases, settings and data.

use super::host_statedir::changed;
use super::places::Places;
use crate::error::StepError;
use crate::facts::Facts;
use crate::step::{Change, Kind, Outcome, Step, StepKey, UndoOutcome, Wanted};
use crate::steps::clearing;
use crate::steps::dirs::{Dirs, MadeDirs, Standing};
use crate::view::{Apply, Capture, Probe};
use td_state::answers::Answers;

pub(super) struct SysDirs;

impl Step for SysDirs {
    type Desired = Dirs;
    type Observed = Standing;
    type Undo = MadeDirs;
    const KEY: StepKey = StepKey::SYS_DIRS;
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Make the folders of releases, settings and data".into()
    }

    fn why(&self) -> &'static str {
        "everything of the server stands in three folders of yours, and nowhere else"
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::PRE_POLICY]
    }

    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<Dirs>, StepError> {
        let places = Places::of(answers, facts);
        Ok(Wanted::This(Dirs::with_parents(&[&places.releases, &places.config, &places.data])))
    }

    fn observe(&self, cx: &Probe<'_>, desired: &Dirs) -> Result<Standing, StepError> {
        desired.observe(cx)
    }

    fn plan(&self, standing: &Standing, desired: Dirs) -> Change<Dirs> {
        desired.plan(standing)
    }

    fn capture(&self, cx: &Capture<'_>, change: &Change<Dirs>) -> Result<MadeDirs, StepError> {
        let data = Places::of(cx.answers(), cx.facts()).data;
        change.desired().map_or_else(|| Ok(MadeDirs::default()), |dirs| dirs.missing(cx, &[&data]))
    }

    fn creates(&self, undo: &MadeDirs) -> Vec<String> {
        undo.names()
    }

    fn apply(&self, cx: &mut Apply<'_>, change: Change<Dirs>) -> Result<Outcome, StepError> {
        change.desired().map_or(Ok(false), |dirs| dirs.apply(cx)).map(changed)
    }

    fn undo(&self, cx: &mut Apply<'_>, undo: MadeDirs) -> Result<UndoOutcome, StepError> {
        let data = Places::of(cx.answers(), cx.facts()).data;
        let outcome = undo.undo(cx, clearing::server_data)?;
        // A data folder that was there before us is not in the list, so it stays in any case.
        if undo.made.contains(&data) || cx.stat(&data.join("server.db"))?.is_none() {
            return Ok(outcome);
        }
        let why = format!("the data in {} stay: the folder was there before setup", data.display());
        Ok(clearing::both(UndoOutcome::LeftAlone { why }, outcome))
    }
}
