//! The programs, in a folder of their own for each release.
//!
//! Nothing runs from there yet: `server.cutover` turns the link `current`.

use super::places::{PROGRAMS, Places};
use super::questions::RELEASE;
use crate::error::StepError;
use crate::facts::Facts;
use crate::host::{Digest, Mode};
use crate::step::{Change, Diff, Kind, Outcome, Step, StepKey, StepTraits, UndoOutcome, Wanted};
use crate::steps::clearing;
use crate::view::{Apply, Capture, Probe};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use td_state::answers::{Answer, Answers};

pub(super) struct ServerRelease;

/// Programs to copy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Release {
    /// Where they are now.
    from: PathBuf,
    /// Parent of all releases.
    releases: PathBuf,
    /// `<version>-<digest8>`, once the programs have been looked at.
    name: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Seen {
    /// What the release in `from` is called.
    name: String,
    /// What the answers say is wanted.
    chosen: Option<String>,
    /// Programs that are not installed as they are in `from`.
    differ: Vec<&'static str>,
    /// The release's folder is there.
    folder: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Undo {
    /// The folder, if it was not there before.
    made: Option<PathBuf>,
}

impl Step for ServerRelease {
    type Desired = Release;
    type Observed = Seen;
    type Undo = Undo;
    const KEY: StepKey = StepKey::SERVER_RELEASE;
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Install the programs".into()
    }

    fn why(&self) -> &'static str {
        "each release keeps its own folder, named by version and content, so that another one never overwrites it"
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::SYS_DIRS]
    }

    fn traits(&self) -> StepTraits {
        StepTraits { disk: 128 << 20, time: Duration::from_secs(2), ..StepTraits::default() }
    }

    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<Release>, StepError> {
        let from = facts.program.parent().unwrap_or(&facts.program).to_owned();
        let releases = Places::of(answers, facts).releases;
        Ok(Wanted::This(Release { from, releases, name: None }))
    }

    fn observe(&self, cx: &Probe<'_>, release: &Release) -> Result<Seen, StepError> {
        let mut all = String::new();
        let mut sources = Vec::new();
        for program in PROGRAMS {
            let digest = cx.digest(&release.from.join(program))?;
            all.push_str(digest.as_ref().map_or("absent", Digest::as_str));
            sources.push((program, digest));
        }
        let name = format!("{}-{}", env!("CARGO_PKG_VERSION"), Digest::of(all.as_bytes()).short());
        let folder = release.releases.join(&name);
        let mut differ = Vec::new();
        for (program, wanted) in sources {
            if cx.digest(&folder.join(program))? != wanted {
                differ.push(program);
            }
        }
        Ok(Seen { name, chosen: cx.answers().text(&RELEASE), differ, folder: cx.stat(&folder)?.is_some() })
    }

    fn plan(&self, seen: &Seen, release: Release) -> Change<Release> {
        let desired = Release { name: Some(seen.name.clone()), ..release };
        let chosen = seen.chosen.as_deref() == Some(&seen.name);
        if seen.differ.is_empty() && chosen {
            Change::Noop
        } else if !seen.folder {
            Change::Create { desired }
        } else {
            let mut diff = Diff::default();
            for program in &seen.differ {
                diff = diff.and(*program, "missing or damaged", "as in this release");
            }
            if !chosen {
                diff = diff.and("release", seen.chosen.clone().unwrap_or_default(), seen.name.clone());
            }
            Change::Update { diff, desired }
        }
    }

    fn capture(&self, cx: &Capture<'_>, change: &Change<Release>) -> Result<Undo, StepError> {
        let folder = change.desired().and_then(|release| Some(release.releases.join(release.name.as_ref()?)));
        let made = match folder {
            Some(folder) if cx.stat(&folder)?.is_none() => Some(folder),
            _ => None,
        };
        Ok(Undo { made })
    }

    fn creates(&self, undo: &Undo) -> Vec<String> {
        undo.made.iter().map(|folder| folder.display().to_string()).collect()
    }

    fn apply(&self, cx: &mut Apply<'_>, change: Change<Release>) -> Result<Outcome, StepError> {
        let Some(Release { from, releases, name: Some(name) }) = change.desired() else {
            return Ok(Outcome::Unchanged);
        };
        let folder = releases.join(name);
        if cx.stat(&folder)?.is_none() {
            cx.make_dir(&folder, Mode::PROGRAM)?;
        }
        for (done, program) in (0..).zip(PROGRAMS) {
            cx.progress(done, Some(PROGRAMS.len() as u64), "programs");
            let (source, target) = (from.join(program), folder.join(program));
            if source != target && cx.digest(&source)? != cx.digest(&target)? {
                cx.put_copy(&source, &target, Mode::PROGRAM)?;
            }
        }
        cx.decide(&RELEASE, Answer::Text(name.clone()))?;
        Ok(Outcome::Changed)
    }

    fn undo(&self, cx: &mut Apply<'_>, undo: Undo) -> Result<UndoOutcome, StepError> {
        let Some(folder) = undo.made else { return Ok(UndoOutcome::NothingToDo) };
        Ok(clearing::clear(cx, &folder, clearing::release)?.outcome())
    }
}
