//! What every verb starts from: the machine, the target's folder, the steps, and how to talk.

use crate::Failure;
use crate::commands::{CALLED_AS, Commands};
use crate::page::Width;
use std::io::IsTerminal as _;
use td_deploy::Cancel;
use td_deploy::engine::Setup;
use td_deploy::error::{Remedy, StepError};
use td_deploy::exit::Exit;
use td_deploy::facts::Facts;
use td_deploy::fault::Faults;
use td_deploy::host::{LocalHost, Look as _, ReadFiles as _};
use td_deploy::step::AnyStep;
use td_deploy::steps::local;
use td_deploy::stream::Sender;
use td_state::answers::Answers;
use td_state::dir::TargetDir;
use td_state::secret::Redactor;

/// How to talk to whoever called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Moving lines and colour.
    Fancy,
    /// One line per change.
    Plain,
    /// One JSON value per line.
    Json,
}

impl Output {
    /// Colour and moving lines only for a terminal that can and a person who wants them.
    pub fn new(json: bool, no_color: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        if json {
            Self::Json
        } else if no_color || dumb || set("NO_COLOR") || set("CI") || !std::io::stdout().is_terminal() {
            Self::Plain
        } else {
            Self::Fancy
        }
    }
}

/// Everything a verb needs.
pub struct Context {
    pub output: Output,
    pub width: Width,
    pub host: LocalHost,
    pub facts: Facts,
    pub dir: TargetDir,
    pub answers: Answers,
    pub steps: Vec<Box<dyn AnyStep>>,
    pub cancel: Cancel,
}

impl Context {
    /// Reads what there is; makes nothing.
    pub fn open(output: Output) -> Result<Self, Failure> {
        let host = LocalHost::of_this_process().map_err(|error| {
            let remedy = Remedy::say("call it by its full path");
            let error =
                StepError::new("E-SELF", error.to_string(), "setup cannot find its own program", remedy);
            Failure::new(Exit::Refused, error)
        })?;
        let facts = host.facts().map_err(|error| Failure::new(Exit::Refused, error))?;
        let dir = TargetDir::at(&facts.state_home, "local").ok_or_else(|| {
            let error =
                StepError::new("E-INTERNAL", "`local` is no target id", "this is a bug", Remedy::default());
            Failure::new(Exit::Failed, error)
        })?;
        let answers = Answers::load(&dir.answers()).map_err(|error| Failure::new(Exit::Refused, error))?;
        let (steps, cancel) = (local::steps(), Cancel::default());
        Ok(Self { output, width: Width::here(), host, facts, dir, answers, steps, cancel })
    }

    /// How our programs are called on this machine, as it is now.
    pub fn commands(&self) -> Commands {
        let installed = local::Installed::of(&self.answers, &self.facts);
        let exists = |path: &std::path::Path| matches!(self.host.stat(path), Ok(Some(_)));
        Commands::of(&installed, &self.facts, std::env::var(CALLED_AS).ok(), &exists)
    }

    /// The engine over these steps; events go to `events`.
    pub fn engine<'a>(&'a self, steps: &'a [Box<dyn AnyStep>], events: Sender) -> Setup<'a> {
        Setup {
            steps,
            host: &self.host,
            dir: &self.dir,
            cancel: self.cancel.clone(),
            events,
            redactor: Redactor::default(),
            tool: env!("CARGO_PKG_VERSION"),
            faults: Faults::from_env(),
        }
    }

    /// From here on Ctrl-C stops at the next safe point.
    pub fn watch_signals(&self) -> Result<(), Failure> {
        td_deploy::signals::watch(&self.cancel).map_err(|error| {
            let means = "a Ctrl-C could not be told from a crash";
            let error = StepError::new("E-SIGNALS", error.to_string(), means, Remedy::say("try again"));
            Failure::new(Exit::Failed, error)
        })
    }
}
