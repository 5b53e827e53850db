//! td-load: how fast the server is, as ratios to what this machine can do at all.
//!
//! Duty: measure the disk, SQLite, an empty route and our server in one run on one machine, and fail if the server is
//! too slow *in relation*. Absolute numbers of a shared machine mean nothing; their ratios hold.
//! Invariant: every server runs alone on one core, the load on another; disk and SQLite are measured where the server
//! keeps its data.
//! Danger: a load generator that is the bottleneck measures itself. The empty route is driven by the same one, so what
//! it costs is in both sides of the ratio.

mod baseline;
mod cores;
mod drive;
mod report;
mod server;

use anyhow::{Context, Result};
use clap::Parser;
use cores::Cores;
use drive::{Load, Measured};
use report::Report;
use server::Child;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Measures the server against this machine's disk, SQLite and an empty HTTP route.
#[derive(Parser)]
#[command(name = "td-load", version)]
struct Cli {
    /// About half a minute instead of two
    #[arg(long)]
    quick: bool,
    /// For programs
    #[arg(long)]
    json: bool,
    /// The td-sync to measure [default: the one beside this program; under `cargo run` it is built first]
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Where the data is kept meanwhile, on the disk that counts [default: beside this program]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Serve an empty route instead (this program starts itself so)
    #[arg(long, hide = true)]
    hello: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.hello {
        return match baseline::serve_hello() {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => fail(&e),
        };
    }
    match measure(&cli) {
        Ok(report) => {
            if cli.json {
                println!("{}", report.json());
                eprintln!("figure: {}", report.figure());
            } else {
                print!("{}", report.text());
            }
            ExitCode::from(u8::from(!report.passes()))
        }
        Err(e) => fail(&e),
    }
}

fn fail(e: &anyhow::Error) -> ExitCode {
    eprintln!("td-load: {e:#}");
    ExitCode::from(2)
}

fn measure(cli: &Cli) -> Result<Report> {
    let unit = if cli.quick { 1 } else { 5 };
    let seconds = |n: u64| Duration::from_secs(n * unit);
    let program = std::env::current_exe()?;
    let dir = cli.dir.as_deref().or(program.parent()).context("a folder for the data")?;
    let data = tempfile::Builder::new().prefix("td-load-").tempdir_in(dir);
    let data = data.with_context(|| format!("no data can be kept in {}; try --dir DIR", dir.display()))?;
    let binary = server::binary(cli.server.clone())?;
    let cores = Cores::choose()?;
    cores.load()?;

    let before = baseline::fdatasync(data.path(), seconds(1))?;
    let sqlite = baseline::sqlite(data.path(), seconds(2))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;

    let hello = Child::hello(&cores, data.path())?;
    let route = runtime.block_on(drive::run(Load::get(hello.addr, "/", ""), 64, seconds(3)))?;
    hello.stop()?;

    let (key, project) = server::first_project(&binary, &cores, data.path())?;
    let phase = |load: Load, connections: usize, time: Duration| -> Result<(Measured, server::Counts)> {
        let child = Child::td_sync(&binary, &cores, data.path())?;
        let measured = runtime.block_on(drive::run(load.to(child.addr), connections, time))?;
        Ok((measured, child.stop()?.context("the server did not say how many commits it made")?))
    };
    let single = phase(Load::push(&key, &project, 1), 64, seconds(5))?;
    let alone = phase(Load::push(&key, &project, 1), 1, seconds(1))?;
    let batches = phase(Load::push(&key, &project, 100), 16, seconds(3))?;
    let stored = [single, alone, batches].map(|(_, counts)| counts.events).iter().sum();
    let pulls = phase(Load::pull(&key, &project, 1000, stored), 16, seconds(3))?;
    let after = baseline::fdatasync(data.path(), seconds(1))?;

    Ok(Report {
        separate_cores: cores.are_separate(),
        fdatasync_before: before,
        fdatasync_after: after,
        sqlite_events: sqlite,
        hello: route,
        single: single.into(),
        single_alone: alone.into(),
        batches_of_100: batches.into(),
        pulls_of_1000: pulls.into(),
    })
}
