//! What the journal adds up to.
//!
//! Duty: fold records into where each step stands and what may be undone, newest first.
//! Invariant: a pure function of the records; the receipt is a picture of it and never its source.
//! Danger: forgetting an undo entry too early leaves something of ours behind for ever, so an entry goes only by an undo
//! outcome, or by the good end of a check (which leaves nothing).

use crate::legality::{self, Move, State};
use crate::record::{Act, Body, End, Intent, Record, UndoEnd};
use crate::run::RunId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where each step stands and what may be undone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// By step key.
    pub steps: BTreeMap<String, StepMemory>,
    /// Oldest first; undone from the end.
    pub undo: Vec<UndoEntry>,
    /// Newest record.
    #[serde(skip)]
    pub seq: u64,
    /// A run that began and did not say that it ended.
    #[serde(skip)]
    pub open_run: Option<RunId>,
    /// The exit code of the newest run that ended.
    #[serde(skip)]
    pub last_exit: Option<u8>,
}

/// What is remembered of one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepMemory {
    /// Where it stands.
    pub state: State,
    /// Revision of the step that was last at work.
    pub rev: u32,
    /// The newest intent that is not settled: neither good nor undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenIntent>,
    /// Digest of what was wanted when it was last verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<String>,
    /// Digest of what was there then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    /// Why it failed or was skipped, or what was left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Done, but less than wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<Degradation>,
}

/// An intent that is not settled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenIntent {
    /// Its record.
    pub seq: u64,
    /// Which attempt it was.
    pub attempt: u32,
    /// The host's boot then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// What was intended.
    pub intent: Intent,
}

/// Less than wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degradation {
    /// What is less.
    pub what: String,
    /// Why.
    pub why: String,
}

/// Something that may be undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoEntry {
    /// The intent whose before-image it is.
    pub seq: u64,
    /// By which step.
    pub step: String,
    /// Where the undo data are.
    pub undo: String,
    /// What was made that was not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub creates: Vec<String>,
    /// It belongs to an exercise that did not end well: leftovers, not results.
    #[serde(default)]
    pub check: bool,
}

/// A record that may not follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Illegal {
    /// The step.
    pub step: String,
    /// The state it is in.
    pub state: State,
    /// What was to be recorded.
    pub record: Move,
}

impl Ledger {
    /// The memory of a step, also of one nothing is known of.
    pub fn step(&self, key: &str) -> StepMemory {
        self.steps.get(key).cloned().unwrap_or_default()
    }

    /// Whether the record may follow.
    pub fn allows(&self, body: &Body) -> Result<(), Illegal> {
        let Some((step, record)) = body.step_move() else { return Ok(()) };
        let state = self.steps.get(step).map(|m| m.state).unwrap_or_default();
        let illegal = Illegal { step: step.into(), state, record };
        let known = match body {
            Body::UndoIntent { of, step } => self.undo.iter().any(|u| u.seq == *of && u.step == *step),
            _ => true,
        };
        if known && legality::next(state, record).is_some() { Ok(()) } else { Err(illegal) }
    }

    /// Adds a record.
    pub fn add(&mut self, record: &Record, boot: Option<&str>) -> Result<(), Illegal> {
        self.allows(&record.body)?;
        self.seq = record.seq;
        match &record.body {
            Body::RunStarted { .. } => self.open_run = Some(record.run.clone()),
            Body::RunFinished { exit } => (self.open_run, self.last_exit) = (None, Some(*exit)),
            _ => {}
        }
        if let Body::Degraded { step, what, why } = &record.body {
            let degraded = Degradation { what: what.clone(), why: why.clone() };
            self.steps.entry(step.clone()).or_default().degraded = Some(degraded);
        }
        let Some((step, step_move)) = record.body.step_move() else { return Ok(()) };
        let memory = self.steps.entry(step.into()).or_default();
        let ours = |undo: &[UndoEntry], but: u64| undo.iter().any(|u| u.step == step && u.seq != but);
        memory.state = match (step_move, legality::next(memory.state, step_move).unwrap_or(memory.state)) {
            // It was refused, never begun, and is as wanted: not our doing.
            (Move::Satisfied, State::Done) if !ours(&self.undo, 0) => State::Skipped,
            (Move::Satisfied, State::Skipped) if ours(&self.undo, 0) => State::Done,
            (_, state) => state,
        };
        if let Body::UndoOutcome { of, .. } = &record.body
            && memory.state == State::Undone
            && ours(&self.undo, *of)
        {
            // The newest change of several is undone: what stood before it was ours too.
            memory.state = State::Done;
        }
        match &record.body {
            Body::Intent(intent) => {
                memory.rev = intent.rev;
                memory.why = None;
                memory.degraded = None;
                memory.open = Some(OpenIntent {
                    seq: record.seq,
                    attempt: intent.attempt,
                    boot: boot.map(Into::into),
                    intent: intent.clone(),
                });
                // Another attempt at the same keeps the first before-image.
                if !self.undo.iter().any(|u| u.undo == intent.undo) {
                    self.undo.push(UndoEntry {
                        seq: record.seq,
                        step: intent.step.clone(),
                        undo: intent.undo.clone(),
                        creates: intent.created_by_us.clone(),
                        check: intent.act == Act::Check,
                    });
                }
            }
            Body::Outcome { end, .. } => match end {
                End::Ok | End::Adopted | End::Satisfied | End::Skipped { .. } => {
                    memory.why = if let End::Skipped { reason } = end { Some(reason.clone()) } else { None };
                    if let Some(open) = memory.open.take_if(|o| o.intent.act == Act::Check) {
                        self.undo.retain(|u| u.undo != open.intent.undo);
                    }
                    memory.open = None;
                }
                End::Failed { why, .. } | End::Refused { why, .. } => memory.why = Some(why.clone()),
            },
            Body::Verified { rev, desired, observed, .. } => {
                memory.rev = *rev;
                memory.desired.clone_from(desired);
                memory.observed.clone_from(observed);
            }
            Body::UndoOutcome { of, end, .. } => {
                memory.why = match end {
                    UndoEnd::Restored | UndoEnd::NothingToDo => None,
                    UndoEnd::LeftAlone { why } | UndoEnd::Failed { why, .. } => Some(why.clone()),
                };
                if !matches!(end, UndoEnd::Failed { .. }) {
                    self.undo.retain(|u| u.seq != *of);
                    memory.open = None;
                    memory.degraded = None;
                    (memory.desired, memory.observed) = (None, None);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
