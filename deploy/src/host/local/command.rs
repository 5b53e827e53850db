//! Programs on this machine.
//!
//! Duty: run them without a shell, with a limit, and with both output streams read all the time.
//! Invariant: a program that runs over its limit is killed with all its process group.
//! Danger: a grandchild that keeps the pipes open would hold us for ever, so after the end of the program its output is
//! waited for only a moment.

use super::{LocalHost, io_error};
use crate::host::{Commands, Detached, HostError, ProcessId, Program, Queries, Ran, Signal};
use rustix::process::{Pid, kill_process, kill_process_group};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long after a program's end the rest of its output is waited for.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// How often its end is looked for; the end of its output wakes us earlier.
const LOOK: Duration = Duration::from_millis(10);

impl LocalHost {
    /// A full path, or the first program of that name in the path of this host.
    fn find(&self, program: &Path) -> Result<PathBuf, HostError> {
        if program.components().count() > 1 || program.is_absolute() {
            return Ok(program.into());
        }
        let found = self.path().into_iter().map(|dir| dir.join(program)).find(|p| p.is_file());
        found.ok_or_else(|| HostError::NoProgram { program: program.into(), why: "it is not in PATH".into() })
    }

    fn execute(&self, what: &Program) -> Result<Ran, HostError> {
        let program = self.find(&what.program)?;
        let mut command = Command::new(&program);
        command.args(&what.args).env_clear().process_group(0);
        if !what.clean_env {
            command.envs(&self.env);
        }
        command.envs(&what.env).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(dir) = &what.dir {
            command.current_dir(dir);
        }
        let mut child = command.spawn().map_err(|e| cannot_start(&program, &e))?;
        let (done, all_read) = channel();
        if let (Some(mut pipe), bytes) = (child.stdin.take(), what.stdin.clone()) {
            // The program may end without reading it all.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let out = child.stdout.take().map(|pipe| collect(pipe, what.keep, done.clone()));
        let err = child.stderr.take().map(|pipe| collect(pipe, what.keep, done));
        let ended =
            wait(&mut child, &all_read, what.limit).map_err(|e| io_error("wait for", &program, &e))?;
        let (stdout, dropped_out) = out.map(taken).unwrap_or_default();
        let (stderr, dropped_err) = err.map(taken).unwrap_or_default();
        let dropped = dropped_out + dropped_err;
        let mut ran = Ran { code: None, signal: None, stdout, stderr, dropped };
        let Some(status) = ended else {
            let tail = ran.tail(20);
            return Err(HostError::TimedOut { shown: what.shown(), limit: what.limit, tail });
        };
        (ran.code, ran.signal) = (status.code(), status.signal());
        Ok(ran)
    }
}

type Collected = Arc<Mutex<(Vec<u8>, u64)>>;

/// Reads a pipe to its end, keeping the first `keep` bytes.
fn collect(mut pipe: impl Read + Send + 'static, keep: usize, done: Sender<()>) -> Collected {
    let collected = Collected::default();
    let ours = Arc::clone(&collected);
    std::thread::spawn(move || {
        let mut chunk = [0; 8192];
        while let Ok(n @ 1..) = pipe.read(&mut chunk) {
            let mut to = ours.lock().unwrap_or_else(PoisonError::into_inner);
            let room = keep.saturating_sub(to.0.len()).min(n);
            to.0.extend_from_slice(&chunk[..room]);
            to.1 += (n - room) as u64;
        }
        let _ = done.send(());
    });
    collected
}

fn taken(from: Collected) -> (Vec<u8>, u64) {
    std::mem::take(&mut *from.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Waits for the end; none if the limit came first and the group was killed.
fn wait(
    child: &mut Child,
    all_read: &Receiver<()>,
    limit: Duration,
) -> std::io::Result<Option<std::process::ExitStatus>> {
    let until = Instant::now() + limit;
    let mut open = 2;
    let ended = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            kill_group(child);
            child.wait()?;
            break None;
        }
        match all_read.recv_timeout(left.min(LOOK)) {
            Ok(()) => open -= 1,
            Err(RecvTimeoutError::Timeout) => {}
            // Both streams are closed; only the end itself is missing.
            Err(RecvTimeoutError::Disconnected) => std::thread::park_timeout(left.min(LOOK)),
        }
    };
    let until = Instant::now() + AFTERWARDS;
    while open > 0 {
        match all_read.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(()) => open -= 1,
            Err(_) => break,
        }
    }
    Ok(ended)
}

