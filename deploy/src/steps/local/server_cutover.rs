//! Turns the link `current` to the wanted release and has the supervisor run it.

use super::asking;
use super::places::Places;
use crate::error::{Remedy, StepError};
use crate::facts::Facts;
use crate::host::Detached;
use crate::step::{Change, Diff, Kind, Outcome, Step, StepKey, StepTraits, UndoOutcome, Wanted};
use crate::supervisor::HostStatus;
use crate::view::{Apply, Capture, Probe, Wait};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use td_state::answers::Answers;

/// A server on a busy machine answers within a second or two.
const START_LIMIT: Duration = Duration::from_secs(60);

pub(super) struct ServerCutover;

/// What shall run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Running {
    /// Where `current` points, beside itself.
    points_to: PathBuf,
}

#[derive(Debug, Serialize)]
pub(super) struct Seen {
    points_to: Option<PathBuf>,
    supervised: bool,
    current: bool,
    ready: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Undo {
    /// The release that ran before us.
    points_to: Option<PathBuf>,
    /// Whether a server ran before us.
    ran: bool,
}

impl Step for ServerCutover {
    type Desired = Running;
    type Observed = Seen;
    type Undo = Undo;
    const KEY: StepKey = StepKey::SERVER_CUTOVER;
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Start the server".into()
    }

    fn why(&self) -> &'static str {
        "the supervisor keeps the port while it changes servers, so that nobody is refused meanwhile"
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::SERVER_RELEASE, StepKey::SERVER_CONFIG, StepKey::SERVER_UNITS, StepKey::NET_PORTS]
    }

    fn traits(&self) -> StepTraits {
        StepTraits { survives_reboot: false, time: Duration::from_secs(2), ..StepTraits::default() }
    }

    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<Running>, StepError> {
        Ok(match Places::of(answers, facts).release {
            Some(release) => Wanted::This(Running { points_to: PathBuf::from("releases").join(release) }),
            None => Wanted::After(StepKey::SERVER_RELEASE),
        })
    }

    fn observe(&self, cx: &Probe<'_>, _: &Running) -> Result<Seen, StepError> {
        let places = Places::of(cx.answers(), cx.facts());
        let status = asking::status(&places, &**cx)?;
        Ok(Seen {
            points_to: cx.read_link(&places.current)?,
            supervised: status.supervisor.is_some(),
            current: status.is_current(),
            ready: status.is_ready(),
        })
    }

    fn plan(&self, seen: &Seen, desired: Running) -> Change<Running> {
        let mut diff = Diff::default();
        if seen.points_to.as_ref() != Some(&desired.points_to) {
            let before = seen.points_to.as_ref().map_or("none".into(), |path| path.display().to_string());
            diff = diff.and("release", before, desired.points_to.display().to_string());
        }
        if !seen.supervised {
            diff = diff.and("server", "stopped", "running");
        } else if !seen.current {
            diff = diff.and("server", "started from other files", "started from these");
        } else if !seen.ready {
            diff = diff.and("server", "not ready", "ready");
        }
        match (&seen.points_to, diff.0.is_empty()) {
            (_, true) => Change::Noop,
            (None, false) => Change::Create { desired },
            (Some(_), false) => Change::Update { diff, desired },
        }
    }

    fn capture(&self, cx: &Capture<'_>, _: &Change<Running>) -> Result<Undo, StepError> {
        let places = Places::of(cx.answers(), cx.facts());
        Ok(Undo { points_to: cx.read_link(&places.current)?, ran: asking::status(&places, &***cx)?.lives })
    }

    fn creates(&self, undo: &Undo) -> Vec<String> {
        if undo.points_to.is_some() { Vec::new() } else { vec!["current".into()] }
    }

    fn apply(&self, cx: &mut Apply<'_>, change: Change<Running>) -> Result<Outcome, StepError> {
        let Some(wanted) = change.desired() else { return Ok(Outcome::Unchanged) };
        let places = Places::of(cx.answers(), cx.facts());
        if cx.read_link(&places.current)?.as_ref() != Some(&wanted.points_to) {
            cx.put_link(&places.current, &wanted.points_to)?;
        }
        run_current(cx, &places)?;
        Ok(Outcome::Changed)
    }

    fn undo(&self, cx: &mut Apply<'_>, undo: Undo) -> Result<UndoOutcome, StepError> {
        let places = Places::of(cx.answers(), cx.facts());
        if let Some(points_to) = &undo.points_to {
            cx.put_link(&places.current, points_to)?;
            if undo.ran {
                run_current(cx, &places)?;
                return Ok(UndoOutcome::Restored);
            }
        }
        let lived = asking::status(&places, &**cx)?.lives;
        if lived {
            asking::tell(&places, cx.facts(), &**cx, "host-stop")?;
        }
        let outcome = if lived { UndoOutcome::Restored } else { UndoOutcome::NothingToDo };
        if undo.points_to.is_some() || cx.stat(&places.current)?.is_none() {
            return Ok(outcome);
        }
        // Ours points to a release beside it; whatever else stands there by now is somebody's.
        if cx.read_link(&places.current)?.is_none_or(|to| to.parent() != Some(Path::new("releases"))) {
            return Ok(UndoOutcome::LeftAlone {
                why: format!("{} is another one now", places.current.display()),
            });
        }
        cx.remove_file(&places.current)?;
        Ok(UndoOutcome::Restored)
    }
}

/// Starts the supervisor, or has it restart the server if that runs from other files, and waits until it is ready.
fn run_current(cx: &Apply<'_>, places: &Places) -> Result<(), StepError> {
    let status = asking::status(places, &**cx)?;
    if status.supervisor.is_none() {
        // An orphan drains now; the new supervisor waits for it.
        cx.spawn(&Detached {
            program: places.current.join("td-sync-setup"),
            args: vec!["supervise".into(), "--spec".into(), places.spec.display().to_string()],
            env: BTreeMap::new(),
            dir: PathBuf::from("/"),
            log: places.log.clone(),
        })?;
    } else if !status.is_current() {
        asking::tell(places, cx.facts(), &**cx, "host-restart")?;
    }
    let wait = Wait::new(format!("the server to answer on {}", places.address), START_LIMIT)
        .look_at(places.log.display().to_string());
    let mut last = HostStatus::default();
    cx.wait_for(&wait, || {
        last = asking::status(places, &**cx)?;
        // Three starts that ended by themselves are a crash loop, not a slow start.
        match &last.supervisor {
            Some(supervisor) if supervisor.starts >= 4 && !last.is_ready() => Err(crash_loop(places, &last)),
            _ => Ok((last.is_current() && last.is_ready()).then_some(())),
        }
    })
    .map_err(|error| error.with_evidence(log_tail(cx, places)))
}

fn crash_loop(places: &Places, status: &HostStatus) -> StepError {
    let exit = status.supervisor.as_ref().and_then(|supervisor| supervisor.last_exit.clone());
    StepError::new(
        "E-SERVER-ENDS",
        format!("the server ends by itself again and again ({})", exit.unwrap_or_else(|| "unknown".into())),
        "it starts and finds something it cannot work with; the last lines of its log say what",
        Remedy::run(format!("read {}", places.log.display()), "td-sync-setup logs"),
    )
}

fn log_tail(cx: &Apply<'_>, places: &Places) -> Vec<String> {
    let bytes = cx.read(&places.log, 16 << 20).ok().flatten().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(10)).map(|line| (*line).to_owned()).collect()
}
