//! Gate: the facts that every later step rests on make sense.

use crate::error::{Remedy, StepError};
use crate::facts::Facts;
use crate::step::{Change, Kind, Outcome, Step, StepKey, UndoOutcome, Wanted};
use crate::view::{Apply, Capture, Probe};
use std::path::PathBuf;
use td_state::answers::Answers;

pub(super) struct PreFacts;

impl Step for PreFacts {
    /// Folders that have to be full paths, with the variable that says otherwise.
    type Desired = Vec<(String, PathBuf)>;
    type Observed = ();
    type Undo = ();
    const KEY: StepKey = StepKey::PRE_FACTS;
    const KIND: Kind = Kind::Gate;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Look at this machine".into()
    }

    fn why(&self) -> &'static str {
        "all paths come from HOME and the XDG variables; a relative one would depend on where setup is started"
    }

    fn desired(&self, _: &Answers, facts: &Facts) -> Result<Wanted<Self::Desired>, StepError> {
        Ok(Wanted::This(vec![
            ("HOME".into(), facts.home.clone()),
            ("XDG_CONFIG_HOME".into(), facts.config_home.clone()),
            ("XDG_DATA_HOME".into(), facts.data_home.clone()),
            ("XDG_STATE_HOME".into(), facts.state_home.clone()),
        ]))
    }

    fn observe(&self, _: &Probe<'_>, _: &Self::Desired) -> Result<(), StepError> {
        Ok(())
    }

    fn plan(&self, (): &(), desired: Self::Desired) -> Change<Self::Desired> {
        let odd = |(_, path): &&(String, PathBuf)| {
            !path.is_absolute() || path.to_str().is_none_or(|text| text.chars().any(char::is_control))
        };
        let wrong: Vec<_> =
            desired.iter().filter(odd).map(|(name, path)| format!("{name}={}", path.display())).collect();
        if wrong.is_empty() {
            return Change::Noop;
        }
        Change::Blocked {
            code: "E-FACTS-FOLDERS".into(),
            why: format!("not a full path in plain text: {}", wrong.join(", ")),
            remedy: Remedy::say("set the variable to a path that begins with /, or unset it"),
        }
    }

    fn capture(&self, _: &Capture<'_>, _: &Change<Self::Desired>) -> Result<(), StepError> {
        Ok(())
    }

    fn apply(&self, _: &mut Apply<'_>, _: Change<Self::Desired>) -> Result<Outcome, StepError> {
        Ok(Outcome::Unchanged)
    }

    fn undo(&self, _: &mut Apply<'_>, (): ()) -> Result<UndoOutcome, StepError> {
        Ok(UndoOutcome::NothingToDo)
    }
}
