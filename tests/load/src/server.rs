//! The servers under load, each a process of its own.

use crate::cores::Cores;
use crate::http::{Answer, Connection};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const PATIENCE: Duration = Duration::from_secs(30);

/// A running server. Killed when dropped.
pub struct Child {
    process: std::process::Child,
    /// Where it listens, on loopback.
    pub addr: SocketAddr,
    log: PathBuf,
}

/// What a server's log writers did, by its own closing line.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Counts {
    /// Group commits.
    pub commits: u64,
    /// Pushes in them.
    pub pushes: u64,
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

/// A td-sync with a data directory of its own and the key of an admin.
pub struct TdSync {
    /// Its process.
    pub child: Child,
    /// The admin's key.
    pub key: String,
    socket: PathBuf,
}

/// How far a project's live view is behind its log.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// The newest sequence.
    pub head: u64,
    /// What the live view has applied.
    pub applied: u64,
}

impl TdSync {
    /// On an empty data directory.
    pub fn start(binary: &Path, cores: &Cores, dir: &Path) -> Result<Self> {
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
        let mut command = Command::new(binary);
        environment(&mut command, dir).arg("serve");
        let child = Child::start(command, cores, dir.join("server.log"), |line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            line["addr"].as_str()?.parse().ok()
        })?;
        Ok(Self { child, key, socket: socket(dir)? })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.child.addr
    }

    /// Makes a project.
    pub async fn project(&self, name: &str) -> Result<String> {
        let (mut connection, mut answer) = (Connection::open(self.addr()).await?, Answer::default());
        let body = serde_json::json!({"name": name}).to_string();
        connection.post("/v1/projects", &self.key, &body, &mut answer).await?;
        let made = answer.json()?;
        Ok(made["id"].as_str().with_context(|| format!("no project: {made}"))?.to_owned())
    }

    /// Asks by the admin socket, which costs the server next to nothing. `None` for a project that is not in use.
    pub async fn standing(&self, project: &str) -> Result<Option<Standing>> {
        let mut stream = UnixStream::connect(&self.socket).await.context("the admin socket")?;
        stream.write_all(b"{\"verb\":\"standing\"}\n").await?;
        let mut line = String::new();
        stream.read_to_string(&mut line).await?;
        let said: serde_json::Value = serde_json::from_str(&line)?;
        let projects = said["ok"]["json"]["projects"].as_array().with_context(|| line.clone())?;
        let ours = projects.iter().find(|p| p["project"] == project);
        let number = |of: &serde_json::Value| of.as_u64().with_context(|| line.clone());
        ours.map(|p| Ok(Standing { head: number(&p["head"])?, applied: number(&p["applied"])? })).transpose()
    }

    /// Waits until a project's live view has all of its log. How long that took.
    pub async fn caught_up(&self, project: &str, limit: Duration) -> Result<Duration> {
        let begun = Instant::now();
        while self.standing(project).await?.is_some_and(|s| s.applied < s.head) {
            ensure!(begun.elapsed() < limit, "the live view does not catch up");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(begun.elapsed())
    }
}

impl Child {
    /// The empty route.
    pub fn hello(cores: &Cores, dir: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--hello");
        Self::start(command, cores, dir.join("hello.log"), |line| line.parse().ok())
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

    /// Holds the server still while `other` is measured: what it has still to do must not be on the other's account.
    pub fn aside<T>(&self, other: impl FnOnce() -> Result<T>) -> Result<T> {
        self.send(Signal::STOP)?;
        let measured = other();
        self.send(Signal::CONT)?;
        measured
    }

    /// Processor time it has used.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The name before it is in brackets and may hold blanks.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).context("no times");
        let (user, system) = (ticks(11)?, ticks(12)?);
        Ok(Duration::from_secs_f64((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// Memory it holds now, in MiB.
    pub fn rss(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    /// Ends it politely. What it says of its commits, if it is a td-sync.
    pub fn stop(mut self) -> Result<Option<Counts>> {
        self.send(Signal::TERM)?;
        let begun = Instant::now();
        while self.process.try_wait()?.is_none() {
            ensure!(begun.elapsed() < PATIENCE, "the server does not stop");
            pause();
        }
        let said = lines(&self.log)?.filter(|line| line.contains("\"logs closed\"")).last();
        Ok(said.map(|line| serde_json::from_str(&line)).transpose()?)
    }

    fn send(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.process.id())?).context("a process id")?;
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already; there is nothing else to do about one that has not.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where a server binds its admin socket.
fn socket(dir: &Path) -> Result<PathBuf> {
    let dir = dir.canonicalize()?;
    let near = dir.join("td-sync.sock");
    if near.as_os_str().len() <= 100 {
        return Ok(near);
    }
    let name = Sha256::digest(dir.to_string_lossy().as_bytes());
    let name: String = name.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("/tmp/td-sync-{}/{name}.sock", rustix::process::getuid().as_raw()).into())
}

/// Only what is measured is set; no other `SYNC_*` of the caller's reaches the server.
fn environment<'a>(command: &'a mut Command, dir: &Path) -> &'a mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SYNC_") {
            command.env_remove(name);
        }
    }
    command
        .env("SYNC_SERVER_DB_PATH", dir.join("server.db"))
        .env("SYNC_LISTEN_ADDR", "127.0.0.1:0")
        // One key and one project carry the whole load.
        .env("SYNC_RATE_LIMIT_PUSH", "1000000000")
        .env("SYNC_RATE_LIMIT_PULL", "1000000000")
        .env("SYNC_RATE_LIMIT_OTHER", "1000000000")
        .env("SYNC_STREAMS_PER_KEY", "1000")
}

fn lines(path: &Path) -> Result<impl Iterator<Item = String> + use<>> {
    Ok(BufReader::new(File::open(path)?).lines().map_while(Result::ok))
}

#[allow(clippy::disallowed_methods, reason = "polls a child with a limit")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
