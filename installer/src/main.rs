//! `td-sync-setup`: what a person types, shown to the engine in `td-deploy` and back.
//!
//! Duty: words, questions, screens and exit codes. Nothing is decided here about a host.
//! Invariant: every verb has `--json`, works without a terminal, and ends with a code of `td_deploy::exit::Exit`.

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic when the reader goes away: see `say`"
)]

mod ask;
mod cli;
mod commands;
mod context;
mod page;
mod render;
mod say;
#[cfg(test)]
mod screens;
mod verbs;

use clap::Parser as _;
use cli::{Cli, Verb};
use context::{Context, Output};
use rustix::fs::Mode;
use std::process::ExitCode;
use td_deploy::exit::Exit;

fn main() -> ExitCode {
    // Whatever the caller's umask says: the server and the programs that are run from here inherit it, and SQLite makes its
    // files as open as it may.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let cli = Cli::parse();
    let code = match cli.verb() {
        Verb::Hidden(hidden) => verbs::hidden::run(hidden),
        verb => visible(&cli, verb),
    };
    ExitCode::from(code)
}

fn visible(cli: &Cli, verb: Verb) -> u8 {
    let output = Output::new(cli.json, cli.no_color);
    let mut context = match Context::open(output) {
        Ok(context) => context,
        Err(failure) => {
            render::tell_failure(cli.json, page::Width::here(), &commands::Commands::plain(), &failure.error);
            return failure.exit.code();
        }
    };
    let result = match verb {
        Verb::Setup(words) => verbs::setup::run(&mut context, &words, cli.yes),
        Verb::Plan(words) => verbs::plan::plan(&mut context, &words),
        Verb::Apply(words) => verbs::plan::apply(&mut context, &words, cli.yes),
        Verb::Status => verbs::status::run(&context),
        Verb::Start => verbs::server::start(&mut context),
        Verb::Stop => verbs::server::stop(&context),
        Verb::Logs(words) => verbs::server::logs(&context, &words),
        Verb::Explain(words) => verbs::explain::run(&context, &words),
        Verb::Doctor => verbs::doctor::run(&context),
        Verb::Uninstall(words) => verbs::uninstall::run(&mut context, &words, cli.yes),
        Verb::Answers(words) => verbs::answers::run(&mut context, &words),
        Verb::Hidden(_) => unreachable!("handled in main"),
    };
    result.unwrap_or_else(|failure| {
        render::failure(&context, &failure.error);
        failure.exit.code()
    })
}

/// Why a verb ended early.
struct Failure {
    exit: Exit,
    error: td_deploy::error::StepError,
}

type Verdict = Result<u8, Failure>;

impl Failure {
    fn new(exit: Exit, error: impl Into<td_deploy::error::StepError>) -> Self {
        Self { exit, error: error.into() }
    }
}
