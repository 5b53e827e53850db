//! Real steps of the local target on the model host: they keep to what is ours (DESIGN laws 16 and 17).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod machinery;

use machinery::{Scene, Stage};
use std::path::{Path, PathBuf};
use td_deploy::host::model::ModelHost;
use td_deploy::host::{Mode, ReadFiles, WriteFiles};
use td_deploy::step::StepKey;
use td_deploy::steps::local::steps;
use td_state::answers::Answers;

/// Only the folders, on a machine that knows no program at all.
const SCENE: Scene = Scene {
    machine: ModelHost::bare,
    steps: || steps().into_iter().filter(|step| step.key() == StepKey::SYS_DIRS).collect(),
    answers: Answers::default,
};

fn make_dirs(stage: &Stage, dir: &Path) {
    for dir in dir.ancestors().collect::<Vec<_>>().into_iter().rev() {
        stage.host.make_dir(dir, Mode::PRIVATE_DIR).unwrap();
    }
}

#[test]
fn folders_that_were_there_before_us_stay_with_all_that_is_in_them() {
    let stage = SCENE.stage();
    let data = Path::new("/home/ada/.local/share/td-sync/data");
    make_dirs(&stage, data);
    stage.host.put(&data.join("server.db"), b"of an earlier server", Mode::PRIVATE).unwrap();
    let begin = stage.host.picture();
    stage.settle("set up");
    assert_ne!(stage.host.picture(), begin, "the other folders are made");
    stage.take_back("undo");
    assert_eq!(stage.host.picture(), begin);
    assert!(stage.host.read(&data.join("server.db"), 100).unwrap().is_some());
}

#[test]
fn our_folders_are_made_without_any_program_and_go_without_a_trace() {
    let stage = SCENE.stage();
    let begin = stage.host.picture();
    // The model refuses every program: there is none on this machine.
    stage.settle("set up");
    stage.take_back("undo");
    assert_eq!(stage.host.picture(), begin);
}

/// A step may run the programs that travel with setup. Everything else would be a dependency on the host; `git` is only
/// asked for an address, and may be missing.
#[test]
fn no_step_names_a_program_of_the_system() {
    let mut named = Vec::new();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/steps")];
    let mut calls = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for program in text.split("Program::new(").skip(1) {
                calls += 1;
                if let Some(name) = program.trim_start().strip_prefix('"').and_then(|t| t.split('"').next()) {
                    named.push(name.to_owned());
                }
            }
        }
    }
    assert!(calls > 3, "only {calls} programs found: is this still how steps run them?");
    assert_eq!(named, ["git"]);
}
