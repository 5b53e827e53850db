//! `td-harness`: random worlds of devices, a server, a bad network and bad disks.

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use td_harness::busy::{self, LogReport, Recording};
use td_harness::emit::Actions;
use td_harness::report::{Run, World};
use td_harness::run::{Plan, scratch, worlds};
use td_harness::script::{Script, Size};
use td_harness::{html, world};

/// Simulated devices and one server in this process; every copy must end equal and nothing may be lost.
#[derive(Parser)]
#[command(name = "td-harness", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Random worlds. Ends with `N passed, M failed`; exit code 1 if any failed
    Worlds(Worlds),
    /// A recorded project: its server's log (events.jsonl) read by devices, or its people's action logs
    /// (*.actions.jsonl, one device each) made again in bad weather
    Busy(Busy),
}

#[derive(Args)]
struct Busy {
    /// One log, or one action log per device
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Seed of the weather
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print every step
    #[arg(short, long)]
    verbose: bool,
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Worlds {
    /// Number of worlds
    #[arg(long, default_value_t = 100)]
    count: usize,
    /// Seed of the first world; the others follow from it. A failing world prints its own
    #[arg(long)]
    seed: Option<u64>,
    /// Devices in each world
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=64))]
    devices: u64,
    /// Local changes in each world, over all devices
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    events: u64,
    /// Worlds at a time; one per core if not given
    #[arg(long)]
    threads: Option<usize>,
    /// Print every step of every world
    #[arg(short, long)]
    verbose: bool,
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
    /// Also write a page with worlds, faults and conflicts
    #[arg(long)]
    html: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("td-harness: {why:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.verb {
        Verb::Worlds(asked) => run_worlds(asked),
        Verb::Busy(asked) => run_busy(&asked),
    }
}

fn run_busy(asked: &Busy) -> anyhow::Result<ExitCode> {
    let scratch = scratch()?;
    let mut actions = Vec::new();
    for file in &asked.files {
        match busy::read(file)? {
            Recording::Actions(list) => actions.push(list),
            Recording::Log(events) => {
                anyhow::ensure!(asked.files.len() == 1, "a log is replayed alone");
                return tell_log(&busy::replay(&events, scratch.path())?, asked.json);
            }
        }
    }
    let size = Size { devices: actions.len(), events: actions.iter().map(Actions::len).sum() };
    let started = Instant::now();
    let script = Script::of(asked.seed, size);
    let mut world = world::replayed(&script, scratch.path(), asked.verbose, &actions);
    world.seed = asked.seed;
    let run = Run { seed: asked.seed, size, threads: 1, took: started.elapsed(), worlds: vec![world] };
    if asked.json {
        println!("{}", run.json());
    } else {
        println!("seed: {}", asked.seed);
        tell(&run.worlds[0], size);
        for (why, times) in &run.worlds[0].refused {
            println!("figure: refused {times}: {why}");
        }
        sum_up(&run);
    }
    Ok(if run.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn tell_log(report: &LogReport, json: bool) -> anyhow::Result<ExitCode> {
    let failed = usize::from(!report.problems.is_empty());
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        for problem in &report.problems {
            println!("FAILED: {problem}");
        }
        println!(
            "figure: {} events, {} conflicts, digest {}",
            report.events, report.conflicts, report.digest
        );
        for (reason, times) in &report.recorded {
            println!("figure: {times} events recorded as {reason}");
        }
        println!("{} passed, {failed} failed", 1 - failed);
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn run_worlds(asked: Worlds) -> anyhow::Result<ExitCode> {
    let seed = asked.seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |d| u64::from(d.subsec_nanos()) ^ d.as_secs() << 20)
    });
    let plan = Plan {
        seed,
        count: asked.count,
        size: Size { devices: usize::try_from(asked.devices)?, events: usize::try_from(asked.events)? },
        threads: asked.threads.unwrap_or_else(cores).clamp(1, asked.count.max(1)),
        tells: asked.verbose,
    };
    let quiet = asked.json;
    if !quiet {
        println!("seed: {seed}");
    }
    let run = worlds(&plan, |world| {
        if !quiet {
            tell(world, plan.size);
        }
    })?;
    if let Some(path) = &asked.html {
        std::fs::write(path, html::page(&run)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if asked.json {
        println!("{}", run.json());
    } else {
        sum_up(&run);
    }
    Ok(if run.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// One write per world, so that two threads' lines do not mix.
fn tell(world: &World, size: Size) {
    let mut out = String::new();
    for line in &world.story {
        out += &format!("{line}\n");
    }
    if let Some(failure) = &world.failure {
        out += &format!("FAILED: world {}\n", world.seed);
        for problem in &failure.problems {
            out += &format!("  {problem}\n");
        }
        if !failure.story.is_empty() {
            out += &format!("  the shortest story found, {} of {} steps:\n", failure.steps, failure.of);
            for line in &failure.story {
                out += &format!("    {line}\n");
            }
        }
        out += &format!(
            "  repeat it: td-harness worlds --count 1 --seed {} --devices {} --events {} -v\n",
            world.seed, size.devices, size.events
        );
    }
    // A closed pipe is the reader's choice.
    let _ = std::io::stdout().write_all(out.as_bytes());
}

fn sum_up(run: &Run) {
    for figure in run.figures() {
        println!("figure: {figure}");
    }
    println!("{} passed, {} failed", run.worlds.len() - run.failed(), run.failed());
}
