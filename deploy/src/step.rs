//! What a step is (anchors-installer e2, e3).
//!
//! Duty: the contract between a step and the engine, and the names of all steps.
//! Invariant: a step decides in pure functions (`desired`, `plan`) and acts only in `apply` and `undo`.
//! Danger: `plan` must say `Noop` exactly when `apply` would change nothing; resume adopts on its word.

mod erased;
mod key;

pub use erased::{AnyStep, Seen, erase};
pub use key::StepKey;

use crate::error::{Finding, Remedy, StepError};
use crate::facts::Facts;
use crate::view::{Apply, Capture, Probe};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use td_state::answers::Answers;

/// What sort of step it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Changes the host.
    Mutation,
    /// Leaves the host as it is: looks in every pass, and may exercise something ([`Change::Check`]).
    Gate,
    /// A mutation that belongs with the others of this name: they are undone together.
    Group(&'static str),
}

/// Where one thing is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What, as `mode` or `line 3`.
    pub what: String,
    /// As it is.
    pub before: String,
    /// As it will be.
    pub after: String,
}

/// Every difference between what is and what is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Diff(pub Vec<Difference>);

impl Diff {
    /// One difference.
    pub fn one(what: impl Into<String>, before: impl Into<String>, after: impl Into<String>) -> Self {
        Self::default().and(what, before, after)
    }

    /// And another.
    pub fn and(
        mut self,
        what: impl Into<String>,
        before: impl Into<String>,
        after: impl Into<String>,
    ) -> Self {
        self.0.push(Difference { what: what.into(), before: before.into(), after: after.into() });
        self
    }
}

/// What a step wishes for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted<D> {
    /// This.
    This(D),
    /// It makes no sense on this target; the reason is shown in the list of steps.
    Skip(String),
    /// It cannot be known before that step has run.
    After(StepKey),
}

/// What would have to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change<D> {
    /// All is as wanted.
    Noop,
    /// It does not apply here.
    Skip {
        /// Why.
        reason: String,
    },
    /// Looks right, and is to be exercised by `apply`, which leaves the host as it found it. Not a pending change.
    /// `undo` of a check clears away what an interrupted one left.
    Check {
        /// With this.
        desired: D,
    },
    /// Nothing is there yet.
    Create {
        /// What shall be there.
        desired: D,
    },
    /// It is there, but different.
    Update {
        /// In what.
        diff: Diff,
        /// What shall be there.
        desired: D,
    },
    /// It is there and shall not be.
    Remove {
        /// What shall go.
        desired: D,
    },
    /// Cannot know yet: that step has not run.
    DependsOn {
        /// Which.
        step: String,
    },
    /// We know that we must not.
    Blocked {
        /// Stable name, `E-…`.
        code: String,
        /// What is in the way.
        why: String,
        /// What to do about it.
        remedy: Remedy,
    },
    /// It could not be looked at. Never treated as `Noop`.
    Unknown {
        /// Why not.
        why: String,
    },
}

impl<D> Change<D> {
    /// Whether `apply` is to be called for it.
    pub fn acts(&self) -> bool {
        matches!(self, Self::Check { .. } | Self::Create { .. } | Self::Update { .. } | Self::Remove { .. })
    }

    /// Whether the host will be different afterwards.
    pub fn alters(&self) -> bool {
        self.acts() && !matches!(self, Self::Check { .. })
    }

    /// Whether what is there is what is wanted.
    pub fn is_satisfied(&self) -> bool {
        matches!(self, Self::Noop | Self::Check { .. } | Self::Skip { .. })
    }

    /// What is wanted, if the change says it.
    pub fn desired(&self) -> Option<&D> {
        match self {
            Self::Check { desired }
            | Self::Create { desired }
            | Self::Update { desired, .. }
            | Self::Remove { desired } => Some(desired),
            _ => None,
        }
    }

    /// The same change of another form of `D`.
    pub fn try_map<E, X>(self, f: impl FnOnce(D) -> Result<E, X>) -> Result<Change<E>, X> {
        Ok(match self {
            Self::Noop => Change::Noop,
            Self::Skip { reason } => Change::Skip { reason },
            Self::Check { desired } => Change::Check { desired: f(desired)? },
            Self::Create { desired } => Change::Create { desired: f(desired)? },
            Self::Update { diff, desired } => Change::Update { diff, desired: f(desired)? },
            Self::Remove { desired } => Change::Remove { desired: f(desired)? },
            Self::DependsOn { step } => Change::DependsOn { step },
            Self::Blocked { code, why, remedy } => Change::Blocked { code, why, remedy },
            Self::Unknown { why } => Change::Unknown { why },
        })
    }
}

