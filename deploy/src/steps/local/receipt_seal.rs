//! What stands now, in one small file that every later command reads.

use super::places::Places;
use crate::error::StepError;
use crate::facts::Facts;
use crate::host::Mode;
use crate::step::{Change, Kind, Outcome, Step, StepKey, UndoOutcome, Wanted};
use crate::steps::managed::{self, FileBefore, FileSeen, ManagedFile};
use crate::view::{Apply, Capture, Probe};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use td_state::answers::Answers;

/// The installation in short: `installed.json` in setup's folder on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// What devices connect to.
    pub url: String,
    /// The release that runs.
    pub release: Option<String>,
    /// Name our client is installed under.
    pub td: String,
    /// Folder of the installed commands.
    pub bin: PathBuf,
    /// Data directory.
    pub data: PathBuf,
    /// Copies.
    pub backups: PathBuf,
    /// Demo project.
    pub demo: PathBuf,
    /// Settings.
    pub config: PathBuf,
    /// Log of server and supervisor.
    pub log: PathBuf,
}

impl Installed {
    /// What an installation with these answers is.
    #[must_use]
    pub fn of(answers: &Answers, facts: &Facts) -> Self {
        let places = Places::of(answers, facts);
        Self {
            url: places.url,
            release: places.release,
            td: places.td,
            bin: places.bin,
            data: places.data,
            backups: places.backups,
            demo: places.demo,
            config: places.config,
            log: places.log,
        }
    }
}

pub(super) struct ReceiptSeal;

impl Step for ReceiptSeal {
    type Desired = ManagedFile;
    type Observed = FileSeen;
    type Undo = FileBefore;
    const KEY: StepKey = StepKey::RECEIPT_SEAL;
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Write down what is installed".into()
    }

    fn why(&self) -> &'static str {
        "status, doctor and uninstall find everything from this note"
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::CLIENT_ROUNDTRIP]
    }

    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<ManagedFile>, StepError> {
        let installed = Installed::of(answers, facts);
        if installed.release.is_none() {
            return Ok(Wanted::After(StepKey::SERVER_RELEASE));
        }
        let path = Places::of(answers, facts).host.join("installed.json");
        let mut text = serde_json::to_string_pretty(&installed).unwrap_or_default();
        text.push('\n');
        Ok(Wanted::This(ManagedFile { path, text, mode: Mode::PRIVATE }))
    }

    fn observe(&self, cx: &Probe<'_>, desired: &ManagedFile) -> Result<FileSeen, StepError> {
        managed::observe(cx, &desired.path)
    }

    fn plan(&self, seen: &FileSeen, desired: ManagedFile) -> Change<ManagedFile> {
        desired.plan(seen)
    }

    fn capture(&self, cx: &Capture<'_>, change: &Change<ManagedFile>) -> Result<FileBefore, StepError> {
        managed::before(cx, change)
    }

    fn creates(&self, undo: &FileBefore) -> Vec<String> {
        undo.creates()
    }

    fn apply(&self, cx: &mut Apply<'_>, change: Change<ManagedFile>) -> Result<Outcome, StepError> {
        managed::apply(cx, &change)
    }

    fn undo(&self, cx: &mut Apply<'_>, undo: FileBefore) -> Result<UndoOutcome, StepError> {
        undo.undo(cx)
    }
}
