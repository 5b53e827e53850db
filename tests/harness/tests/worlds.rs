//! A few worlds and the recorded project, small enough for every run. `td-harness worlds` runs them by the thousand.

use std::path::{Path, PathBuf};
use std::process::Command;
use td_harness::busy::{self, Recording};
use td_harness::run::{Plan, scratch, worlds};
use td_harness::script::{Script, Size};
use td_harness::world;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/td-0.62/busy").join(name)
}

fn plan(seed: u64, count: usize, events: usize) -> Plan {
    Plan { seed, count, size: Size { devices: 3, events }, threads: 2, tells: false }
}

#[test]
fn a_dozen_worlds_end_equal_and_lose_nothing() {
    let run = worlds(&plan(20, 12, 100), |_| {}).expect("run");
    let failures: Vec<_> = run.worlds.iter().filter_map(|w| Some((w.seed, w.failure.as_ref()?))).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(run.worlds.iter().all(|w| w.composed >= 100 && w.composed == w.logged));
    let faults = run.faults();
    for kind in ["device killed at a write", "server killed at a write", "late", "answer lost", "doubled"] {
        assert!(faults.contains_key(kind), "no {kind} in {faults:?}");
    }
}

#[test]
fn a_seed_decides_everything() {
    let story = || {
        let dir = scratch().expect("folder");
        let script = Script::of(12, Size { devices: 3, events: 60 });
        let world = world::run(&script, dir.path(), true);
        assert!(world.failure.is_none(), "{:?}", world.failure);
        world.story
    };
    let (first, second) = (story(), story());
    assert!(first.len() > 60);
    assert_eq!(first, second);
}

#[test]
fn the_busy_log_gives_every_reader_one_state() {
    let Recording::Log(events) = busy::read(&fixture("events.jsonl")).expect("read") else { panic!("a log") };
    let dir = scratch().expect("folder");
    let report = busy::replay(&events, dir.path()).expect("replayed");
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(report.events, 809);
    let expected = std::fs::read_to_string(fixture("expected.txt")).expect("expected");
    assert_eq!(expected.lines().next(), Some(format!("digest {}", report.digest).as_str()));
}

#[test]
fn a_recorded_projects_actions_made_again_end_equal() {
    let mut people = Vec::new();
    for name in ["alice", "bob", "carol"] {
        let Recording::Actions(list) = busy::read(&fixture(&format!("{name}.actions.jsonl"))).expect("read")
        else {
            panic!("actions")
        };
        people.push(list);
    }
    let events = people.iter().map(|list| list.len()).sum();
    let dir = scratch().expect("folder");
    let script = Script::of(3, Size { devices: 3, events });
    let world = world::replayed(&script, dir.path(), false, &people);
    assert!(world.failure.is_none(), "{:?}", world.failure);
    let refused: u64 = world.refused.values().sum();
    assert_eq!(world.composed as u64 + refused, events as u64);
    assert!(world.composed > 600, "the rows refused too much: {:?}", world.refused);
}

#[test]
fn the_program_prints_figures_and_writes_its_page() {
    let dir = scratch().expect("folder");
    let page = dir.path().join("page.html");
    let program = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_td-harness"));
        command.args(["worlds", "--count", "2", "--seed", "9", "--events", "20"]);
        command
    };
    let out = program().arg("--html").arg(&page).output().expect("run");
    let text = String::from_utf8(out.stdout).expect("text");
    assert!(out.status.success(), "{text}");
    assert!(text.starts_with("seed: 9\nfigure: "), "{text}");
    assert!(text.ends_with("2 passed, 0 failed\n"), "{text}");
    assert!(std::fs::read_to_string(page).expect("page").contains("2 passed, 0 failed"));

    let out = program().arg("--json").output().expect("run");
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).expect("json");
    assert_eq!((&json["passed"], &json["failed"], &json["seed"]), (&2.into(), &0.into(), &9.into()));
}
