//! The programs that the steps run, and what they answer.

use super::places::{LOOK, Places, WORK};
use crate::error::{Remedy, StepError};
use crate::facts::Facts;
use crate::host::{Host, HostError, Look, Program, Ran};
use crate::supervisor::HostStatus;
use serde::de::DeserializeOwned;
use std::path::Path;
use td_templates::env_file::EnvFile;

/// Which of our own hidden verbs.
fn setup(facts: &Facts, verb: &str, places: &Places) -> Program {
    Program::new(&facts.program, WORK).args([verb, "--spec"]).arg(places.spec.display().to_string())
}

/// What runs on the host.
pub(super) fn status(places: &Places, look: &dyn Look) -> Result<HostStatus, HostError> {
    if look.stat(&places.spec)?.is_none() {
        return Ok(HostStatus::default());
    }
    let facts = look.facts()?;
    let program = Program { limit: LOOK, ..setup(&facts, "host-status", places) };
    let ran = look.query(&program)?;
    serde_json::from_slice(&ran.stdout).map_err(|error| HostError::Io {
        op: "ask",
        path: facts.program,
        why: format!("{error}; {}", ran.tail(3).join(" / ")),
    })
}

/// Tells the supervisor something: `host-restart` or `host-stop`.
pub(super) fn tell(places: &Places, facts: &Facts, host: &dyn Host, verb: &str) -> Result<(), StepError> {
    let program = setup(facts, verb, places);
    succeeded(&program, host.run(&program)?, &places.log).map(drop)
}

/// `td-sync` of the wanted release, with the environment of the server.
pub(super) fn server_program(places: &Places, env: &EnvFile, args: &[&str]) -> Option<Program> {
    let mut program = Program::new(places.program("td-sync")?, WORK).args(args.iter().copied());
    program.clean_env = true;
    program.env = env.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Some(program)
}

/// Its answer, if it ended well.
pub(super) fn succeeded(program: &Program, ran: Ran, log: &Path) -> Result<Ran, StepError> {
    if ran.ok() {
        return Ok(ran);
    }
    let how = match (ran.code, ran.signal) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
    };
    Err(StepError::new(
        "E-PROGRAM",
        format!("`{}` {how}", program.shown()),
        "a part of td-sync refused what setup asked of it",
        Remedy::run(format!("read its words above and the log {}", log.display()), "td-sync-setup logs"),
    )
    .with_evidence(ran.tail(20)))
}

/// Its answer as JSON.
pub(super) fn answered<T: DeserializeOwned>(program: &Program, ran: Ran, log: &Path) -> Result<T, StepError> {
    let ran = succeeded(program, ran, log)?;
    serde_json::from_slice(&ran.stdout).map_err(|error| {
        StepError::new(
            "E-PROGRAM-ANSWER",
            format!("`{}` answered something else than expected: {error}", program.shown()),
            "the programs of this release do not belong together",
            Remedy::say("install again from the archive or the source folder"),
        )
        // Not what it printed: an answer may hold a secret.
        .with_evidence(Ran { stdout: Vec::new(), ..ran.clone() }.tail(5))
    })
}
