//! The numbers, their ratios, and the verdict.

use crate::drive::Measured;
use crate::server::Counts;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Everything that was measured.
pub struct Report {
    /// Whether server and load had a core each.
    pub separate_cores: bool,
    /// Appends of 4 KiB with fdatasync per second, before everything else.
    pub fdatasync_before: f64,
    /// The same after it.
    pub fdatasync_after: f64,
    /// Events per second that SQLite takes without anything around it.
    pub sqlite_events: f64,
    /// The empty route at 64 connections.
    pub hello: Measured,
    /// Pushes of one event at 64 connections.
    pub single: Phase,
    /// Pushes of one event at one connection.
    pub single_alone: Phase,
    /// Pushes of 100 events at 16 connections.
    pub batches_of_100: Phase,
    /// Pages of 1,000 events at 16 connections.
    pub pulls_of_1000: Phase,
}

/// A load on our server and what its writers did meanwhile.
#[derive(Serialize)]
pub struct Phase {
    #[serde(flatten)]
    load: Measured,
    commits: u64,
    /// What the commits and checkpoints of logs cost; see [`Counts`] for what is left out.
    log_fsyncs: u64,
    pushes_per_commit: f64,
}

impl From<(Measured, Counts)> for Phase {
    fn from((load, counts): (Measured, Counts)) -> Self {
        let Counts { commits, pushes, checkpoints, .. } = counts;
        let pushes_per_commit = if commits == 0 { 0.0 } else { pushes as f64 / commits as f64 };
        Self { load, commits, log_fsyncs: commits + 2 * checkpoints, pushes_per_commit }
    }
}

impl Report {
    fn fdatasync(&self) -> f64 {
        (self.fdatasync_before + self.fdatasync_after) / 2.0
    }

    /// What single-event pushes must reach: twice what one fsync per push would allow, but not more than a tenth of
    /// what HTTP alone does.
    fn needed(&self) -> f64 {
        (2.0 * self.fdatasync()).min(0.1 * self.hello.per_second)
    }

    /// Whether they do.
    pub fn passes(&self) -> bool {
        self.single.load.per_second >= self.needed()
    }

    fn ratios(&self) -> [(&'static str, f64); 5] {
        let single = self.single.load.per_second;
        [
            ("single_to_needed", single / self.needed()),
            ("single_to_fdatasync", single / self.fdatasync()),
            ("single_to_hello", single / self.hello.per_second),
            ("batched_events_to_sqlite", self.batches_of_100.load.per_second * 100.0 / self.sqlite_events),
            ("fdatasync_after_to_before", self.fdatasync_after / self.fdatasync_before),
        ]
    }

    /// One line for a test run's log.
    pub fn figure(&self) -> String {
        format!(
            "load: {:.0} single pushes/s = {:.2} x fdatasync, {:.2} x hello; needed {:.0}",
            self.single.load.per_second,
            self.single.load.per_second / self.fdatasync(),
            self.single.load.per_second / self.hello.per_second,
            self.needed()
        )
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "ok": self.passes(),
            "separate_cores": self.separate_cores,
            "fdatasync_per_second": {"before": self.fdatasync_before, "after": self.fdatasync_after},
            "sqlite_events_per_second": self.sqlite_events,
            "hello": self.hello,
            "push_1_at_64": self.single,
            "push_1_at_1": self.single_alone,
            "push_100_at_16": self.batches_of_100,
            "pull_1000_at_16": self.pulls_of_1000,
            "needed_push_1_at_64": self.needed(),
            "ratios": self.ratios().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let mut line = |name: &str, rest: String| {
            let _ = writeln!(out, "{name:<28}{rest}");
        };
        line(
            "append 4 KiB + fdatasync",
            format!("{:>9.0}/s before, {:.0}/s after", self.fdatasync_before, self.fdatasync_after),
        );
        line("raw SQLite, 1000 at a time", format!("{:>9.0} events/s", self.sqlite_events));
        line("empty route, 64 connections", rate(&self.hello));
        for (name, phase) in [
            ("push 1, 64 connections", &self.single),
            ("push 1, 1 connection", &self.single_alone),
            ("push 100, 16 connections", &self.batches_of_100),
            ("pull 1000, 16 connections", &self.pulls_of_1000),
        ] {
            line(name, rate(&phase.load));
            if phase.commits > 0 {
                line("", format!("{:>9} commits, {:.1} pushes each", phase.commits, phase.pushes_per_commit));
                line("", format!("{:>9} fsyncs of the log", phase.log_fsyncs));
            }
        }
        for (name, ratio) in self.ratios() {
            line(name, format!("{ratio:>9.2}"));
        }
        if !self.separate_cores {
            line("note", "server and load shared one core".into());
        }
        let verdict = if self.passes() { "enough" } else { "TOO SLOW" };
        let (reached, needed) = (self.single.load.per_second, self.needed());
        line(verdict, format!("{reached:>9.0}/s of {needed:.0}/s needed for push 1 at 64"));
        out
    }
}

fn rate(measured: &Measured) -> String {
    let Measured { per_second, p50_ms, p99_ms, .. } = measured;
    format!("{per_second:>9.0}/s   p50 {p50_ms:.2} ms   p99 {p99_ms:.2} ms")
}
