//! What a journal line says (anchors-installer e5).
//!
//! Duty: the records, and how one becomes a line and back.
//! Invariant: `crc` covers the line's own bytes, so a field this version does not know is covered too.
//! Danger: these names are read by every later version; a fixture of each version is kept in `state/tests/fixtures`.

use crate::legality::Move;
use crate::run::RunId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// The newest `v` this version reads and writes.
pub const VERSION: i64 = 1;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Format number.
    pub v: i64,
    /// Place among all records of the target, over all runs, without holes, from 1.
    pub seq: u64,
    /// The run that wrote it.
    pub run: RunId,
    /// When, RFC 3339 in UTC. For people; nothing is decided by it.
    pub t: String,
    /// Milliseconds since the run began.
    pub mono_ms: u64,
    /// What.
    #[serde(flatten)]
    pub body: Body,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// A run began.
    RunStarted {
        /// What for: `setup`, `uninstall`.
        verb: String,
        /// Version of the program.
        tool: String,
        /// Digest of the answers it began with.
        answers: String,
        /// The target's id.
        target: String,
        /// The host's boot, where it has a number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        boot: Option<String>,
        /// The unfinished run it continues.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resumes: Option<RunId>,
    },
    /// A step decided something.
    AnswersChanged {
        /// Digest of the answers now.
        answers: String,
    },
    /// From here on something is different (`point_of_no_return`).
    Boundary {
        /// Its name.
        name: String,
    },
    /// A step is about to act.
    Intent(Intent),
    /// A step ended.
    Outcome {
        /// Which.
        step: String,
        /// How.
        #[serde(flatten)]
        end: End,
    },
    /// A check says that the step holds.
    Verified {
        /// Which.
        step: String,
        /// Its revision.
        rev: u32,
        /// Digest of what was wanted.
        desired: Option<String>,
        /// Digest of what is there.
        observed: Option<String>,
    },
    /// A step is about to be undone.
    UndoIntent {
        /// Which.
        step: String,
        /// The intent that is undone.
        of: u64,
    },
    /// An undo ended.
    UndoOutcome {
        /// Which.
        step: String,
        /// The intent that was undone.
        of: u64,
        /// How.
        #[serde(flatten)]
        end: UndoEnd,
    },
    /// A step is done, but less than wanted.
    Degraded {
        /// Which.
        step: String,
        /// What is less.
        what: String,
        /// Why.
        why: String,
    },
    /// Something a reader of the journal should know.
    Note {
        /// What.
        text: String,
    },
    /// A run ended by itself.
    RunFinished {
        /// With this exit code.
        exit: u8,
    },
    /// Written by a newer version; kept in the file and shown as it is.
    #[serde(skip)]
    Unknown {
        /// Its kind.
        kind: String,
        /// All its fields.
        fields: Value,
    },
}

const KINDS: &[&str] = &[
    "run_started",
    "answers_changed",
    "boundary",
    "intent",
    "outcome",
    "verified",
    "undo_intent",
    "undo_outcome",
    "degraded",
    "note",
    "run_finished",
];

/// What is about to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// By which step.
    pub step: String,
    /// Its revision.
    pub rev: u32,
    /// From 1; grows until an attempt is settled.
    pub attempt: u32,
    /// What sort of change.
    pub act: Act,
    /// Digest of the change.
    pub change: String,
    /// Digest of what was there.
    pub observed: Option<String>,
    /// The undo data: a path under the target's folder.
    pub undo: String,
    /// What the change makes that was not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub created_by_us: Vec<String>,
    /// The detached operation that does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
}

/// What sort of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Something new.
    Create,
    /// Something different.
    Update,
    /// Something less.
    Remove,
    /// Nothing that stays: an exercise.
    Check,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum End {
    /// It did what was intended.
    Ok,
    /// It did not; it may have changed something.
    Failed {
        /// The error's code.
        code: String,
        /// What happened.
        why: String,
    },
    /// It was not begun.
    Refused {
        /// The error's code.
        code: String,
        /// What is in the way.
        why: String,
    },
    /// It does not apply.
    Skipped {
        /// Why.
        reason: String,
    },
    /// The probe found it as wanted.
    Satisfied,
    /// A cut-off run had done it; the probe says so.
    Adopted,
}

