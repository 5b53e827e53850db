//! What setup keeps on the host: log, lock and control socket of the supervisor.

use super::places::Places;
use crate::error::StepError;
use crate::facts::Facts;
use crate::step::{Change, Kind, Outcome, Step, StepKey, UndoOutcome, Wanted};
use crate::steps::clearing;
use crate::steps::dirs::{Dirs, MadeDirs, Standing};
use crate::view::{Apply, Capture, Probe};
use td_state::answers::Answers;

pub(super) struct HostStateDir;

impl Step for HostStateDir {
    type Desired = Dirs;
    type Observed = Standing;
    type Undo = MadeDirs;
    const KEY: StepKey = StepKey::HOST_STATEDIR;
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Make setup's own folder".into()
    }

    fn why(&self) -> &'static str {
        "the supervisor keeps its lock, its control socket and the log there"
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::PRE_POLICY]
    }

    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<Dirs>, StepError> {
        let places = Places::of(answers, facts);
        let log = places.log.parent().unwrap_or(&places.host);
        Ok(Wanted::This(Dirs::with_parents(&[&places.supervisor, log])))
    }

    fn observe(&self, cx: &Probe<'_>, desired: &Dirs) -> Result<Standing, StepError> {
        desired.observe(cx)
    }

    fn plan(&self, standing: &Standing, desired: Dirs) -> Change<Dirs> {
        desired.plan(standing)
    }

    fn capture(&self, cx: &Capture<'_>, change: &Change<Dirs>) -> Result<MadeDirs, StepError> {
        let places = Places::of(cx.answers(), cx.facts());
        let log = places.log.parent().unwrap_or(&places.host);
        change
            .desired()
            .map_or_else(|| Ok(MadeDirs::default()), |dirs| dirs.missing(cx, &[&places.supervisor, log]))
    }

    fn creates(&self, undo: &MadeDirs) -> Vec<String> {
        undo.names()
    }

    fn apply(&self, cx: &mut Apply<'_>, change: Change<Dirs>) -> Result<Outcome, StepError> {
        change.desired().map_or(Ok(false), |dirs| dirs.apply(cx)).map(changed)
    }

    fn undo(&self, cx: &mut Apply<'_>, undo: MadeDirs) -> Result<UndoOutcome, StepError> {
        // The supervisor is gone by now (its step is undone first).
        undo.undo(cx, clearing::host_state)
    }
}

pub(super) fn changed(changed: bool) -> Outcome {
    if changed { Outcome::Changed } else { Outcome::Unchanged }
}
