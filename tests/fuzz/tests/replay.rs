//! Every committed input of every target, one test per target: what a fuzzer once found stays found.

use std::path::PathBuf;
use td_fuzz::{TARGETS, corpus, target};

/// The inputs of a target in the order of their names.
fn inputs(name: &str) -> Vec<PathBuf> {
    let folder = corpus(target(name).expect("a target"));
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("entry").path()).collect();
    files.sort();
    files
}

fn replay(name: &str) {
    let files = inputs(name);
    assert!(!files.is_empty(), "{name} has no corpus");
    for file in files {
        let input = std::fs::read(&file).expect("input");
        // On its own line, so that a failure names its input.
        println!("{}", file.display());
        (target(name).expect("a target").run)(&input);
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_is_replayed_and_every_corpus_has_its_target() {
            let names: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
            assert_eq!([$(stringify!($name)),*], names[..]);
            let folder = corpus(&TARGETS[0]);
            for entry in std::fs::read_dir(folder.parent().expect("folder")).expect("corpus") {
                let name = entry.expect("entry").file_name().to_string_lossy().into_owned();
                assert!(names.contains(&name.as_str()), "corpus/{name} belongs to no target");
            }
        }
    };
}

replays!(push query request headers codes config forwarded mail times payload names apply import certificate);
