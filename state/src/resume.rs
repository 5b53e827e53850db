//! What to do about a step that may have run (anchors-installer e2).
//!
//! Duty: the decision table, and nothing else.
//! Invariant: pure. The order of the rows is the order of trust: the operation's own outcome, the probe, the step's word
//! that it may be repeated.

/// What became of the detached operation of the step, if it had one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is still at work.
    Running,
    /// Its outcome file says it went well.
    Good,
    /// Its outcome file says it failed.
    Bad,
    /// There was none, or it is gone (another boot).
    None,
}

/// What the probe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// As wanted.
    Wanted,
    /// As before the intent.
    Before,
    /// Neither, or it cannot be told.
    Neither,
}

/// What the step and its intent say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The step may be repeated after it was cut off anywhere.
    pub redo_safe: bool,
    /// What is intended now is what was intended then.
    pub same_change: bool,
    /// It was an exercise.
    pub check: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Wait for the operation and show its output.
    Reattach,
    /// It is done: say so and verify.
    Adopt,
    /// It failed: say so; then it is a failed step like any other.
    Fail,
    /// Nothing happened: intend again.
    Again,
    /// Something happened: do it again over it, with the first before-image.
    Redo,
    /// Something else is wanted now, or an exercise left something: undo it, then begin afresh.
    UndoFirst,
    /// A person must choose: undo, keep or stop.
    Ask,
}

/// The table.
pub fn decide(operation: Operation, looks: Looks, word: Word) -> Decision {
    match (operation, looks) {
        (Operation::Running, _) => Decision::Reattach,
        (Operation::Bad, _) => Decision::Fail,
        // The probe looked at what is wanted now, so it says nothing about what another change may have left, and the
        // before-image of that one does not fit this one.
        _ if word.check || !word.same_change => Decision::UndoFirst,
        (Operation::Good | Operation::None, Looks::Wanted) => Decision::Adopt,
        (Operation::None, Looks::Before) => Decision::Again,
        _ if word.redo_safe => Decision::Redo,
        _ => Decision::Ask,
    }
}
