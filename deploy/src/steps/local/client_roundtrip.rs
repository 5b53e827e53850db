//! A demo project that two devices share, and the doctor's canary: a real event goes in and comes out again.

use super::client_program::Td;
use super::places::Places;
use crate::error::{Remedy, StepError};
use crate::facts::Facts;
use crate::host::{EntryKind, Mode};
use crate::step::{Change, Kind, Outcome, Step, StepKey, StepTraits, UndoOutcome, Wanted};
use crate::steps::clearing;
use crate::steps::dirs::{Dirs, MadeDirs};
use crate::view::{Apply, Capture, Probe};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use td_state::answers::Answers;

/// Name of the demo project on the server.
const PROJECT: &str = "td-sync demo";
/// What the demo begins with, in the words of the command as it is installed here.
fn issues(td: &str) -> [String; 3] {
    [
        format!("Look at this project: {td} list"),
        format!("Connect a second device and run {td} sync there"),
        format!("Start a project of your own: {td} init in its folder"),
    ]
}

pub(super) struct ClientRoundtrip;

/// A folder of the demo project.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Demo {
    folder: PathBuf,
    /// Its server.
    url: String,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Seen {
    linked: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Undo {
    dirs: MadeDirs,
    folder: PathBuf,
    second: PathBuf,
}

impl Step for ClientRoundtrip {
    type Desired = Demo;
    type Observed = Seen;
    type Undo = Undo;
    const KEY: StepKey = StepKey::CLIENT_ROUNDTRIP;
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Send events through the server with two devices".into()
    }

    fn why(&self) -> &'static str {
        "setup is done when an event that went in came out again at another device"
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::CLIENT_CONFIG]
    }

    fn traits(&self) -> StepTraits {
        StepTraits { time: Duration::from_secs(3), ..StepTraits::default() }
    }

    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<Demo>, StepError> {
        let places = Places::of(answers, facts);
        Ok(match places.release {
            Some(_) => Wanted::This(Demo { folder: places.demo, url: places.url }),
            None => Wanted::After(StepKey::SERVER_RELEASE),
        })
    }

    fn observe(&self, cx: &Probe<'_>, demo: &Demo) -> Result<Seen, StepError> {
        let nothing = Seen { linked: false };
        if cx.stat(&database(&demo.folder))?.is_none() {
            return Ok(nothing);
        }
        let Some(td) = client(cx.answers(), cx.facts(), None) else { return Ok(nothing) };
        let Some(status) = td.look(&**cx, &demo.folder, &["sync", "--status"]) else { return Ok(nothing) };
        let linked = status.get("linked") == Some(&Value::Bool(true));
        // After a move to another port the folder still names the former address.
        let here = status.get("server").and_then(Value::as_str) == Some(&demo.url);
        Ok(Seen { linked: linked && here })
    }

    fn plan(&self, seen: &Seen, desired: Demo) -> Change<Demo> {
        if seen.linked { Change::Check { desired } } else { Change::Create { desired } }
    }

    fn capture(&self, cx: &Capture<'_>, change: &Change<Demo>) -> Result<Undo, StepError> {
        let places = Places::of(cx.answers(), cx.facts());
        let folder = change.desired().map_or(places.demo, |demo| demo.folder.clone());
        let dirs = Dirs::with_parents(&[&folder]).missing(cx, &[])?;
        Ok(Undo { dirs, folder, second: places.host.join("second-device") })
    }

    fn creates(&self, undo: &Undo) -> Vec<String> {
        undo.dirs.names()
    }

    fn apply(&self, cx: &mut Apply<'_>, change: Change<Demo>) -> Result<Outcome, StepError> {
        let Some(demo) = change.desired() else { return Ok(Outcome::Unchanged) };
        let places = Places::of(cx.answers(), cx.facts());
        let td = client(cx.answers(), cx.facts(), Some(&demo.url)).ok_or_else(not_installed)?;
        if !change.alters() {
            canary(cx, &td, &demo.folder)?;
            return Ok(Outcome::Unchanged);
        }
        Dirs::with_parents(&[&demo.folder]).apply(cx)?;
        let project = fill(cx, &td, &demo.folder, &issues(&places.td))?;
        // A second device: another folder of the same person, gone again in a moment.
        let second = places.host.join("second-device");
        cx.remove_tree(&second)?;
        cx.make_dir(&second, Mode::PRIVATE_DIR)?;
        let compared = compare(cx, &td, &demo.folder, &second, &project);
        cx.remove_tree(&second)?;
        compared?;
        canary(cx, &td, &demo.folder)?;
        Ok(Outcome::Changed)
    }

    fn verify(&self, cx: &Probe<'_>, demo: Demo) -> Result<(), StepError> {
        let seen = self.observe(cx, &demo)?;
        if seen.linked { Ok(()) } else { Err(not_linked(&demo.folder)) }
    }

    fn undo(&self, cx: &mut Apply<'_>, undo: Undo) -> Result<UndoOutcome, StepError> {
        cx.remove_tree(&undo.second)?;
        let todos = undo.folder.join(".todos");
        if !undo.dirs.made.contains(&undo.folder) {
            // Somebody's own folder: there may be more than the demo in its tracker by now.
            return Ok(match cx.stat(&todos)? {
                None => UndoOutcome::NothingToDo,
                Some(_) => {
                    let why = format!("{} stays: its folder was there before setup", todos.display());
                    UndoOutcome::LeftAlone { why }
                }
            });
        }
        // Ours is the tracker in it; files that a person put beside it keep the folder.
        let outcome = match cx.stat(&undo.folder)?.map(|stat| stat.kind) {
            Some(EntryKind::Dir) => clearing::clear(cx, &todos, clearing::tracker)?.outcome(),
            _ => UndoOutcome::NothingToDo,
        };
        Ok(clearing::both(outcome, undo.dirs.undo(cx, clearing::nothing)?))
    }
}

