//! The table and the verdict.

use crate::rows::Row;
use anyhow::Result;
use serde_json::{Value, json};
use std::fmt::Write as _;
use time::OffsetDateTime;
use time::macros::format_description;

/// All rows of a run.
pub struct Report {
    rows: Vec<Row>,
    full: bool,
    notes: Vec<String>,
}

impl Report {
    /// Of one or more passes: of each row the one in the middle counts.
    pub fn new(passes: Vec<Vec<Row>>, full: bool, notes: Vec<String>) -> Self {
        let mut rows: Vec<Vec<Row>> = Vec::new();
        for row in passes.into_iter().flatten() {
            match rows.iter_mut().find(|same| same.first().is_some_and(|first| first.name == row.name)) {
                Some(same) => same.push(row),
                None => rows.push(vec![row]),
            }
        }
        let middle = |mut same: Vec<Row>| {
            same.sort_by(|a, b| a.score().total_cmp(&b.score()));
            let middle = same.len().div_ceil(2) - 1;
            same.swap_remove(middle)
        };
        Self { rows: rows.into_iter().map(middle).collect(), full, notes }
    }

    fn is_judged(&self, row: &Row) -> bool {
        self.full || row.is_ratio
    }

    /// Whether every row that is judged is enough.
    pub fn passes(&self) -> bool {
        self.rows.iter().all(|row| row.holds() || !self.is_judged(row))
    }

    /// One line per row, for a test run's log.
    pub fn figures(&self) -> Vec<String> {
        let line = |row: &Row| {
            format!(
                "load: {}: {} {}, {} {} {}: {}",
                row.name,
                figure(row.reached),
                row.unit,
                if row.at_least { "at least" } else { "at most" },
                figure(row.needed),
                self.verdict(row),
                row.beside
            )
        };
        self.rows.iter().map(line).collect()
    }

    fn verdict(&self, row: &Row) -> &'static str {
        match (row.holds(), self.is_judged(row)) {
            (true, _) => "holds",
            (false, true) => "TOO SLOW",
            (false, false) => "not judged",
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                let mut json = json!(row);
                json["verdict"] = self.verdict(row).into();
                json
            })
            .collect();
        json!({"ok": self.passes(), "rows": rows, "notes": self.notes})
    }

    /// For people: a table as `docs/performance.md` has it.
    pub fn text(&self) -> String {
        let mut out = String::from("| row | reached | needed | | beside it |\n|---|---|---|---|---|\n");
        for row in &self.rows {
            // Writing to a String does not fail.
            let _ = writeln!(
                out,
                "| {} | {} {} | {} {} | {} | {} |",
                row.name,
                figure(row.reached),
                row.unit,
                if row.at_least { "≥" } else { "≤" },
                figure(row.needed),
                self.verdict(row),
                row.beside
            );
        }
        out.push('\n');
        for note in &self.notes {
            let _ = writeln!(out, "{note}");
        }
        out
    }
}

fn figure(n: f64) -> String {
    if n.abs() >= 1000.0 { format!("{n:.0}") } else { format!("{n:.2}") }
}

/// Where and when, in words.
pub fn surroundings() -> Result<Vec<String>> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.trim().strip_prefix(':'));
    let uname = rustix::system::uname();
    let now =
        OffsetDateTime::now_utc().format(format_description!("[year]-[month]-[day] [hour]:[minute] UTC"))?;
    Ok(vec![format!(
        "{now}, {}, {} cores, {} {}",
        model.unwrap_or("unknown processor").trim(),
        cpu.lines().filter(|line| line.starts_with("processor")).count(),
        uname.sysname().to_string_lossy(),
        uname.release().to_string_lossy()
    )])
}
