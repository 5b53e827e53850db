//! `status`: which steps are done, and how the server is.

use crate::context::{Context, Output};
use crate::{Failure, Verdict, say};
use serde_json::{Value, json};
use td_deploy::engine::{Overall, status};
use td_deploy::exit::Exit;
use td_deploy::steps::local::Places;
use td_deploy::supervisor::HostStatus;

/// Looks, takes no lock, makes nothing. Always exit code 0 when it could look.
pub fn run(context: &Context) -> Verdict {
    let mut status =
        status(&context.dir, &context.steps).map_err(|error| Failure::new(Exit::Stuck, error))?;
    for step in status.steps.iter_mut().filter(|step| step.state == "skipped") {
        step.reason.get_or_insert_with(|| "it was as wanted already".to_owned());
    }
    let places = Places::of(&context.answers, &context.facts);
    let host = HostStatus::look(&places.spec);
    let server = match status.state {
        Overall::None => Value::Null,
        _ => server(&places, &host),
    };
    if context.output == Output::Json {
        let whole = json!({
            "target": status.target,
            "state": status.state,
            "steps": status.steps,
            "server": server,
            "running": status.running,
        });
        say::out(format!("{whole}\n"))?;
        return Ok(Exit::Done.code());
    }
    let mut lines = Vec::new();
    if let Some(running) = &status.running {
        lines.push(format!("a run is at work: {running}"));
    }
    for step in &status.steps {
        let remark = step.degraded.as_ref().or(step.reason.as_ref()).map_or("", String::as_str);
        lines.push(format!("{:<10} {:<20} {remark}", step.state, step.key).trim_end().to_owned());
    }
    match status.state {
        Overall::None => lines.push("nothing is set up; begin with: td-sync-setup".to_owned()),
        Overall::Incomplete => lines.push("setup is not complete; continue with: td-sync-setup".to_owned()),
        Overall::Complete => lines.push("setup is complete".to_owned()),
    }
    match (&host.supervisor, host.is_ready()) {
        _ if status.state == Overall::None => {}
        (_, true) => lines.push(format!("the server is well on {}", places.url)),
        (Some(_), false) => lines.push("the server does not answer; look at: td-sync-setup logs".to_owned()),
        (None, false) => lines.push("the server is stopped; start it with: td-sync-setup start".to_owned()),
    }
    say::out(lines.join("\n") + "\n")?;
    Ok(Exit::Done.code())
}

fn server(places: &Places, host: &HostStatus) -> Value {
    let word = |key: &str| host.version.as_ref().and_then(|version| version.get(key)).cloned();
    json!({
        "url": places.url,
        "version": word("version"),
        "epoch": word("epoch"),
        "healthy": host.is_ready(),
    })
}
