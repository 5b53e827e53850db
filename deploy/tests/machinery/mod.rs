//! Generated fault tests over any list of steps on the model host (anchors-installer e21.3).
//!
//! Duty: for each place where a run or an undo can be cut off or can fail, run again and compare with the run that
//! nothing disturbed; undo and compare with the beginning.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod toy;

use std::panic::{AssertUnwindSafe, catch_unwind};
use td_deploy::Cancel;
use td_deploy::engine::{OnFailure, Report, Setup, Uninstall};
use td_deploy::exit::Exit;
use td_deploy::fault::{Crash, Faults, POINTS};
use td_deploy::host::model::{ModelHost, Strike, World};
use td_deploy::step::AnyStep;
use td_deploy::stream::Sender;
use td_state::answers::Answers;
use td_state::dir::TargetDir;
use td_state::secret::Redactor;

/// What is set up, and on what.
pub struct Scene {
    /// A fresh machine.
    pub machine: fn() -> ModelHost,
    /// The steps.
    pub steps: fn() -> Vec<Box<dyn AnyStep>>,
    /// What is wanted.
    pub answers: fn() -> Answers,
}

/// One machine with its state folder.
pub struct Stage {
    pub host: ModelHost,
    pub steps: Vec<Box<dyn AnyStep>>,
    pub answers: Answers,
    pub dir: TargetDir,
    pub folder: tempfile::TempDir,
}

impl Scene {
    pub fn stage(&self) -> Stage {
        // In memory where there is such a folder: thousands of runs, each with dozens of syncs.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let dir = TargetDir::at(folder.path(), "local").unwrap();
        Stage { host: (self.machine)(), steps: (self.steps)(), answers: (self.answers)(), dir, folder }
    }
}

impl Stage {
    pub fn setup(&self, faults: Faults) -> Setup<'_> {
        Setup {
            steps: &self.steps,
            host: &self.host,
            dir: &self.dir,
            cancel: Cancel::default(),
            events: Sender::default(),
            redactor: Redactor::default(),
            tool: "0.0.0-test",
            faults,
        }
    }

    /// What the person chose, as it stands: a step may have decided something.
    pub fn answers(&self) -> Answers {
        if self.dir.exists() { Answers::load(&self.dir.answers()).unwrap() } else { self.answers.clone() }
    }

    pub fn apply(&self, faults: Faults) -> Option<Report> {
        uncrashed(|| self.setup(faults).apply(self.answers(), OnFailure::Keep))
    }

    pub fn uninstall(&self, faults: Faults) -> Option<Report> {
        uncrashed(|| self.setup(faults).uninstall(&Uninstall { keep: Vec::new(), forget: false }))
    }

    /// A run that has to go well.
    pub fn settle(&self, what: &str) -> Report {
        let report = self.apply(Faults::default()).unwrap();
        assert_eq!(report.exit, Exit::Done, "{what}: {:#?}\n{}", report.errors, self.journals());
        report
    }

    /// An undo that has to go well.
    pub fn take_back(&self, what: &str) -> Report {
        let report = self.uninstall(Faults::default()).unwrap();
        assert_eq!(report.exit, Exit::Done, "{what}: {:#?}\n{}", report.errors, self.journals());
        report
    }

    /// All journals, for the message of a failed test.
    pub fn journals(&self) -> String {
        let runs = self.dir.runs().unwrap();
        runs.iter().map(|r| std::fs::read_to_string(self.dir.journal(r)).unwrap_or_default()).collect()
    }
}

