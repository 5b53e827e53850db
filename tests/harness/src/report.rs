//! What a run found, as values: printed, put on a page, or written as JSON by whoever has it.

use crate::script::Size;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// One world's end.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Its seed.
    pub seed: u64,
    /// Changes that devices made.
    pub composed: usize,
    /// Events in the log.
    pub logged: usize,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Recorded changes that a device's rows refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Conflicts, as every copy has them.
    pub conflicts: Vec<Lost>,
    /// Events that had no effect, or not all of it, as every copy has them.
    pub skipped: usize,
    /// Wall clock.
    pub took: Duration,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What happened, if asked for.
    pub story: Vec<String>,
}

/// One conflict, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Table.
    pub entity_type: String,
    /// Row.
    pub entity_id: String,
    /// Sequence of the event that stands.
    pub winner_seq: i64,
    /// Sequence of the event that lost.
    pub loser_seq: i64,
    /// How.
    pub kind: &'static str,
    /// JSON of what was lost.
    pub loser: String,
    /// JSON of what stands.
    pub winner: String,
}

/// A failing world.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Failure {
    /// What the oracle said.
    pub problems: Vec<String>,
    /// The shortest story that was found with the same kind of end.
    pub story: Vec<String>,
    /// Its length in steps.
    pub steps: usize,
    /// The length it began with.
    pub of: usize,
}

impl Failure {
    /// What went wrong, without the numbers and names that differ from one telling to the next.
    pub fn kind(&self) -> String {
        let first = self.problems.first().map_or("", String::as_str);
        let has_digit = |word: &&str| word.chars().any(|c| c.is_ascii_digit());
        first.split_whitespace().filter(|w| !has_digit(w)).take(6).collect::<Vec<_>>().join(" ")
    }
}

/// All worlds of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Seed of the first world, from which the others' follow.
    pub seed: u64,
    /// Of each world.
    pub size: Size,
    /// Worlds at a time.
    pub threads: usize,
    /// Wall clock.
    pub took: Duration,
    /// In the order of their numbers.
    pub worlds: Vec<World>,
}

impl Run {
    /// Number of worlds that failed.
    pub fn failed(&self) -> usize {
        self.worlds.iter().filter(|w| w.failure.is_some()).count()
    }

    /// Speed.
    pub fn worlds_per_second(&self) -> f64 {
        self.worlds.len() as f64 / self.took.as_secs_f64().max(1e-6)
    }

    /// Faults of all worlds by kind.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (kind, times) in self.worlds.iter().flat_map(|w| &w.faults) {
            *all.entry(*kind).or_default() += times;
        }
        all
    }

    /// The lines that the test runner looks for.
    pub fn figures(&self) -> Vec<String> {
        let sum = |of: fn(&World) -> usize| self.worlds.iter().map(of).sum::<usize>();
        let faults: Vec<_> = self.faults().iter().map(|(kind, n)| format!("{kind} {n}")).collect();
        vec![
            format!("{:.1} worlds/s on {} threads", self.worlds_per_second(), self.threads),
            format!(
                "{} changes made, {} events in logs, {} conflicts kept, {} events without full effect",
                sum(|w| w.composed),
                sum(|w| w.logged),
                sum(|w| w.conflicts.len()),
                sum(|w| w.skipped)
            ),
            format!("faults: {}", if faults.is_empty() { "none".into() } else { faults.join(", ") }),
        ]
    }

    /// Shape of `--json`.
    pub fn json(&self) -> serde_json::Value {
        let failures: Vec<_> = self
            .worlds
            .iter()
            .filter_map(|w| Some(serde_json::json!({"seed": w.seed, "failure": w.failure.as_ref()?})))
            .collect();
        serde_json::json!({
            "seed": self.seed,
            "devices": self.size.devices,
            "events": self.size.events,
            "threads": self.threads,
            "seconds": self.took.as_secs_f64(),
            "worlds_per_second": self.worlds_per_second(),
            "passed": self.worlds.len() - self.failed(),
            "failed": self.failed(),
            "faults": self.faults(),
            "failures": failures,
        })
    }
}
