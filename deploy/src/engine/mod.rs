//! The step engine (anchors-installer e4).
//!
//! Duty: bring a host to what the answers want, step by step, so that it can be cut off anywhere and run again; and take
//! back, newest first, what was done.
//! Invariant: nothing acts without an intent on disk; what the probe says decides, never what an earlier run believed.
//! Danger: what is recorded in the wrong order cannot be resumed, so the order lives in one place (`Run::act`).

mod apply;
mod before;
mod plan;
mod status;
mod undo;

pub use apply::OnFailure;
pub use plan::{Drift, Plan, PlanLine};
pub use status::{Overall, Status, StepStatus, status};
pub use undo::Uninstall;

use crate::error::StepError;
use crate::event::{EventBody, StepLine, StepResult};
use crate::exit::Exit;
use crate::facts::Facts;
use crate::fault::Faults;
use crate::host::Host;
use crate::step::{AnyStep, Kind, StepKey};
use crate::stream::{Sender, Stream};
use crate::view::{Cancel, Probe, Surroundings, Tell};
use before::Before;
use serde::Serialize;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use td_state::StateError;
use td_state::answers::Answers;
use td_state::dir::TargetDir;
use td_state::journal::{Begin, Journal};
use td_state::lock::Lock;
use td_state::record::Body;
use td_state::secret::Redactor;

/// A list of steps for one target on one host.
pub struct Setup<'a> {
    /// In the order in which they run.
    pub steps: &'a [Box<dyn AnyStep>],
    /// Where they act.
    pub host: &'a dyn Host,
    /// Where is remembered what was done.
    pub dir: &'a TargetDir,
    /// The person's wish to stop.
    pub cancel: Cancel,
    /// Where events go.
    pub events: Sender,
    /// Secrets that must not reach journals and events.
    pub redactor: Redactor,
    /// Version of the program, for the journal.
    pub tool: &'a str,
    /// Where a test wants to stop.
    pub faults: Faults,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The exit code.
    pub exit: Exit,
    /// How each step that was reached ended.
    pub steps: Vec<(String, StepResult)>,
    /// How many steps changed the host.
    pub changed: u32,
    /// Everything that stopped us; with a refusal, all of it at once.
    pub errors: Vec<StepError>,
    /// The journal of this run, if it came to that.
    pub journal: Option<PathBuf>,
    /// What an uninstall found in setup's own folder and left there, because it is somebody else's.
    pub left: Vec<PathBuf>,
}

impl Report {
    fn early(error: StateError) -> Self {
        let exit = match error {
            StateError::Locked { .. } => Exit::Locked,
            StateError::Damaged { .. } | StateError::Illegal { .. } | StateError::JournalLost { .. } => {
                Exit::Stuck
            }
            _ => Exit::Refused,
        };
        Self::without_run(exit, vec![error.into()])
    }

    /// Ended before there was a run.
    fn without_run(exit: Exit, errors: Vec<StepError>) -> Self {
        Self { exit, steps: Vec::new(), changed: 0, errors, journal: None, left: Vec::new() }
    }
}

/// Why a run does not go on.
#[derive(Debug)]
enum Halt {
    /// The person wants to stop.
    Cancelled,
    /// A step did not work.
    Step(Exit, StepError),
    /// The memory does not work; nothing may be done without it.
    State(StateError),
}

impl From<StateError> for Halt {
    fn from(e: StateError) -> Self {
        Self::State(e)
    }
}

/// A run at work: the lock is held and its first record is written.
struct Run<'a> {
    setup: &'a Setup<'a>,
    facts: Facts,
    answers: Answers,
    journal: Journal,
    stream: Stream<'a>,
    before: Before<'a>,
    results: Vec<(String, StepResult)>,
    changed: u32,
    lock: Lock,
}

