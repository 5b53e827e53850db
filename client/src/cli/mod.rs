//! `td`: arguments in, one library call, one answer out. Everything that decides is in the library.

mod args;
mod around;
mod out;
mod resync;
mod server;
mod tracker;

use args::{Cli, Verb};
use around::Around;
use clap::{CommandFactory, FromArgMatches};
use out::{Failure, Out, USAGE};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use td_client::canary::Canary;
use td_client::checks::Subject;
use td_client::http::Server;
use td_doctor::{Check, Progress};

/// Runs the program; its exit code.
pub fn main() -> u8 {
    let words: Vec<_> = std::env::args_os().collect();
    let td = installed_name(words.first());
    let json = words.iter().skip(1).take_while(|w| *w != "--").any(|w| w == "--json");
    let out = Out { json, td: td.clone() };
    let name: &'static str = Box::leak(td.into_boxed_str());
    let parsed = Cli::command().name(name).bin_name(name).try_get_matches_from(&words);
    let cli = match parsed.and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => cli,
        Err(error) => return refuse(&out, &error),
    };
    let done = match cli.verb {
        Verb::Version => version(&out),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command().name(name), name, &mut script);
            out::print(String::from_utf8_lossy(&script).trim_end());
            Ok(0)
        }
        Verb::Man => {
            let mut page = Vec::new();
            let drawn = clap_mangen::Man::new(Cli::command().name(name)).render(&mut page);
            out::print(String::from_utf8_lossy(&page).trim_end());
            drawn.map(|()| 0).map_err(|e| out.usage(e.to_string(), None))
        }
        _ => Around::look(&cli, out.clone()).and_then(|around| run(&around, cli.verb)),
    };
    match done {
        Ok(code) => code,
        // An answer was given already; only the exit code is left to say.
        Err(failure) if failure.code.is_empty() => failure.exit,
        Err(failure) => out.fail(&failure),
    }
}

fn run(around: &Around, verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Init => tracker::init(around),
        Verb::Create(args) => tracker::create(around, args),
        Verb::List(args) => tracker::list(around, args),
        Verb::Show { id } => tracker::show(around, &id),
        Verb::Update(args) => tracker::update(around, &args),
        Verb::Close { ids, reason } => tracker::close(around, &ids, reason.as_deref()),
        Verb::Comment { id, text } => tracker::comment(around, &id, &text),
        Verb::Delete { ids } => tracker::delete(around, &ids),
        Verb::Connect { link, device_name, ca_file } => server::connect(around, link, device_name, ca_file),
        Verb::Auth(verb) => server::auth(around, &verb),
        Verb::Sync(args) => server::sync(around, &args),
        Verb::Resync { accept_key } => resync::resync(around, accept_key.as_deref()),
        Verb::SyncProject(verb) => server::sync_project(around, verb),
        Verb::Doctor { only } => return doctor(around, &only),
        Verb::Version | Verb::Completions { .. } | Verb::Man => Ok(()),
    }
    .map(|()| 0)
}

/// The name people have to type: ours may be installed as `tds` beside Go `td`.
fn installed_name(first: Option<&std::ffi::OsString>) -> String {
    let path = first.map(std::path::Path::new);
    path.and_then(|p| p.file_name()).and_then(|n| n.to_str()).filter(|n| !n.is_empty()).unwrap_or("td").into()
}

fn refuse(out: &Out, error: &clap::Error) -> u8 {
    if out.json && error.use_stderr() {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        return out.fail(&out.usage(line, Some(format!("{} --help", out.td))));
    }
    let _ = error.print();
    if error.use_stderr() { USAGE } else { 0 }
}

fn version(out: &Out) -> Result<u8, Failure> {
    let (version, commit) = (env!("CARGO_PKG_VERSION"), option_env!("TD_COMMIT").unwrap_or(""));
    let schema = td_engine::db::SCHEMA_VERSION;
    let value = json!({"product": "td-sync", "version": version, "commit": commit,
        "schemas": {"project": [schema, schema]}, "epoch": null});
    out.say(format!("{} {version} of td-sync", out.td), &value);
    Ok(0)
}

fn doctor(around: &Around, only: &[String]) -> Result<u8, Failure> {
    let could_not_run = |failure: Failure| Failure { exit: td_doctor::EXIT_COULD_NOT_RUN, ..failure };
    // Opened read-only at most: a project of Go's must not become ours by being looked at.
    let device = td_client::device::DevicePath::in_todos(&around.base.join(td_client::place::TODOS));
    let server = device.read().ok().flatten().and_then(|f| f.server);
    let ours = around.logins.read().map_err(|e| could_not_run(around.out.config(&e)))?;
    let choice = td_client::config::choose(&around.overrides, server.as_ref(), &ours, &around.go)
        .map_err(|e| could_not_run(around.out.config(&e)))?;
    let subject = Subject {
        td: around.out.td.clone(),
        logins: around.logins.clone(),
        choice: choice.clone(),
        base: around.has_project().then(|| around.base.clone()),
        ambient: around.ambient.clone(),
    };
    let mut checks = subject.login_checks();
    checks.extend(subject.project_checks());
    if let Some((choice, key)) = choice.and_then(|c| c.key.clone().map(|k| (c, k))) {
        let ca = choice.login.as_ref().and_then(|l| l.ca_file.as_deref());
        let server = Server::new(choice.url.clone(), ca, Some(key))
            .map_err(|e| could_not_run(around.out.transport(&e)))?;
        let canary = Canary {
            server,
            pinned: choice.login.and_then(|l| l.public_key),
            logins: around.logins.clone(),
            ambient: around.ambient.clone(),
            td: around.out.td.clone(),
        };
        checks.extend(canary.checks());
    }
    let checks = select(around, checks, only)?;
    let follow = !around.out.json && std::io::stderr().is_terminal();
    let report = td_doctor::run(checks, &mut |progress| {
        if let (true, Progress::Started { title, .. }) = (follow, progress) {
            eprint!("\r\x1b[K{title} …");
        }
    });
    if follow {
        eprint!("\r\x1b[K");
    }
    around.out.say(report.plain(), &report);
    Ok(report.exit_code())
}

/// The named checks and what they need, in order.
fn select(around: &Around, checks: Vec<Check>, only: &[String]) -> Result<Vec<Check>, Failure> {
    if only.is_empty() {
        return Ok(checks);
    }
    let mut wanted: BTreeSet<&str> = BTreeSet::new();
    for name in only {
        let found = checks.iter().find(|c| c.id == name);
        let unknown = || {
            around.out.usage(
                format!("no check is called {name:?}"),
                Some(format!("{} doctor --json", around.out.td)),
            )
        };
        wanted.insert(found.ok_or_else(unknown)?.id);
    }
    // Prerequisites stand before what needs them, so one pass from the end finds all.
    for check in checks.iter().rev() {
        if wanted.contains(check.id) {
            wanted.extend(check.after);
        }
    }
    Ok(checks.into_iter().filter(|c| wanted.contains(c.id)).collect())
}
