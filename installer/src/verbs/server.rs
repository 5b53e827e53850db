//! `start`, `stop`, `logs`.

use super::run;
use crate::cli::LogWords;
use crate::context::{Context, Output};
use crate::page::Page;
use crate::{Failure, Verdict, say};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use td_deploy::engine::{OnFailure, Overall, status};
use td_deploy::error::{Remedy, StepError};
use td_deploy::exit::Exit;
use td_deploy::step::StepKey;
use td_deploy::steps::local::{Places, steps};
use td_deploy::supervisor::Control;

/// A drain of 30 seconds and a little patience.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Runs the one step that starts the server.
pub fn start(context: &mut Context) -> Verdict {
    let places = Places::of(&context.answers, &context.facts);
    if overall(context)? == Overall::None || !places.spec.exists() {
        return Err(not_set_up());
    }
    context.watch_signals()?;
    let only: Vec<_> = steps().into_iter().filter(|step| step.key() == StepKey::SERVER_CUTOVER).collect();
    let report = run::watched(context, "td-sync-setup start", &only, |engine| {
        engine.apply(context.answers.clone(), OnFailure::Keep)
    });
    if report.exit == Exit::Done && context.output != Output::Json {
        say::out(format!("The server is well, on {}.\n", places.url))?;
    }
    Ok(report.exit.code())
}

/// Stops server and supervisor and waits for both.
pub fn stop(context: &Context) -> Verdict {
    let places = Places::of(&context.answers, &context.facts);
    let control = Control::new(&places.supervisor);
    let ran = control.anybody_lives();
    if ran && context.output != Output::Json {
        // The drain; whoever talks to the server meanwhile is served.
        let limit = STOP_LIMIT.as_secs();
        say::aside(format!("Stopping; open requests are answered first (at most {limit} s) ...\n"));
    }
    control.stop(STOP_LIMIT).map_err(|error| {
        let remedy = Remedy::run("see what it is doing", "td-sync-setup logs");
        Failure::new(
            Exit::Failed,
            StepError::new("E-STOP", error.to_string(), "the server may still run", remedy),
        )
    })?;
    say::out(match context.output {
        Output::Json => format!("{}\n", json!({ "stopped": true, "ran": ran })),
        _ if ran => {
            let mut page = Page::new(context.width);
            page.words("The server is stopped. Start it again with:");
            page.command(&context.commands().shown("td-sync-setup start"));
            page.text()
        }
        _ => "Nothing was running.\n".to_owned(),
    })?;
    Ok(Exit::Done.code())
}

/// The end of a log.
pub fn logs(context: &Context, words: &LogWords) -> Verdict {
    let path = if words.journal {
        let runs = context.dir.runs().map_err(|error| Failure::new(Exit::Failed, error))?;
        runs.last().map(|run| context.dir.journal(run)).ok_or_else(not_set_up)?
    } else {
        Places::of(&context.answers, &context.facts).log
    };
    let lines = tail(&path, words.lines).map_err(|_| not_set_up())?;
    if context.output == Output::Json {
        say::out(format!("{}\n", json!({ "log": path, "lines": lines })))?;
    } else {
        say::out(format!("{}:\n{}\n", path.display(), lines.join("\n")))?;
    }
    Ok(Exit::Done.code())
}

/// The last lines of a file; the log has a size limit, so it is read whole.
fn tail(path: &Path, lines: usize) -> std::io::Result<Vec<String>> {
    let text = std::fs::read(path)?;
    let text = String::from_utf8_lossy(&text);
    let all: Vec<_> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect())
}

fn overall(context: &Context) -> Result<Overall, Failure> {
    let status = status(&context.dir, &context.steps).map_err(|error| Failure::new(Exit::Stuck, error))?;
    Ok(status.state)
}

fn not_set_up() -> Failure {
    let remedy = Remedy::run("set it up", "td-sync-setup setup");
    let error =
        StepError::new("E-NOT-SET-UP", "nothing is set up for this user", "there is nothing to do", remedy);
    Failure::new(Exit::Failed, error)
}
