//! Programs that are run and processes that are left running.

use super::HostError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A program to run to its end. No shell: what stands in `args` is what the program gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Full path, or a name that is looked for in the facts' `path`.
    pub program: PathBuf,
    /// Arguments. Never a secret (law 15): they are visible to every user and journaled.
    pub args: Vec<String>,
    /// Variables added to the environment setup itself runs in, or the whole of it with `clean_env`.
    pub env: BTreeMap<String, String>,
    /// Start with an empty environment.
    pub clean_env: bool,
    /// Working directory.
    pub dir: Option<PathBuf>,
    /// Given to the program and closed. May hold a secret; is never shown.
    #[serde(skip)]
    pub stdin: Vec<u8>,
    /// After this the program and its process group are killed and the result is [`HostError::TimedOut`].
    pub limit: Duration,
    /// Bytes kept of each output stream; what is beyond is read and counted.
    pub keep: usize,
}

impl Program {
    /// With a limit and nothing else special.
    pub fn new(program: impl Into<PathBuf>, limit: Duration) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            clean_env: false,
            dir: None,
            stdin: Vec::new(),
            limit,
            keep: 1 << 20,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds several arguments.
    pub fn args<I: IntoIterator<Item = S>, S: Into<String>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds a variable.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Gives it something to read.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// The line a person could type, for messages.
    pub fn shown(&self) -> String {
        let program = self.program.to_string_lossy();
        std::iter::once(&*program)
            .chain(self.args.iter().map(String::as_str))
            .map(td_state::shell::word)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// How a program ended. An exit status other than 0 is a result, not an error of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Exit status; none if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it printed, up to `keep` bytes.
    pub stdout: Vec<u8>,
    /// What it complained, up to `keep` bytes.
    pub stderr: Vec<u8>,
    /// Bytes of both streams that were not kept.
    pub dropped: u64,
}

impl Ran {
    /// Exit status 0.
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// The last lines of the complaint (or of the output if there is none), control characters escaped.
    pub fn tail(&self, lines: usize) -> Vec<String> {
        let from = if self.stderr.iter().all(u8::is_ascii_whitespace) { &self.stdout } else { &self.stderr };
        let text = String::from_utf8_lossy(from);
        let all: Vec<&str> = text.lines().collect();
        let shown = |l: &&str| {
            l.chars()
                .flat_map(|c| {
                    let escape = c.is_control() && c != '\t';
                    let (plain, escaped) =
                        if escape { (None, Some(c.escape_default())) } else { (Some(c), None) };
                    plain.into_iter().chain(escaped.into_iter().flatten())
                })
                .collect()
        };
        all.iter().skip(all.len().saturating_sub(lines)).map(shown).collect()
    }
}

/// A program that outlives us. It gets a process group of its own, no input, and its output goes to a file.
/// It has to leave our session itself (`setsid`) if it shall survive the terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detached {
    /// Full path.
    pub program: PathBuf,
    /// Arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Working directory.
    pub dir: PathBuf,
    /// Both output streams are appended here (created 0600).
    pub log: PathBuf,
}

/// A process, told from a later one with the same number by when it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, as the system tells it; only compared.
    pub started: String,
}

/// What may be sent to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Please stop.
    Terminate,
    /// Read the configuration again.
    Hangup,
    /// Stop at once.
    Kill,
}

/// Looking at processes, and programs that only look.
pub trait Queries {
    /// The process with that number, if it is alive (a zombie is not).
    fn process(&self, pid: u32) -> Result<Option<ProcessId>, HostError>;
    /// Runs a program that changes nothing (`td version --json`). That it changes nothing is the caller's promise, the
    /// only one on this side that the compiler does not check.
    fn query(&self, program: &Program) -> Result<Ran, HostError>;
}

/// Running programs that change things.
pub trait Commands {
    /// Runs it to its end.
    fn run(&self, program: &Program) -> Result<Ran, HostError>;
    /// Starts it and leaves it. When this returns the process exists.
    fn spawn(&self, what: &Detached) -> Result<ProcessId, HostError>;
    /// Sends a signal if exactly this process still lives; says whether it did.
    fn signal(&self, process: &ProcessId, signal: Signal) -> Result<bool, HostError>;
}
