//! `uninstall`: back to how it was.

use super::run;
use crate::cli::UninstallWords;
use crate::context::{Context, Output};
use crate::page::{Page, Width};
use crate::{Failure, Verdict, ask, say};
use td_deploy::engine::{Report, Uninstall};
use td_deploy::error::{Remedy, StepError};
use td_deploy::event::StepResult;
use td_deploy::exit::Exit;
use td_deploy::steps::local::{DATA_STEPS, Installed};

/// Takes back everything, newest first. Data only if the person says so.
pub fn run(context: &mut Context, words: &UninstallWords, yes: bool) -> Verdict {
    let installed = Installed::of(&context.answers, &context.facts);
    if !words.keep_data && !yes && context.dir.exists() {
        consent(&installed, yes, context.width)?;
    }
    context.watch_signals()?;
    let what = Uninstall {
        keep: if words.keep_data { DATA_STEPS.to_vec() } else { Vec::new() },
        forget: !words.keep_data,
    };
    let report =
        run::watched(context, "td-sync-setup uninstall", &context.steps, |engine| engine.uninstall(&what));
    if report.exit == Exit::Done && context.output != Output::Json {
        say::out(text(words.keep_data, &report, &installed, context.width))?;
    }
    Ok(report.exit.code())
}

/// What is true now.
pub fn text(keep_data: bool, report: &Report, installed: &Installed, width: Width) -> String {
    let stays = |(_, result): &&(String, StepResult)| matches!(result, StepResult::LeftAlone { .. });
    let mut page = Page::new(width);
    match (keep_data, report.steps.iter().filter(stays).count() + report.left.len()) {
        (true, _) => {
            page.words("td-sync is removed. Kept, and used again by a later setup:");
            for kept in [&installed.data, &installed.backups, &installed.demo] {
                page.line(&format!("  {}", kept.display()));
            }
        }
        (false, 0) if report.steps.is_empty() => _ = page.words("Nothing was set up."),
        (false, 0) => _ = page.words("td-sync is removed; this machine is as it was."),
        (false, _) => {
            page.words("td-sync is removed, but for what is named above; it is yours.");
            if !report.left.is_empty() {
                page.words("Also yours, in what was setup's own folder:");
            }
            for left in &report.left {
                page.line(&format!("  {}", left.display()));
            }
        }
    }
    page.text()
}

fn consent(installed: &Installed, yes: bool, width: Width) -> Result<(), Failure> {
    let stop = |exit, happened: &str| {
        let commands = ["td-sync-setup uninstall --keep-data", "td-sync-setup uninstall --yes"];
        let remedy = Remedy {
            text: "keep the data, or say that they may go".into(),
            commands: commands.map(str::to_owned).to_vec(),
        };
        Err(Failure::new(exit, StepError::new("E-UNINSTALL-DATA", happened, "nothing was removed", remedy)))
    };
    if !ask::interactive(yes) {
        return stop(Exit::Usage, "an uninstall deletes the data, and there is nobody to ask");
    }
    let mut page = Page::new(width);
    page.words("This deletes every project and event of this server, its first copy and the demo project:");
    for folder in [&installed.data, &installed.backups, &installed.demo] {
        page.line(&format!("  {}", folder.display()));
    }
    page.words("What you put beside them yourself stays.");
    say::aside(page.text());
    if ask::confirmed("Delete them?", false) { Ok(()) } else { stop(Exit::Stopped, "stopped as you asked") }
}
