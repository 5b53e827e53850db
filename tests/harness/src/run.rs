//! Many worlds at once, and the shortest story of those that fail.
//!
//! Invariant: a world's result depends on its seed alone, never on the thread that ran it.

use crate::random::world_seed;
use crate::report::{Failure, Run, World};
use crate::script::{Fate, Script, Size, What};
use crate::world;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Time spent on shortening one story.
const SHRINKING: Duration = Duration::from_secs(20);
/// Failing worlds whose story is shortened; more would only say the same again.
const SHRUNK: usize = 3;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of the first world.
    pub seed: u64,
    /// Number of worlds.
    pub count: usize,
    /// Of each.
    pub size: Size,
    /// Worlds at a time.
    pub threads: usize,
    /// Keep every world's story, not only those of failing ones.
    pub tells: bool,
}

/// Runs all worlds of a plan. `seen` is told about each as it ends.
pub fn worlds(plan: &Plan, seen: impl Fn(&World) + Sync) -> anyhow::Result<Run> {
    let started = Instant::now();
    let root = scratch()?;
    let next = AtomicUsize::new(0);
    let failed = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(plan.count));
    std::thread::scope(|scope| {
        for _ in 0..plan.threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::SeqCst);
                    if index >= plan.count {
                        break;
                    }
                    let seed = world_seed(plan.seed, index);
                    let dir = root.path().join(index.to_string());
                    let mut world = one(seed, plan.size, &dir, plan.tells);
                    if world.failure.is_some() && failed.fetch_add(1, Ordering::SeqCst) < SHRUNK {
                        let script = Script::of(seed, plan.size);
                        world.failure =
                            Some(shortest(script, &dir, world.failure.take().unwrap_or_default()));
                    }
                    seen(&world);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, world));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    Ok(Run {
        seed: plan.seed,
        size: plan.size,
        threads: plan.threads,
        took: started.elapsed(),
        worlds: done.into_iter().map(|(_, world)| world).collect(),
    })
}

fn one(seed: u64, size: Size, dir: &Path, tells: bool) -> World {
    let mut world = play(&Script::of(seed, size), dir, tells);
    world.seed = seed;
    world
}

/// Runs a script in a fresh folder.
fn play(script: &Script, dir: &Path, tells: bool) -> World {
    let made = std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()));
    let world = match made {
        Ok(()) => world::run(script, dir, tells),
        Err(why) => {
            let failure = Failure { problems: vec![format!("{why:#}")], ..Failure::default() };
            World { failure: Some(failure), ..World::default() }
        }
    };
    // Left behind only if something still holds it; the whole scratch folder goes at the end.
    let _ = std::fs::remove_dir_all(dir);
    world
}

/// Takes steps, faults and deaths out as long as the world still fails.
fn shortest(script: Script, dir: &Path, first: Failure) -> Failure {
    let until = Instant::now() + SHRINKING;
    let of = script.steps.len();
    let mut best = script;
    // A look that is always taken finds it again wherever the steps have moved to.
    best.watched = first.problems.iter().any(|p| p.starts_with(world::LOOKED));
    let kind = first.kind();
    let fails = |script: &Script| {
        Instant::now() < until && play(script, dir, false).failure.is_some_and(|f| f.kind() == kind)
    };
    let mut size = best.steps.len() / 2;
    while size > 0 && Instant::now() < until {
        let mut at = 0;
        let before = best.steps.len();
        while at < best.steps.len() {
            let mut shorter = best.clone();
            shorter.steps.drain(at..(at + size).min(best.steps.len()));
            if !shorter.steps.is_empty() && fails(&shorter) {
                best = shorter;
            } else {
                at += size;
            }
        }
        if size == 1 && best.steps.len() == before {
            break;
        }
        size = (size / 2).max(1);
    }
    for at in 0..best.steps.len() {
        for calmer in calmer(&best, at) {
            if fails(&calmer) {
                best = calmer;
            }
        }
    }
    let end = play(&best, dir, true);
    match end.failure {
        Some(failure) => Failure { story: end.story, steps: best.steps.len(), of, ..failure },
        // Not the same twice: say so, that is worse than any story.
        None => Failure {
            problems: [
                first.problems,
                vec!["and it did not fail again: something is not decided by the seed".into()],
            ]
            .concat(),
            ..first
        },
    }
}

/// The script with one death or one fault of a step taken out.
fn calmer(script: &Script, at: usize) -> Vec<Script> {
    let mut all = Vec::new();
    let mut change = |edit: &dyn Fn(&mut crate::script::Step)| {
        let mut calmer = script.clone();
        edit(&mut calmer.steps[at]);
        if calmer.steps[at] != script.steps[at] {
            all.push(calmer);
        }
    };
    change(&|step| step.dies_at = None);
    for call in 0..4 {
        change(&|step| {
            if let What::Push { fates } | What::Pull { fates, .. } = &mut step.what
                && let Some(fate) = fates.get_mut(call)
            {
                *fate = Fate::Clear;
            }
        });
    }
    all
}

/// A folder in memory where there is one: worlds sync constantly, and their disks are simulated anyway.
pub fn scratch() -> anyhow::Result<tempfile::TempDir> {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let new = |base: &Path| tempfile::Builder::new().prefix("td-harness-").tempdir_in(base);
    new(&base).or_else(|_| new(&std::env::temp_dir())).context("no folder to work in")
}
