//! td-load: how fast the server is, and what it costs, held against what this machine can do at all.
//!
//! Duty: measure every row of `docs/performance.md` in one run on one machine, and fail if a ratio is lost. Absolute
//! numbers of a shared machine mean little, their ratios hold: so plain numbers are judged by `--full` only, as the
//! median of three.
//! Invariant: every server runs on one core, the load on another; disk and SQLite are measured where the server keeps
//! its data and on the core it runs on.
//! Danger: a load generator that is the bottleneck measures itself. The empty route is driven by the same one, so what
//! it costs is in both sides of the ratio.

mod baseline;
mod cores;
mod drive;
mod events;
mod http;
mod report;
mod rows;
mod server;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use cores::Cores;
use report::Report;
use rows::Bench;
use server::Child;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures the server against this machine's disk, SQLite and an empty HTTP route.
#[derive(Parser)]
#[command(name = "td-load", version)]
struct Cli {
    /// The ratios only, in about two minutes; the default
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Every row three times, in about ten minutes: the median counts
    #[arg(long)]
    full: bool,
    /// Only this row (a word: single, burst, polls, snapshot, sustained, memory, latency); may be repeated
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
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
                report.figures().iter().for_each(|line| eprintln!("figure: {line}"));
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
    let program = std::env::current_exe()?;
    let dir = cli.dir.as_deref().or(program.parent()).context("a folder for the data")?;
    let binary = server::binary(cli.server.clone())?;
    let cores = Cores::choose()?;
    cores.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut plan = rows::plan(!cli.full && cli.only.is_empty());
    let known = |word: &String| plan.iter().any(|(name, _)| name == word);
    if let Some(unknown) = cli.only.iter().find(|word| !known(word)) {
        ensure!(false, "there is no row {unknown}");
    }
    plan.retain(|(name, _)| cli.only.is_empty() || cli.only.iter().any(|word| word == name));
    let mut notes = report::surroundings()?;
    notes.extend((!cores.are_separate()).then(|| "server and load shared one core".into()));
    let mut passes = Vec::new();
    for pass in 1..=if cli.full { 3 } else { 1 } {
        let data = tempfile::Builder::new().prefix("td-load-").tempdir_in(dir);
        let data =
            data.with_context(|| format!("no data can be kept in {}; try --dir DIR", dir.display()))?;
        let hello = Child::hello(&cores, data.path())?;
        let bench = Bench {
            quick: !cli.full,
            cores: &cores,
            binary: &binary,
            dir: data.path(),
            runtime: &runtime,
            hello: &hello,
        };
        let mut rows = Vec::new();
        for (name, step) in &plan {
            let measured = step(&bench).with_context(|| format!("row {name}"))?;
            measured.iter().for_each(|row| {
                eprintln!("pass {pass}: {}: {:.2} {}: {}", row.name, row.reached, row.unit, row.beside)
            });
            rows.extend(measured);
        }
        hello.stop()?;
        passes.push(rows);
    }
    Ok(Report::new(passes, cli.full, notes))
}
