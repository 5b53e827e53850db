//! `uninstall`: back to how it was.

use super::run;
use crate::cli::UninstallWords;
use crate::context::{Context, Output};
use crate::{Failure, Verdict, ask, say};
use td_deploy::engine::Uninstall;
use td_deploy::error::{Remedy, StepError};
use td_deploy::event::StepResult;
use td_deploy::exit::Exit;
use td_deploy::steps::local::{DATA_STEPS, Installed};

/// Takes back everything, newest first. Data only if the person says so.
pub fn run(context: &mut Context, words: &UninstallWords, yes: bool) -> Verdict {
    let installed = Installed::of(&context.answers, &context.facts);
    if !words.keep_data && !yes && context.dir.exists() {
        consent(&installed, yes)?;
    }
    context.watch_signals()?;
    let what = Uninstall {
        keep: if words.keep_data { DATA_STEPS.to_vec() } else { Vec::new() },
        forget: !words.keep_data,
    };
    let report =
        run::watched(context, "td-sync-setup uninstall", &context.steps, |engine| engine.uninstall(&what));
    if report.exit == Exit::Done && context.output != Output::Json {
        let left = report.steps.iter().filter(|(_, result)| matches!(result, StepResult::LeftAlone { .. }));
        say::out(match (words.keep_data, left.count()) {
            (true, _) => format!(
                "td-sync is removed. Kept: {}, {}\nA later `td-sync-setup setup` uses them again.\n",
                installed.data.display(),
                installed.backups.display()
            ),
            (false, 0) if report.steps.is_empty() => "nothing was set up\n".into(),
            (false, 0) => "td-sync is removed; this machine is as it was.\n".into(),
            (false, _) => "td-sync is removed, but for what is named above.\n".into(),
        })?;
    }
    Ok(report.exit.code())
}

fn consent(installed: &Installed, yes: bool) -> Result<(), Failure> {
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
    say::aside(format!(
        "This deletes every project and event of this server:\n  {}\n  {}\n",
        installed.data.display(),
        installed.backups.display()
    ));
    if ask::confirmed("Delete them?", false) { Ok(()) } else { stop(Exit::Stopped, "stopped as you asked") }
}
