//! What the doctor of a local server looks at, besides what server and client check themselves.

use super::asking;
use super::data_first_backup::{FIRST, MANIFEST};
use super::places::{Places, WORK};
use super::server_config;
use crate::engine::{Overall, status};
use crate::facts::Facts;
use crate::host::{Look, Program};
use crate::supervisor::HostStatus;
use std::path::Path;
use std::time::Duration;
use td_doctor::{Check, CheckReport, Finding, Remedy, Report, Verdict};
use td_state::answers::Answers;
use td_state::dir::TargetDir;
use td_state::shell;

/// Checks of this machine: setup itself, the supervisor, the commands, the copies.
#[must_use]
pub fn checks(dir: &TargetDir, answers: &Answers, facts: &Facts) -> Vec<Check> {
    let places = Places::of(answers, facts);
    let (at, path) = (dir.clone(), facts.path.clone());
    let (one, two, three, four) = (places.clone(), places.clone(), places.clone(), places);
    vec![
        Check::new("setup.state", "Setup ran to its end", move || setup_state(&at)),
        Check::new("setup.supervisor", "The supervisor runs", move || supervisor(&one))
            .after(&["setup.state"]),
        Check::new("setup.server", "The server answers and is the wanted one", move || server(&two))
            .after(&["setup.supervisor"])
            .limit(Duration::from_secs(15)),
        Check::new("setup.boot", "The server starts at boot", boot).after(&["setup.state"]),
        Check::new("setup.copies", "There is a backup copy", move || copies(&three)).after(&["setup.state"]),
        Check::new("setup.commands", "The commands are found", move || commands(&four, &path))
            .after(&["setup.state"]),
    ]
}

fn setup_state(dir: &TargetDir) -> Verdict {
    let again = || Remedy::command("td-sync-setup setup");
    match status(dir, &super::steps()) {
        Err(error) => Verdict::Fail(Finding::new(error.to_string(), Remedy::command("td-sync-setup status"))),
        Ok(status) => match status.state {
            Overall::Complete => Verdict::Ok("complete".into()),
            Overall::None => Verdict::Fail(Finding::new("nothing has been set up for this user", again())),
            Overall::Incomplete => {
                let open = status.steps.iter().find(|step| !matches!(step.state, "done" | "skipped"));
                let open = open.map_or("a step", |step| step.key.as_str());
                Verdict::Fail(Finding::new(format!("setup was not finished: {open} is open"), again()))
            }
        },
    }
}

fn supervisor(places: &Places) -> Verdict {
    let start = || Remedy::command("td-sync-setup start");
    let status = HostStatus::look(&places.spec);
    match status.supervisor {
        Some(supervisor) => Verdict::Ok(format!("process {}", supervisor.pid)),
        None if status.lives => Verdict::Fail(Finding::new(
            "the server runs without its supervisor, so nobody would start it again",
            start(),
        )),
        None => Verdict::Fail(Finding::new(
            "nothing runs; either it was stopped, or this machine was restarted",
            start(),
        )),
    }
}

/// No local target starts at boot yet, with or without systemd. It is told, not warned about: nothing that a person could
/// do about it would end the warning.
fn boot() -> Verdict {
    Verdict::Ok("no start at boot yet; after a restart of this machine run: td-sync-setup start".into())
}

fn server(places: &Places) -> Verdict {
    let status = HostStatus::look(&places.spec);
    if !status.is_ready() {
        let why = status.ready.as_ref().and_then(|ready| ready.get("reasons")).map(ToString::to_string);
        let why = why.unwrap_or_else(|| format!("nobody answers on {}", places.address));
        return Verdict::Fail(Finding::new(why, Remedy::command("td-sync-setup logs")));
    }
    if !status.is_current() {
        let cause = "it was started from other settings or another release than there are now";
        return Verdict::Warn(Finding::new(cause, Remedy::command("td-sync-setup setup")));
    }
    Verdict::Ok(format!("ready on {}", places.address))
}

fn copies(places: &Places) -> Verdict {
    let copy = places.backups.join(FIRST);
    if copy.join(MANIFEST).exists() {
        return Verdict::Ok(format!("{}; newer ones are made by hand", copy.display()));
    }
    let cause = format!("{} is gone", copy.display());
    Verdict::Warn(Finding::new(cause, Remedy::command("td-sync-setup setup")))
}

fn commands(places: &Places, path: &[std::path::PathBuf]) -> Verdict {
    let td = places.bin.join(&places.td);
    if !td.exists() {
        let cause = format!("{} is missing", td.display());
        return Verdict::Fail(Finding::new(cause, Remedy::command("td-sync-setup setup")));
    }
    if path.iter().any(|folder| folder == &places.bin) {
        return Verdict::Ok(td.display().to_string());
    }
    let cause = format!("{} is not in your PATH", places.bin.display());
    let remedy = format!("export PATH={}:\"$PATH\"", shell::path(&places.bin));
    Verdict::Warn(Finding::new(cause, Remedy::command(remedy)))
}

/// The reports of `td-sync doctor` and of the client's doctor, as checks of ours.
pub fn program_checks(answers: &Answers, facts: &Facts, look: &dyn Look) -> Vec<CheckReport> {
    let places = Places::of(answers, facts);
    let env = server_config::in_force(&places, look).unwrap_or_default();
    let mut all = Vec::new();
    match asking::server_program(&places, &env, &["doctor", "--json"]) {
        Some(program) => all.extend(report("server.doctor", &program, look)),
        None => {
            all.push(CheckReport::new("server.doctor", Verdict::Skip("nothing is installed yet".into()), 0))
        }
    }
    if let Some(td) = places.program("td").filter(|td| exists(look, td)) {
        // As a person would call it, so that its remedies name the command that is installed.
        let installed = places.bin.join(&places.td);
        let td = if exists(look, &installed) { installed } else { td };
        let mut program = Program::new(td, WORK).args(["doctor", "--json"]);
        // The demo project is a project of this server; any other folder may be one of another.
        program.dir = Some(places.demo.clone()).filter(|demo| exists(look, demo));
        all.extend(report("client.doctor", &program, look));
    } else {
        all.push(CheckReport::new("client.doctor", Verdict::Skip("nothing is installed yet".into()), 0));
    }
    all
}

fn exists(look: &dyn Look, path: &Path) -> bool {
    look.stat(path).is_ok_and(|stat| stat.is_some())
}

/// The server does not know that a supervisor starts it; one that is started by hand would be a second one.
fn supervised(mut check: CheckReport) -> CheckReport {
    if check.remedy.as_deref() == Some("td-sync serve") {
        check.remedy = Some("td-sync-setup start".into());
    }
    check
}

fn report(id: &str, program: &Program, look: &dyn Look) -> Vec<CheckReport> {
    let failed = |why: String| {
        let finding = Finding::new(why, Remedy::command(program.shown()));
        vec![CheckReport::new(id, Verdict::Fail(finding), 0)]
    };
    match look.query(program) {
        Err(error) => failed(error.to_string()),
        Ok(ran) => match serde_json::from_slice::<Report>(&ran.stdout) {
            Ok(report) => report.checks.into_iter().map(supervised).collect(),
            Err(_) => failed(format!("it could not run: {}", ran.tail(3).join(" / "))),
        },
    }
}
