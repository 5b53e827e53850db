//! `plan` and `apply`: look first, and later do exactly that.

use super::{run, setup, summary};
use crate::cli::{ApplyWords, PlanWords};
use crate::commands::Commands;
use crate::context::{Context, Output};
use crate::page::{Page, Width};
use crate::{Failure, Verdict, ask, say};
use serde::{Deserialize, Serialize};
use td_deploy::engine::{OnFailure, Plan};
use td_deploy::error::{Remedy, StepError};
use td_deploy::exit::Exit;
use td_deploy::step::Change;
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
        say::out(text(&plan, &context.commands(), context.width))?;
        for refusal in plan.refusals() {
            crate::render::failure(context, &refusal);
        }
    }
    let exit = if plan.pending() == 0 { Exit::Done } else { Exit::Pending };
    Ok(exit.code())
}

/// For people: the steps, and what they come to.
pub fn text(plan: &Plan, commands: &Commands, width: Width) -> String {
    let absent = plan.steps.iter().filter(|step| matches!(step.change, Change::Skip { .. })).count();
    let steps = plan.steps.len() - absent;
    let blocked = plan.refusals().len();
    let mut page = Page::new(width);
    page.gap();
    page.words(&match (blocked, plan.pending()) {
        (0, 0) => format!("Nothing has to be done; all {steps} steps are as wanted."),
        (0, 1) => format!("1 of {steps} steps has something to do; nothing was changed."),
        (0, pending) => format!("{pending} of {steps} steps have something to do; nothing was changed."),
        (1, _) => "One step is blocked, so setup would not begin; nothing was changed.".to_owned(),
        (_, _) => format!("{blocked} steps are blocked, so setup would not begin; nothing was changed."),
    });
    if absent > 0 {
        page.words(&crate::render::absent(absent));
    }
    if blocked == 0 {
        page.gap();
        summary::boot(&mut page, commands);
    }
    setup::lines(plan, width) + &page.text()
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
            let mut page = Page::new(context.width);
            page.words(&format!("Something changed since the plan was made: {}", lines.join(", ")));
            say::aside(page.text());
        }
        let go = yes || (ask::interactive(yes) && ask::confirmed("Apply it anyway?", false));
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
    let report = run::watched(context, "td-sync-setup", &context.steps, |engine| {
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
