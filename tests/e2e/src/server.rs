//! A real `td-sync serve` in a folder of its own, and what an operator does with it.

use crate::{binary, wait_until};
use serde_json::Value;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server process with its data directory. Killed when dropped.
pub struct Server {
    dir: PathBuf,
    address: SocketAddr,
    settings: Vec<(String, String)>,
    process: Option<Child>,
}

impl Server {
    /// Makes an empty data directory in `dir` and starts a server on a free loopback port.
    pub fn start(dir: &Path) -> Self {
        Self::with(dir, &[])
    }

    /// [`Server::start`] with more settings; they win.
    pub fn with(dir: &Path, settings: &[(&str, &str)]) -> Self {
        // The port is free at this moment only; a server that cannot bind says so and the test fails with its words.
        let probe = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = probe.local_addr().expect("an address");
        drop(probe);
        std::fs::create_dir_all(dir).expect("data directory");
        let settings = settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let mut server = Self { dir: dir.to_path_buf(), address, settings, process: None };
        server.restart();
        server
    }

    /// Starts the process (again) and waits until it is ready; one that gets its certificates itself is ready when it
    /// has one, so it is waited for only until it answers.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "still running");
        let log = std::fs::OpenOptions::new().append(true).create(true).open(self.log()).expect("log file");
        let child = self.command(&["serve"]).stdout(log.try_clone().expect("log")).stderr(log).spawn();
        self.process = Some(child.expect("td-sync starts"));
        let path = if self.settings.iter().any(|(_, v)| v == "acme") { "healthz" } else { "readyz" };
        let ready = wait_until(Duration::from_secs(20), || {
            let gone = self.process.as_mut().and_then(|p| p.try_wait().ok().flatten());
            assert!(gone.is_none(), "the server ended with {gone:?}:\n{}", self.log_text());
            ureq::get(format!("{}/{path}", self.url())).call().is_ok()
        });
        assert!(ready, "the server is not ready:\n{}", self.log_text());
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("SIGKILL");
            process.wait().expect("the process ends");
        }
    }

    /// SIGTERM; returns the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut process = self.process.take()?;
        let pid = rustix::process::Pid::from_child(&process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
        process.wait().expect("the process ends").code()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("running").id()
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder of server.db.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs `td-sync admin …` with `--json` and gives its answer.
    pub fn admin(&self, words: &[&str]) -> Value {
        let mut all = vec!["admin"];
        all.extend(words);
        all.push("--json");
        let out = self.command(&all).output().expect("td-sync runs");
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "td-sync {all:?}: {text}{}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("td-sync {all:?} printed {text:?}: {e}"))
    }

    /// A key for the address, which is created if need be.
    pub fn key(&self, email: &str) -> String {
        self.admin(&["create-user", "--email", email]);
        let answer = self.admin(&["create-key", "--email", email, "--name", "test"]);
        answer["api_key"].as_str().unwrap_or_else(|| panic!("no api_key in {answer}")).to_string()
    }

    /// What one check of `td-sync doctor` says.
    pub fn doctor(&self, id: &str) -> Value {
        let out = self.command(&["doctor", "--json", "--only", id]).output().expect("td-sync runs");
        let report: Value = serde_json::from_slice(&out.stdout).expect("json");
        let check = report["checks"].as_array().and_then(|all| all.iter().find(|c| c["id"] == id));
        check.unwrap_or_else(|| panic!("no {id} in {report}")).clone()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary("td-sync"));
        command.args(words).env_clear().stdin(Stdio::null());
        command.env("SYNC_LISTEN_ADDR", self.address.to_string()).env("SYNC_BASE_URL", self.url());
        command.env("SYNC_SERVER_DB_PATH", self.dir.join("server.db"));
        command.env("SYNC_PROJECT_DATA_DIR", self.dir.join("projects"));
        for class in ["AUTH", "PUSH", "PULL", "OTHER"] {
            command.env(format!("SYNC_RATE_LIMIT_{class}"), "1000000");
        }
        command.envs(self.settings.iter().map(|(k, v)| (k, v)));
        command
    }

    fn log(&self) -> PathBuf {
        self.dir.with_extension("log")
    }

    /// What it logged, without the line that every request leaves.
    pub fn log_text(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().filter(|l| !l.contains("\"msg\":\"req\"")).map(|l| format!("{l}\n")).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
