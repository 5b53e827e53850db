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
    // Whatever it makes is its own: the folder may be one that anybody can look into.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    cli::run(cli::Cli::parse_from(cli::two_dashes(std::env::args_os())))
}