fn kill_group(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let killed = group.is_some_and(|g| kill_process_group(g, rustix::process::Signal::KILL).is_ok());
    if !killed {
        let _ = child.kill();
    }
}

fn cannot_start(program: &Path, e: &std::io::Error) -> HostError {
    HostError::NoProgram { program: program.into(), why: e.to_string() }
}

impl Queries for LocalHost {
    #[cfg(target_os = "linux")]
    fn process(&self, pid: u32) -> Result<Option<ProcessId>, HostError> {
        let path = PathBuf::from(format!("/proc/{pid}/stat"));
        let stat = match std::fs::read_to_string(&path) {
            Ok(stat) => stat,
            // ESRCH: it ended while we were reading.
            Err(e) if e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(3) => return Ok(None),
            Err(e) => return Err(io_error("look at", &path, &e)),
        };
        // The name in parentheses may hold anything, so count from its end: state is the first field behind it, the
        // start the twentieth.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ended = matches!(fields.first(), None | Some(&"Z" | &"X"));
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let started = fields.get(19).filter(|_| !ended);
        Ok(started.map(|ticks| ProcessId { pid, started: format!("{}/{ticks}", boot.trim()) }))
    }

    #[cfg(not(target_os = "linux"))]
    fn process(&self, pid: u32) -> Result<Option<ProcessId>, HostError> {
        let look = Program::new("/bin/ps", Duration::from_secs(5)).args(["-o", "stat=,lstart=", "-p"]);
        let ran = self.execute(&look.arg(pid.to_string()))?;
        let text = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
        let found = text.split_once(char::is_whitespace).filter(|(stat, _)| !stat.starts_with('Z'));
        Ok(found.map(|(_, start)| ProcessId { pid, started: start.trim().into() }))
    }

    fn query(&self, program: &Program) -> Result<Ran, HostError> {
        self.execute(program)
    }
}

impl Commands for LocalHost {
    fn run(&self, program: &Program) -> Result<Ran, HostError> {
        self.execute(program)
    }

    fn spawn(&self, what: &Detached) -> Result<ProcessId, HostError> {
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&what.log);
        let log = log.map_err(|e| io_error("write", &what.log, &e))?;
        let both = log.try_clone().map_err(|e| io_error("write", &what.log, &e))?;
        let mut command = Command::new(&what.program);
        command.args(&what.args).env_clear().envs(&what.env).current_dir(&what.dir).process_group(0);
        command.stdin(Stdio::null()).stdout(log).stderr(both);
        let mut child = command.spawn().map_err(|e| cannot_start(&what.program, &e))?;
        let pid = child.id();
        let id = self.process(pid)?;
        // Takes its exit status when it ends before us, so that it is no zombie.
        std::thread::spawn(move || child.wait());
        id.ok_or_else(|| HostError::NoProgram {
            program: what.program.clone(),
            why: format!("it ended at once; see {}", what.log.display()),
        })
    }

    fn signal(&self, process: &ProcessId, signal: Signal) -> Result<bool, HostError> {
        if self.process(process.pid)?.as_ref() != Some(process) {
            return Ok(false);
        }
        let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return Ok(false) };
        let signal = match signal {
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Hangup => rustix::process::Signal::HUP,
            Signal::Kill => rustix::process::Signal::KILL,
        };
        match kill_process(pid, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(e) => Err(io_error("signal", Path::new(&pid.to_string()), &e.into())),
        }
    }
}
