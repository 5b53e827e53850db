//! What a doctor says, without any check: checks live where their facts are (`client`, `server`, `deploy`).
//!
//! Duty: one shape for findings and one runner, so that three programs speak alike (DESIGN law 18, anchors-installer
//! e17).
//! Invariant: a check only looks. A check that panics or runs out of time is a failed check, never a silent one.
//! Danger: a check that hangs leaves its thread behind; doctors are short-lived processes, so it dies with them.

mod report;
mod runner;

pub use report::{CheckReport, Report, State};
pub use runner::{Progress, run};

use std::time::Duration;

/// Exit code of a doctor that ran: no failure (warnings included).
pub const EXIT_HEALTHY: u8 = 0;
/// Exit code of a doctor that found at least one failure.
pub const EXIT_FAILURES: u8 = 9;
/// Exit code of a doctor that could not run its checks at all.
pub const EXIT_COULD_NOT_RUN: u8 = 10;

/// The look a check takes. Runs on a thread of its own, so it owns what it needs.
pub type Look = Box<dyn FnOnce() -> Verdict + Send + 'static>;

/// One thing that can be right or wrong.
pub struct Check {
    /// Stable dotted name, as `server.lock`.
    pub id: &'static str,
    /// What is looked at, as a person would say it.
    pub title: &'static str,
    /// Ids of checks that must not have failed or been skipped before this one makes sense. An id that is not among the
    /// checks of this run counts as fulfilled.
    pub after: &'static [&'static str],
    /// How long the look may take.
    pub limit: Duration,
    /// The look.
    pub run: Look,
}

impl Check {
    /// A check without prerequisites that may take five seconds.
    pub fn new(
        id: &'static str,
        title: &'static str,
        run: impl FnOnce() -> Verdict + Send + 'static,
    ) -> Self {
        Self { id, title, after: &[], limit: Duration::from_secs(5), run: Box::new(run) }
    }

    /// Names what has to hold first.
    pub fn after(self, after: &'static [&'static str]) -> Self {
        Self { after, ..self }
    }

    /// Another time limit.
    pub fn limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }
}

/// What a look saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be; the text is the value that was seen.
    Ok(String),
    /// Works, but somebody should know.
    Warn(Finding),
    /// Does not work.
    Fail(Finding),
    /// Makes no sense here, with the reason.
    Skip(String),
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The value that was seen, where there is one.
    pub value: Option<String>,
    /// What is wrong and what it means.
    pub cause: String,
    /// What to do about it.
    pub remedy: Remedy,
}

impl Finding {
    /// A finding always names its remedy (law 18).
    pub fn new(cause: impl Into<String>, remedy: Remedy) -> Self {
        Self { value: None, cause: cause.into(), remedy }
    }

    /// Adds the value that was seen.
    pub fn value(self, value: impl Into<String>) -> Self {
        Self { value: Some(value.into()), ..self }
    }
}

/// What a person can do: a command that exists under the name it is installed as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy(String);

impl Remedy {
    /// A command that can be pasted.
    pub fn command(line: impl Into<String>) -> Self {
        Self(line.into())
    }

    /// The command.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
