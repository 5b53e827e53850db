//! Runs checks one after the other, each on a thread of its own.
//!
//! Invariant: every check yields exactly one outcome, whatever it does: a panic and a time-out are failures with a
//! cause, a failed or skipped prerequisite is a skip that names it.

use crate::{Check, CheckReport, Finding, Remedy, Report, State, Verdict};
use std::collections::HashMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What an onlooker may want to show while checks run.
#[derive(Clone, Debug)]
pub enum Progress<'a> {
    /// A look begins.
    Started {
        /// Its id.
        id: &'a str,
        /// Its title.
        title: &'a str,
        /// How long it may take, so that slow ones can announce themselves.
        limit: Duration,
    },
    /// A look ended.
    Ended(&'a CheckReport),
}

/// Runs all checks in the given order.
pub fn run(checks: Vec<Check>, watch: &mut dyn FnMut(Progress<'_>)) -> Report {
    let mut states: HashMap<&'static str, State> = HashMap::new();
    let mut outcomes = Vec::with_capacity(checks.len());
    for check in checks {
        let unmet = check.after.iter().find(|id| matches!(states.get(*id), Some(State::Fail | State::Skip)));
        let outcome = match unmet {
            Some(id) => {
                CheckReport::new(check.id, Verdict::Skip(format!("needs {id}, which is not well")), 0)
            }
            None => {
                watch(Progress::Started { id: check.id, title: check.title, limit: check.limit });
                look(check.id, check.limit, check.run)
            }
        };
        let id = check.id;
        states.insert(id, outcome.state);
        watch(Progress::Ended(&outcome));
        outcomes.push(outcome);
    }
    Report::new(outcomes)
}

fn look(id: &'static str, limit: Duration, run: crate::Look) -> CheckReport {
    let begun = Instant::now();
    let (say, hear) = mpsc::channel();
    let spawned = std::thread::Builder::new().name(format!("check {id}")).spawn(move || {
        // The receiver is gone only if the time limit has passed: then nobody wants the verdict any more.
        let _ = say.send(run());
    });
    let verdict = match spawned {
        Err(e) => failed(id, format!("the check could not start: {e}")),
        Ok(_) => match hear.recv_timeout(limit) {
            Ok(verdict) => verdict,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                failed(id, format!("no verdict within {} s, which is its limit", limit.as_secs_f32()))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                failed(id, "the check itself crashed; its message is on standard error".into())
            }
        },
    };
    CheckReport::new(id, verdict, u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX))
}

fn failed(id: &str, cause: String) -> Verdict {
    Verdict::Fail(Finding::new(cause, Remedy::command(format!("run the doctor again with --only {id}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok() -> Verdict {
        Verdict::Ok("fine".into())
    }

    fn bad() -> Verdict {
        Verdict::Fail(Finding::new("broken", Remedy::command("mend it")))
    }

    fn states(report: &Report) -> Vec<State> {
        report.checks.iter().map(|c| c.state).collect()
    }

    #[test]
    fn a_check_that_panics_is_a_failure_and_the_next_one_still_runs() {
        let checks = vec![Check::new("a", "", || panic!("on purpose")), Check::new("b", "", ok)];
        let report = run(checks, &mut |_| {});
        assert_eq!(states(&report), [State::Fail, State::Ok]);
        assert!(!report.ok);
    }

    #[test]
    fn a_check_that_hangs_is_a_failure_at_its_limit() {
        let (hold, wait) = mpsc::channel::<()>();
        let hang = Check::new("a", "", move || {
            let _ = wait.recv();
            ok()
        });
        let report = run(vec![hang.limit(Duration::from_millis(20))], &mut |_| {});
        drop(hold);
        assert_eq!(states(&report), [State::Fail]);
        assert!(report.checks[0].cause.as_deref().is_some_and(|c| c.contains("limit")));
    }

    #[test]
    fn what_rests_on_a_failure_is_skipped_and_says_on_which() {
        let checks = vec![
            Check::new("a", "", bad),
            Check::new("b", "", ok).after(&["a"]),
            Check::new("c", "", ok).after(&["b"]),
            Check::new("d", "", ok).after(&["not-in-this-run"]),
        ];
        let report = run(checks, &mut |_| {});
        assert_eq!(states(&report), [State::Fail, State::Skip, State::Skip, State::Ok]);
        assert!(report.checks[1].cause.as_deref().is_some_and(|c| c.contains('a')));
    }

    #[test]
    fn an_onlooker_hears_of_every_check_once() {
        let mut heard = Vec::new();
        run(vec![Check::new("a", "first", ok), Check::new("b", "", bad)], &mut |p| match p {
            Progress::Started { id, .. } => heard.push(format!("+{id}")),
            Progress::Ended(r) => heard.push(format!("-{}", r.id)),
        });
        assert_eq!(heard, ["+a", "-a", "+b", "-b"]);
    }
}