/// How an undo ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum UndoEnd {
    /// As before us.
    Restored,
    /// It was so already.
    NothingToDo,
    /// Not ours any more.
    LeftAlone {
        /// Why.
        why: String,
    },
    /// It did not work.
    Failed {
        /// The error's code.
        code: String,
        /// What happened.
        why: String,
    },
}

impl Body {
    /// The step it is about and what it says about it, for the legality table.
    pub fn step_move(&self) -> Option<(&str, Move)> {
        Some(match self {
            Self::Intent(i) => (&i.step, Move::Intent),
            Self::Outcome { step, end } => (step, end.as_move()),
            Self::Verified { step, .. } => (step, Move::Verified),
            Self::UndoIntent { step, .. } => (step, Move::UndoIntent),
            Self::UndoOutcome { step, end: UndoEnd::Failed { .. }, .. } => (step, Move::UndoFailed),
            Self::UndoOutcome { step, .. } => (step, Move::UndoOk),
            _ => return None,
        })
    }
}

impl End {
    fn as_move(&self) -> Move {
        match self {
            Self::Ok => Move::Ok,
            Self::Failed { .. } => Move::Failed,
            Self::Refused { .. } => Move::Refused,
            Self::Skipped { .. } => Move::Skipped,
            Self::Satisfied => Move::Satisfied,
            Self::Adopted => Move::Adopted,
        }
    }
}

/// A record as the JSON that stands in its line, without `crc`.
pub(crate) fn to_value(record: &Record) -> Result<Value, serde_json::Error> {
    serde_json::to_value(record)
}

/// A line without its newline: the object, with `crc` as its last field.
pub(crate) fn to_line(object: &Value) -> String {
    let plain = object.to_string();
    let sum = crc(plain.as_bytes());
    let open = plain.strip_suffix('}').unwrap_or(&plain);
    format!("{open},\"crc\":\"{sum}\"}}")
}

/// Why a line is no record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadLine {
    /// The checksum is missing or wrong: the bytes are not what was written.
    Damaged(&'static str),
    /// The bytes are as written, by a newer version.
    Newer(i64),
    /// The bytes are as written, but they are no record of ours.
    Strange(String),
}

/// Reads one line without its newline.
pub(crate) fn from_line(line: &[u8]) -> Result<Record, BadLine> {
    const TAIL: usize = r#","crc":"0123456789abcdef"}"#.len();
    let line = std::str::from_utf8(line).map_err(|_| BadLine::Damaged("it is not text"))?;
    let cut = line.len().checked_sub(TAIL).filter(|c| line.is_char_boundary(*c));
    let (open, tail) = line.split_at(cut.ok_or(BadLine::Damaged("it is too short"))?);
    let sum = tail.strip_prefix(",\"crc\":\"").and_then(|t| t.strip_suffix("\"}"));
    let sum = sum.ok_or(BadLine::Damaged("it has no checksum at its end"))?;
    let plain = format!("{open}}}");
    if crc(plain.as_bytes()) != sum {
        return Err(BadLine::Damaged("its checksum is wrong"));
    }
    let value: Value = serde_json::from_str(&plain).map_err(|e| BadLine::Strange(e.to_string()))?;
    match value.get("v").and_then(Value::as_i64) {
        Some(VERSION) => {}
        Some(v) if v > VERSION => return Err(BadLine::Newer(v)),
        _ => return Err(BadLine::Strange("it has no format number".into())),
    }
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    if KINDS.contains(&kind) {
        return serde_json::from_value(value).map_err(|e| BadLine::Strange(e.to_string()));
    }
    #[derive(Deserialize)]
    struct Frame {
        v: i64,
        seq: u64,
        run: RunId,
        t: String,
        mono_ms: u64,
    }
    let body = Body::Unknown { kind: kind.into(), fields: value.clone() };
    let f: Frame = serde_json::from_value(value).map_err(|e| BadLine::Strange(e.to_string()))?;
    Ok(Record { v: f.v, seq: f.seq, run: f.run, t: f.t, mono_ms: f.mono_ms, body })
}

/// The first eight bytes of SHA-256, in hex: enough against decay, which is all it is for.
fn crc(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
