//! Running `td` as a person would, in a folder of theirs and with nothing of our own environment.

use super::asking;
use super::places::WORK;
use crate::error::StepError;
use crate::facts::Facts;
use crate::host::{Look, Program};
use crate::view::Apply;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// One person's client.
#[derive(Clone, Debug)]
pub(super) struct Td {
    program: PathBuf,
    home: PathBuf,
    config: PathBuf,
    log: PathBuf,
    /// The server that is meant, if not the one that the folder or the person's settings name.
    url: Option<String>,
    /// Its key, where no login is stored.
    key: Option<String>,
}

impl Td {
    /// The installed client of the person who runs setup.
    pub fn of_person(program: PathBuf, facts: &Facts, url: Option<&str>, log: &Path) -> Self {
        let (home, config) = (facts.home.clone(), facts.config_home.clone());
        Self { program, home, config, log: log.to_owned(), url: url.map(str::to_owned), key: None }
    }

    /// A client whose home is a scratch folder, with a key in the environment of each short call.
    pub fn in_scratch(program: PathBuf, scratch: &Path, url: &str, key: &str, log: &Path) -> Self {
        let (home, config) = (scratch.join("home"), scratch.join("home/.config"));
        Self { program, home, config, log: log.to_owned(), url: Some(url.into()), key: Some(key.into()) }
    }

    fn call(&self, folder: &Path, args: &[&str]) -> Program {
        let mut program = Program::new(&self.program, WORK)
            .args(args.iter().copied())
            .env("HOME", self.home.display().to_string())
            .env("XDG_CONFIG_HOME", self.config.display().to_string())
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("TD_SESSION_ID", "td-sync-setup");
        if let Some(url) = &self.url {
            program = program.env("TD_SYNC_URL", url);
        }
        if let Some(key) = &self.key {
            program = program.env("TD_AUTH_KEY", key);
        }
        program.clean_env = true;
        program.dir = Some(folder.to_owned());
        program
    }

    /// Runs it; it has to end well.
    pub fn run(&self, cx: &Apply<'_>, folder: &Path, args: &[&str]) -> Result<(), StepError> {
        let program = self.call(folder, args);
        asking::succeeded(&program, cx.run(&program)?, &self.log).map(drop)
    }

    /// Runs it with `--json`.
    pub fn json(&self, cx: &Apply<'_>, folder: &Path, args: &[&str]) -> Result<Value, StepError> {
        let program = self.call(folder, args).arg("--json");
        asking::answered(&program, cx.run(&program)?, &self.log)
    }

    /// Runs a verb that only looks, with `--json`; none if it fails.
    pub fn look(&self, cx: &dyn Look, folder: &Path, args: &[&str]) -> Option<Value> {
        let ran = cx.query(&self.call(folder, args).arg("--json")).ok()?;
        serde_json::from_slice(&ran.stdout).ok()
    }
}
