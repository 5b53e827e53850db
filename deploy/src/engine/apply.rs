//! Doing it: the loop of anchors-installer e4.4, and going on after a cut.

use super::{Halt, Report, Run, Setup};
use crate::error::{Remedy, StepError};
use crate::event::{EventBody, StepResult};
use crate::exit::Exit;
use crate::fault;
use crate::step::{AnyStep, Change, Kind, Outcome, Seen};
use crate::view::{Apply, Capture, STOPPED, Surroundings, Tell};
use serde_json::Value;
use std::path::Path;
use td_state::StateError;
use td_state::answers::Answers;
use td_state::legality::State;
use td_state::lock::Lock;
use td_state::record::{Act, Body, End, Intent};
use td_state::resume::{Decision, Looks, Operation, Word, decide};
use td_state::shell;

/// What to do when a step does not work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Stop and keep what is done; the same command continues.
    #[default]
    Keep,
    /// Undo the steps of its group.
    UndoGroup,
    /// Undo everything.
    UndoAll,
}

impl Setup<'_> {
    /// Brings the host to what the answers want; continues where an earlier run was cut off.
    pub fn apply(&self, answers: Answers, on_failure: OnFailure) -> Report {
        let facts = match self.host.facts() {
            Ok(facts) => facts,
            Err(e) => return Report::without_run(Exit::Refused, vec![e.into()]),
        };
        if let Some(owner) = Lock::owner(self.dir) {
            return Report::early(StateError::Locked { owner });
        }
        // Before the lock and the state folder, so that a refusal leaves no trace.
        let refusals = self.plan_with(&answers, &facts).refusals();
        if !refusals.is_empty() {
            return Report::without_run(Exit::Refused, refusals);
        }
        let mut run = match Run::begin(self, "setup", Some(answers), facts) {
            Ok(run) => run,
            Err(e) => return Report::early(e),
        };
        let halt = run.all().err().map(|halt| run.after_failure(halt, on_failure));
        run.end(halt).1
    }
}

/// What came of going on with a step that was cut off.
enum Resumed {
    /// It is settled.
    Settled(StepResult),
    /// It has to be done, over what there is, with the first before-image.
    Again,
}

