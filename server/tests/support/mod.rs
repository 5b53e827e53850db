//! A real `td-sync serve` on a loopback port of its own, and a client that sends exactly what a test says.

#![allow(dead_code, reason = "each test file uses its share")]

pub mod deployment;
pub mod log;
pub mod mailserver;
pub mod schema;
pub mod tls;
pub mod wire;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use wire::{Answer, Ask};

const BINARY: &str = env!("CARGO_BIN_EXE_td-sync");

/// A server process; killed when dropped.
pub struct Server {
    pub dir: tempfile::TempDir,
    pub address: SocketAddr,
    settings: Vec<(String, String)>,
    /// What `ulimit` is told before the server starts.
    descriptors: Option<&'static str>,
    log: Arc<Mutex<String>>,
    process: Option<Child>,
}

impl Server {
    /// With default settings.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With more settings.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        Self::within(None, settings)
    }

    /// With a limit of open files: `-n 300` is one, `-Sn 300` one that the server may raise.
    pub fn limited(ulimit: &'static str, settings: &[(&str, &str)]) -> Self {
        Self::within(Some(ulimit), settings)
    }

    fn within(descriptors: Option<&'static str>, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let (dir, address) = (tempfile::tempdir().expect("dir"), ([127, 0, 0, 1], 0).into());
        let mut server = Self { dir, address, settings, descriptors, log: Arc::default(), process: None };
        server.run();
        server
    }

    /// Starts the process and reads from its log where it listens.
    pub fn run(&mut self) {
        let mut command = match self.descriptors {
            None => self.command(&["serve"]),
            Some(ulimit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit {ulimit} && exec \"$0\" serve"), BINARY]);
                self.set(&mut shell);
                shell
            }
        };
        let mut child = command.stderr(Stdio::piped()).spawn().expect("td-sync starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut seen = String::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else { panic!("the server ended:\n{seen}") };
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if entry["msg"] == "server started" {
                break entry["addr"].as_str().and_then(|a| a.parse().ok()).expect("an address");
            }
            seen.push_str(&line);
        };
        // Read on, or the server would block on a full pipe.
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.lock().expect("log").push_str(&(line + "\n"));
            }
        });
        (self.address, self.process) = (address, Some(child));
    }

    /// What it logged since it listens.
    pub fn log(&self) -> String {
        self.log.lock().expect("log").clone()
    }

    /// The program with this server's settings.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(words);
        self.set(&mut command);
        command
    }

    fn set(&self, command: &mut Command) {
        command.env_clear().stdin(Stdio::null());
        command.env("SYNC_LISTEN_ADDR", "127.0.0.1:0").env("SYNC_SERVER_DB_PATH", self.db());
        command.envs(self.settings.iter().map(|(k, v)| (k, v)));
    }

    pub fn db(&self) -> std::path::PathBuf {
        self.dir.path().join("data/server.db")
    }

    pub fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Runs `td-sync admin …`.
    pub fn admin_raw(&self, words: &[&str]) -> Output {
        let all: Vec<&str> = ["admin"].iter().chain(words).copied().collect();
        self.command(&all).output().expect("td-sync runs")
    }

    /// Runs `td-sync admin … --json`; it must succeed.
    pub fn admin(&self, words: &[&str]) -> Value {
        let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
        let out = self.admin_raw(&words);
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).expect("json")
    }

    /// A key for `who@test.local` with its user id; the account is made (and an admin, or it could have no key).
    pub fn key(&self, who: &str) -> (String, String) {
        let email = format!("{who}@test.local");
        self.admin(&["create-user", "--email", &email]);
        self.admin(&["grant", "--email", &email]);
        let key = self.admin(&["create-key", "--email", &email, "--name", "test"]);
        let text = |name: &str| key[name].as_str().expect(name).to_string();
        (text("api_key"), text("user_id"))
    }

    /// One request on a connection of its own.
    pub fn ask(&self, ask: &Ask) -> Answer {
        wire::send(self.address, ask)
    }

    /// A project of the key's owner.
    pub fn project(&self, key: &str, name: &str) -> String {
        let made = self.ask(&Ask::post("/v1/projects").key(key).json(&serde_json::json!({"name": name})));
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["id"].as_str().expect("id").to_string()
    }

    /// Stops the process and starts it on the same data with other settings.
    pub fn restart_with(&mut self, settings: &[(&str, &str)]) {
        self.signal(rustix::process::Signal::TERM);
        self.wait();
        self.settings = settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        self.run();
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let child = self.process.as_ref().expect("running");
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("signal");
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("running").id()
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.take().expect("running").wait().expect("ended")
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().expect("kill");
            child.wait().expect("ended");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A project of ana's on a server of its own. What a test asks of it stands in the test.
pub struct Project {
    pub server: Server,
    pub key: String,
    pub id: String,
}

impl Project {
    pub fn new() -> Self {
        let server = Server::start();
        let (key, _) = server.key("ana");
        let id = server.project(&key, "garden");
        Self { server, key, id }
    }
}

/// Waits until `done`, for at most 20 seconds.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        #[allow(clippy::disallowed_methods, reason = "polls a condition with a limit")]
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Everything in a folder that must not change when a request is refused: names and bytes, without what a database
/// keeps for itself while it is open.
pub fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("folder") {
            let path = entry.expect("entry").path();
            let name = path.strip_prefix(dir).expect("inside").to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
                all.push((name, Vec::new()));
            } else if !["-shm", ".sock"].iter().any(|s| name.ends_with(s)) && !name.contains("project.db") {
                all.push((name, std::fs::read(&path).expect("file")));
            }
        }
    }
    all.sort();
    all
}

/// A push of new issues, one per number.
pub fn push(project: &str, ids: &[i64]) -> Ask {
    let events: Vec<Value> = ids
        .iter()
        .map(|id| {
            json!({"client_action_id": id, "action_type": "create", "entity_type": "issues",
                "entity_id": format!("td-{id:06}"), "payload": {"schema_version": 1, "previous_data": {},
                "new_data": {"id": format!("td-{id:06}"), "title": format!("issue {id}"), "status": "open",
                "type": "task", "priority": "P2", "created_at": "2026-11-21T10:00:00Z",
                "updated_at": "2026-11-21T10:00:00Z"}}, "client_timestamp": "2026-11-21T10:00:00Z"})
        })
        .collect();
    Ask::post(&format!("/v1/projects/{project}/sync/push"))
        .json(&json!({"device_id": "dev", "session_id": "ses", "events": events}))
}

/// A body as it was before it was packed.
pub fn unpacked(encoding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match encoding {
        "gzip" => std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut plain).map(drop),
        "zstd" => zstd::stream::copy_decode(bytes, &mut plain),
        other => panic!("nobody packs with {other}"),
    }
    .expect("unpacks");
    plain
}
