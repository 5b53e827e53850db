//! `setup`: everything, or the rest of it.

use super::explain::wrapped;
use super::{run, summary};

use crate::cli::SetupWords;
use crate::context::{Context, Output};
use crate::{Failure, Verdict, ask, say};
use dialoguer::Confirm;
use std::fmt::Write as _;
use td_deploy::engine::{OnFailure, Plan};
use td_deploy::error::{Remedy, StepError};
use td_deploy::exit::Exit;
use td_deploy::step::Change;
use td_deploy::stream::Sender;

/// Asks, plans, asks once more, does it.
pub fn run(context: &mut Context, words: &SetupWords, yes: bool) -> Verdict {
    // Before the questions: a Ctrl-C in one of them is a stop like any other (exit code 8), and answers are kept.
    context.watch_signals()?;
    let asked = ask::complete(context, words, yes)?;
    if context.output != Output::Json && !asked.new.is_empty() && !ask::interactive(yes) {
        let mut text = "Chosen, because nothing else was said:\n".to_owned();
        for (question, answer, reason) in &asked.new {
            let _ = writeln!(text, "  --{:<9} {}  ({reason})", question.flag, ask::shown(answer));
        }
        say::out(text)?;
    }
    if ask::interactive(yes) {
        consent(context)?;
    }
    let report = run::watched(context, &context.steps, |engine| {
        engine.apply(context.answers.clone(), OnFailure::Keep)
    });
    if report.exit == Exit::Done {
        // Steps may have decided something (the release, a port).
        reload(context)?;
        summary::print(context, report.changed > 0)?;
    }
    Ok(report.exit.code())
}

/// Shows what would change and lets the person decide.
fn consent(context: &Context) -> Result<(), Failure> {
    let engine = context.engine(&context.steps, Sender::default());
    let plan = engine.plan(&context.answers).map_err(|error| Failure::new(Exit::Refused, error))?;
    // Refusals are the engine's to tell, all at once.
    if plan.pending() == 0 || !plan.refusals().is_empty() {
        return Ok(());
    }
    say::aside(format!("\n{}Up to here nothing has been changed.\n", lines(&plan)));
    let go = Confirm::new().with_prompt("Continue?").default(true).interact();
    if go.unwrap_or(false) {
        return Ok(());
    }
    let remedy = Remedy::run("your answers are kept; go on with", "td-sync-setup");
    let error = StepError::new(td_deploy::STOPPED, "stopped as you asked", "nothing was set up", remedy);
    Err(Failure::new(Exit::Stopped, error))
}

/// A plan for people: one line per step that does something or cannot, with the reason below.
pub fn lines(plan: &Plan) -> String {
    let mut out = String::new();
    for line in &plan.steps {
        let (mark, remark) = match &line.change {
            Change::Noop => ('=', None),
            Change::Skip { .. } => continue,
            Change::Check { .. } => ('?', Some("is tried out".to_owned())),
            Change::Create { .. } => ('+', None),
            Change::Update { diff, .. } => {
                let what = diff.0.iter().map(|difference| difference.what.as_str());
                ('~', Some(format!("differs: {}", what.collect::<Vec<_>>().join(", "))))
            }
            Change::Remove { .. } => ('-', None),
            Change::DependsOn { step } => ('.', Some(format!("cannot be told before {step} has run"))),
            Change::Blocked { why, .. } => ('!', Some(why.clone())),
            Change::Unknown { why } => ('!', Some(format!("cannot be looked at: {why}"))),
        };
        let _ = writeln!(out, "  {mark} {}", line.title);
        for text in remark.iter().flat_map(|remark| wrapped(remark, 72)) {
            let _ = writeln!(out, "      {text}");
        }
    }
    out
}

/// Reads the answers again.
pub fn reload(context: &mut Context) -> Result<(), Failure> {
    let loaded = td_state::answers::Answers::load(&context.dir.answers());
    context.answers = loaded.map_err(|error| Failure::new(Exit::Failed, error))?;
    Ok(())
}