impl Run<'_> {
    fn all(&mut self) -> Result<(), Halt> {
        let first_mutation = self.setup.steps.iter().position(|s| s.kind() != Kind::Gate);
        for (i, step) in self.setup.steps.iter().enumerate() {
            self.safe_point()?;
            if Some(i) == first_mutation {
                let text = "nothing has been changed so far".to_owned();
                self.stream.tell(EventBody::Boundary { name: "no_impact".into(), text });
            }
            self.step(&**step)?;
        }
        Ok(())
    }

    /// One step with all its attempts.
    pub(super) fn step(&mut self, step: &dyn AnyStep) -> Result<(), Halt> {
        let key = step.key();
        self.stream.tell(EventBody::StepStarted { step: key.to_string(), title: step.title() });
        let mut tries = 1;
        loop {
            match self.attempt(step) {
                Ok(result) => {
                    self.finished(key, result);
                    return Ok(());
                }
                Err(Halt::Step(_, e)) if e.code == STOPPED => return Err(Halt::Cancelled),
                Err(Halt::Step(_, e)) if e.retryable && tries < step.traits().attempts => {
                    tries += 1;
                    self.safe_point()?;
                    self.stream.tell(EventBody::Attempt {
                        step: key.to_string(),
                        n: tries,
                        why: e.to_string(),
                    });
                }
                Err(Halt::Step(exit, mut e)) => {
                    if e.tried.is_empty() {
                        e.tried = step.title();
                    }
                    self.finished(key, StepResult::Failed { error: e.clone() });
                    return Err(Halt::Step(exit, e));
                }
                Err(halt) => return Err(halt),
            }
        }
    }

    fn attempt(&mut self, step: &dyn AnyStep) -> Result<StepResult, Halt> {
        let key = step.key().as_str();
        // An undo that was cut off is finished first: what it was undoing is not to be trusted.
        match self.journal.ledger().step(key).state {
            State::Undoing => self.undo_newest(step)?,
            State::Stuck => return Err(Halt::Step(Exit::Stuck, stuck(key))),
            _ => {}
        }
        let mut seen = step.see(&self.probe(step));
        if self.journal.ledger().step(key).open.is_some() {
            match self.go_on(step, &seen)? {
                Resumed::Settled(result) => return Ok(result),
                Resumed::Again => seen = step.see(&self.probe(step)),
            }
        }
        if matches!(seen.change, Change::Unknown { .. }) {
            // A look may have ended because the person wants to stop.
            self.safe_point()?;
        }
        self.unmet(step)?;
        match &seen.change {
            Change::Noop => {
                if self.journal.ledger().step(key).state == State::Done {
                    self.verify(step, &seen)?;
                }
                self.outcome(key, End::Satisfied)?;
                Ok(if step.kind() == Kind::Gate { StepResult::Checked } else { StepResult::Unchanged })
            }
            Change::Skip { reason } => {
                self.outcome(key, End::Skipped { reason: reason.clone() })?;
                Ok(StepResult::Skipped { reason: reason.clone() })
            }
            change if change.acts() => self.act(step, &seen),
            _ => self.refuse(step, &seen.change),
        }
    }

    /// Intent without a good outcome: what to do is the table's business.
    fn go_on(&mut self, step: &dyn AnyStep, seen: &Seen) -> Result<Resumed, Halt> {
        let key = step.key().as_str();
        let memory = self.journal.ledger().step(key);
        let Some(open) = memory.open else { return Ok(Resumed::Again) };
        let looks = if seen.change == Change::Noop {
            Looks::Wanted
        } else if seen.observed.is_some() && seen.observed == open.intent.observed {
            Looks::Before
        } else {
            Looks::Neither
        };
        let failed = memory.state == State::Failed;
        let word = Word {
            // A step that ended by itself, though badly, can be undone by its own undo; only after a cut must we ask.
            redo_safe: step.traits().redo_safe,
            same_change: seen.desired.as_ref() == Some(&open.intent.change),
            check: open.intent.act == Act::Check,
        };
        let mut decision = decide(Operation::None, looks, word);
        if failed && decision == Decision::Ask {
            decision = Decision::UndoFirst;
        }
        let note =
            |what: &str| Body::Note { text: format!("{key}: attempt {} was cut off; {what}", open.attempt) };
        match decision {
            Decision::Adopt => {
                self.outcome(key, End::Adopted)?;
                self.verify(step, seen)?;
                td_state::receipt::save(self.setup.dir, self.journal.ledger())?;
                Ok(Resumed::Settled(StepResult::Adopted))
            }
            Decision::Again | Decision::Redo => {
                if !failed {
                    self.journal.append(note("it is done again"))?;
                }
                Ok(Resumed::Again)
            }
            Decision::UndoFirst => {
                self.journal.append(note("what it left is undone first"))?;
                self.undo_newest(step)?;
                Ok(Resumed::Again)
            }
            Decision::Ask | Decision::Fail | Decision::Reattach => {
                let e = StepError::new(
                    "E-MAY-HAVE-RUN",
                    format!("{key} was cut off, and what is there is neither as before nor as wanted"),
                    "this step may not be repeated blindly, so setup does not choose for you",
                    Remedy::run(
                        "undo it with everything else, or mend it by hand and run setup again",
                        "td-sync-setup uninstall",
                    ),
                );
                self.refused(key, &e)?;
                Err(Halt::Step(Exit::Stuck, e))
            }
        }
    }

    /// Intent, change, outcome, proof: in this order and nowhere else.
    fn act(&mut self, step: &dyn AnyStep, seen: &Seen) -> Result<StepResult, Halt> {
        let key = step.key().as_str();
        self.budget(step, &seen.change)?;
        if step.traits().point_of_no_return && seen.change.alters() {
            let name = "point_of_no_return".to_owned();
            self.journal.append(Body::Boundary { name: name.clone() })?;
            self.stream.tell(EventBody::Boundary { name, text: format!("no way back behind {key}") });
        }
        let intent = self.prepare(step, seen)?;
        self.setup.faults.pass(fault::BEFORE_INTENT);
        let on_disk = self.journal.intent(intent)?;
        self.setup.faults.pass(fault::AFTER_INTENT);

        let answers_before = self.answers.digest();
        let result = {
            let file = self.setup.dir.answers();
            let save = |a: &Answers| a.save(&file).map(drop).map_err(StepError::from);
            let around = Surroundings {
                step: key,
                facts: &self.facts,
                cancel: &self.setup.cancel,
                tell: &self.stream,
            };
            let mut cx =
                Apply::new(&on_disk, self.setup.host, &mut self.answers, &save, &self.before, around);
            step.apply(&mut cx, &seen.change)
        };
        self.setup.faults.pass(fault::AFTER_EFFECT);
        let answers = self.answers.digest();
        if answers != answers_before {
            self.journal.append(Body::AnswersChanged { answers })?;
        }
        self.setup.faults.pass(fault::BEFORE_OUTCOME);
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(e) => {
                self.outcome(key, End::Failed { code: e.code.clone(), why: e.happened.clone() })?;
                self.setup.faults.pass(fault::AFTER_OUTCOME);
                return Err(Halt::Step(Exit::Failed, e));
            }
        };
        let end = match &outcome {
            Outcome::Skipped { reason } => End::Skipped { reason: reason.clone() },
            _ => End::Ok,
        };
        let checked = self.journal.ledger().step(key).open.filter(|o| o.intent.act == Act::Check);
        self.outcome(key, end)?;
        if let Some(open) = checked {
            self.before.forget(&open.intent.undo);
        }
        if let Outcome::Degraded { what, why } = &outcome {
            let (what, why) = (what.clone(), why.clone());
            self.journal.append(Body::Degraded { step: key.into(), what, why })?;
        }
        self.setup.faults.pass(fault::AFTER_OUTCOME);
        if !matches!(outcome, Outcome::Skipped { .. }) {
            self.verify(step, seen)?;
        }
        td_state::receipt::save(self.setup.dir, self.journal.ledger())?;
        Ok(match outcome {
            Outcome::Skipped { reason } => StepResult::Skipped { reason },
            Outcome::Degraded { what, why } => StepResult::Degraded { what, why },
            Outcome::Warned { findings } => {
                for finding in findings {
                    self.stream.tell(EventBody::Warning { step: key.into(), finding });
                }
                worked(&seen.change)
            }
            Outcome::Changed | Outcome::Unchanged => worked(&seen.change),
        })
    }

    /// The intent, with its undo data on disk. Another attempt at the same keeps the first before-image: what is there
    /// now is half ours.
    fn prepare(&self, step: &dyn AnyStep, seen: &Seen) -> Result<Intent, Halt> {
        let key = step.key().as_str();
        let act = match seen.change {
            Change::Update { .. } => Act::Update,
            Change::Remove { .. } => Act::Remove,
            Change::Check { .. } => Act::Check,
            _ => Act::Create,
        };
        let change = seen.desired.clone().unwrap_or_default();
        if let Some(open) = self.journal.ledger().step(key).open {
            let attempt = open.attempt + 1;
            let observed = open.intent.observed.clone();
            // What the cut attempt altered stays ours to undo, though only a check is left to do.
            let act = if act == Act::Check { open.intent.act } else { act };
            return Ok(Intent { rev: step.rev(), attempt, act, change, observed, ..open.intent });
        }
        let fail = |e: StepError| Halt::Step(Exit::Failed, e);
        let capture = Capture::new(self.probe(step), &self.before);
        let (undo, created_by_us) = step.capture(&capture, &seen.change).map_err(fail)?;
        let undo = self.before.put_undo(self.journal.next_seq(), &undo)?;
        Ok(Intent {
            step: key.into(),
            rev: step.rev(),
            attempt: 1,
            act,
            change,
            observed: seen.observed.clone(),
            undo,
            created_by_us,
            op: None,
        })
    }

    /// Asserts that the step holds. A failure is a failed outcome.
    fn verify(&mut self, step: &dyn AnyStep, seen: &Seen) -> Result<(), Halt> {
        let key = step.key().as_str();
        // A check that passed is its own proof. It is recorded all the same: a second run leaves the receipt as it was.
        let now = if matches!(seen.change, Change::Check { .. }) {
            seen.clone()
        } else {
            if let Err(e) = step.verify(&self.probe(step)) {
                self.outcome(key, End::Failed { code: e.code.clone(), why: e.happened.clone() })?;
                return Err(Halt::Step(Exit::Failed, e));
            }
            step.see(&self.probe(step))
        };
        self.journal.append(Body::Verified {
            step: key.into(),
            rev: step.rev(),
            desired: now.desired,
            observed: now.observed,
        })?;
        Ok(())
    }

    fn outcome(&mut self, key: &str, end: End) -> Result<(), Halt> {
        self.journal.append(Body::Outcome { step: key.into(), end })?;
        Ok(())
    }

    fn refused(&mut self, key: &str, e: &StepError) -> Result<(), Halt> {
        self.outcome(key, End::Refused { code: e.code.clone(), why: e.happened.clone() })
    }

    /// A change that must not, or cannot, be begun.
    fn refuse(&mut self, step: &dyn AnyStep, change: &Change<Value>) -> Result<StepResult, Halt> {
        let again = || Remedy::run("run setup again; it continues here", "td-sync-setup");
        let e = match change {
            Change::Blocked { code, why, remedy } => {
                StepError::new(code, why.clone(), "setup refuses to go on here", remedy.clone())
            }
            Change::DependsOn { step: other } => StepError::new(
                "E-ORDER",
                format!("it depends on {other}, which left it undecided"),
                "this is a bug in setup, or something was removed while it ran",
                again(),
            ),
            Change::Unknown { why } => {
                StepError::new("E-UNKNOWN", why.clone(), "what cannot be looked at is not changed", again())
            }
            _ => {
                StepError::new("E-INTERNAL", "a change without an action", "this is a bug in setup", again())
            }
        };
        self.refused(step.key().as_str(), &e)?;
        let exit = if self.changed == 0 { Exit::Refused } else { Exit::Failed };
        Err(Halt::Step(exit, e))
    }

    /// Steps it needs must be settled.
    fn unmet(&mut self, step: &dyn AnyStep) -> Result<(), Halt> {
        let ledger = self.journal.ledger();
        let settled =
            |key: &str| matches!(ledger.step(key).state, State::Done | State::Verified | State::Skipped);
        let listed = |key: &str| self.setup.steps.iter().any(|s| s.key().as_str() == key);
        let open = step.needs().iter().find(|k| listed(k.as_str()) && !settled(k.as_str()));
        match open {
            None => Ok(()),
            Some(other) => self.refuse(step, &Change::DependsOn { step: other.to_string() }).map(drop),
        }
    }

    fn budget(&mut self, step: &dyn AnyStep, change: &Change<Value>) -> Result<(), Halt> {
        let traits = step.traits();
        if traits.cuts_access && change.alters() {
            let why = "it may cut the connection, and this host has no switch that undoes it by itself";
            let remedy = Remedy::say("do this step by hand, on the machine itself");
            let change = Change::Blocked { code: "E-CUTS-ACCESS".into(), why: why.into(), remedy };
            return self.refuse(step, &change).map(drop);
        }
        if traits.disk == 0 {
            return Ok(());
        }
        let free = self.setup.host.free_bytes(&self.facts.data_home);
        let free = free.map_err(|e| Halt::Step(Exit::Failed, e.into()))?;
        if free >= traits.disk {
            return Ok(());
        }
        // The folder itself may be one that setup would make.
        let there = |dir: &&Path| matches!(self.setup.host.stat(dir), Ok(Some(_)));
        let place = self.facts.data_home.ancestors().find(there).unwrap_or(&self.facts.home);
        let (needed, free) = (traits.disk >> 20, free >> 20);
        let why = format!("{needed} MiB are needed in {}, {free} MiB are free", place.display());
        let place = shell::path(place);
        let remedy = Remedy::run("make room, then run setup again", format!("df -h {place}"));
        self.refuse(step, &Change::Blocked { code: "E-DISK".into(), why, remedy }).map(drop)
    }

    /// Clean-up steps of the group, then whatever the person wanted to happen.
    fn after_failure(&mut self, halt: Halt, policy: OnFailure) -> Halt {
        let Halt::Step(exit, error) = halt else { return halt };
        let failed = self.results.last().map(|(key, _)| key.clone()).unwrap_or_default();
        let at = self.setup.steps.iter().position(|s| s.key().as_str() == failed);
        let Some(at) = at else { return Halt::Step(exit, error) };
        let kind = self.setup.steps[at].kind();
        let same_group = |s: &dyn AnyStep| matches!(kind, Kind::Group(_)) && s.kind() == kind;
        if self.changed > 0 {
            for step in &self.setup.steps[at + 1..] {
                if same_group(&**step) && step.traits().cleanup && self.step(&**step).is_err() {
                    break;
                }
            }
        }
        let undone = match policy {
            OnFailure::Keep => return Halt::Step(exit, error),
            OnFailure::UndoGroup if !matches!(kind, Kind::Group(_)) => self.undo_all(&|key| key == failed),
            OnFailure::UndoGroup => {
                let group =
                    |key: &str| self.setup.steps.iter().any(|s| s.key().as_str() == key && same_group(&**s));
                self.undo_all(&group)
            }
            OnFailure::UndoAll => self.undo_all(&|_| true),
        };
        match undone {
            Ok(()) => Halt::Step(Exit::RolledBack, error),
            Err(halt) => halt,
        }
    }
}

fn worked(change: &Change<Value>) -> StepResult {
    if change.alters() { StepResult::Changed } else { StepResult::Checked }
}

fn stuck(key: &str) -> StepError {
    StepError::new(
        "E-STUCK",
        format!("undoing {key} failed in an earlier run"),
        "part of it may still be there, so it is neither done nor undone",
        Remedy::run("see why, then try to undo it again", "td-sync-setup uninstall"),
    )
}
