//! Gate: every reason not to begin that no other step tells, all at once, before anything has changed.

use super::data_first_backup::{FIRST, Standing};
use super::places::Places;
use super::server_config;
use crate::error::{Remedy, StepError};
use crate::facts::Facts;
use crate::host::Look;
use crate::step::{Change, Kind, Outcome, Step, StepKey, UndoOutcome, Wanted};
use crate::view::{Apply, Capture, Probe};
use std::path::{Path, PathBuf};
use td_state::answers::Answers;
use td_state::shell;

/// Three programs, a little data and its first copy.
const DISK: u64 = 256 << 20;

pub(super) struct PrePolicy;

impl Step for PrePolicy {
    type Desired = ();
    /// What is in the way.
    type Observed = Vec<String>;
    type Undo = ();
    const KEY: StepKey = StepKey::PRE_POLICY;
    const KIND: Kind = Kind::Gate;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Check that nothing is in the way".into()
    }

    fn why(&self) -> &'static str {
        "a refusal that comes before the first change costs nothing"
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::PRE_LOCAL, StepKey::PRE_FACTS]
    }

    fn desired(&self, _: &Answers, _: &Facts) -> Result<Wanted<()>, StepError> {
        Ok(Wanted::This(()))
    }

    fn observe(&self, cx: &Probe<'_>, (): &()) -> Result<Vec<String>, StepError> {
        let (facts, places) = (cx.facts(), Places::of(cx.answers(), cx.facts()));
        let mut wrong = Vec::new();
        if let Some(home) = cx.stat(&facts.home)?
            && home.uid != facts.uid
        {
            wrong.push(format!(
                "the home folder {} belongs to another user than the one who runs setup (do not use sudo here)",
                facts.home.display()
            ));
        }
        if cx.stat(&places.current)?.is_none() {
            let free = cx.free_bytes(&places.root)?;
            if free < DISK {
                wrong.push(format!(
                    "{} MiB are free below {}, {} MiB are needed",
                    free >> 20,
                    places.root.display(),
                    DISK >> 20
                ));
            }
        }
        for folder in unwritable(&places, &**cx)? {
            wrong.push(format!("nothing can be written in {} (by this user)", folder.display()));
        }
        for (name, folder) in [("data", &places.data), ("backup", &places.backups)] {
            if folder.starts_with(&places.releases) || places.config.starts_with(folder) {
                wrong.push(format!(
                    "the {name} folder {} is inside another part of td-sync",
                    folder.display()
                ));
            }
        }
        let first = places.backups.join(FIRST);
        if Standing::of(&first, &**cx)? == Standing::Other {
            wrong.push(format!("{} is there and is no copy of ours (move it away)", first.display()));
        }
        if let Some(former) = former_data(&places, &**cx)? {
            wrong.push(format!(
                "the server's data are in {}, not in {} (to move them: td-sync-setup stop, then mv {} {})",
                former.display(),
                places.data.display(),
                shell::path(&former),
                shell::path(&places.data)
            ));
        }
        if places.data.starts_with(&places.backups) || places.backups.starts_with(&places.data) {
            wrong.push("the backup folder and the data folder contain one another".into());
        }
        Ok(wrong)
    }

    fn plan(&self, wrong: &Vec<String>, (): ()) -> Change<()> {
        if wrong.is_empty() {
            return Change::Noop;
        }
        Change::Blocked {
            code: "E-POLICY".into(),
            why: wrong.join("\n"),
            remedy: Remedy::run("change what is named above, or the answers", "td-sync-setup answers show"),
        }
    }

    fn capture(&self, _: &Capture<'_>, _: &Change<()>) -> Result<(), StepError> {
        Ok(())
    }

    fn apply(&self, _: &mut Apply<'_>, _: Change<()>) -> Result<Outcome, StepError> {
        Ok(Outcome::Unchanged)
    }

    fn undo(&self, _: &mut Apply<'_>, (): ()) -> Result<UndoOutcome, StepError> {
        Ok(UndoOutcome::NothingToDo)
    }
}

/// Folders that setup will need and cannot use. What is installed already has shown that it can.
fn unwritable(places: &Places, look: &dyn Look) -> Result<Vec<PathBuf>, StepError> {
    let mut needed = Vec::new();
    if look.stat(&places.current)?.is_none() {
        needed.extend([
            &places.data,
            &places.backups,
            &places.config,
            &places.client,
            &places.host,
            &places.demo,
        ]);
    }
    if look.stat(&places.bin.join("td-sync-setup"))?.is_none() {
        needed.push(&places.bin);
    }
    let mut wrong = Vec::new();
    for folder in needed {
        if !look.may_write(folder)? {
            wrong.push(folder.clone());
        }
    }
    Ok(wrong)
}

/// The data directory of an installed server, if it is another than the one that is wanted and still holds its data: a
/// server that is pointed at an empty folder would look as if everything was lost.
fn former_data(places: &Places, look: &dyn Look) -> Result<Option<PathBuf>, StepError> {
    if look.stat(&places.env_file)?.is_none() {
        return Ok(None);
    }
    // A file that cannot be read is refused where it is written, with its line.
    let Ok(env) = server_config::in_force(places, look) else { return Ok(None) };
    let Some(database) = env.get("SYNC_SERVER_DB_PATH").map(PathBuf::from) else { return Ok(None) };
    let there = look.stat(&database)?.is_some() && look.stat(&places.data.join("server.db"))?.is_none();
    Ok(database.parent().filter(|folder| there && *folder != places.data).map(Path::to_owned))
}
