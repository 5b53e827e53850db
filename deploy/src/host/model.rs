//! A machine in memory, for tests.
//!
//! Duty: the same answers as a real host, and faults on demand: an error at any operation, before or after its effect.
//! Invariant: strict. What it does not model is [`HostError::Unmodelled`], so a test cannot pass by accident.
//! Danger: a model that drifts proves nothing; it passes the same contract suite as the local host.

mod files;

use super::{Clock, Commands, Detached, HostError, Look, Ports, ProcessId, Program, Queries, Ran, Signal};
use crate::facts::Facts;
use crate::fault::Crash;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a modelled program does to the world when it is run or spawned.
pub type Behaviour = Arc<dyn Fn(&mut World, &Call<'_>) -> Result<Ran, HostError> + Send + Sync>;

/// How a modelled program was called.
#[derive(Debug)]
pub struct Call<'a> {
    /// Arguments.
    pub args: &'a [String],
    /// Its environment.
    pub env: &'a BTreeMap<String, String>,
    /// What it was given to read.
    pub stdin: &'a [u8],
    /// The process it is, if it was left running.
    pub pid: Option<u32>,
}

/// Everything that makes a difference between two states of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    files: BTreeMap<PathBuf, Node>,
    processes: BTreeMap<u32, Process>,
    listeners: BTreeMap<SocketAddr, u32>,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Dir { mode: u32 },
    File { mode: u32, content: Vec<u8> },
    Link { to: PathBuf },
}

/// A process that was left running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

/// What an injected fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// An error; nothing has happened.
    ErrorBefore,
    /// An error, but it has happened: the answer is lost.
    ErrorAfter,
    /// The program dies ([`Crash`] unwinds) before it happens.
    CrashBefore,
    /// The program dies after it has happened.
    CrashAfter,
}

impl Strike {
    /// All of them.
    pub const ALL: &'static [Strike] =
        &[Self::ErrorBefore, Self::ErrorAfter, Self::CrashBefore, Self::CrashAfter];
}

struct State {
    world: World,
    programs: BTreeMap<PathBuf, Behaviour>,
    facts: Facts,
    now: Duration,
    next_pid: u32,
    operations: u32,
    fault: Option<(u32, Strike)>,
}

/// The machine.
pub struct ModelHost(Mutex<State>);

impl fmt::Debug for ModelHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModelHost").field(&self.lock().world).finish()
    }
}

impl ModelHost {
    /// An empty machine that says this about itself; `/` and the home folder are there.
    pub fn new(facts: Facts) -> Self {
        let mut world = World::default();
        for dir in facts.home.ancestors() {
            world.files.insert(dir.into(), Node::Dir { mode: 0o755 });
        }
        Self(Mutex::new(State {
            world,
            programs: BTreeMap::new(),
            facts,
            now: Duration::ZERO,
            next_pid: 100,
            operations: 0,
            fault: None,
        }))
    }

    /// A machine with a home folder and nothing else.
    pub fn bare() -> Self {
        let home = PathBuf::from("/home/ada");
        Self::new(Facts {
            os: "linux".into(),
            arch: "x86_64".into(),
            hostname: "model".into(),
            uid: 1000,
            user: "ada".into(),
            config_home: home.join(".config"),
            data_home: home.join(".local/share"),
            state_home: home.join(".local/state"),
            runtime_dir: None,
            path: vec!["/usr/bin".into()],
            systemd: false,
            boot_id: Some("boot-1".into()),
            program: "/usr/bin/td-sync-setup".into(),
            home,
        })
    }

    /// Teaches it a program. The file itself is put there if it is not.
    pub fn teach(&self, program: impl Into<PathBuf>, behaviour: Behaviour) {
        let program = program.into();
        let mut state = self.lock();
        for dir in program.ancestors().skip(1) {
            state.world.files.entry(dir.into()).or_insert(Node::Dir { mode: 0o755 });
        }
        let file = Node::File { mode: 0o755, content: program.to_string_lossy().as_bytes().to_vec() };
        state.world.files.entry(program.clone()).or_insert(file);
        state.programs.insert(program, behaviour);
    }

    /// Everything as it is now, for comparing. Process numbers do not count, only what runs.
    pub fn picture(&self) -> World {
        let state = self.lock();
        let mut world = state.world.clone();
        let mut running: Vec<Process> = std::mem::take(&mut world.processes).into_values().collect();
        running.sort_by(|a, b| (&a.program, &a.args).cmp(&(&b.program, &b.args)));
        world.processes = running.into_iter().enumerate().map(|(i, p)| (i as u32, p)).collect();
        world.listeners.values_mut().for_each(|pid| *pid = 0);
        world
    }

    /// From now on, the `n`-th changing operation (from 1) is struck.
    pub fn strike_at(&self, n: u32, strike: Strike) {
        let mut state = self.lock();
        state.operations = 0;
        state.fault = Some((n, strike));
    }

    /// No more faults. Says how many changing operations there were since the last call or `strike_at`.
    pub fn calm(&self) -> u32 {
        let mut state = self.lock();
        state.fault = None;
        std::mem::take(&mut state.operations)
    }

