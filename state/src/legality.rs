//! Which record may follow which: the whole life of a step on one page.
//!
//! Duty: the table of anchors-installer e2. A journal that breaks it is refused, and the engine cannot write one that
//! does.
//! Invariant: a step that may have run leaves that state only by an outcome, an adoption, another intent or an undo.

use serde::{Deserialize, Serialize};

/// Where a step stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing is known of it.
    #[default]
    NotStarted,
    /// Intent without outcome.
    MayHaveRun,
    /// It ran and said so.
    Done,
    /// A check says it holds.
    Verified,
    /// Nothing to do: as wanted already, or it makes no sense here.
    Skipped,
    /// It said it failed; it may have changed something.
    Failed,
    /// Undo intent without outcome.
    Undoing,
    /// As before us.
    Undone,
    /// An undo failed; a person must decide.
    Stuck,
}

/// What a record says about a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// `intent`
    Intent,
    /// `outcome` ok
    Ok,
    /// `outcome` failed, with an intent before it
    Failed,
    /// `outcome` failed before any intent: blocked, or it could not be looked at
    Refused,
    /// `outcome` skipped: it does not apply
    Skipped,
    /// `outcome` satisfied: the probe found it as wanted
    Satisfied,
    /// `outcome` adopted: a cut-off run had done it
    Adopted,
    /// `verified`
    Verified,
    /// `undo_intent`
    UndoIntent,
    /// `undo_outcome` that leaves nothing to do
    UndoOk,
    /// `undo_outcome` failed
    UndoFailed,
}

/// The state after a record, if it may follow.
pub fn next(state: State, record: Move) -> Option<State> {
    use State as S;
    Some(match (state, record) {
        (S::MayHaveRun, Move::Intent | Move::Refused) => S::MayHaveRun,
        (S::MayHaveRun, Move::Ok | Move::Adopted) => S::Done,
        (S::MayHaveRun | S::Done, Move::Failed) => S::Failed,
        (S::MayHaveRun, Move::Skipped) => S::Skipped,
        (S::MayHaveRun, Move::UndoIntent) => S::Undoing,
        (S::MayHaveRun, _) => return None,

        (S::Undoing, Move::UndoIntent) => S::Undoing,
        (S::Undoing, Move::UndoOk) => S::Undone,
        (S::Undoing, Move::UndoFailed) => S::Stuck,
        (S::Undoing, _) => return None,

        (S::Stuck, Move::UndoIntent) => S::Undoing,
        (S::Stuck, _) => return None,

        // At rest: anything may begin.
        (_, Move::Intent) => S::MayHaveRun,
        (_, Move::Refused) => S::Failed,
        (_, Move::Skipped) => S::Skipped,
        (S::NotStarted, Move::UndoIntent) => return None,
        (_, Move::UndoIntent) => S::Undoing,

        (S::Done | S::Verified, Move::Verified) => S::Verified,
        (S::Done, Move::Satisfied) => S::Done,
        (S::Verified, Move::Satisfied) => S::Verified,
        // It failed halfway and is as wanted now: ours to undo, so done and not skipped.
        (S::Failed, Move::Satisfied | Move::Adopted) => S::Done,
        (S::NotStarted | S::Skipped | S::Undone, Move::Satisfied) => S::Skipped,
        (_, Move::Verified | Move::Adopted | Move::Ok | Move::Failed | Move::UndoOk | Move::UndoFailed) => {
            return None;
        }
    })
}

impl State {
    /// In the words of `status --json` (DESIGN 6.1). `running` is said by whoever sees the lock held.
    pub fn public(self) -> &'static str {
        match self {
            Self::NotStarted => "pending",
            Self::MayHaveRun | Self::Undoing => "unknown",
            Self::Done | Self::Verified => "done",
            Self::Skipped => "skipped",
            Self::Failed | Self::Stuck => "failed",
            Self::Undone => "undone",
        }
    }

    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotStarted => "not started",
            Self::MayHaveRun => "may have run",
            Self::Done => "done",
            Self::Verified => "verified",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::Stuck => "stuck",
        }
    }
}

impl Move {
    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Ok => "good outcome",
            Self::Failed => "failed outcome",
            Self::Refused => "refusal",
            Self::Skipped => "skip",
            Self::Satisfied => "no-op",
            Self::Adopted => "adoption",
            Self::Verified => "verification",
            Self::UndoIntent => "undo intent",
            Self::UndoOk => "good undo outcome",
            Self::UndoFailed => "failed undo outcome",
        }
    }
}
