//! Gate: the wanted release serves a push and a pull, in a scratch folder, before it touches the data.

use super::asking;
use super::client_program::Td;
use super::places::Places;
use super::server_config;
use crate::error::{Remedy, StepError};
use crate::facts::Facts;
use crate::host::{Detached, Mode, ProcessId, Program, Removed, Signal};
use crate::step::{Change, Kind, Outcome, Step, StepKey, StepTraits, UndoOutcome, Wanted};
use crate::view::{Apply, Capture, Probe, Wait};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use td_state::answers::Answers;

/// The rehearsal takes a free one of these ports, which are below the range the system gives out by itself.
const PORTS: std::ops::Range<u16> = 18_470..18_570;
const START_LIMIT: Duration = Duration::from_secs(30);
/// Process of the candidate, for whoever clears up after a crash.
const PROCESS: &str = "process.json";

pub(super) struct ServerRehearse;

impl Step for ServerRehearse {
    /// The candidate.
    type Desired = PathBuf;
    /// It already runs.
    type Observed = bool;
    /// The scratch folder.
    type Undo = PathBuf;
    const KEY: StepKey = StepKey::SERVER_REHEARSE;
    const KIND: Kind = Kind::Gate;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Rehearse the release in a scratch folder".into()
    }

    fn why(&self) -> &'static str {
        "a program that cannot work here is found out before it opens the data"
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::SERVER_RELEASE, StepKey::HOST_STATEDIR]
    }

    fn traits(&self) -> StepTraits {
        StepTraits { time: Duration::from_secs(3), attempts: 3, ..StepTraits::default() }
    }

    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<PathBuf>, StepError> {
        Ok(match Places::of(answers, facts).program("td-sync") {
            Some(program) => Wanted::This(program),
            None => Wanted::After(StepKey::SERVER_RELEASE),
        })
    }

    fn observe(&self, cx: &Probe<'_>, candidate: &PathBuf) -> Result<bool, StepError> {
        let places = Places::of(cx.answers(), cx.facts());
        let current = cx.read_link(&places.current)?.map(|to| places.root.join(to).join("td-sync"));
        Ok(current.as_ref() == Some(candidate) && asking::status(&places, &**cx)?.is_ready())
    }

    fn plan(&self, already: &bool, desired: PathBuf) -> Change<PathBuf> {
        if *already { Change::Noop } else { Change::Check { desired } }
    }

    fn capture(&self, cx: &Capture<'_>, _: &Change<PathBuf>) -> Result<PathBuf, StepError> {
        Ok(scratch(&Places::of(cx.answers(), cx.facts())))
    }

    fn apply(&self, cx: &mut Apply<'_>, _: Change<PathBuf>) -> Result<Outcome, StepError> {
        let places = Places::of(cx.answers(), cx.facts());
        let scratch = scratch(&places);
        clear(cx, &scratch)?;
        for folder in ["", "home", "one", "two"] {
            cx.make_dir(&scratch.join(folder), Mode::PRIVATE_DIR)?;
        }
        let result = rehearse(cx, &places, &scratch);
        let cleared = clear(cx, &scratch);
        result?;
        cleared.map(|_| Outcome::Unchanged)
    }

    fn verify(&self, _: &Probe<'_>, _: PathBuf) -> Result<(), StepError> {
        // `apply` was the check.
        Ok(())
    }

    fn undo(&self, cx: &mut Apply<'_>, scratch: PathBuf) -> Result<UndoOutcome, StepError> {
        Ok(if clear(cx, &scratch)? { UndoOutcome::Restored } else { UndoOutcome::NothingToDo })
    }
}

fn scratch(places: &Places) -> PathBuf {
    places.host.join("rehearsal")
}

/// Ends what an interrupted rehearsal left running and takes its folder away.
fn clear(cx: &Apply<'_>, scratch: &Path) -> Result<bool, StepError> {
    if let Some(bytes) = cx.read(&scratch.join(PROCESS), 4096)?
        && let Ok(process) = serde_json::from_slice::<ProcessId>(&bytes)
    {
        // Its data are thrown away in a moment, so it need not drain.
        cx.signal(&process, Signal::Kill)?;
        let gone = Wait::new("the rehearsal server to end", Duration::from_secs(10));
        cx.wait_for(&gone, || Ok((cx.process(process.pid)?.as_ref() != Some(&process)).then_some(())))?;
    }
    Ok(cx.remove_tree(scratch)? != Removed::Absent)
}