fn database(folder: &Path) -> PathBuf {
    folder.join(".todos/issues.db")
}

fn client(answers: &Answers, facts: &Facts, url: Option<&str>) -> Option<Td> {
    let places = Places::of(answers, facts);
    Some(Td::of_person(places.program("td")?, facts, url, &places.log))
}

/// Brings the folder to a linked project with issues in it, from wherever an interrupted run left it.
fn fill(cx: &Apply<'_>, td: &Td, folder: &Path, issues: &[String]) -> Result<String, StepError> {
    if cx.stat(&database(folder))?.is_none() {
        td.run(cx, folder, &["init"])?;
    }
    let there = td.json(cx, folder, &["list"])?;
    let titles: Vec<_> =
        there.as_array().into_iter().flatten().filter_map(|issue| issue.get("title")?.as_str()).collect();
    for title in issues.iter().filter(|title| !titles.contains(&title.as_str())) {
        td.run(cx, folder, &["create", title])?;
    }
    let projects = td.json(cx, folder, &["sync-project", "list"])?;
    let projects = projects.get("projects").unwrap_or(&projects).as_array().cloned().unwrap_or_default();
    let id = |project: &Value| project.get("id").and_then(Value::as_str).map(str::to_owned);
    let known = projects.iter().find(|project| project.get("name").and_then(Value::as_str) == Some(PROJECT));
    let project = match known.and_then(id) {
        Some(project) => project,
        None => id(&td.json(cx, folder, &["sync-project", "create", PROJECT])?).unwrap_or_default(),
    };
    td.run(cx, folder, &["sync-project", "link", &project])?;
    td.run(cx, folder, &["sync"])?;
    Ok(project)
}

/// The second device has the same digest at the same sequence.
fn compare(cx: &Apply<'_>, td: &Td, folder: &Path, second: &Path, project: &str) -> Result<(), StepError> {
    td.run(cx, second, &["init"])?;
    td.run(cx, second, &["sync-project", "join", project])?;
    td.run(cx, second, &["sync"])?;
    let digest =
        |at: &Path| Ok::<_, StepError>(td.json(cx, at, &["sync", "--status"])?.get("digest").cloned());
    td.run(cx, folder, &["sync"])?;
    let (one, two) = (digest(folder)?, digest(second)?);
    if one.is_some() && one == two {
        return Ok(());
    }
    let shown = |digest: Option<Value>| digest.unwrap_or_default().to_string();
    Err(StepError::new(
        "E-ROUNDTRIP-DIFFERS",
        "two devices of one project do not agree",
        "an event did not come out as it went in",
        Remedy::run("look at both sides", "td-sync-setup doctor"),
    )
    .with_evidence([shown(one), shown(two)]))
}

fn canary(cx: &Apply<'_>, td: &Td, folder: &Path) -> Result<(), StepError> {
    let report = td.look(&**cx, folder, &["doctor"]).unwrap_or_default();
    if report.get("ok") == Some(&Value::Bool(true)) {
        return Ok(());
    }
    let checks = report.get("checks").and_then(Value::as_array).cloned().unwrap_or_default();
    let word = |check: &Value, key| check.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let failed = checks.iter().filter(|check| word(check, "state") == "fail");
    Err(StepError::new(
        "E-ROUNDTRIP",
        "the doctor of this machine found something wrong",
        "an event may not get from this machine to its server and back",
        Remedy::run("see all checks", "td-sync-setup doctor"),
    )
    .with_evidence(failed.map(|check| format!("{}: {}", word(check, "id"), word(check, "cause")))))
}

fn not_installed() -> StepError {
    StepError::new(
        "E-RELEASE-UNKNOWN",
        "no release has been installed yet",
        "the step server.release has to run first",
        Remedy::run("run setup again", "td-sync-setup"),
    )
}

fn not_linked(folder: &Path) -> StepError {
    StepError::new(
        "E-ROUNDTRIP-LINK",
        format!("{} is not linked to a project on the server", folder.display()),
        "the demo project is not complete",
        Remedy::run("run setup again", "td-sync-setup"),
    )
}
