//! `doctor`: this machine, the server, and an event that goes round.

use crate::context::{Context, Output};
use crate::{Failure, Verdict, say};
use td_deploy::error::{Remedy, StepError};
use td_deploy::exit::Exit;
use td_deploy::steps::local::{checks, program_checks};
use td_doctor::Report;

/// Only looks. Exit codes 0, 9 and 10.
pub fn run(context: &Context) -> Verdict {
    let talk = context.output != Output::Json;
    if talk {
        say::aside("Looking at this machine, the server and the way between them ...\n");
    }
    let ours = td_doctor::run(checks(&context.dir, &context.answers, &context.facts), &mut |_| {});
    let mut all = ours.checks;
    all.extend(program_checks(&context.answers, &context.facts, &context.host));
    let commands = context.commands();
    for check in &mut all {
        check.remedy = check.remedy.as_deref().map(|remedy| commands.shown(remedy));
    }
    let report = Report::new(all);
    if talk {
        say::out(report.plain_at(context.width.columns()))?;
    } else {
        let text = serde_json::to_string(&report).map_err(|error| {
            let remedy = Remedy::say("run it without --json");
            let error = StepError::new("E-INTERNAL", error.to_string(), "this is a bug", remedy);
            Failure::new(Exit::DoctorCouldNot, error)
        })?;
        say::out(format!("{text}\n"))?;
    }
    Ok(report.exit_code())
}
