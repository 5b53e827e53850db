//! `setup`: everything, or the rest of it.

use super::{run, summary};
use crate::cli::SetupWords;
use crate::context::{Context, Output};
use crate::page::{Page, Width};
use crate::{Failure, Verdict, ask, say};
use td_deploy::engine::{OnFailure, Plan};
use td_deploy::error::{Remedy, StepError};
use td_deploy::exit::Exit;
use td_deploy::step::{Change, Difference};
use td_deploy::stream::Sender;

/// Asks, plans, asks once more, does it.
pub fn run(context: &mut Context, words: &SetupWords, yes: bool) -> Verdict {
    // Before the questions: a Ctrl-C in one of them is a stop like any other (exit code 8), and answers are kept.
    context.watch_signals()?;
    let asked = ask::complete(context, words, yes)?;
    if context.output != Output::Json && !asked.new.is_empty() && !ask::interactive(yes) {
        let chosen =
            asked.new.iter().map(|(question, answer, why)| (question.flag, ask::shown(answer), why.as_str()));
        say::out(chosen_text(chosen, context.width))?;
    }
    if ask::interactive(yes) {
        consent(context)?;
    }
    let report = run::watched(context, "td-sync-setup", &context.steps, |engine| {
        engine.apply(context.answers.clone(), OnFailure::Keep)
    });
    if report.exit == Exit::Done {
        // Steps may have decided something (the release, a port).
        reload(context)?;
        summary::print(context, report.changed > 0)?;
    }
    Ok(report.exit.code())
}

/// What was decided without asking, and how to decide otherwise.
pub fn chosen_text<'a>(chosen: impl Iterator<Item = (&'a str, String, &'a str)>, width: Width) -> String {
    let mut page = Page::new(width);
    page.words("Chosen for you, because nothing else was said (each has an option of that name):");
    for (flag, answer, why) in chosen {
        page.under(&format!("  --{flag:<9} "), &format!("{answer} ({why})"));
    }
    page.gap();
    page.text()
}

/// Shows what would change and lets the person decide.
fn consent(context: &Context) -> Result<(), Failure> {
    let engine = context.engine(&context.steps, Sender::default());
    let plan = engine.plan(&context.answers).map_err(|error| Failure::new(Exit::Refused, error))?;
    // Refusals are the engine's to tell, all at once.
    if plan.pending() == 0 || !plan.refusals().is_empty() {
        return Ok(());
    }
    let mut page = Page::new(context.width);
    page.gap();
    super::summary::boot(&mut page, &context.commands());
    page.gap().words("Up to here nothing has been changed.");
    say::aside(format!("\n{}{}", lines(&plan, context.width), page.text()));
    if ask::confirmed("Do this?", true) {
        return Ok(());
    }
    let remedy = Remedy::run("your answers are kept; go on with", "td-sync-setup");
    let error = StepError::new(td_deploy::STOPPED, "stopped as you asked", "nothing was set up", remedy);
    Err(Failure::new(Exit::Stopped, error))
}

/// A plan for people: a word for each step that does something or cannot, with the reason below.
pub fn lines(plan: &Plan, width: Width) -> String {
    let mut page = Page::new(width);
    let mut later = false;
    for line in &plan.steps {
        let (word, remark) = match &line.change {
            Change::Noop if line.gate => ("ok", String::new()),
            Change::Noop => ("as wanted", String::new()),
            Change::Skip { .. } => continue,
            Change::Check { .. } => ("try out", String::new()),
            Change::Create { .. } => ("to do", String::new()),
            Change::Update { diff, .. } => {
                ("change", diff.0.iter().map(difference).collect::<Vec<_>>().join("\n"))
            }
            Change::Remove { .. } => ("remove", String::new()),
            Change::DependsOn { .. } => {
                later = true;
                ("later", String::new())
            }
            Change::Blocked { why, .. } => ("BLOCKED", why.clone()),
            Change::Unknown { why } => ("UNKNOWN", format!("it cannot be looked at: {why}")),
        };
        page.under(&format!("  {word:<9}  "), &line.title);
        for remark in remark.lines() {
            page.under("             ", remark);
        }
    }
    if later {
        page.under("  ", "(later: what it does is decided when the steps before it have run)");
    }
    page.text()
}

/// One difference, below the title.
fn difference(difference: &Difference) -> String {
    let Difference { what, before, after } = difference;
    if what == "line" {
        let lines = [("-", before), ("+", after)].into_iter().filter(|(_, line)| !line.is_empty());
        return lines.map(|(sign, line)| format!("{sign}{line}")).collect::<Vec<_>>().join("\n");
    }
    match (before.as_str(), after.as_str()) {
        ("", "") => what.clone(),
        (before, "") => format!("{what}: without {before}"),
        ("", after) => format!("{what}: with {after}"),
        (before, after) => format!("{what}: {before} -> {after}"),
    }
}

/// Reads the answers again.
pub fn reload(context: &mut Context) -> Result<(), Failure> {
    let loaded = td_state::answers::Answers::load(&context.dir.answers());
    context.answers = loaded.map_err(|error| Failure::new(Exit::Failed, error))?;
    Ok(())
}
