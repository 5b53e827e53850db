//! A home folder, and the installer run in it as a person runs it.
//!
//! Danger: whatever a test does, nothing may run on afterwards; dropping the home uninstalls and kills what is left.

use crate::{binary, wait_until};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A home folder, and the installer run in it.
pub struct Home {
    dir: tempfile::TempDir,
    name: String,
    /// A port that was free a moment ago.
    pub port: String,
    /// Whether [`Home::state`] compares the receipt as well.
    pub whole_receipt: bool,
}

impl Home {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one of this name.
    pub fn called(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("temp");
        fs::create_dir(dir.path().join(name)).expect("home");
        let port =
            TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("address").port();
        Self { dir, name: name.into(), port: port.to_string(), whole_receipt: false }
    }

    /// Beside it: for what does not belong to the person.
    pub fn beside(&self) -> &Path {
        self.dir.path()
    }

    /// The folder.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    /// The installer, not started yet, with nothing of our own environment.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary("td-sync-setup"));
        command.args(words).env_clear().stdin(Stdio::null()).current_dir(self.dir.path());
        command.env("HOME", self.path()).env("USER", "ana");
        command.env("PATH", format!("{}:/usr/bin:/bin", self.path().join(".local/bin").display()));
        command
    }

    /// Runs it to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("the installer runs")
    }

    /// Must succeed; its output.
    pub fn ok(&self, words: &[&str]) -> String {
        let out = self.run(words);
        let text =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "td-sync-setup {words:?}: {text}");
        text
    }

    /// Sets everything up.
    pub fn setup(&self) -> String {
        self.ok(&["setup", "--yes", "--port", &self.port])
    }

    /// Must succeed; its answer.
    pub fn json(&self, words: &[&str]) -> serde_json::Value {
        let text = self.ok(words);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{words:?} printed {text:?}: {e}"))
    }

    /// Parks the installer at the n-th passing of a point and kills it there. False if it ran to its end.
    pub fn killed(&self, words: &[&str], point: &str, n: u64) -> bool {
        let reached = self.dir.path().join("reached");
        let _ = fs::remove_file(&reached);
        let mut command = self.command(words);
        command.env("TD_FAULT", format!("{point}:{n}")).env("TD_FAULT_FILE", &reached);
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut ended = false;
        let settled = wait_until(Duration::from_secs(120), || {
            ended = process.try_wait().expect("a state").is_some();
            ended || reached.exists()
        });
        assert!(settled, "{point}:{n} is neither reached nor passed by");
        process.kill().expect("SIGKILL");
        process.wait().expect("it ends");
        !ended
    }

    /// Everything below the home folder that must not depend on where a run was cut off: path, kind, mode, and the
    /// content of what setup writes itself. Ids that are random by design are masked.
    pub fn state(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        self.walk(&self.path(), &mut all);
        all
    }

    fn walk(&self, dir: &Path, all: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(dir).expect("folder").map(|e| e.expect("entry").path()) {
            let name = entry.strip_prefix(self.path()).expect("below").display().to_string();
            // Runs are the memory of how we got here; a journal of SQLite comes and goes.
            if name.ends_with("targets/local/runs") || name.ends_with("targets/local/undo") {
                continue;
            }
            if ["-wal", "-shm", "-journal"].iter().any(|end| name.ends_with(end)) {
                continue;
            }
            let meta = fs::symlink_metadata(&entry).expect("meta");
            let ours = name.starts_with(".config/td-sync/") || name.ends_with("answers.toml");
            // Numbers in it depend on how many records there are, so it is compared by a second run only.
            let ours = ours || self.whole_receipt && name.ends_with("receipt.json");
            let shown = if meta.is_symlink() {
                fs::read_link(&entry).expect("link").display().to_string()
            } else if ours && meta.is_file() {
                fs::read_to_string(&entry).expect("text")
            } else {
                format!("{:o}", meta.permissions().mode())
            };
            let shown = shown.replace(&self.path().display().to_string(), "HOME").replace(&self.port, "PORT");
            // The digest in the first line is over paths and port.
            let shown: Vec<_> =
                shown.lines().filter(|line| !line.starts_with("# td-sync-setup sha256:")).collect();
            all.insert(masked(&name), shown.join("\n"));
            if meta.is_dir() {
                self.walk(&entry, all);
            }
        }
    }

    /// Processes that were started from this home.
    pub fn processes(&self) -> Vec<(u32, String)> {
        let home = self.path().display().to_string();
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(&home) && line.contains("td-sync") {
                all.push((pid, line));
            }
        }
        all.sort();
        all
    }

    /// Everything is done, and the server answers.
    pub fn assert_complete(&self, what: &str) {
        let status = self.json(&["status", "--json"]);
        assert_eq!(status["state"], "complete", "{what}: {status:#}");
        assert_eq!(status["server"]["healthy"], true, "{what}: {status:#}");
        assert_eq!(status["server"]["url"], format!("http://127.0.0.1:{}", self.port), "{what}");
        assert_eq!(self.processes().len(), 2, "{what}: a supervisor and a server: {:?}", self.processes());
    }

    /// Nothing is left in the folder, and nothing runs.
    pub fn assert_gone(&self, what: &str) {
        let left: Vec<_> =
            fs::read_dir(self.path()).expect("home").map(|e| e.expect("entry").path()).collect();
        assert!(left.is_empty(), "{what}: left behind: {left:?}");
        assert!(self.processes().is_empty(), "{what}: {:?}", self.processes());
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::called("home")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.run(&["uninstall", "--yes"]);
        for (pid, _) in self.processes() {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Project ids are random.
fn masked(name: &str) -> String {
    let part = |part: &str| {
        let hex = part.strip_prefix("p_").filter(|hex| hex.len() == 16);
        if hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())) {
            "p_ID".into()
        } else {
            part.to_owned()
        }
    };
    name.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Puts a program of a few lines of shell somewhere.
pub fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
    fs::write(path, text).expect("script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("mode");
}
