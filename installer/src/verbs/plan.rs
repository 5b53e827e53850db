//! `plan` and `apply`: look first, and later do exactly that.

use super::{run, setup, summary};
use crate::cli::{ApplyWords, PlanWords};
use crate::context::{Context, Output};
use crate::{Failure, Verdict, ask, say};
use dialoguer::Confirm;
use serde::{Deserialize, Serialize};
use td_deploy::engine::{OnFailure, Plan};
use td_deploy::error::{Remedy, StepError};
use td_deploy::exit::Exit;
use td_deploy::stream::Sender;
use td_state::answers::Answers;

/// What `plan --out` writes: the plan, and the answers it is for.
#[derive(Serialize, Deserialize)]
struct Saved {
    answers: String,
    plan: Plan,
}

/// Looks and tells. Exit code 3 if something would change.
pub fn plan(context: &mut Context, words: &PlanWords) -> Verdict {
    // A plan asks nothing: what was detected stands for what is not answered yet.
    ask::complete(context, &words.setup, true)?;
    let plan = look(context)?;
    if let Some(file) = &words.out {
        let saved = Saved { answers: context.answers.to_text(), plan: plan.clone() };
        let text = serde_json::to_string_pretty(&saved).map_err(|error| file_failure(file, &error))?;
        std::fs::write(file, text).map_err(|error| file_failure(file, &error))?;
    }
    if context.output == Output::Json {
        say::out(format!("{}\n", serde_json::json!(plan)))?;
    } else {
        say::out(format!(
            "{}{} of {} steps have something to do; nothing was changed\n",
            setup::lines(&plan),
            plan.pending(),
            plan.steps.len()
        ))?;
        for refusal in plan.refusals() {
            crate::render::failure(false, &refusal);
        }
    }
    let exit = if plan.pending() == 0 { Exit::Done } else { Exit::Pending };
    Ok(exit.code())
}

/// Does what a saved plan says, if the machine still is as it was then.
pub fn apply(context: &mut Context, words: &ApplyWords, yes: bool) -> Verdict {
    let text = std::fs::read(&words.plan).map_err(|error| file_failure(&words.plan, &error))?;
    let saved: Saved = serde_json::from_slice(&text).map_err(|error| file_failure(&words.plan, &error))?;
    let answers = Answers::parse(&words.plan, saved.answers.as_bytes());
    context.answers = answers.map_err(|error| Failure::new(Exit::Usage, error))?;
    ask::check(&context.answers)?;
    let drift = saved.plan.drift(&look(context)?);
    if !drift.is_empty() {
        let lines: Vec<_> = drift.iter().map(|drift| drift.key.clone()).collect();
        if context.output != Output::Json {
            say::aside(format!("Something changed since the plan was made: {}\n", lines.join(", ")));
        }
        let go = yes
            || (ask::interactive(yes)
                && Confirm::new().with_prompt("Apply anyway?").interact().unwrap_or(false));
        if !go {
            let remedy = Remedy::run("look at a new plan", "td-sync-setup plan");
            let error = StepError::new(
                "E-DRIFT",
                "this machine is not as it was when the plan was made",
                "nothing was changed",
                remedy,
            );
            return Err(Failure::new(Exit::Pending, error.with_evidence(lines)));
        }
    }
    context.watch_signals()?;
    let report = run::watched(context, &context.steps, |engine| {
        engine.apply(context.answers.clone(), OnFailure::Keep)
    });
    if report.exit == Exit::Done {
        setup::reload(context)?;
        summary::print(context, report.changed > 0)?;
    }
    Ok(report.exit.code())
}

fn look(context: &Context) -> Result<Plan, Failure> {
    let engine = context.engine(&context.steps, Sender::default());
    engine.plan(&context.answers).map_err(|error| Failure::new(Exit::Refused, error))
}

/// A file the person named cannot be used.
pub fn file_failure(file: &std::path::Path, error: &dyn std::fmt::Display) -> Failure {
    let happened = format!("{}: {error}", file.display());
    let remedy = Remedy::say("name another file");
    Failure::new(Exit::Usage, StepError::new("E-FILE", happened, "nothing was changed", remedy))
}
