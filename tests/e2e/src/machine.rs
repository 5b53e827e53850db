//! A person's account on a machine where nothing of ours is: a home folder, and `td-sync-setup` with its two programs.

use crate::{binary, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A home folder of its own. Whatever still runs from it is killed when this is dropped.
pub struct Machine {
    dir: tempfile::TempDir,
}

/// What a run left on the machine, without what differs between two runs by nature (random names, times, ports).
#[derive(Debug, PartialEq, Eq)]
pub struct Left {
    /// Every path with its mode; of files that people read also the text, masked.
    pub files: BTreeMap<String, String>,
    /// How many processes of each program run.
    pub processes: BTreeMap<String, usize>,
}

impl Machine {
    /// An empty home.
    pub fn new() -> Self {
        let machine = Self { dir: tempfile::tempdir().expect("temp") };
        fs::create_dir(machine.home()).expect("home");
        machine
    }

    /// The home folder.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// A command of ours in this home, without a terminal.
    pub fn command(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(words).env_clear().stdin(Stdio::null()).current_dir(self.home());
        command.env("HOME", self.home()).env("LANG", "C.UTF-8").env("USER", "ana");
        command.env("PATH", format!("{}:/usr/bin:/bin", self.home().join(".local/bin").display()));
        command
    }

    /// `td-sync-setup` with these words.
    pub fn setup(&self, words: &[&str]) -> Output {
        self.command(&binary("td-sync-setup"), words).output().expect("td-sync-setup runs")
    }

    /// `td-sync-setup` with these words, which must succeed.
    pub fn setup_ok(&self, words: &[&str]) -> String {
        let out = self.setup(words);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(
            out.status.success(),
            "td-sync-setup {words:?} ended with {:?}:\n{text}{errors}",
            out.status.code()
        );
        text
    }

    /// Runs until the named fault point has been passed `n` times, then sends SIGKILL. False if it ended before.
    pub fn setup_killed_at(&self, words: &[&str], point: &str, n: usize) -> bool {
        let reached = self.dir.path().join("reached");
        if reached.exists() {
            fs::remove_file(&reached).expect("marker");
        }
        let mut command = self.command(&binary("td-sync-setup"), words);
        command.env("TD_FAULT", format!("{point}:{n}")).env("TD_FAULT_FILE", &reached);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child: Child = command.spawn().expect("td-sync-setup runs");
        let mut ended = false;
        let stopped = wait_until(Duration::from_secs(120), || {
            ended = child.try_wait().expect("status").is_some();
            ended || reached.exists()
        });
        assert!(stopped, "{words:?} with {point}:{n} neither ended nor came there");
        child.kill().expect("SIGKILL");
        child.wait().expect("ends");
        reached.exists()
    }

    /// Lines of the given kind in all journals: how often each fault point is passed.
    pub fn journal_lines(&self, kind: &str) -> usize {
        let mut count = 0;
        walk(&self.home(), &mut |path| {
            if path.file_name().is_some_and(|n| n == "journal.jsonl") {
                let text = fs::read_to_string(path).expect("journal");
                let records = text.lines().map(|l| serde_json::from_str::<Value>(l).expect("a line of JSON"));
                count += records.filter(|r| r["kind"] == kind).count();
            }
        });
        count
    }

    /// What is here now.
    pub fn left(&self) -> Left {
        let mut files = BTreeMap::new();
        let home = self.home();
        walk(&home, &mut |path| {
            let name = path.strip_prefix(&home).expect("below home").to_string_lossy().into_owned();
            if is_record(&name) {
                return;
            }
            let meta = fs::symlink_metadata(path).expect("metadata");
            let mut what = format!("{:o}", meta.permissions().mode());
            if meta.is_symlink() {
                what = format!("-> {}", mask(&fs::read_link(path).expect("link").to_string_lossy()));
            } else if meta.is_file() && is_text(&name) {
                what += &format!("\n{}", mask(&fs::read_to_string(path).unwrap_or_default()));
            }
            *files.entry(mask(&name)).or_insert_with(String::new) += &what;
        });
        Left { files, processes: self.processes().into_iter().fold(BTreeMap::new(), count) }
    }

    /// Programs of ours that run from this home, by name and verb.
    pub fn processes(&self) -> Vec<(String, i32)> {
        let mut found = Vec::new();
        let mark = self.dir.path().to_string_lossy().into_owned();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let read = |what: &str| fs::read(entry.path().join(what)).unwrap_or_default();
            let words: Vec<String> =
                read("cmdline").split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
            let zombie = fs::read_to_string(entry.path().join("stat")).is_ok_and(|s| s.contains(") Z "));
            let ours =
                String::from_utf8_lossy(&read("environ")).contains(&mark) || words.join(" ").contains(&mark);
            if ours && !zombie && pid != i32::try_from(std::process::id()).expect("a pid") {
                let program = Path::new(&words[0]).file_name().map(|n| n.to_string_lossy().into_owned());
                found.push((
                    format!("{} {}", program.unwrap_or_default(), words.get(1).cloned().unwrap_or_default()),
                    pid,
                ));
            }
        }
        found
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for (_, pid) in self.processes() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _already_gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

fn count(mut all: BTreeMap<String, usize>, (name, _): (String, i32)) -> BTreeMap<String, usize> {
    *all.entry(name).or_default() += 1;
    all
}

/// What a run writes about itself: journals, logs; not part of the state it leaves.
fn is_record(name: &str) -> bool {
    name.contains("/runs/") || name.ends_with(".log") || name.ends_with("-wal") || name.ends_with("-shm")
}

fn is_text(name: &str) -> bool {
    [".env", ".toml", ".md", ".txt", ".service"].iter().any(|e| name.ends_with(e))
}

/// Words that differ between two runs by nature: anything with a digit in it, and long words.
fn mask(text: &str) -> String {
    let mut out = String::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let word = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let random = word.bytes().any(|b| b.is_ascii_digit()) || word.len() > 20;
        out += if random { "#" } else { word };
        out += &part[word.len()..];
    }
    out
}

fn walk(folder: &Path, each: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        each(&path);
        if path.is_dir() && !path.is_symlink() {
            walk(&path, each);
        }
    }
}