/// What came of `apply`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The host is different now.
    Changed,
    /// Nothing had to be changed (a check passed).
    Unchanged,
    /// Done, and there is something to tell.
    Warned {
        /// What.
        findings: Vec<Finding>,
    },
    /// It turned out not to apply.
    Skipped {
        /// Why.
        reason: String,
    },
    /// Done, but less than wanted. Kept in the receipt and shown by doctor until a later run does better.
    Degraded {
        /// What is less.
        what: String,
        /// Why.
        why: String,
    },
}

/// What came of `undo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "snake_case")]
pub enum UndoOutcome {
    /// As it was before us.
    Restored,
    /// It was so already (also: a second undo).
    NothingToDo,
    /// Somebody else changed it since, so it is theirs now.
    LeftAlone {
        /// What is left, and why.
        why: String,
    },
}

/// What the engine has to know about a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTraits {
    /// Shown with a mark, and asked about.
    pub danger: bool,
    /// May cut our own connection; needs the dead-man switch. No local step does.
    pub cuts_access: bool,
    /// `apply` may be repeated after it was cut off anywhere.
    pub redo_safe: bool,
    /// What it does is still there after a reboot. (The local supervisor is not.)
    pub survives_reboot: bool,
    /// There is no way back behind it.
    pub point_of_no_return: bool,
    /// Runs even when an earlier step of its group failed, once one of them had a side effect.
    pub cleanup: bool,
    /// Bytes it needs on the disk.
    pub disk: u64,
    /// How long it usually takes, for the plan.
    pub time: Duration,
    /// Attempts in one run; only retryable errors are tried again.
    pub attempts: u32,
}

impl Default for StepTraits {
    fn default() -> Self {
        Self {
            danger: false,
            cuts_access: false,
            redo_safe: true,
            survives_reboot: true,
            point_of_no_return: false,
            cleanup: false,
            disk: 0,
            time: Duration::from_secs(1),
            attempts: 1,
        }
    }
}

/// A line a person could do instead of us: a command, or a sentence that starts with `#`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ManualLine(pub String);

/// One idempotent unit of setup.
pub trait Step: Send + Sync {
    /// What is wanted. Free of secrets (they are referred to); plans and journals hold it.
    type Desired: Serialize + DeserializeOwned;
    /// What is there. Free of secrets and of all that changes by itself (times, free space): after a crash, equality
    /// with what was seen before means "not done".
    type Observed: Serialize;
    /// What `undo` needs to know. Large before-images go through [`Capture::keep`].
    type Undo: Serialize + DeserializeOwned;

    /// Its name.
    const KEY: StepKey;
    /// Its sort.
    const KIND: Kind;
    /// Goes up when its behaviour changes.
    const REV: u32;

    /// For people: verb and object.
    fn title(&self) -> String;
    /// Why it is needed, for `explain`.
    fn why(&self) -> &'static str;
    /// How a person would do it.
    fn manual(&self, answers: &Answers) -> Vec<ManualLine> {
        let _ = answers;
        Vec::new()
    }
    /// Steps that must be done (or skipped) before this one acts.
    fn needs(&self) -> &'static [StepKey] {
        &[]
    }
    /// See [`StepTraits`].
    fn traits(&self) -> StepTraits {
        StepTraits::default()
    }

    /// What is wanted. Pure. Called again after each `apply`, because a step may have decided something.
    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<Self::Desired>, StepError>;
    /// What is there. An error means "could not look" and becomes [`Change::Unknown`].
    fn observe(&self, cx: &Probe<'_>, desired: &Self::Desired) -> Result<Self::Observed, StepError>;
    /// What has to be done. Pure.
    fn plan(&self, observed: &Self::Observed, desired: Self::Desired) -> Change<Self::Desired>;
    /// What `undo` will need. Called before the intent is written; whatever it keeps is on disk before the change.
    fn capture(&self, cx: &Capture<'_>, change: &Change<Self::Desired>) -> Result<Self::Undo, StepError>;
    /// What `apply` will make that was not there, as paths or names: what uninstall will take away.
    fn creates(&self, undo: &Self::Undo) -> Vec<String> {
        let _ = undo;
        Vec::new()
    }
    /// Does it. May be cut off anywhere; called again then if the traits say `redo_safe`.
    fn apply(&self, cx: &mut Apply<'_>, change: Change<Self::Desired>) -> Result<Outcome, StepError>;
    /// Asserts that it holds, by a check that could fail. Looks and plans once more unless a step knows better.
    fn verify(&self, cx: &Probe<'_>, desired: Self::Desired) -> Result<(), StepError> {
        let observed = self.observe(cx, &desired)?;
        let change = self.plan(&observed, desired);
        if change.is_satisfied() { Ok(()) } else { Err(erased::not_as_wanted(&change)) }
    }
    /// Puts back what was, if it still is what we left. Must bear being called twice, and after an `apply` that was cut
    /// off anywhere.
    fn undo(&self, cx: &mut Apply<'_>, undo: Self::Undo) -> Result<UndoOutcome, StepError>;
}
