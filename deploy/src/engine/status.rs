//! Where everything stands, from the journals alone.
//!
//! Duty: the words of `status --json` (DESIGN 6.1).
//! Invariant: takes no lock and makes nothing; while a run is at work it says so.

use crate::step::AnyStep;
use serde::Serialize;
use td_state::StateError;
use td_state::dir::TargetDir;
use td_state::journal;
use td_state::legality::State;
use td_state::lock::Lock;

/// The whole target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overall {
    /// Nothing of ours is there.
    None,
    /// A run is needed.
    Incomplete,
    /// Every step is done or does not apply.
    Complete,
}

/// Where everything stands.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The target's id.
    pub target: String,
    /// In one word.
    pub state: Overall,
    /// One for each step, in order.
    pub steps: Vec<StepStatus>,
    /// What the lock says, while a run is at work.
    pub running: Option<String>,
    /// How many changes could be undone.
    pub undoable: usize,
}

/// Where one step stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepStatus {
    /// Its key.
    pub key: String,
    /// `pending` `running` `unknown` `done` `skipped` `failed` `undone`
    pub state: &'static str,
    /// Why it failed, was skipped, or was left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is less than wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
}

/// Reads it.
pub fn status(dir: &TargetDir, steps: &[Box<dyn AnyStep>]) -> Result<Status, StateError> {
    let running = Lock::owner(dir);
    let ledger = journal::read(dir)?.ledger;
    let step = |s: &dyn AnyStep| {
        let memory = ledger.step(s.key().as_str());
        let at_work = running.is_some() && matches!(memory.state, State::MayHaveRun | State::Undoing);
        StepStatus {
            key: s.key().to_string(),
            state: if at_work { "running" } else { memory.state.public() },
            reason: memory.why,
            degraded: memory.degraded.map(|d| format!("{}: {}", d.what, d.why)),
        }
    };
    let steps: Vec<StepStatus> = steps.iter().map(|s| step(&**s)).collect();
    let state = if steps.iter().all(|s| matches!(s.state, "done" | "skipped")) && !steps.is_empty() {
        Overall::Complete
    } else if ledger.undo.is_empty()
        && steps.iter().all(|s| matches!(s.state, "pending" | "undone" | "skipped"))
    {
        Overall::None
    } else {
        Overall::Incomplete
    };
    Ok(Status { target: dir.id().into(), state, steps, running, undoable: ledger.undo.len() })
}