fn rehearse(cx: &Apply<'_>, places: &Places, scratch: &Path) -> Result<(), StepError> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // Two rehearsals at once begin at different ports.
    let first = usize::try_from(std::process::id()).unwrap_or_default() % PORTS.len();
    let mut address = None;
    for port in PORTS.skip(first).chain(PORTS.take(first)) {
        if address.is_none() && cx.port_is_free(at(port))? {
            address = Some(at(port));
        }
    }
    let address = address.ok_or_else(no_port)?;
    let there = Places {
        data: scratch.join("data"),
        log: scratch.join("server.log"),
        url: format!("http://{address}"),
        address,
        ..places.clone()
    };
    let env = server_config::environment(&there)?;
    let admin = |args: &[&str]| asking::server_program(&there, &env, args).ok_or_else(no_port);
    let process = cx.spawn(&Detached {
        program: there.program("td-sync").unwrap_or_default(),
        args: vec!["serve".into()],
        env: env.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        dir: scratch.to_owned(),
        log: there.log.clone(),
    })?;
    let note = serde_json::to_vec(&process).unwrap_or_default();
    cx.put(&scratch.join(PROCESS), &note, Mode::PRIVATE)?;
    let wait = Wait::new(format!("the rehearsal server to answer on {address}"), START_LIMIT)
        .look_at(there.log.display().to_string());
    let log = || {
        let text = cx.read(&there.log, 1 << 20).ok().flatten().unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().rev().take(10).map(str::to_owned).collect::<Vec<_>>().into_iter().rev()
    };
    cx.wait_for(&wait, || {
        if cx.process(process.pid)?.as_ref() != Some(&process) {
            return Err(ended_at_once());
        }
        Ok(cx.port_answers(address, Duration::from_millis(500))?.then_some(()))
    })
    .map_err(|error| error.with_evidence(log()))?;
    push_and_pull(cx, &there, scratch, &admin).map_err(|error| error.with_evidence(log()))
}

/// One person, two folders, one issue.
fn push_and_pull(
    cx: &Apply<'_>,
    there: &Places,
    scratch: &Path,
    admin: &dyn Fn(&[&str]) -> Result<Program, StepError>,
) -> Result<(), StepError> {
    let person = "rehearsal@localhost";
    for args in [&["admin", "create-user", "--email", person][..], &["admin", "grant", "--email", person]] {
        let program = admin(args)?;
        asking::succeeded(&program, cx.run(&program)?, &there.log)?;
    }
    let program = admin(&["admin", "create-key", "--email", person, "--name", "rehearsal", "--json"])?;
    let key: Value = asking::answered(&program, cx.run(&program)?, &there.log)?;
    let key = key.get("api_key").and_then(Value::as_str).unwrap_or_default();
    let program = there.program("td").unwrap_or_default();
    let td = Td::in_scratch(program, scratch, &there.url, key, &there.log);
    let (one, two) = (scratch.join("one"), scratch.join("two"));
    td.run(cx, &one, &["init"])?;
    td.run(cx, &one, &["create", "An event that has to arrive at the other side"])?;
    let project = td.json(cx, &one, &["sync-project", "create", "rehearsal"])?;
    let project = project.get("id").and_then(Value::as_str).unwrap_or_default();
    td.run(cx, &one, &["sync-project", "link", project])?;
    td.run(cx, &one, &["sync"])?;
    td.run(cx, &two, &["init"])?;
    td.run(cx, &two, &["sync-project", "join", project])?;
    td.run(cx, &two, &["sync"])?;
    let arrived = td.json(cx, &two, &["list"])?;
    if arrived.as_array().is_some_and(|issues| issues.len() == 1) {
        return Ok(());
    }
    Err(StepError::new(
        "E-REHEARSE-LOST",
        format!("the issue did not arrive at the second device: {arrived}"),
        "this release does not synchronise on this machine; nothing of yours was touched",
        Remedy::say("please report it with the log"),
    ))
}

fn no_port() -> StepError {
    StepError::new(
        "E-REHEARSE-PORT",
        format!("no port from {} to {} is free", PORTS.start, PORTS.end - 1),
        "the rehearsal needs one for a few seconds",
        Remedy::run("see who listens there", "ss -ltnp"),
    )
}

fn ended_at_once() -> StepError {
    StepError::new(
        "E-REHEARSE-ENDS",
        "the server ended while it was starting",
        "it does not work on this machine; nothing of yours was touched",
        Remedy::say("see what the last lines of its log say, above"),
    )
    // Somebody may have taken the port between the look and the start.
    .may_retry()
}
