//! What a step sees of the world while it looks, captures and acts.
//!
//! Duty: hand out exactly what each phase may do: [`Probe`] looks, [`Capture`] also keeps before-images, [`Apply`]
//! changes the host.
//! Invariant: an `Apply` is made by the engine only, after the intent is on disk (law 12).
//! Danger: a wait without a name and a limit looks like a hang, so both are required here.

use crate::error::{Finding, Remedy, StepError};
use crate::event::EventBody;
use crate::facts::Facts;
use crate::host::{Host, Look};
use serde::{Deserialize, Serialize};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use td_state::answers::{Answer, AnswerKey, Answers};
use td_state::journal::OnDisk;

/// A person's wish to stop, seen at safe points. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks to stop at the next safe point.
    pub fn ask(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The flag itself, for a signal handler.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// A before-image in the state folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kept(pub(crate) String);

/// Where events of a step go.
pub(crate) trait Tell {
    fn tell(&self, body: EventBody);
}

/// Where before-images are kept.
pub(crate) trait Keep {
    fn keep(&self, bytes: &[u8]) -> Result<Kept, StepError>;
    fn kept(&self, which: &Kept) -> Result<Vec<u8>, StepError>;
}

/// What we wait for. Shown while it lasts.
#[derive(Clone, Debug)]
pub struct Wait {
    /// For what, as `the server to answer on 127.0.0.1:8470`.
    pub for_what: String,
    /// No longer than this.
    pub limit: Duration,
    /// How often to look.
    pub every: Duration,
    /// Where a person can look meanwhile.
    pub look_at: Option<String>,
}

impl Wait {
    /// Looks every 50 milliseconds.
    pub fn new(for_what: impl Into<String>, limit: Duration) -> Self {
        Self { for_what: for_what.into(), limit, every: Duration::from_millis(50), look_at: None }
    }

    /// Names a log or a command to look at.
    pub fn look_at(mut self, what: impl Into<String>) -> Self {
        self.look_at = Some(what.into());
        self
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub step: &'a str,
    pub facts: &'a Facts,
    pub cancel: &'a Cancel,
    pub tell: &'a dyn Tell,
}

/// Looking. Dereferences to the read-only half of the host.
#[derive(Clone, Copy)]
pub struct Probe<'a> {
    host: &'a dyn Look,
    answers: &'a Answers,
    around: Surroundings<'a>,
}

impl<'a> Deref for Probe<'a> {
    type Target = dyn Look + 'a;
    fn deref(&self) -> &Self::Target {
        self.host
    }
}

impl<'a> Probe<'a> {
    pub(crate) fn new(host: &'a dyn Look, answers: &'a Answers, around: Surroundings<'a>) -> Self {
        Self { host, answers, around }
    }

    /// What the person chose.
    pub fn answers(&self) -> &'a Answers {
        self.answers
    }

    /// What the host is.
    pub fn facts(&self) -> &'a Facts {
        self.around.facts
    }

    /// Tells something that does not stop us.
    pub fn warn(&self, finding: Finding) {
        self.around.warn(finding);
    }

    /// Looks until there is an answer; fails with `E-WAIT` at the limit and with `E-STOPPED` when the person wants to
    /// stop.
    pub fn wait_for<T>(
        &self,
        wait: &Wait,
        look: impl FnMut() -> Result<Option<T>, StepError>,
    ) -> Result<T, StepError> {
        self.around.wait_for(self.host, wait, look)
    }
}

/// Looking, and keeping what `undo` will need.
pub struct Capture<'a> {
    probe: Probe<'a>,
    keep: &'a dyn Keep,
}

impl<'a> Deref for Capture<'a> {
    type Target = Probe<'a>;
    fn deref(&self) -> &Self::Target {
        &self.probe
    }
}

impl<'a> Capture<'a> {
    pub(crate) fn new(probe: Probe<'a>, keep: &'a dyn Keep) -> Self {
        Self { probe, keep }
    }

    /// Keeps a before-image in the state folder, readable by its owner only, durable when this returns.
    pub fn keep(&self, bytes: &[u8]) -> Result<Kept, StepError> {
        self.keep.keep(bytes)
    }
}

/// Acting. Dereferences to the whole host.
pub struct Apply<'a> {
    host: &'a dyn Host,
    answers: &'a mut Answers,
    save: &'a dyn Fn(&Answers) -> Result<(), StepError>,
    keep: &'a dyn Keep,
    around: Surroundings<'a>,
}