/// None if it crashed as the test asked; any other panic goes on.
pub fn uncrashed<T>(f: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(panic) if panic.is::<Crash>() => None,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The machine after a run that nothing disturbed.
pub fn undisturbed(scene: &Scene) -> World {
    let stage = scene.stage();
    stage.settle("undisturbed");
    stage.host.picture()
}

/// (a) A second run changes nothing, on the host or in the state folder, but for its own journal.
pub fn a_second_run_changes_nothing(scene: &Scene) {
    let stage = scene.stage();
    stage.settle("first");
    let (world, files) = (stage.host.picture(), files_beside_runs(&stage));
    let second = stage.settle("second");
    assert_eq!(second.changed, 0, "{:#?}", second.steps);
    assert_eq!(stage.host.picture(), world);
    assert_eq!(files_beside_runs(&stage), files);
}

fn files_beside_runs(stage: &Stage) -> Vec<(String, Vec<u8>)> {
    fn walk(dir: &std::path::Path, out: &mut Vec<(String, Vec<u8>)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, out);
            } else {
                out.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    let mut all = Vec::new();
    walk(stage.dir.path(), &mut all);
    all.retain(|(name, _)| !name.contains("/runs/"));
    all.sort();
    all
}

/// (d) Killed at each passing of each point: run again, and it is as if nothing had happened; undo, and it is gone.
/// Returns how many kills there were.
pub fn every_kill_is_gone_on_from(scene: &Scene) -> usize {
    let wanted = undisturbed(scene);
    let mut kills = 0;
    for point in POINTS {
        for n in 1.. {
            let what = format!("killed at {point}:{n}");
            let stage = scene.stage();
            let begin = stage.host.picture();
            if stage.apply(Faults::crash_at(point, n)).is_some() {
                break;
            }
            kills += 1;
            stage.settle(&what);
            assert_eq!(stage.host.picture(), wanted, "{what}\n{}", stage.journals());
            stage.take_back(&what);
            assert_eq!(stage.host.picture(), begin, "{what}, undone\n{}", stage.journals());
        }
    }
    kills
}

/// (d, for undo) Killed at each passing of each point while undoing: undo again, and it is gone; or set up again, and it
/// is there.
pub fn every_kill_in_undo_is_gone_on_from(scene: &Scene) -> usize {
    let wanted = undisturbed(scene);
    let mut kills = 0;
    for point in POINTS {
        for n in 1.. {
            let what = format!("killed in undo at {point}:{n}");
            let stage = scene.stage();
            let begin = stage.host.picture();
            stage.settle(&what);
            if stage.uninstall(Faults::crash_at(point, n)).is_some() {
                break;
            }
            kills += 1;
            if n % 2 == 0 {
                stage.settle(&what);
                assert_eq!(stage.host.picture(), wanted, "{what}, set up again\n{}", stage.journals());
            }
            stage.take_back(&what);
            assert_eq!(stage.host.picture(), begin, "{what}\n{}", stage.journals());
            // (e) Once more is harmless.
            stage.take_back(&what);
            assert_eq!(stage.host.picture(), begin, "{what}, twice");
        }
    }
    kills
}

/// (b) Struck at each operation: run again and it converges. (c) Undo instead and it is gone.
pub fn every_strike_is_gone_on_from(scene: &Scene) -> usize {
    let wanted = undisturbed(scene);
    let mut strikes = 0;
    for strike in Strike::ALL {
        for (n, go_on) in (1..).flat_map(|n| [(n, true), (n, false)]) {
            let what = format!("{strike:?} at operation {n}");
            let stage = scene.stage();
            let begin = stage.host.picture();
            stage.host.strike_at(n, *strike);
            stage.apply(Faults::default());
            if stage.host.calm() < n {
                break;
            }
            strikes += 1;
            if go_on {
                stage.settle(&what);
                assert_eq!(stage.host.picture(), wanted, "{what}\n{}", stage.journals());
            }
            stage.take_back(&what);
            assert_eq!(stage.host.picture(), begin, "{what}, undone\n{}", stage.journals());
        }
    }
    strikes
}

/// (b, for undo) Struck at each operation of an undo: undo again and it is gone.
pub fn every_strike_in_undo_is_gone_on_from(scene: &Scene) -> usize {
    let mut strikes = 0;
    for strike in Strike::ALL {
        for n in 1.. {
            let what = format!("{strike:?} at operation {n} of the undo");
            let stage = scene.stage();
            let begin = stage.host.picture();
            stage.settle(&what);
            stage.host.strike_at(n, *strike);
            let report = stage.uninstall(Faults::default());
            if stage.host.calm() < n {
                break;
            }
            strikes += 1;
            if let Some(report) = report {
                assert_eq!(report.exit, Exit::Stuck, "{what}");
            }
            stage.take_back(&what);
            assert_eq!(stage.host.picture(), begin, "{what}\n{}", stage.journals());
        }
    }
    strikes
}

/// (f) Kills and strikes one after another, at places drawn from a seed, then one run that nothing disturbs.
pub fn a_row_of_disturbances_converges(scene: &Scene, seed: u64) {
    let wanted = undisturbed(scene);
    let mut random = seed;
    let mut draw = |below: u32| {
        // SplitMix64: enough to spread places.
        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        u32::try_from((z ^ (z >> 27)) % u64::from(below)).unwrap()
    };
    let stage = scene.stage();
    let begin = stage.host.picture();
    for _ in 0..6 {
        let strike = Strike::ALL[draw(4) as usize];
        let faults = match draw(2) {
            0 => Faults::crash_at(POINTS[draw(5) as usize], 1 + draw(6)),
            _ => {
                stage.host.strike_at(1 + draw(8), strike);
                Faults::default()
            }
        };
        let _ =
            if draw(4) == 0 && stage.dir.exists() { stage.uninstall(faults) } else { stage.apply(faults) };
        stage.host.calm();
    }
    // An undo that failed has to be finished by an undo.
    if stage.apply(Faults::default()).unwrap().exit == Exit::Stuck {
        stage.take_back(&format!("seed {seed}"));
    }
    stage.settle(&format!("seed {seed}"));
    assert_eq!(stage.host.picture(), wanted, "seed {seed}\n{}", stage.journals());
    stage.take_back(&format!("seed {seed}"));
    assert_eq!(stage.host.picture(), begin, "seed {seed}\n{}", stage.journals());
}
