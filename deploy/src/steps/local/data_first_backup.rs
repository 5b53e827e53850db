//! The first copy of the data.

use super::asking;
use super::places::Places;
use super::server_admin::admin_program;
use crate::error::{Remedy, StepError};
use crate::facts::Facts;
use crate::host::{EntryKind, Look};
use crate::step::{Change, Kind, ManualLine, Outcome, Step, StepKey, StepTraits, UndoOutcome, Wanted};
use crate::steps::clearing;
use crate::view::{Apply, Capture, Probe};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use td_state::answers::Answers;
use td_state::shell;

/// Name of the first copy in the folder of copies.
pub(super) const FIRST: &str = "first";
/// Written last, so a copy that has it is complete.
pub(super) const MANIFEST: &str = "manifest.json";

pub(super) struct DataFirstBackup;

/// What stands where it goes. The server makes it complete or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Standing {
    Nothing,
    Complete,
    Other,
}

impl Standing {
    pub fn of(copy: &Path, look: &dyn Look) -> Result<Self, StepError> {
        if look.stat(&copy.join(MANIFEST))?.is_some() {
            return Ok(Self::Complete);
        }
        let folder = look.stat(copy)?.map(|stat| stat.kind == EntryKind::Dir);
        let free = match folder {
            None => true,
            Some(folder) => folder && look.list(copy)?.is_none_or(|names| names.is_empty()),
        };
        Ok(if free { Self::Nothing } else { Self::Other })
    }
}

impl Step for DataFirstBackup {
    /// Where it goes.
    type Desired = PathBuf;
    type Observed = Standing;
    /// The copy, if it was not there before us.
    type Undo = Option<PathBuf>;
    const KEY: StepKey = StepKey::DATA_FIRST_BACKUP;
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 2;

    fn title(&self) -> String {
        "Make the first backup copy".into()
    }

    fn why(&self) -> &'static str {
        "a server is set up when its data have been copied, not before"
    }

    fn manual(&self, answers: &Answers) -> Vec<ManualLine> {
        let folder = answers.text(&super::questions::BACKUPS).unwrap_or_else(|| "FOLDER".into());
        vec![ManualLine(format!("td-sync backup export --to {folder}/today"))]
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::SERVER_ADMIN, StepKey::DATA_TARGET]
    }

    fn traits(&self) -> StepTraits {
        StepTraits { time: Duration::from_secs(2), ..StepTraits::default() }
    }

    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<PathBuf>, StepError> {
        let places = Places::of(answers, facts);
        Ok(match places.release {
            Some(_) => Wanted::This(places.backups.join(FIRST)),
            None => Wanted::After(StepKey::SERVER_RELEASE),
        })
    }

    fn observe(&self, cx: &Probe<'_>, copy: &PathBuf) -> Result<Standing, StepError> {
        Standing::of(copy, &**cx)
    }

    fn plan(&self, standing: &Standing, desired: PathBuf) -> Change<PathBuf> {
        match standing {
            Standing::Complete => Change::Noop,
            Standing::Nothing => Change::Create { desired },
            Standing::Other => Change::Blocked {
                code: "E-COPY-IN-THE-WAY".into(),
                why: format!("{} is there and is no copy of ours", desired.display()),
                remedy: Remedy::run(
                    "move it away, then run setup again",
                    format!("mv {0} {0}.old", shell::path(&desired)),
                ),
            },
        }
    }

    fn capture(&self, cx: &Capture<'_>, change: &Change<PathBuf>) -> Result<Option<PathBuf>, StepError> {
        Ok(match change.desired() {
            Some(copy) if cx.stat(copy)?.is_none() => Some(copy.clone()),
            _ => None,
        })
    }

    fn creates(&self, undo: &Option<PathBuf>) -> Vec<String> {
        undo.iter().map(|copy| copy.display().to_string()).collect()
    }

    fn apply(&self, cx: &mut Apply<'_>, change: Change<PathBuf>) -> Result<Outcome, StepError> {
        let Some(copy) = change.desired() else { return Ok(Outcome::Unchanged) };
        let places = Places::of(cx.answers(), cx.facts());
        let to = copy.display().to_string();
        let export = admin_program(&places, &**cx, &["backup", "export", "--to", &to, "--json"])?;
        asking::succeeded(&export, cx.run(&export)?, &places.log)?;
        Ok(Outcome::Changed)
    }

    fn undo(&self, cx: &mut Apply<'_>, undo: Option<PathBuf>) -> Result<UndoOutcome, StepError> {
        let Some(copy) = undo else { return Ok(UndoOutcome::NothingToDo) };
        Ok(clearing::clear(cx, &copy, clearing::server_data)?.outcome())
    }
}
