//! The server's environment file. What a person changed in it stays.

use super::places::Places;
use crate::error::{Remedy, Situation, StepError};
use crate::facts::Facts;
use crate::host::{Digest, Look, Mode};
use crate::step::{Change, Kind, ManualLine, Outcome, Step, StepKey, UndoOutcome, Wanted};
use crate::steps::managed::{self, FileBefore, FileSeen, ManagedFile};
use crate::view::{Apply, Capture, Probe};
use std::path::PathBuf;
use td_state::answers::Answers;
use td_state::shell;
use td_templates::env_file::{EnvError, EnvFile};

/// The file that was written before, unchanged: then the next one may replace it whole.
const MARK: &str = "# td-sync-setup ";
const COMMENT: &str = "\
Settings of the local td-sync server; `td-sync config list` explains them.
Values that you change here are kept by td-sync-setup.";

pub(super) struct ServerConfig;

/// A setting that cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    #[error("{path} cannot be read as NAME=value lines: {source}")]
    Unreadable { path: PathBuf, source: EnvError },
    #[error("a setting cannot be written: {0}")]
    Unwritable(EnvError),
}

impl Situation for ConfigError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "E-CONFIG-UNREADABLE",
            Self::Unwritable(_) => "E-CONFIG-UNWRITABLE",
        }
    }

    fn means(&self) -> String {
        "the server and a shell would read it differently, so it is not used".into()
    }

    fn remedy(&self) -> Remedy {
        match self {
            Self::Unreadable { path, .. } => Remedy::run(
                "correct the line, or move the file away",
                format!("mv {0} {0}.old", shell::path(path)),
            ),
            Self::Unwritable(_) => Remedy::run("choose another folder", "td-sync-setup answers show"),
        }
    }
}

impl Step for ServerConfig {
    type Desired = ManagedFile;
    type Observed = FileSeen;
    type Undo = FileBefore;
    const KEY: StepKey = StepKey::SERVER_CONFIG;
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Write the server's settings".into()
    }

    fn why(&self) -> &'static str {
        "the server is configured by its environment alone; this file is all of it"
    }

    fn manual(&self, answers: &Answers) -> Vec<ManualLine> {
        let _ = answers;
        vec![ManualLine("td-sync config list".into())]
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::SYS_DIRS]
    }

    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<ManagedFile>, StepError> {
        let places = Places::of(answers, facts);
        let text = marked(&environment(&places)?);
        Ok(Wanted::This(ManagedFile { path: places.env_file, text, mode: Mode::PRIVATE }))
    }

    fn observe(&self, cx: &Probe<'_>, desired: &ManagedFile) -> Result<FileSeen, StepError> {
        let seen = managed::observe(cx, &desired.path)?;
        if let Some(text) = &seen.text {
            EnvFile::parse(text)
                .map_err(|source| ConfigError::Unreadable { path: desired.path.clone(), source })?;
        }
        Ok(seen)
    }

    fn plan(&self, seen: &FileSeen, desired: ManagedFile) -> Change<ManagedFile> {
        let text = merged(seen.text.as_deref(), &desired.text);
        ManagedFile { text, ..desired }.plan(seen)
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

/// The settings of a server at these places.
pub(super) fn environment(places: &Places) -> Result<EnvFile, ConfigError> {
    let mut file = EnvFile::new();
    let values = [
        ("SYNC_LISTEN_ADDR", places.address.to_string()),
        ("SYNC_BASE_URL", places.url.clone()),
        ("SYNC_SERVER_DB_PATH", places.data.join("server.db").display().to_string()),
        ("SYNC_PROJECT_DATA_DIR", places.data.join("projects").display().to_string()),
        ("SYNC_ALLOW_SIGNUP", "false".into()),
        ("SYNC_LOG_FORMAT", "text".into()),
        ("SYNC_SHUTDOWN_TIMEOUT", "30s".into()),
    ];
    for (name, value) in values {
        file.set(name, value).map_err(ConfigError::Unwritable)?;
    }
    Ok(file)
}

/// The settings that a server started now would get: the file as it stands, with what a person changed in it.
pub(super) fn in_force(places: &Places, look: &dyn Look) -> Result<EnvFile, StepError> {
    match look.read(&places.env_file, 1 << 20)? {
        None => Ok(environment(places)?),
        Some(text) => Ok(EnvFile::parse(&String::from_utf8_lossy(&text))
            .map_err(|source| ConfigError::Unreadable { path: places.env_file.clone(), source })?),
    }
}

fn marked(file: &EnvFile) -> String {
    let body = file.write(COMMENT);
    format!("{MARK}{}\n{body}", Digest::of(body.as_bytes()))
}

/// What shall stand in the file: ours if nobody edited it, else theirs with ours where theirs say nothing.
fn merged(old: Option<&str>, ours: &str) -> String {
    let Some(old) = old.filter(|old| !is_untouched(old)) else { return ours.to_owned() };
    match (EnvFile::parse(old), EnvFile::parse(ours)) {
        (Ok(theirs), Ok(defaults)) if defaults.iter().all(|(name, _)| theirs.get(name).is_some()) => {
            old.to_owned()
        }
        (Ok(theirs), Ok(defaults)) => {
            // Their file keeps its own text, comments and order; what is missing goes to the end.
            let mut missing = EnvFile::new();
            for (name, value) in defaults.iter().filter(|(name, _)| theirs.get(name).is_none()) {
                // Came out of a parsed file, so it can be written.
                let _ = missing.set(name, value);
            }
            format!("{}\n{}", old.trim_end(), missing.write("added by td-sync-setup"))
        }
        _ => ours.to_owned(),
    }
}

fn is_untouched(text: &str) -> bool {
    text.split_once('\n').is_some_and(|(first, body)| {
        first.strip_prefix(MARK).is_some_and(|digest| digest == Digest::of(body.as_bytes()).as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(pairs: &[(&str, &str)]) -> EnvFile {
        let mut file = EnvFile::new();
        for (name, value) in pairs {
            file.set(name, *value).unwrap();
        }
        file
    }

    #[test]
    fn a_file_nobody_edited_is_replaced_whole() {
        let old = marked(&file(&[("SYNC_A", "1"), ("SYNC_GONE", "x")]));
        let new = marked(&file(&[("SYNC_A", "2")]));
        assert_eq!(merged(Some(&old), &new), new);
    }

    #[test]
    fn an_edited_file_keeps_its_values_comments_and_order_and_gets_what_is_missing() {
        let old =
            format!("{}# mine\nSYNC_Z=last\n", marked(&file(&[("SYNC_A", "1")])).replace("=1", "=edited"));
        let new = marked(&file(&[("SYNC_A", "2"), ("SYNC_B", "new")]));
        let text = merged(Some(&old), &new);
        assert!(text.starts_with(old.trim_end()));
        let all = EnvFile::parse(&text).unwrap();
        let all: Vec<_> = all.iter().collect();
        assert_eq!(all, [("SYNC_A", "edited"), ("SYNC_B", "new"), ("SYNC_Z", "last")]);
        assert_eq!(merged(Some(&text), &new), text, "a second time changes nothing");
    }
}
