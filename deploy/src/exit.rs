//! How a run ended, for scripts (anchors-installer e19).
//!
//! Duty: the stable exit codes.
//! Invariant: a code says what kind of not-success it was, never more success than there is.

use serde::Serialize;

/// The exit codes of `td-sync-setup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Failed; what was done is recorded, and the same command continues.
    Failed = 1,
    /// Wrong usage, or answers are missing; nothing was touched.
    Usage = 2,
    /// `plan`: changes are pending. `apply`: the host is different from the plan; consent is needed.
    Pending = 3,
    /// Rolled back to the former good state.
    RolledBack = 4,
    /// Another run holds the lock.
    Locked = 5,
    /// A person must decide: an undo failed, or what was done cannot be told.
    Stuck = 6,
    /// Refused before anything changed.
    Refused = 7,
    /// Stopped by the person; the same command continues.
    Stopped = 8,
    /// The doctor found failures.
    DoctorFailed = 9,
    /// The doctor could not run.
    DoctorCouldNot = 10,
}

impl Exit {
    /// All of them, for the generated table.
    pub const ALL: &'static [Exit] = &[
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Pending,
        Self::RolledBack,
        Self::Locked,
        Self::Stuck,
        Self::Refused,
        Self::Stopped,
        Self::DoctorFailed,
        Self::DoctorCouldNot,
    ];

    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// One line for the table.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, or nothing to do",
            Self::Failed => "failed; what was done is recorded, run it again to continue",
            Self::Usage => "wrong usage or missing answers; nothing was touched",
            Self::Pending => "plan: changes are pending; apply: the host differs from the plan",
            Self::RolledBack => "rolled back to the former good state",
            Self::Locked => "another run holds the lock",
            Self::Stuck => "a person must decide: an undo failed, or what was done cannot be told",
            Self::Refused => "refused before anything changed",
            Self::Stopped => "stopped by the person; run td-sync-setup again to continue",
            Self::DoctorFailed => "doctor: failures",
            Self::DoctorCouldNot => "doctor: could not run",
        }
    }
}
