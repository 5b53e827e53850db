//! Every command that the README shows is run, in its order, in a home where nothing of ours is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use td_e2e::root;

/// Not run here, and who does.
const ELSEWHERE: &[(&str, &str)] = &[("./tests/run", ".ci/run, of which this test is a part")];

#[test]
fn every_command_of_the_readme_does_what_it_is_shown_for() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let dir = tempfile::tempdir().expect("temp");
    let [here, there] = ["here", "there"].map(|n| dir.path().join(n));
    for home in [&here, &there] {
        std::fs::create_dir(home).expect("home");
    }
    let (mut link, mut said) = (None, String::new());
    for (other, block) in blocks(&readme) {
        let commands: Vec<&str> =
            block.lines().filter(|l| !ELSEWHERE.iter().any(|(c, _)| l.starts_with(c))).collect();
        let script =
            commands.join("\n").replace("LINK", &format!("'{}'", link.as_deref().unwrap_or("none yet")));
        let out = run(if other { &there } else { &here }, &here, &script);
        link = out.split_whitespace().find(|w| w.contains("/connect#")).map(str::to_string).or(link);
        said += &out;
    }
    for proof in ["td-sync is set up", "Mend the fence", "ok", "complete"] {
        assert!(said.contains(proof), "{proof:?} is nowhere in:\n{said}");
    }
    assert_eq!(said.matches("Mend the fence by the pond").count(), 2, "listed here and there:\n{said}");
    let left: Vec<_> = std::fs::read_dir(&here).expect("home").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["garden"], "uninstalling leaves the person's own project and nothing else");
}

fn blocks(readme: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if let Some(words) = line.strip_prefix("```sh") {
            let body: Vec<&str> = lines.by_ref().take_while(|l| !l.starts_with("```")).collect();
            found.push((words.contains("other-device"), body.join("\n")));
        }
    }
    assert!(found.len() >= 5, "the README shows commands");
    found
}

fn run(home: &Path, installed: &Path, script: &str) -> String {
    let real = PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    let from =
        |name: &str, usual: &str| std::env::var_os(name).map_or_else(|| real.join(usual), PathBuf::from);
    let cargo = from("CARGO_HOME", ".cargo");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let mut command = Command::new("/bin/sh");
    command.args(["-eu", "-c", script]).current_dir(root()).env_clear().stdin(Stdio::null());
    command.env("HOME", home).env("USER", "ana").env("CARGO_TARGET_DIR", target);
    command.env("CARGO_HOME", &cargo).env("RUSTUP_HOME", from("RUSTUP_HOME", ".rustup"));
    let bin = installed.join(".local/bin");
    command.env("PATH", format!("{}:{}:/usr/bin:/bin", bin.display(), cargo.join("bin").display()));
    let out = command.output().expect("sh");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{script}\nended with {:?}:\n{text}{errors}", out.status.code());
    text
}
