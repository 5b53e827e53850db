//! Gate: every reason not to begin, all at once, before anything has changed.

use super::places::Places;
use super::questions::{PortState, port_state};
use crate::error::{Remedy, StepError};
use crate::facts::Facts;
use crate::step::{Change, Kind, Outcome, Step, StepKey, UndoOutcome, Wanted};
use crate::view::{Apply, Capture, Probe};
use td_state::answers::Answers;

/// Three programs, a little data and its first copy.
const DISK: u64 = 256 << 20;

pub(super) struct PrePolicy;

impl Step for PrePolicy {
    type Desired = ();
    /// What is in the way.
    type Observed = Vec<String>;
    type Undo = ();
    const KEY: StepKey = StepKey::PRE_POLICY;
    const KIND: Kind = Kind::Gate;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Check that nothing is in the way".into()
    }

    fn why(&self) -> &'static str {
        "a refusal that comes before the first change costs nothing"
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::PRE_LOCAL, StepKey::PRE_FACTS]
    }

    fn desired(&self, _: &Answers, _: &Facts) -> Result<Wanted<()>, StepError> {
        Ok(Wanted::This(()))
    }

    fn observe(&self, cx: &Probe<'_>, (): &()) -> Result<Vec<String>, StepError> {
        let (facts, places) = (cx.facts(), Places::of(cx.answers(), cx.facts()));
        let mut wrong = Vec::new();
        if let Some(home) = cx.stat(&facts.home)?
            && home.uid != facts.uid
        {
            wrong.push(format!(
                "the home folder {} belongs to another user than the one who runs setup (do not use sudo here)",
                facts.home.display()
            ));
        }
        if port_state(places.address, &places, &**cx)? == PortState::Taken {
            wrong.push(format!("{} belongs to another program (choose one with --port)", places.address));
        }
        if cx.stat(&places.current)?.is_none() {
            let free = cx.free_bytes(&places.root)?;
            if free < DISK {
                wrong.push(format!(
                    "{} MiB are free below {}, {} MiB are needed",
                    free >> 20,
                    places.root.display(),
                    DISK >> 20
                ));
            }
        }
        for (name, folder) in [("data", &places.data), ("backup", &places.backups)] {
            if folder.starts_with(&places.releases) || places.config.starts_with(folder) {
                wrong.push(format!(
                    "the {name} folder {} is inside another part of td-sync",
                    folder.display()
                ));
            }
        }
        if places.data.starts_with(&places.backups) || places.backups.starts_with(&places.data) {
            wrong.push("the backup folder and the data folder contain one another".into());
        }
        Ok(wrong)
    }

    fn plan(&self, wrong: &Vec<String>, (): ()) -> Change<()> {
        if wrong.is_empty() {
            return Change::Noop;
        }
        Change::Blocked {
            code: "E-POLICY".into(),
            why: wrong.join("; "),
            remedy: Remedy::run("change what is named above, or the answers", "td-sync-setup answers show"),
        }
    }

    fn capture(&self, _: &Capture<'_>, _: &Change<()>) -> Result<(), StepError> {
        Ok(())
    }

    fn apply(&self, _: &mut Apply<'_>, _: Change<()>) -> Result<Outcome, StepError> {
        Ok(Outcome::Unchanged)
    }

    fn undo(&self, _: &mut Apply<'_>, (): ()) -> Result<UndoOutcome, StepError> {
        Ok(UndoOutcome::NothingToDo)
    }
}