    /// The power goes: processes are gone, files stay.
    pub fn reboot(&self, boot_id: &str) {
        let mut state = self.lock();
        state.world.processes.clear();
        state.world.listeners.clear();
        state.facts.boot_id = Some(boot_id.into());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A changing operation, with the fault that was asked for.
    fn change<T>(
        &self,
        op: &'static str,
        path: &Path,
        f: impl FnOnce(&mut State) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let mut state = self.lock();
        state.operations += 1;
        let strike = state.fault.filter(|(n, _)| *n == state.operations).map(|(_, strike)| strike);
        let injected = || HostError::Io { op, path: path.into(), why: "injected".into() };
        match strike {
            None => f(&mut state),
            Some(Strike::ErrorBefore) => Err(injected()),
            Some(Strike::ErrorAfter) => f(&mut state).and(Err(injected())),
            Some(Strike::CrashBefore) => std::panic::resume_unwind(Box::new(Crash)),
            Some(Strike::CrashAfter) => {
                let _ = f(&mut state);
                std::panic::resume_unwind(Box::new(Crash))
            }
        }
    }
}

impl World {
    /// Opens a port for a process.
    pub fn listen(&mut self, at: SocketAddr, pid: u32) {
        self.listeners.insert(at, pid);
    }

    /// What runs.
    pub fn running(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }
}

fn program_of(state: &State, program: &Path) -> Result<Behaviour, HostError> {
    let full = if program.is_absolute() {
        program.to_path_buf()
    } else {
        let found =
            state.facts.path.iter().map(|d| d.join(program)).find(|p| state.world.files.contains_key(p));
        found.ok_or_else(|| HostError::NoProgram {
            program: program.into(),
            why: "it is not in PATH".into(),
        })?
    };
    // A program may be known by its place or by its content: a copy of it is the same program.
    let file =
        state.world.read(&full).map(|content| PathBuf::from(String::from_utf8_lossy(content).into_owned()));
    let behaviour = state.programs.get(&full).or_else(|| state.programs.get(file.as_ref()?));
    if file.is_none() {
        return Err(HostError::NoProgram { program: full, why: "No such file or directory".into() });
    }
    behaviour.cloned().ok_or_else(|| HostError::Unmodelled(format!("program {}", full.display())))
}

fn execute(state: &mut State, what: &Program) -> Result<Ran, HostError> {
    let behaviour = program_of(state, &what.program)?;
    let call = Call { args: &what.args, env: &what.env, stdin: &what.stdin, pid: None };
    let mut ran = match behaviour(&mut state.world, &call) {
        Err(HostError::TimedOut { tail, .. }) => {
            state.now += what.limit;
            return Err(HostError::TimedOut { shown: what.shown(), limit: what.limit, tail });
        }
        other => other?,
    };
    for stream in [&mut ran.stdout, &mut ran.stderr] {
        ran.dropped += stream.len().saturating_sub(what.keep) as u64;
        stream.truncate(what.keep);
    }
    Ok(ran)
}

impl Queries for ModelHost {
    fn process(&self, pid: u32) -> Result<Option<ProcessId>, HostError> {
        let state = self.lock();
        Ok(state.world.processes.get(&pid).map(|_| ProcessId { pid, started: format!("start {pid}") }))
    }

    fn query(&self, program: &Program) -> Result<Ran, HostError> {
        let mut state = self.lock();
        let before = state.world.clone();
        let ran = execute(&mut state, program)?;
        if state.world == before {
            Ok(ran)
        } else {
            Err(HostError::Unmodelled("a query that changes".into()))
        }
    }
}

impl Commands for ModelHost {
    fn run(&self, program: &Program) -> Result<Ran, HostError> {
        self.change("run", &program.program, |state| execute(state, program))
    }

    fn spawn(&self, what: &Detached) -> Result<ProcessId, HostError> {
        self.change("start", &what.program, |state| {
            let behaviour = program_of(state, &what.program)?;
            let pid = state.next_pid;
            state.next_pid += 1;
            if state.world.read(&what.log).is_none() {
                state.world.put(&what.log, Node::File { mode: 0o600, content: Vec::new() }, "write")?;
            }
            let process = Process { program: what.program.clone(), args: what.args.clone() };
            state.world.processes.insert(pid, process);
            let call = Call { args: &what.args, env: &what.env, stdin: &[], pid: Some(pid) };
            behaviour(&mut state.world, &call)?;
            Ok(ProcessId { pid, started: format!("start {pid}") })
        })
    }

    fn signal(&self, process: &ProcessId, signal: Signal) -> Result<bool, HostError> {
        self.change("signal", Path::new(&process.pid.to_string()), |state| {
            if process.started != format!("start {}", process.pid) {
                return Ok(false);
            }
            if signal == Signal::Hangup {
                return Ok(state.world.processes.contains_key(&process.pid));
            }
            state.world.listeners.retain(|_, pid| *pid != process.pid);
            Ok(state.world.processes.remove(&process.pid).is_some())
        })
    }
}

impl Ports for ModelHost {
    fn port_is_free(&self, at: SocketAddr) -> Result<bool, HostError> {
        Ok(!self.lock().world.listeners.contains_key(&at))
    }

    fn port_answers(&self, at: SocketAddr, _limit: Duration) -> Result<bool, HostError> {
        Ok(self.lock().world.listeners.contains_key(&at))
    }
}

impl Clock for ModelHost {
    fn monotonic(&self) -> Duration {
        self.lock().now
    }

    fn unix(&self) -> Duration {
        Duration::from_secs(1_700_000_000) + self.lock().now
    }

    fn pause(&self, for_: Duration) {
        self.lock().now += for_;
    }
}

impl Look for ModelHost {
    fn facts(&self) -> Result<Facts, HostError> {
        Ok(self.lock().facts.clone())
    }
}
