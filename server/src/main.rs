//! `td-sync`: words on a command line, and nothing that a library could do.

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic when the reader goes away: see `cli::say`"
)]

mod cli;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse())
}
