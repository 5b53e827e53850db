//! What a person is told when something does not work (DESIGN law 18).
//!
//! Duty: one shape for every failure of a step or a host: what we tried, what happened, what it means, what to do.
//! Invariant: a failure has a stable code and a remedy; whether it may be retried is said by the one who knows.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What to do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// One sentence for a person.
    pub text: String,
    /// Commands that exist, in the order in which they help.
    #[serde(default)]
    pub commands: Vec<String>,
}

impl Remedy {
    /// A remedy that is a sentence only.
    pub fn say(text: impl Into<String>) -> Self {
        Self { text: text.into(), commands: Vec::new() }
    }

    /// A sentence and the command that does it.
    pub fn run(text: impl Into<String>, command: impl Into<String>) -> Self {
        Self { text: text.into(), commands: vec![command.into()] }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.commands.iter().try_for_each(|c| write!(f, "\n    {c}"))
    }
}

/// Something worth telling that did not stop us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is so.
    pub text: String,
    /// What to do about it.
    pub remedy: Remedy,
}

/// An error enum whose variants are situations a person can meet. Implement it on a step's own errors; `?` then turns
/// them into a [`StepError`].
pub trait Situation: std::error::Error {
    /// Stable name, `E-…`.
    fn code(&self) -> &'static str;
    /// What we were doing; the step's title when empty.
    fn tried(&self) -> String {
        String::new()
    }
    /// What it means for the person.
    fn means(&self) -> String;
    /// What to do.
    fn remedy(&self) -> Remedy;
    /// Whether doing the same once more may help (a busy port, a slow start).
    fn retryable(&self) -> bool {
        false
    }
    /// Output, paths, numbers that show it.
    fn evidence(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A failure as the engine handles it: data, so that it can be journaled, sent as an event and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// Stable name, `E-…`.
    pub code: String,
    /// What we tried.
    pub tried: String,
    /// What happened.
    pub happened: String,
    /// What it means.
    pub means: String,
    /// What to do.
    pub remedy: Remedy,
    /// Whether the same may work in a moment.
    pub retryable: bool,
    /// Lines that show it.
    pub evidence: Vec<String>,
}

impl StepError {
    /// For a failure that has no enum of its own.
    pub fn new(code: &str, happened: impl Into<String>, means: impl Into<String>, remedy: Remedy) -> Self {
        Self {
            code: code.into(),
            tried: String::new(),
            happened: happened.into(),
            means: means.into(),
            remedy,
            retryable: false,
            evidence: Vec::new(),
        }
    }

    /// Says what we were doing.
    pub fn tried(mut self, what: impl Into<String>) -> Self {
        self.tried = what.into();
        self
    }

    /// Marks it as worth another attempt.
    pub fn may_retry(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Adds lines that show it.
    pub fn with_evidence(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(lines);
        self
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.happened, self.code)
    }
}

impl<E: Situation> From<E> for StepError {
    fn from(e: E) -> Self {
        let mut happened = e.to_string();
        let mut cause = e.source();
        while let Some(c) = cause {
            happened.push_str(": ");
            happened.push_str(&c.to_string());
            cause = c.source();
        }
        Self {
            code: e.code().into(),
            tried: e.tried(),
            happened,
            means: e.means(),
            remedy: e.remedy(),
            retryable: e.retryable(),
            evidence: e.evidence(),
        }
    }
}

impl Situation for td_state::StateError {
    fn code(&self) -> &'static str {
        Self::code(self)
    }

    fn means(&self) -> String {
        Self::means(self).into()
    }

    fn remedy(&self) -> Remedy {
        let (text, command) = Self::remedy(self);
        Remedy { text, commands: command.into_iter().collect() }
    }
}
