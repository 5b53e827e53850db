//! `status`: which steps are done, and how the server is.

use crate::commands::Commands;
use crate::context::{Context, Output};
use crate::page::{Page, Width};
use crate::{Failure, Verdict, say};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use td_deploy::engine::{Overall, Status, status};
use td_deploy::exit::Exit;
use td_deploy::steps::local::Places;
use td_deploy::supervisor::HostStatus;

/// Looks, takes no lock, makes nothing. Always exit code 0 when it could look.
pub fn run(context: &Context) -> Verdict {
    let mut status =
        status(&context.dir, &context.steps).map_err(|error| Failure::new(Exit::Stuck, error))?;
    for step in status.steps.iter_mut().filter(|step| step.state == "skipped") {
        step.reason.get_or_insert_with(|| CHECKED.to_owned());
    }
    let places = Places::of(&context.answers, &context.facts);
    let host = HostStatus::look(&places.spec);
    if context.output == Output::Json {
        let server = match status.state {
            Overall::None => Value::Null,
            _ => server(&places, &host),
        };
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
    let titles = context.steps.iter().map(|step| (step.key().to_string(), step.title())).collect();
    say::out(text(&status, &titles, &places.url, &host, &context.commands(), context.width))?;
    Ok(Exit::Done.code())
}

/// Why a step that had nothing to do was passed over.
const CHECKED: &str = "it was as wanted already";

/// For people.
pub fn text(
    status: &Status,
    titles: &BTreeMap<String, String>,
    url: &str,
    host: &HostStatus,
    commands: &Commands,
    width: Width,
) -> String {
    let mut page = Page::new(width);
    // A list in which nothing has happened says nothing.
    let steps = if status.state == Overall::None { &[][..] } else { &status.steps };
    let mut absent = 0;
    for step in steps {
        let remark = step.degraded.as_ref().or(step.reason.as_ref()).filter(|reason| *reason != CHECKED);
        let word = match (step.state, remark) {
            ("skipped", None) => "ok",
            ("skipped", Some(_)) => {
                absent += 1;
                continue;
            }
            ("pending", _) => "to do",
            ("failed", _) => "FAILED",
            (state, _) => state,
        };
        page.under(&format!("{word:<8} "), titles.get(&step.key).unwrap_or(&step.key));
        if step.state == "unknown" {
            page.under("         ", "it may have been done; the next run of setup looks first");
        } else if let Some(why) = remark {
            page.under("         ", why);
        }
    }
    if absent > 0 {
        page.words(&crate::render::absent(absent));
    }
    if !steps.is_empty() {
        page.gap();
    }
    let command = |verb: &str| commands.shown(format!("td-sync-setup {verb}").trim_end());
    if let Some(running) = &status.running {
        page.words(&format!("A run is at work just now: {running}."));
        return page.text();
    }
    match status.state {
        Overall::None => page.words("Nothing is set up for this user. Begin with:").command(&command("")),
        Overall::Incomplete => page.words("Setup is not complete. Continue with:").command(&command("")),
        Overall::Complete => page.words("Setup is complete."),
    };
    match (&host.supervisor, host.is_ready(), status.state) {
        (_, _, Overall::None) => {}
        (_, true, _) => {
            page.words(&format!("The server is well, on {url}."));
            super::summary::boot(&mut page, commands);
        }
        (Some(_), false, _) => {
            page.words("The server is started but does not answer. See why:").command(&command("logs"));
        }
        // Whoever continues gets it started.
        (None, false, Overall::Incomplete) => {}
        (None, false, Overall::Complete) => {
            page.words("The server is stopped. Start it with:").command(&command("start"));
        }
    }
    page.text()
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
