//! `status`: which steps are done, and how the server is.

use crate::context::{Context, Output};
use crate::{Failure, Verdict};
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
        println!("{whole}");
        return Ok(Exit::Done.code());
    }
    if let Some(running) = &status.running {
        println!("a run is at work: {running}");
    }
    for step in &status.steps {
        let remark = step.degraded.as_ref().or(step.reason.as_ref()).map_or("", String::as_str);
        println!("{}", format!("{:<10} {:<20} {remark}", step.state, step.key).trim_end());
    }
    match status.state {
        Overall::None => println!("nothing is set up; begin with: td-sync-setup"),
        Overall::Incomplete => println!("setup is not complete; continue with: td-sync-setup"),
        Overall::Complete => println!("setup is complete"),
    }
    match (&host.supervisor, host.is_ready()) {
        _ if status.state == Overall::None => {}
        (_, true) => println!("the server is well on {}", places.url),
        (Some(_), false) => println!("the server does not answer; look at: td-sync-setup logs"),
        (None, false) => println!("the server is stopped; start it with: td-sync-setup start"),
    }
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
