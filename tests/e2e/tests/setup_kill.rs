//! Laws 11, 12 and 16 with the real local host and separate processes: SIGKILL from outside at every journal line in
//! every phase; running again ends where an uninterrupted run ends; uninstalling ends where it all began.

use std::time::{Duration, Instant};
use td_e2e::machine::{Left, Machine};
use td_e2e::random::Random;
use td_e2e::{full, seed};

const SETUP: &[&str] = &["setup", "--target", "local", "--yes"];
const UNINSTALL: &[&str] = &["uninstall", "--yes"];
const PHASES: &[&str] =
    &["deploy.before_intent", "deploy.after_intent", "deploy.after_effect", "deploy.before_outcome"];
/// So many kill points, chosen by the seed, where not every one is asked for.
const SAMPLE: usize = 12;

#[test]
fn a_killed_setup_goes_on_to_the_state_of_an_uninterrupted_one_and_uninstall_leaves_nothing() {
    let machine = Machine::new();
    let before = machine.left();
    machine.setup_ok(SETUP);
    let whole = machine.left();
    let setups = machine.journal_lines("intent");
    assert!(setups > 5, "only {setups} steps acted");

    let again = Instant::now();
    let said = machine.setup_ok(SETUP);
    assert!(again.elapsed() < Duration::from_secs(10), "the second run took {:?}", again.elapsed());
    assert_eq!(machine.left(), whole, "the second run changed nothing");
    assert!(said.to_lowercase().contains("nothing"), "it says that nothing changed:\n{said}");

    let undos = uninstall(&machine, &before);

    let points = |n: usize| PHASES.iter().flat_map(move |p| (1..=n).map(move |k| (*p, k)));
    let mut all: Vec<_> = points(setups).map(|(p, k)| (SETUP, p, k)).collect();
    all.extend(points(undos).map(|(p, k)| (UNINSTALL, p, k)));
    println!("figure: {} kill points in setup, {} in uninstall", setups * PHASES.len(), undos * PHASES.len());
    let mut random = Random(seed());
    let chosen: Vec<_> = if full() { all.clone() } else { (0..SAMPLE).map(|_| *random.pick(&all)).collect() };
    let mut reached = 0;
    for (words, point, n) in chosen {
        let what = format!("{} killed at {point}:{n}", words[0]);
        println!("{what}");
        let machine = Machine::new();
        let before = machine.left();
        if words == SETUP {
            reached += usize::from(machine.setup_killed_at(SETUP, point, n));
            machine.setup_ok(SETUP);
            assert_same(&machine.left(), &whole, &what);
            uninstall(&machine, &before);
        } else {
            machine.setup_ok(SETUP);
            reached += usize::from(machine.setup_killed_at(UNINSTALL, point, n));
            uninstall(&machine, &before);
        }
    }
    println!("figure: {reached} of them were reached and killed");
    assert!(reached >= SAMPLE / 2, "most points are passed");
}

/// Uninstalls, expects the initial state, and says how many undo intents that took.
fn uninstall(machine: &Machine, before: &Left) -> usize {
    // Journals go with the rest, so a process beside counts nothing: the plan of undoing says it beforehand.
    let undos = machine.journal_lines("intent");
    machine.setup_ok(UNINSTALL);
    assert_same(&machine.left(), before, "uninstall");
    undos
}

fn assert_same(got: &Left, wanted: &Left, what: &str) {
    for (name, entry) in &got.files {
        let other = wanted.files.get(name);
        assert!(other.is_some(), "{what}: {name} is left over");
        assert_eq!(Some(entry), other, "{what}: {name} differs");
    }
    for name in wanted.files.keys() {
        assert!(got.files.contains_key(name), "{what}: {name} is missing");
    }
    assert_eq!(got.processes, wanted.processes, "{what}: processes");
}
