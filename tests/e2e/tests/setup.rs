//! The installer as a person runs it: the whole programs, a home folder of their own, and SIGKILL from outside.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use td_e2e::random::Random;
use td_e2e::{binary, full, seed, wait_until};

/// Every point at which the installer can be parked (docs/ARCHITECTURE.md).
const POINTS: [&str; 5] = [
    "deploy.before_intent",
    "deploy.after_intent",
    "deploy.after_effect",
    "deploy.before_outcome",
    "deploy.after_outcome",
];
/// Kills per verb when there is no time for all.
const SAMPLE: usize = 6;
/// More steps than there are: the enumeration ends where a point is not reached any more.
const MOST: u64 = 40;

/// A home folder, and the installer run in it.
struct Home {
    dir: tempfile::TempDir,
    port: String,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp");
        fs::create_dir(dir.path().join("home")).expect("home");
        let port =
            TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("address").port();
        Self { dir, port: port.to_string() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary("td-sync-setup"));
        command.args(words).env_clear().stdin(Stdio::null()).current_dir(self.dir.path());
        command.env("HOME", self.path()).env("USER", "ana");
        command.env("PATH", format!("{}:/usr/bin:/bin", self.path().join(".local/bin").display()));
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("the installer runs")
    }

    /// Must succeed; its output.
    fn ok(&self, words: &[&str]) -> String {
        let out = self.run(words);
        let text =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "td-sync-setup {words:?}: {text}");
        text
    }

    fn setup(&self) -> String {
        self.ok(&["setup", "--yes", "--port", &self.port])
    }

    fn json(&self, words: &[&str]) -> serde_json::Value {
        let text = self.ok(words);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{words:?} printed {text:?}: {e}"))
    }

    /// Parks the installer at the n-th passing of a point and kills it there. False if it ran to its end.
    fn killed(&self, words: &[&str], point: &str, n: u64) -> bool {
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
    fn state(&self) -> BTreeMap<String, String> {
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
    fn processes(&self) -> Vec<(u32, String)> {
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

    fn assert_complete(&self, what: &str) {
        let status = self.json(&["status", "--json"]);
        assert_eq!(status["state"], "complete", "{what}: {status:#}");
        assert_eq!(status["server"]["healthy"], true, "{what}: {status:#}");
        assert_eq!(status["server"]["url"], format!("http://127.0.0.1:{}", self.port), "{what}");
        assert_eq!(self.processes().len(), 2, "{what}: a supervisor and a server: {:?}", self.processes());
    }

    fn assert_gone(&self, what: &str) {
        let left: Vec<_> =
            fs::read_dir(self.path()).expect("home").map(|e| e.expect("entry").path()).collect();
        assert!(left.is_empty(), "{what}: left behind: {left:?}");
        assert!(self.processes().is_empty(), "{what}: {:?}", self.processes());
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

#[test]
fn setup_leads_to_a_working_server_and_a_second_run_changes_nothing() {
    let home = Home::new();
    let text = home.setup();
    home.assert_complete("after setup");
    for word in ["td-sync is set up.", "http://127.0.0.1:", "admin enroll create", "stop", "uninstall"] {
        assert!(text.contains(word), "the summary names {word:?}:\n{text}");
    }
    let stamps = |home: &Home| -> Vec<(String, i64, i64)> {
        let own =
            |name: &String| name.starts_with(".config") || name.contains("releases") || name.contains("bin/");
        let time = |name: String| {
            let meta = fs::symlink_metadata(home.path().join(&name)).expect("meta");
            (name, meta.mtime(), meta.mtime_nsec())
        };
        home.state().into_keys().filter(own).map(time).collect()
    };
    let before = (home.state(), home.processes(), stamps(&home));
    let text = home.setup();
    assert!(text.contains("nothing had to be changed"), "{text}");
    assert_eq!(before, (home.state(), home.processes(), stamps(&home)));
    let doctor = home.json(&["doctor", "--json"]);
    assert_eq!(doctor["ok"], true, "{doctor:#}");
    home.ok(&["uninstall", "--yes"]);
    home.assert_gone("after uninstall");
}

#[test]
fn stop_ends_everything_start_brings_it_back_and_a_killed_supervisor_is_replaced() {
    let home = Home::new();
    home.setup();
    home.ok(&["stop"]);
    assert!(home.processes().is_empty(), "{:?}", home.processes());
    assert_eq!(home.json(&["status", "--json"])["server"]["healthy"], false);
    assert_eq!(home.run(&["doctor"]).status.code(), Some(9), "a stopped server is a failure");
    home.ok(&["start"]);
    home.assert_complete("after start");
    for (pid, line) in home.processes() {
        if line.contains("supervise") {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("SIGKILL");
        }
    }
    home.setup();
    home.assert_complete("after a kill of the supervisor");
}

#[test]
fn without_a_terminal_all_missing_answers_are_listed_and_nothing_is_touched() {
    let home = Home::new();
    let out = home.run(&["setup", "--email", "ana@example.org"]);
    assert_eq!(out.status.code(), Some(2));
    let text = String::from_utf8_lossy(&out.stderr);
    for flag in ["--port", "--data", "--backups", "--prefix", "--device", "--demo"] {
        assert!(text.contains(flag), "{flag} in:\n{text}");
    }
    assert!(!text.contains("--email "), "what was given is not missing:\n{text}");
    home.assert_gone("after a refusal");
}

#[test]
fn a_port_of_somebody_else_and_every_other_obstacle_are_named_before_anything_changes() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("address").port().to_string();
    let data = home.path().join("data").display().to_string();
    let inside = home.path().join("data/copies").display().to_string();
    let out = home.run(&["setup", "--yes", "--port", &port, "--data", &data, "--backups", &inside]);
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(7), "{text}");
    assert!(text.contains(&port) && text.contains("contain one another"), "{text}");
    home.assert_gone("after a refusal");
}

#[test]
fn beside_a_foreign_td_ours_is_called_tds_everywhere() {
    let home = Home::new();
    let bin = home.path().join(".local/bin");
    fs::create_dir_all(&bin).expect("bin");
    fs::write(bin.join("td"), "#!/bin/sh\necho td version 0.62\n").expect("a foreign td");
    fs::set_permissions(bin.join("td"), fs::Permissions::from_mode(0o755)).expect("mode");
    let text = home.setup();
    assert!(text.contains("installed as tds") && text.contains("tds connect LINK"), "{text}");
    assert!(!text.contains(" td connect") && !text.contains("/td list"), "{text}");
    home.ok(&["uninstall", "--yes"]);
    let left = fs::read_to_string(bin.join("td")).expect("the foreign td is still there");
    assert!(left.contains("0.62"));
    assert!(!bin.join("tds").exists() && !bin.join("td-sync").exists());
}

#[test]
fn an_uninstall_that_keeps_the_data_is_gone_on_with_by_a_later_setup() {
    let home = Home::new();
    home.setup();
    let epoch = home.json(&["status", "--json"])["server"]["epoch"].clone();
    let out = home.run(&["uninstall"]);
    assert_eq!(out.status.code(), Some(2), "data are not deleted without a word");
    home.ok(&["uninstall", "--keep-data"]);
    assert!(home.processes().is_empty());
    assert!(!home.path().join(".local/bin").exists());
    home.setup();
    assert_eq!(home.json(&["status", "--json"])["server"]["epoch"], epoch, "the same history");
    home.ok(&["uninstall", "--yes"]);
    home.assert_gone("after the second uninstall");
}

#[test]
fn setup_killed_at_any_point_is_gone_on_with_to_the_same_state() {
    let whole = Home::new();
    whole.setup();
    let expected = whole.state();
    drop(whole);
    let case = |point: &str, n: u64| -> bool {
        let what = format!("setup killed at {point}:{n}");
        let home = Home::new();
        if !home.killed(&["setup", "--yes", "--port", &home.port], point, n) {
            return false;
        }
        home.setup();
        home.assert_complete(&what);
        assert_eq!(home.state(), expected, "{what}");
        home.ok(&["uninstall", "--yes"]);
        home.assert_gone(&what);
        true
    };
    kill_everywhere(&case);
}

#[test]
fn uninstall_killed_at_any_point_is_gone_on_with_to_nothing() {
    let case = |point: &str, n: u64| -> bool {
        let what = format!("uninstall killed at {point}:{n}");
        let home = Home::new();
        home.setup();
        let killed = home.killed(&["uninstall", "--yes"], point, n);
        home.ok(&["uninstall", "--yes"]);
        home.assert_gone(&what);
        killed
    };
    kill_everywhere(&case);
}

/// All points and passings under `--full`, else a seeded sample. A case says whether its point was reached.
fn kill_everywhere(case: &dyn Fn(&str, u64) -> bool) {
    let mut random = Random(seed());
    if full() {
        for point in POINTS {
            let reached = (1..MOST).take_while(|n| case(point, *n)).count();
            assert!(reached > 8, "{point} was reached {reached} times only");
        }
        return;
    }
    for _ in 0..SAMPLE {
        let point = random.pick(&POINTS);
        assert!(case(point, 1 + random.below(10)), "every run passes each point ten times");
    }
}
