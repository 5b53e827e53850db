//! Steps of any types behind one object.
//!
//! Duty: turn a typed step into JSON in, JSON out, so that the engine is one loop over one list.
//! Invariant: nothing is decided here.

use super::{Change, Diff, Kind, ManualLine, Outcome, Step, StepKey, StepTraits, UndoOutcome, Wanted};
use crate::error::{Remedy, StepError};
use crate::host::Digest;
use crate::view::{Apply, Capture, Probe};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use td_state::answers::Answers;

/// What one look at a step found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Digest of what was observed; none if nothing was looked at.
    pub observed: Option<String>,
    /// Digest of what is wanted; none if nothing is.
    pub desired: Option<String>,
    /// What has to be done.
    pub change: Change<Value>,
}

/// A step without its types. Made by [`erase`] only.
pub trait AnyStep: Send + Sync {
    /// See [`Step::KEY`].
    fn key(&self) -> StepKey;
    /// See [`Step::KIND`].
    fn kind(&self) -> Kind;
    /// See [`Step::REV`].
    fn rev(&self) -> u32;
    /// See [`Step::title`].
    fn title(&self) -> String;
    /// See [`Step::why`].
    fn why(&self) -> &'static str;
    /// See [`Step::manual`].
    fn manual(&self, answers: &Answers) -> Vec<ManualLine>;
    /// See [`Step::needs`].
    fn needs(&self) -> &'static [StepKey];
    /// See [`Step::traits`].
    fn traits(&self) -> StepTraits;
    /// Desire, look and plan. What cannot be looked at is [`Change::Unknown`].
    fn see(&self, cx: &Probe<'_>) -> Seen;
    /// Undo data and what will be created.
    fn capture(&self, cx: &Capture<'_>, change: &Change<Value>) -> Result<(Value, Vec<String>), StepError>;
    /// See [`Step::apply`].
    fn apply(&self, cx: &mut Apply<'_>, change: &Change<Value>) -> Result<Outcome, StepError>;
    /// See [`Step::verify`]; desires anew first.
    fn verify(&self, cx: &Probe<'_>) -> Result<(), StepError>;
    /// See [`Step::undo`].
    fn undo(&self, cx: &mut Apply<'_>, undo: &Value) -> Result<UndoOutcome, StepError>;
}

/// Hides the types of a step.
pub fn erase<S: Step + 'static>(step: S) -> Box<dyn AnyStep> {
    Box::new(Erased(step))
}

struct Erased<S>(S);

impl<S: Step> AnyStep for Erased<S> {
    fn key(&self) -> StepKey {
        S::KEY
    }
    fn kind(&self) -> Kind {
        S::KIND
    }
    fn rev(&self) -> u32 {
        S::REV
    }
    fn title(&self) -> String {
        self.0.title()
    }
    fn why(&self) -> &'static str {
        self.0.why()
    }
    fn manual(&self, answers: &Answers) -> Vec<ManualLine> {
        self.0.manual(answers)
    }
    fn needs(&self) -> &'static [StepKey] {
        self.0.needs()
    }
    fn traits(&self) -> StepTraits {
        self.0.traits()
    }

    fn see(&self, cx: &Probe<'_>) -> Seen {
        let mut seen = Seen { observed: None, desired: None, change: Change::Noop };
        seen.change = self
            .look(cx, &mut seen.observed, &mut seen.desired)
            .unwrap_or_else(|e| Change::Unknown { why: format!("{e}; {}", e.means) });
        seen
    }

    fn capture(&self, cx: &Capture<'_>, change: &Change<Value>) -> Result<(Value, Vec<String>), StepError> {
        let undo = self.0.capture(cx, &typed(change.clone())?)?;
        Ok((json(&undo)?, self.0.creates(&undo)))
    }

    fn apply(&self, cx: &mut Apply<'_>, change: &Change<Value>) -> Result<Outcome, StepError> {
        self.0.apply(cx, typed(change.clone())?)
    }

    fn verify(&self, cx: &Probe<'_>) -> Result<(), StepError> {
        match self.0.desired(cx.answers(), cx.facts())? {
            Wanted::This(desired) => self.0.verify(cx, desired),
            Wanted::Skip(_) => Ok(()),
            Wanted::After(step) => Err(not_as_wanted(&Change::<Value>::DependsOn { step: step.to_string() })),
        }
    }

    fn undo(&self, cx: &mut Apply<'_>, undo: &Value) -> Result<UndoOutcome, StepError> {
        let undo = serde_json::from_value(undo.clone()).map_err(|e| {
            StepError::new(
                "E-UNDO-FORMAT",
                format!("the undo data of {} cannot be read: {e}", S::KEY),
                "they were written by another version of setup",
                Remedy::say(
                    "run the version that wrote them (see `td-sync-setup logs`), or undo this step by hand",
                ),
            )
        })?;
        self.0.undo(cx, undo)
    }
}

impl<S: Step> Erased<S> {
    fn look(
        &self,
        cx: &Probe<'_>,
        observed_digest: &mut Option<String>,
        desired_digest: &mut Option<String>,
    ) -> Result<Change<Value>, StepError> {
        let desired = match self.0.desired(cx.answers(), cx.facts())? {
            Wanted::This(desired) => desired,
            Wanted::Skip(reason) => return Ok(Change::Skip { reason }),
            Wanted::After(step) => return Ok(Change::DependsOn { step: step.to_string() }),
        };
        *desired_digest = Some(digest(&json(&desired)?));
        let observed = self.0.observe(cx, &desired)?;
        *observed_digest = Some(digest(&json(&observed)?));
        self.0.plan(&observed, desired).try_map(|d| json(&d))
    }
}

/// Digest of a JSON value; its maps are sorted, so equal values give equal digests.
fn digest(value: &Value) -> String {
    Digest::of(value.to_string().as_bytes()).to_string()
}

/// What a failed verification says.
pub(super) fn not_as_wanted<D>(change: &Change<D>) -> StepError {
    let lines = |Diff(all): &Diff| -> Vec<String> {
        all.iter().map(|d| format!("{}: {} instead of {}", d.what, d.before, d.after)).collect()
    };
    let (what, evidence) = match change {
        Change::Create { .. } => ("it is not there", Vec::new()),
        Change::Remove { .. } => ("it is still there", Vec::new()),
        Change::Update { diff, .. } => ("it is different from what was wanted", lines(diff)),
        Change::DependsOn { step } => ("an earlier step has not run", vec![step.clone()]),
        Change::Blocked { why, .. } => ("something is in the way", vec![why.clone()]),
        Change::Unknown { why } => ("it cannot be looked at", vec![why.clone()]),
        Change::Noop | Change::Check { .. } | Change::Skip { .. } => ("it is as wanted", Vec::new()),
    };
    StepError::new(
        "E-VERIFY",
        format!("after the change, {what}"),
        "something else changed it at the same time, or the change had no effect",
        Remedy::run("run setup again; it looks first and continues from there", "td-sync-setup"),
    )
    .with_evidence(evidence)
}

fn json<T: Serialize>(value: &T) -> Result<Value, StepError> {
    serde_json::to_value(value).map_err(|e| internal(&e))
}

fn typed<D: DeserializeOwned>(change: Change<Value>) -> Result<Change<D>, StepError> {
    change.try_map(|v| serde_json::from_value(v).map_err(|e| internal(&e)))
}

fn internal(e: &serde_json::Error) -> StepError {
    StepError::new(
        "E-INTERNAL",
        format!("a step's data do not fit their own type: {e}"),
        "this is a bug in setup",
        Remedy::say("please report it with the journal"),
    )
}
