//! The servers under load, each a process of its own.

use crate::cores::Cores;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// A running server. Killed when dropped.
pub struct Child {
    process: std::process::Child,
    /// Where it listens, on loopback.
    pub addr: SocketAddr,
    log: PathBuf,
}

/// What a server's log writers did, by its own closing line. A commit syncs one WAL once; a checkpoint syncs it and the
/// database file. The live view's and `server.db`'s own syncs are not counted.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Counts {
    /// Group commits.
    pub commits: u64,
    /// Pushes in them.
    pub pushes: u64,
    /// Events stored.
    pub events: u64,
    /// Checkpoints of logs.
    pub checkpoints: u64,
}

/// The program to measure.
pub fn binary(given: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given);
    }
    // Set by `cargo run`: what is beside this program may be of an older source.
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "td-server", "--bin", "td-sync"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        ensure!(build.status().context("cargo cannot be started")?.success(), "td-sync cannot be built");
    }
    let beside = std::env::current_exe()?.with_file_name("td-sync");
    ensure!(beside.exists(), "there is no td-sync beside this program; name one with --server FILE");
    Ok(beside)
}

/// An account, its key and a project, made in a server that is stopped again.
pub fn first_project(binary: &Path, cores: &Cores, dir: &Path) -> Result<(String, String)> {
    let admin = |words: &[&str]| -> Result<serde_json::Value> {
        let mut command = Command::new(binary);
        let output = environment(&mut command, dir).arg("admin").args(words).arg("--json").output()?;
        ensure!(output.status.success(), "td-sync admin: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let email = ["--email", "load@test.local"];
    admin(&[&["create-user"], &email[..]].concat())?;
    admin(&[&["grant"], &email[..]].concat())?;
    let key = admin(&[&["create-key"], &email[..], &["--name", "load"]].concat())?;
    let key = key["api_key"].as_str().context("no api_key in the answer")?.to_owned();
    let server = Child::td_sync(binary, cores, dir)?;
    let project = crate::drive::create_project(server.addr, &key)?;
    server.stop()?;
    Ok((key, project))
}

impl Child {
    /// The empty route.
    pub fn hello(cores: &Cores, dir: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--hello");
        Self::start(command, cores, dir.join("hello.log"), |line| line.parse().ok())
    }

    /// The product, on the data of `dir`.
    pub fn td_sync(binary: &Path, cores: &Cores, dir: &Path) -> Result<Self> {
        let mut command = Command::new(binary);
        environment(&mut command, dir).arg("serve");
        Self::start(command, cores, dir.join("server.log"), |line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            line["addr"].as_str()?.parse().ok()
        })
    }

    fn start(
        mut command: Command,
        cores: &Cores,
        log: PathBuf,
        addr_in: impl Fn(&str) -> Option<SocketAddr>,
    ) -> Result<Self> {
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let process = cores.on_server(|| Ok(command.spawn()?)).with_context(|| format!("{command:?}"))?;
        let mut child = Self { process, addr: SocketAddr::from(([127, 0, 0, 1], 0)), log };
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(addr) = lines(&child.log)?.find_map(|line| addr_in(&line)) {
                child.addr = addr;
                return Ok(child);
            }
            if let Some(status) = child.process.try_wait()? {
                bail!("{command:?} ended with {status}:\n{}", std::fs::read_to_string(&child.log)?);
            }
            pause();
        }
        bail!("{command:?} did not say where it listens")
    }

    /// Ends it politely. What it says of its commits, if it is a td-sync.
    pub fn stop(mut self) -> Result<Option<Counts>> {
        let pid = Pid::from_raw(i32::try_from(self.process.id())?).context("a process id")?;
        kill_process(pid, Signal::TERM)?;
        let begun = Instant::now();
        while self.process.try_wait()?.is_none() {
            ensure!(begun.elapsed() < PATIENCE, "the server does not stop");
            pause();
        }
        let said = lines(&self.log)?.filter(|line| line.contains("\"logs closed\"")).last();
        Ok(said.map(|line| serde_json::from_str(&line)).transpose()?)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already; there is nothing else to do about one that has not.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Only what is measured is set; no other `SYNC_*` of the caller's reaches the server.
fn environment<'a>(command: &'a mut Command, dir: &Path) -> &'a mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SYNC_") {
            command.env_remove(name);
        }
    }
    command
        .env("SYNC_SERVER_DB_PATH", dir.join("data").join("server.db"))
        .env("SYNC_LISTEN_ADDR", "127.0.0.1:0")
        // One key and one project carry the whole load.
        .env("SYNC_RATE_LIMIT_PUSH", "1000000000")
        .env("SYNC_RATE_LIMIT_PULL", "1000000000")
        .env("SYNC_RATE_LIMIT_OTHER", "1000000000")
}

fn lines(path: &Path) -> Result<impl Iterator<Item = String> + use<>> {
    Ok(BufReader::new(File::open(path)?).lines().map_while(Result::ok))
}

#[allow(clippy::disallowed_methods, reason = "polls a child with a limit")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
