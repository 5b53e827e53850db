//! What happens during a run, for whoever shows it (anchors-installer e7). Types only.
//!
//! Duty: one vocabulary for the screen, `--json` and `events.jsonl`.
//! Invariant: no type of the engine appears here, so a reader of events never depends on it; nothing here is secret.

use crate::error::{Finding, StepError};
use serde::{Deserialize, Serialize};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Place in this run, from 1; a hole means that low-priority events were dropped.
    pub index: u64,
    /// Milliseconds since the run began.
    pub run_ms: u64,
    /// Milliseconds since the current step began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_ms: Option<u64>,
    /// Milliseconds since the current attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_ms: Option<u64>,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventBody {
    /// A run begins, with all its steps in order.
    RunStarted {
        /// Run id.
        run: String,
        /// What is done: `setup`, `uninstall`.
        verb: String,
        /// The target's id.
        target: String,
        /// An earlier run this one continues.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resumes: Option<String>,
        /// The steps.
        steps: Vec<StepLine>,
    },
    /// A step begins.
    StepStarted {
        /// Which.
        step: String,
        /// For people.
        title: String,
    },
    /// The same step once more.
    Attempt {
        /// Which.
        step: String,
        /// From 1.
        n: u32,
        /// Why again.
        why: String,
    },
    /// How far a long operation is.
    Progress {
        /// Which step.
        step: String,
        /// Done so far.
        current: u64,
        /// All of it, if known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        /// `bytes`, `events`.
        unit: String,
    },
    /// A line some program printed.
    Log {
        /// Which step.
        step: String,
        /// `stdout`, `stderr`, `note`.
        stream: String,
        /// The line.
        line: String,
    },
    /// We wait, for a named thing and no longer than a limit.
    Waiting {
        /// Which step.
        step: String,
        /// For what.
        for_what: String,
        /// So long already.
        since_ms: u64,
        /// And no longer than this.
        limit_ms: u64,
        /// Where to look meanwhile.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        look_at: Option<String>,
    },
    /// Worth telling.
    Warning {
        /// Which step.
        step: String,
        /// What.
        finding: Finding,
    },
    /// A step ended.
    StepFinished {
        /// Which.
        step: String,
        /// How.
        result: StepResult,
    },
    /// From here on something is different: nothing has changed so far, no way back.
    Boundary {
        /// `no_impact`, `point_of_no_return`.
        name: String,
        /// For people.
        text: String,
    },
    /// The run is over.
    RunFinished {
        /// The exit code the program will end with.
        exit: u8,
        /// How many steps changed something.
        changed: u32,
        /// One line.
        summary: String,
        /// Low-priority events that were dropped on the way.
        dropped: u64,
    },
    /// Written by a newer version.
    #[serde(other)]
    Unknown,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum StepResult {
    /// Something was changed, and a check says it holds.
    Changed,
    /// It was as wanted already.
    Unchanged,
    /// A check ran and passed.
    Checked,
    /// An earlier, cut-off run had done it; the probe says so.
    Adopted,
    /// It does not apply here.
    Skipped {
        /// Why.
        reason: String,
    },
    /// Done, but less than wanted; kept in the receipt until it is better.
    Degraded {
        /// What is less.
        what: String,
        /// Why.
        why: String,
    },
    /// Undone: as it was before us.
    Undone,
    /// There was nothing to undo.
    NothingToUndo,
    /// Not undone, because somebody else changed it since.
    LeftAlone {
        /// What.
        why: String,
    },
    /// It did not work.
    Failed {
        /// The whole story.
        error: StepError,
    },
}

/// A step as the run announces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepLine {
    /// Key.
    pub key: String,
    /// For people.
    pub title: String,
    /// The group it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// Which events may be dropped when the reader is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Waits for the reader.
    High,
    /// Makes room.
    Low,
}

impl EventBody {
    /// Progress, log lines and repeated waits may be dropped; what tells the story may not.
    pub fn priority(&self) -> Priority {
        match self {
            Self::Progress { .. } | Self::Log { .. } => Priority::Low,
            _ => Priority::High,
        }
    }
}
