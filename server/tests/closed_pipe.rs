//! A reader that has seen enough (`| head`) ends nothing: no panic, no word on the other stream, the same exit code.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use std::path::Path;
use std::process::{Command, Stdio};

const PRINTS: &[(&[&str], i32)] = &[
    (&["--help"], 0),
    (&["version"], 0),
    (&["config", "list"], 0),
    (&["config", "list", "--json"], 0),
    (&["admin", "users", "list"], 0),
    (&["admin", "users", "list", "--json"], 0),
    (&["doctor", "--only", "server.config"], 0),
    (&["doctor", "--only", "server.config", "--json"], 0),
];

fn server(data: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_td-sync"));
    command.args(words).env_clear().env("HOME", data).stdin(Stdio::null());
    command.env("SYNC_SERVER_DB_PATH", data.join("server.db"));
    command.env("SYNC_PROJECT_DATA_DIR", data.join("projects"));
    command
}

/// The writing end of a pipe that nobody reads.
fn nobody() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer
}

#[test]
fn a_closed_reader_is_no_error_of_any_verb_that_prints() {
    let data = tempfile::tempdir().unwrap();
    let made = server(data.path(), &["admin", "create-user", "--email", "ana@example.org"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    for (words, code) in PRINTS {
        let open = server(data.path(), words).output().unwrap();
        assert_eq!(open.status.code(), Some(*code), "{words:?}: {open:?}");
        assert!(!open.stdout.is_empty(), "{words:?} prints something");
        let closed = server(data.path(), words).stdout(nobody()).stderr(Stdio::piped()).spawn().unwrap();
        let closed = closed.wait_with_output().unwrap();
        assert_eq!(closed.status.code(), Some(*code), "{words:?} | nobody: {closed:?}");
        assert_eq!(closed.stderr, open.stderr, "{words:?} | nobody says nothing else");
    }
    let refused = server(data.path(), &["admin", "revoke", "--email", "none@example.org", "--json"]);
    let refused = { refused }.stdout(nobody()).stderr(nobody()).status().unwrap();
    assert_eq!(refused.code(), Some(1), "an error keeps its exit code when nobody reads it");
}

#[test]
fn a_full_disk_behind_the_output_is_an_error_and_not_a_panic() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else { return };
    let data = tempfile::tempdir().unwrap();
    let out = server(data.path(), &["config", "list"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let out = out.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("could not be written") && !said.contains("panicked"), "{said}");
}
