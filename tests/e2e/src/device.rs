//! One person's machine: a home folder, a project folder and the `td` program.

use crate::binary;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A home and a project folder of its own.
pub struct Device {
    home: PathBuf,
    project: PathBuf,
}

impl Device {
    /// Makes both folders below `dir`.
    pub fn new(dir: &Path) -> Self {
        let device = Self { home: dir.join("home"), project: dir.join("project") };
        for folder in [&device.home, &device.project] {
            std::fs::create_dir_all(folder).expect("folder");
        }
        device
    }

    /// The project folder.
    pub fn project(&self) -> &Path {
        &self.project
    }

    /// Runs `td` there; whatever comes out of it.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("td runs")
    }

    /// `td` there, not started yet.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary("td"));
        command.args(words).env_clear().stdin(Stdio::null()).current_dir(&self.project);
        command.env("HOME", &self.home).env("XDG_CONFIG_HOME", self.home.join(".config"));
        command.env("PATH", "/usr/bin:/bin").env("TD_SESSION_ID", "e2e");
        command
    }

    /// Runs `td`, which must succeed; its output.
    pub fn td(&self, words: &[&str]) -> String {
        let out = self.run(words);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "td {words:?}: {text}{}", String::from_utf8_lossy(&out.stderr));
        text
    }

    /// Runs `td … --json`, which must succeed; the value it printed.
    pub fn json(&self, words: &[&str]) -> Value {
        let mut all = words.to_vec();
        all.push("--json");
        let text = self.td(&all);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("td {all:?} printed {text:?}: {e}"))
    }
}
