//! The folder of backup copies, proven writable.

use super::host_statedir::changed;
use super::places::Places;
use crate::error::StepError;
use crate::facts::Facts;
use crate::host::{EntryKind, Mode};
use crate::step::{Change, Kind, Outcome, Step, StepKey, UndoOutcome, Wanted};
use crate::steps::clearing;
use crate::steps::dirs::{Dirs, MadeDirs, Standing};
use crate::view::{Apply, Capture, Probe};
use td_state::answers::Answers;

/// Written, read and deleted again.
const PROBE: &str = ".td-tmp-probe";

pub(super) struct DataTarget;

impl Step for DataTarget {
    type Desired = Dirs;
    type Observed = Standing;
    type Undo = MadeDirs;
    const KEY: StepKey = StepKey::DATA_TARGET;
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Make the folder of backup copies".into()
    }

    fn why(&self) -> &'static str {
        "copies of the data go there; a folder on another disk survives the loss of this one"
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::PRE_POLICY]
    }

    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<Dirs>, StepError> {
        Ok(Wanted::This(Dirs::with_parents(&[&Places::of(answers, facts).backups])))
    }

    fn observe(&self, cx: &Probe<'_>, desired: &Dirs) -> Result<Standing, StepError> {
        desired.observe(cx)
    }

    fn plan(&self, standing: &Standing, desired: Dirs) -> Change<Dirs> {
        desired.plan(standing)
    }

    fn capture(&self, cx: &Capture<'_>, change: &Change<Dirs>) -> Result<MadeDirs, StepError> {
        change.desired().map_or_else(|| Ok(MadeDirs::default()), |dirs| dirs.missing(cx, &[]))
    }

    fn creates(&self, undo: &MadeDirs) -> Vec<String> {
        undo.names()
    }

    fn apply(&self, cx: &mut Apply<'_>, change: Change<Dirs>) -> Result<Outcome, StepError> {
        let Some(dirs) = change.desired() else { return Ok(Outcome::Unchanged) };
        let made = dirs.apply(cx)?;
        let probe = Places::of(cx.answers(), cx.facts()).backups.join(PROBE);
        cx.put(&probe, b"td-sync", Mode::PRIVATE)?;
        let read = cx.read(&probe, 64)?;
        cx.remove_file(&probe)?;
        debug_assert!(read.is_some(), "a file that was put can be read");
        Ok(changed(made))
    }

    fn undo(&self, cx: &mut Apply<'_>, undo: MadeDirs) -> Result<UndoOutcome, StepError> {
        // A run that was cut off may have left it.
        if let Some(probe) = undo.made.last().map(|backups| backups.join(PROBE))
            && cx.stat(&probe)?.is_some_and(|stat| stat.kind == EntryKind::File)
        {
            cx.remove_file(&probe)?;
        }
        // Copies that somebody else put there keep their folder.
        undo.undo(cx, clearing::nothing)
    }
}