impl<'a> Run<'a> {
    /// Takes the lock and begins the journal.
    fn begin(
        setup: &'a Setup<'a>,
        verb: &str,
        answers: Option<Answers>,
        facts: Facts,
    ) -> Result<Self, StateError> {
        setup.dir.make()?;
        let lock = Lock::take(setup.dir, verb)?;
        let file = setup.dir.answers();
        let answers = match answers {
            Some(answers) => {
                answers.save(&file)?;
                answers
            }
            None => Answers::load(&file)?,
        };
        let begin = Begin {
            verb: verb.into(),
            tool: setup.tool.into(),
            answers: answers.digest(),
            boot: facts.boot_id.clone(),
        };
        let journal = Journal::begin(setup.dir, &lock, begin, setup.redactor.clone())?;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let events = options.open(setup.dir.events(journal.run())).ok();
        let stream = Stream::new(setup.host, setup.events.clone(), setup.redactor.clone(), events);
        let run = Self {
            setup,
            facts,
            answers,
            journal,
            stream,
            before: Before::new(setup.dir),
            results: Vec::new(),
            changed: 0,
            lock,
        };
        run.stream.tell(EventBody::RunStarted {
            run: run.journal.run().to_string(),
            verb: verb.into(),
            target: setup.dir.id().into(),
            resumes: run.journal.resumes().map(ToString::to_string),
            steps: setup.steps.iter().map(|s| line(&**s)).collect(),
        });
        Ok(run)
    }

    fn around<'b>(&'b self, step: &'b str) -> Surroundings<'b> {
        Surroundings { step, facts: &self.facts, cancel: &self.setup.cancel, tell: &self.stream }
    }

    fn probe<'b>(&'b self, step: &'b dyn AnyStep) -> Probe<'b> {
        Probe::new(self.setup.host, &self.answers, self.around(step.key().as_str()))
    }

    fn finished(&mut self, key: StepKey, result: StepResult) {
        if matches!(result, StepResult::Changed | StepResult::Degraded { .. } | StepResult::Undone) {
            self.changed += 1;
        }
        self.stream.tell(EventBody::StepFinished { step: key.to_string(), result: result.clone() });
        self.results.push((key.to_string(), result));
    }

    fn safe_point(&self) -> Result<(), Halt> {
        if self.setup.cancel.asked() { Err(Halt::Cancelled) } else { Ok(()) }
    }

    /// Writes the last record and says how it went. The lock is held until the caller lets go of it.
    fn end(mut self, halt: Option<Halt>) -> (Lock, Report) {
        let (exit, error) = match halt {
            None => (Exit::Done, None),
            Some(Halt::Cancelled) => (Exit::Stopped, None),
            Some(Halt::Step(exit, e)) => (exit, Some(e)),
            Some(Halt::State(e)) => (Exit::Failed, Some(StepError::from(e))),
        };
        // If this record or the picture cannot be written, the journal before it still tells everything.
        let _ = self.journal.append(Body::RunFinished { exit: exit.code() });
        let _ = td_state::receipt::save(self.setup.dir, self.journal.ledger());
        let summary = match (exit, self.changed) {
            (Exit::Done, 0) => "nothing had to be changed".to_owned(),
            (Exit::Done, 1) => "done; 1 step changed something".to_owned(),
            (Exit::Done, n) => format!("done; {n} steps changed something"),
            _ => exit.meaning().to_owned(),
        };
        self.stream.tell(EventBody::RunFinished {
            exit: exit.code(),
            changed: self.changed,
            summary,
            dropped: 0,
        });
        let report = Report {
            exit,
            steps: self.results,
            changed: self.changed,
            errors: error.into_iter().collect(),
            journal: Some(self.journal.path().into()),
            left: Vec::new(),
        };
        (self.lock, report)
    }
}

fn line(step: &dyn AnyStep) -> StepLine {
    let group = if let Kind::Group(name) = step.kind() { Some(name.to_owned()) } else { None };
    StepLine { key: step.key().to_string(), title: step.title(), group }
}
