//! What is measured: one file per row of the table, or per pair that shares its data.
//!
//! Duty: measure each row beside its calibration, in turns, so that a noisy neighbour hits both; while a calibration
//! runs, the server stands still ([`Child::aside`]), so that what it puts off is never on the calibration's account.

mod burst;
mod latency;
mod memory;
mod polls;
mod pulls;
mod single;
mod snapshot;
mod sustained;

use crate::baseline::{self, Rate, RawLog};
use crate::cores::Cores;
use crate::drive::{self, Load, Measured};
use crate::server::{Child, TdSync};
use anyhow::Result;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;

/// A figure and what it is held against.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What is measured.
    pub name: &'static str,
    /// The figure.
    pub reached: f64,
    /// What it must be: computed from what was measured beside it, or a plain number.
    pub needed: f64,
    /// Whether `needed` is the least, not the most.
    pub at_least: bool,
    /// Of both.
    pub unit: &'static str,
    /// Whether it is judged by every run: it is held against this machine, not against a plain number.
    pub is_ratio: bool,
    /// What was measured beside it and how `needed` came about.
    pub beside: String,
}

impl Row {
    /// From 1 on it is enough.
    pub fn score(&self) -> f64 {
        if self.at_least { self.reached / self.needed } else { self.needed / self.reached }
    }

    /// Whether it is enough.
    pub fn holds(&self) -> bool {
        self.score() >= 1.0
    }
}

/// What the rows work with.
pub struct Bench<'b> {
    /// Only ratios, in short windows.
    pub quick: bool,
    /// Who runs where.
    pub cores: &'b Cores,
    /// The program that is measured.
    pub binary: &'b Path,
    /// On the disk that counts.
    pub dir: &'b Path,
    /// Drives the load.
    pub runtime: &'b Runtime,
    /// The empty route.
    pub hello: &'b Child,
}

/// One row after the other.
pub type Plan = Vec<(&'static str, Step)>;

/// Measures a row, or several that share their data.
pub type Step = fn(&Bench<'_>) -> Result<Vec<Row>>;

/// All rows, or those that a quick run judges; the word chooses one with `--only`.
pub fn plan(quick: bool) -> Plan {
    let ratios: Plan = vec![
        ("single", single::row),
        ("burst", burst::rows),
        ("polls", polls::row),
        ("snapshot", snapshot::rows),
    ];
    let absolute: Plan =
        vec![("sustained", sustained::row), ("memory", memory::rows), ("latency", latency::row)];
    ratios.into_iter().chain(absolute.into_iter().filter(|_| !quick)).collect()
}

impl Bench<'_> {
    /// A server with no data.
    fn server(&self, name: &str) -> Result<TdSync> {
        TdSync::start(self.binary, self.cores, &self.folder(name)?)
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.dir.join(name);
        std::fs::create_dir(&folder)?;
        Ok(folder)
    }

    fn seconds(&self, quick: f64, full: f64) -> Duration {
        Duration::from_secs_f64(if self.quick { quick } else { full })
    }

    fn drive(&self, load: &Load, connections: usize, time: Duration) -> Result<Measured> {
        let run = drive::run(load, connections, time);
        self.runtime.block_on(async {
            match self.cores.are_separate() {
                true => drive::awake(run).await,
                false => run.await,
            }
        })
    }

    /// The empty route's rate, at as many connections as the row beside it has.
    fn hello(&self, connections: usize, time: Duration) -> Result<Rate> {
        let before = self.hello.cpu()?;
        let measured = self.drive(&Load::get(self.hello.addr, "/"), connections, time)?;
        let micros = (self.hello.cpu()? - before).as_secs_f64() * 1e6 / measured.requests as f64;
        Ok(Rate { per_second: measured.per_second, micros })
    }

    fn fdatasync(&self, time: Duration) -> Result<f64> {
        self.cores.on_server(|| baseline::fdatasync(self.dir, time))
    }

    fn raw_insert(&self, raw: &mut RawLog, time: Duration) -> Result<Rate> {
        self.cores.on_server(|| raw.insert(time))
    }

    fn raw_scan(&self, raw: &RawLog, time: Duration) -> Result<Rate> {
        self.cores.on_server(|| raw.scan(time))
    }
}

/// Of the same quantity, measured in windows of equal length.
fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / figures.len().max(1) as f64
}

/// The same for calibrations.
fn mean_rate(rates: &[Rate]) -> Rate {
    let of = |figure: fn(&Rate) -> f64| mean(&rates.iter().map(figure).collect::<Vec<_>>());
    Rate { per_second: of(|r| r.per_second), micros: of(|r| r.micros) }
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
