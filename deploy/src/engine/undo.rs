//! Taking it back: newest first, from the journal alone.
//!
//! Duty: undo what was recorded, and nothing that was not.
//! Invariant: each undo has its own intent and outcome; cut off anywhere it is run again.
//! Danger: what somebody else changed since is theirs (`LeftAlone`), and is named in the end.

use super::{Halt, Report, Run, Setup};
use crate::error::{Remedy, StepError};
use crate::event::{EventBody, StepResult};
use crate::exit::Exit;
use crate::fault;
use crate::step::{AnyStep, StepKey, UndoOutcome};
use crate::view::{Apply, STOPPED, Surroundings, Tell};
use td_state::answers::Answers;
use td_state::ledger::UndoEntry;
use td_state::record::{Body, UndoEnd};

/// What to take back.
#[derive(Clone, Debug, Default)]
pub struct Uninstall {
    /// Steps whose results stay (`--keep-data`). They can still be undone later.
    pub keep: Vec<StepKey>,
    /// Remove the target's folder too when nothing is left to undo.
    pub forget: bool,
}

impl Setup<'_> {
    /// Takes back everything that is recorded, newest first.
    pub fn uninstall(&self, what: &Uninstall) -> Report {
        if !self.dir.exists() {
            let swept = if what.forget { self.dir.remove() } else { Ok(Vec::new()) };
            return match swept {
                Ok(left) => Report { left, ..Report::without_run(Exit::Done, Vec::new()) },
                Err(e) => Report::early(e),
            };
        }
        let facts = match self.host.facts() {
            Ok(facts) => facts,
            Err(e) => return Report::without_run(Exit::Refused, vec![e.into()]),
        };
        let mut run = match Run::begin(self, "uninstall", None, facts) {
            Ok(run) => run,
            Err(e) => return Report::early(e),
        };
        let halt = run.undo_all(&|key| what.keep.iter().all(|k| k.as_str() != key)).err();
        let clean = halt.is_none() && run.journal.ledger().undo.is_empty();
        let (lock_held_until, mut report) = run.end(halt);
        if what.forget && clean {
            report.journal = None;
            match self.dir.remove() {
                Ok(left) => report.left = left,
                Err(e) => {
                    report.exit = Exit::Failed;
                    report.errors.push(e.into());
                }
            }
        }
        drop(lock_held_until);
        report
    }
}

impl<'a> Run<'a> {
    /// Undoes every entry whose step is chosen, newest first.
    pub(super) fn undo_all(&mut self, chosen: &dyn Fn(&str) -> bool) -> Result<(), Halt> {
        let entries: Vec<UndoEntry> = self.journal.ledger().undo.iter().rev().cloned().collect();
        for entry in entries.iter().filter(|e| chosen(&e.step)) {
            self.safe_point()?;
            let step = self.find(&entry.step)?;
            self.stream.tell(EventBody::StepStarted { step: entry.step.clone(), title: step.title() });
            match self.undo_entry(step, entry) {
                Ok(outcome) => self.finished(step.key(), outcome.into()),
                Err(Halt::Step(_, e)) if e.code == STOPPED => return Err(Halt::Cancelled),
                Err(Halt::Step(exit, mut e)) => {
                    if e.tried.is_empty() {
                        e.tried = format!("undo: {}", step.title());
                    }
                    self.finished(step.key(), StepResult::Failed { error: e.clone() });
                    return Err(Halt::Step(exit, e));
                }
                Err(halt) => return Err(halt),
            }
        }
        Ok(())
    }

    /// Undoes the newest entry of a step: of an undo that was cut off, or of an attempt that is given up.
    pub(super) fn undo_newest(&mut self, step: &dyn AnyStep) -> Result<(), Halt> {
        let newest = self.journal.ledger().undo.iter().rfind(|u| u.step == step.key().as_str()).cloned();
        newest.map_or(Ok(()), |entry| self.undo_entry(step, &entry).map(drop))
    }

    fn find(&self, key: &str) -> Result<&'a dyn AnyStep, Halt> {
        let steps = self.setup.steps;
        steps.iter().find(|s| s.key().as_str() == key).map(|s| &**s).ok_or_else(|| {
            let e = StepError::new(
                "E-UNDO-STRANGER",
                format!("{key} was done by another version of setup, which this one does not know"),
                "only the version that did it can undo it",
                Remedy::run("see which version it was, and use it", "td-sync-setup logs"),
            );
            Halt::Step(Exit::Stuck, e)
        })
    }

    fn undo_entry(&mut self, step: &dyn AnyStep, entry: &UndoEntry) -> Result<UndoOutcome, Halt> {
        let key = step.key().as_str();
        let undo = self.before.undo(&entry.undo).map_err(|e| Halt::Step(Exit::Stuck, e))?;
        self.setup.faults.pass(fault::BEFORE_INTENT);
        let on_disk = self.journal.undo_intent(key, entry.seq)?;
        self.setup.faults.pass(fault::AFTER_INTENT);
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
            step.undo(&mut cx, &undo)
        };
        self.setup.faults.pass(fault::AFTER_EFFECT);
        self.setup.faults.pass(fault::BEFORE_OUTCOME);
        let end = match &result {
            Ok(UndoOutcome::Restored) => UndoEnd::Restored,
            Ok(UndoOutcome::NothingToDo) => UndoEnd::NothingToDo,
            Ok(UndoOutcome::LeftAlone { why }) => UndoEnd::LeftAlone { why: why.clone() },
            // Asked to stop in the middle: it stays "undoing", and the next run goes on.
            Err(e) if e.code == STOPPED => return Err(Halt::Cancelled),
            Err(e) => UndoEnd::Failed { code: e.code.clone(), why: e.happened.clone() },
        };
        self.journal.append(Body::UndoOutcome { step: key.into(), of: entry.seq, end })?;
        self.setup.faults.pass(fault::AFTER_OUTCOME);
        td_state::receipt::save(self.setup.dir, self.journal.ledger())?;
        if result.is_ok() {
            self.before.forget(&entry.undo);
        }
        result.map_err(|e| Halt::Step(Exit::Stuck, e))
    }
}

impl From<UndoOutcome> for StepResult {
    fn from(outcome: UndoOutcome) -> Self {
        match outcome {
            UndoOutcome::Restored => Self::Undone,
            UndoOutcome::NothingToDo => Self::NothingToUndo,
            UndoOutcome::LeftAlone { why } => Self::LeftAlone { why },
        }
    }
}