impl<'a> Deref for Apply<'a> {
    type Target = dyn Host + 'a;
    fn deref(&self) -> &Self::Target {
        self.host
    }
}

impl<'a> Apply<'a> {
    pub(crate) fn new(
        _intended: &OnDisk,
        host: &'a dyn Host,
        answers: &'a mut Answers,
        save: &'a dyn Fn(&Answers) -> Result<(), StepError>,
        keep: &'a dyn Keep,
        around: Surroundings<'a>,
    ) -> Self {
        Self { host, answers, save, keep, around }
    }

    /// What the person chose.
    pub fn answers(&self) -> &Answers {
        self.answers
    }

    /// What the host is.
    pub fn facts(&self) -> &'a Facts {
        self.around.facts
    }

    /// Saves an answer that had to be found out by doing (a free port). On disk when this returns.
    pub fn decide(&mut self, key: &AnswerKey, answer: Answer) -> Result<(), StepError> {
        if self.answers.set(key, answer) { (self.save)(self.answers) } else { Ok(()) }
    }

    /// A before-image, as it was kept.
    pub fn kept(&self, which: &Kept) -> Result<Vec<u8>, StepError> {
        self.keep.kept(which)
    }

    /// How far it is.
    pub fn progress(&self, current: u64, total: Option<u64>, unit: &str) {
        let step = self.around.step.to_owned();
        self.around.tell.tell(EventBody::Progress { step, current, total, unit: unit.into() });
    }

    /// A line worth showing while it is fresh.
    pub fn log(&self, stream: &str, line: impl Into<String>) {
        let step = self.around.step.to_owned();
        self.around.tell.tell(EventBody::Log { step, stream: stream.into(), line: line.into() });
    }

    /// Tells something that does not stop us.
    pub fn warn(&self, finding: Finding) {
        self.around.warn(finding);
    }

    /// A safe point: fails with `E-STOPPED` when the person wants to stop.
    pub fn safe_point(&self) -> Result<(), StepError> {
        self.around.safe_point()
    }

    /// See [`Probe::wait_for`].
    pub fn wait_for<T>(
        &self,
        wait: &Wait,
        look: impl FnMut() -> Result<Option<T>, StepError>,
    ) -> Result<T, StepError> {
        self.around.wait_for(self.host, wait, look)
    }
}

/// The code of the error a safe point gives.
pub const STOPPED: &str = "E-STOPPED";

/// First word about a wait after this long, so that short ones stay quiet.
const QUIET: Duration = Duration::from_secs(1);

impl Surroundings<'_> {
    fn warn(&self, finding: Finding) {
        self.tell.tell(EventBody::Warning { step: self.step.into(), finding });
    }

    fn safe_point(&self) -> Result<(), StepError> {
        if !self.cancel.asked() {
            return Ok(());
        }
        Err(StepError::new(
            STOPPED,
            "stopped as you asked",
            "what is done is recorded; nothing is lost",
            Remedy::run("run setup again to continue", "td-sync-setup"),
        ))
    }

    fn wait_for<T>(
        &self,
        host: &dyn Look,
        wait: &Wait,
        mut look: impl FnMut() -> Result<Option<T>, StepError>,
    ) -> Result<T, StepError> {
        let begin = host.monotonic();
        let mut speak_at = QUIET;
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            self.safe_point()?;
            let since = host.monotonic().saturating_sub(begin);
            if since >= wait.limit {
                let look_at = wait.look_at.clone().map(|l| format!("look at {l}"));
                return Err(StepError::new(
                    "E-WAIT",
                    format!("waited {} s for {}", wait.limit.as_secs(), wait.for_what),
                    "it did not happen in the time it usually takes many times over",
                    Remedy::run(
                        look_at.unwrap_or_else(|| "run setup again to continue".into()),
                        "td-sync-setup",
                    ),
                )
                .may_retry());
            }
            if since >= speak_at {
                speak_at = speak_at.saturating_mul(2);
                self.tell.tell(EventBody::Waiting {
                    step: self.step.into(),
                    for_what: wait.for_what.clone(),
                    since_ms: millis(since),
                    limit_ms: millis(wait.limit),
                    look_at: wait.look_at.clone(),
                });
            }
            host.pause(wait.every.min(wait.limit.saturating_sub(since)));
        }
    }
}

pub(crate) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
