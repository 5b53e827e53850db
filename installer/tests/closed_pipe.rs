//! A reader that has seen enough (`| head`) ends nothing: no panic, no word on the other stream, the same exit code.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Every verb that only prints, with the exit code it has on a machine where nothing is set up.
const PRINTS: &[(&[&str], i32)] = &[
    (&["--help"], 0),
    (&["status"], 0),
    (&["status", "--json"], 0),
    (&["logs"], 0),
    (&["logs", "--json"], 0),
    (&["explain"], 0),
    (&["explain", "--json"], 0),
    (&["answers", "show"], 0),
    (&["answers", "export"], 0),
    (&["plan"], 3),
    (&["plan", "--json"], 3),
    (&["doctor"], 9),
    (&["completions", "bash"], 0),
    (&["man"], 0),
];

fn setup(home: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_td-sync-setup"));
    command.args(words).env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join(".local/state/td-sync-setup/host/log/server.log");
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::fs::write(log, "a line\n".repeat(100)).unwrap();
    home
}

/// The writing end of a pipe that nobody reads.
fn nobody() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer
}

#[test]
fn a_closed_reader_is_no_error_of_any_verb_that_prints() {
    let home = home();
    for (words, code) in PRINTS {
        let open = setup(home.path(), words).output().unwrap();
        assert_eq!(open.status.code(), Some(*code), "{words:?}: {open:?}");
        assert!(!open.stdout.is_empty(), "{words:?} prints something");
        let closed = setup(home.path(), words).stdout(nobody()).stderr(Stdio::piped()).spawn().unwrap();
        let closed: Output = closed.wait_with_output().unwrap();
        assert_eq!(closed.status.code(), Some(*code), "{words:?} | nobody: {closed:?}");
        assert_eq!(closed.stderr, open.stderr, "{words:?} | nobody says nothing else");
        let neither = setup(home.path(), words).stdout(nobody()).stderr(nobody()).status().unwrap();
        assert_eq!(neither.code(), Some(*code), "{words:?} 2>&1 | nobody");
    }
}

#[test]
fn an_error_keeps_its_exit_code_when_nobody_reads_it() {
    let home = home();
    let code = |words: &[&str]| setup(home.path(), words).stderr(nobody()).status().unwrap().code();
    assert_eq!(code(&["explain", "no.such"]), Some(2));
    assert_eq!(code(&["start"]), Some(1));
    assert_eq!(code(&["host-stop", "--spec", "/no/such"]), Some(1));
}

#[test]
fn a_full_disk_behind_the_output_is_an_error_and_not_a_panic() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else { return };
    let home = home();
    let out = setup(home.path(), &["status"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let out = out.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("E-OUTPUT") && !said.contains("panicked"), "{said}");
}
