//! What keeps the server running: the specification for our supervisor.
//!
//! A machine whose process 1 is systemd could have units instead (`td_templates::SystemUnits`). The local target uses the
//! supervisor there too, because it needs no root and leaves nothing outside the user's folders.

use super::places::Places;
use crate::error::StepError;
use crate::facts::Facts;
use crate::host::Mode;
use crate::step::{Change, Kind, Outcome, Step, StepKey, UndoOutcome, Wanted};
use crate::steps::managed::{self, FileBefore, FileSeen, ManagedFile};
use crate::supervisor::Spec;
use crate::view::{Apply, Capture, Probe};
use td_state::answers::Answers;

pub(super) struct ServerUnits;

impl Step for ServerUnits {
    type Desired = ManagedFile;
    type Observed = FileSeen;
    type Undo = FileBefore;
    const KEY: StepKey = StepKey::SERVER_UNITS;
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Set up what keeps the server running".into()
    }

    fn why(&self) -> &'static str {
        "a supervisor of ours starts the server again when it ends; with or without systemd it does not start at boot yet (after a restart of the machine, `td-sync-setup start` starts it)"
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::HOST_STATEDIR, StepKey::SERVER_CONFIG, StepKey::SERVER_RELEASE]
    }

    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<ManagedFile>, StepError> {
        let places = Places::of(answers, facts);
        let spec = Spec {
            env_file: places.env_file.clone(),
            directory: places.data.clone(),
            state: places.supervisor.clone(),
            log: places.log.clone(),
            ..Spec::new(
                places.current.join("td-sync-setup"),
                places.current.join("td-sync"),
                vec![places.address],
            )
        };
        Ok(Wanted::This(ManagedFile { path: places.spec, text: spec.to_text(), mode: Mode::PRIVATE }))
    }

    fn observe(&self, cx: &Probe<'_>, desired: &ManagedFile) -> Result<FileSeen, StepError> {
        managed::observe(cx, &desired.path)
    }

    fn plan(&self, seen: &FileSeen, desired: ManagedFile) -> Change<ManagedFile> {
        desired.plan(seen)
    }

    fn capture(&self, cx: &Capture<'_>, change: &Change<ManagedFile>) -> Result<FileBefore, StepError> {
        managed::before(cx, change)
    }

    fn creates(&self, undo: &FileBefore) -> Vec<String> {
        undo.creates()
    }

    fn apply(&self, cx: &mut Apply<'_>, change: Change<ManagedFile>) -> Result<Outcome, StepError> {
        managed::apply(cx, &change)
    }

    fn undo(&self, cx: &mut Apply<'_>, undo: FileBefore) -> Result<UndoOutcome, StepError> {
        undo.undo(cx)
    }
}
