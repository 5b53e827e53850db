//! The supervisor's life.

use super::control::{self, Answer, Ask, Question, ServerStatus, SupervisorStatus};
use super::{Spec, SpecError, child, log};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use std::fs::{DirBuilder, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// First pause before a server that ended by itself is started again; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Connections wait in the socket's queue meanwhile, and clients give up after 30 seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A server that ran this long was healthy: the pause starts over.
const HEALTHY: Duration = Duration::from_secs(10);
/// How often the size of the log is looked at.
const LOG_LOOK: Duration = Duration::from_secs(10);

/// Why the supervisor, or the launcher of a server, ended.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// The specification or what it names cannot be used.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Another supervisor does this work.
    #[error("a supervisor already runs for {}", .0.display())]
    AlreadyRunning(PathBuf),
    /// A former server holds the lock and does not end.
    #[error("the server of a former supervisor still runs and does not end (lock {})", .0.display())]
    Orphan(PathBuf),
    /// The port belongs to somebody else.
    #[error("{address} cannot be listened on: {source}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// State folder, lock, control socket or signals.
    #[error("the supervisor cannot set itself up: {0}")]
    Prepare(#[source] io::Error),
    /// The program does not start.
    #[error("{program} cannot be started: {source}", program = .program.display())]
    Start {
        /// Which program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The supervisor that asked for a server has died since.
    #[error("the supervisor that asked for this server is gone")]
    Abandoned,
}

enum Message {
    Stop,
    Restart,
    ChildMoved,
    Asked(Question),
}

/// Runs until it is told to stop (by [`Ask::Stop`], SIGTERM or SIGINT).
///
/// Returns at once with [`SuperviseError::AlreadyRunning`] if another one does the work; waits, within the limit of the
/// specification, for the draining server of one that was killed.
pub fn supervise(spec_path: &Path) -> Result<(), SuperviseError> {
    let spec = Spec::read(spec_path)?;
    leave_session();
    let prepare = SuperviseError::Prepare;
    DirBuilder::new().recursive(true).mode(0o700).create(&spec.state).map_err(prepare)?;
    let lock = take_lock(&spec)?;
    let sockets = listen(&spec.listen, &[])?;
    let (sender, messages) = channel();
    watch_signals(sender.clone()).map_err(prepare)?;
    control::serve(&spec.state, sender, Message::Asked).map_err(prepare)?;
    log::say(&spec.log, &format!("started as process {}", std::process::id()));
    let mut supervisor = Supervisor {
        spec_path: spec_path.to_owned(),
        sockets,
        lock,
        server: None,
        start_at: Some(Instant::now()),
        pause: FIRST_PAUSE,
        starts: 0,
        last_exit: None,
        ending: None,
        spec,
    };
    supervisor.live(&messages);
    control::remove(&supervisor.spec.state);
    log::say(&supervisor.spec.log, "stopped");
    Ok(())
}

/// Out of the terminal's session: closing the terminal then sends us nothing. Whoever started us may have made us the
/// leader of a process group, and a leader cannot leave, so we first join our parent's group. If neither is allowed we
/// are out of the terminal's reach for another reason.
fn leave_session() {
    use rustix::process::{getpgid, getppid, setpgid, setsid};
    if setsid().is_err()
        && let Ok(group) = getpgid(getppid())
        && setpgid(None, Some(group)).is_ok()
    {
        let _ = setsid();
    }
}

struct Server {
    process: Child,
    started: Instant,
    status: ServerStatus,
}

/// A server is being ended.
struct Ending {
    again: bool,
    kill_at: Instant,
    askers: Vec<SyncSender<Answer>>,
}

struct Supervisor {
    spec_path: PathBuf,
    spec: Spec,
    sockets: Vec<(SocketAddr, TcpListener)>,
    lock: OwnedFd,
    server: Option<Server>,
    /// When to start the next server, if there is none.
    start_at: Option<Instant>,
    pause: Duration,
    starts: u64,
    last_exit: Option<String>,
    ending: Option<Ending>,
}

impl Supervisor {
    fn live(&mut self, messages: &Receiver<Message>) {
        loop {
            self.reap();
            if self.server.is_none() && self.ending.as_ref().is_some_and(|ending| !ending.again) {
                return;
            }
            let now = Instant::now();
            if self.server.is_none() && self.start_at.is_none_or(|at| at <= now) {
                self.start();
            }
            if let (Some(server), Some(ending)) = (&mut self.server, &mut self.ending)
                && ending.kill_at <= now
            {
                ending.kill_at = now + LOG_LOOK;
                log::say(&self.spec.log, "the server did not end in time and is killed");
                let _ = server.process.kill();
            }
            log::turn(&self.spec.log, self.spec.log_limit);
            match messages.recv_timeout(self.until_next_look()) {
                Ok(Message::Stop) => self.end(false, None),
                Ok(Message::Restart) => self.restart(None),
                Ok(Message::Asked((Ask::Stop, asker))) => self.end(false, Some(asker)),
                Ok(Message::Asked((Ask::Restart, asker))) => self.restart(Some(asker)),
                Ok(Message::Asked((Ask::Status, asker))) => answer(vec![asker], &Ok(self.status())),
                Ok(Message::ChildMoved) | Err(RecvTimeoutError::Timeout) => {}
                // Both senders live in threads that never end.
                Err(RecvTimeoutError::Disconnected) => self.end(false, None),
            }
        }
    }

    fn until_next_look(&self) -> Duration {
        let next = match (&self.server, &self.ending) {
            (Some(_), Some(ending)) => Some(ending.kill_at),
            (None, _) => self.start_at,
            _ => None,
        };
        next.map_or(LOG_LOOK, |at| at.saturating_duration_since(Instant::now()).min(LOG_LOOK))
            .max(Duration::from_millis(10))
    }

    fn start(&mut self) {
        let sockets: Vec<_> = self.sockets.iter().map(|(_, socket)| socket).collect();
        let started = self.spec.origin().map_err(SuperviseError::from).and_then(|origin| {
            Ok((origin, child::start(&self.spec_path, &self.spec, &sockets, &self.lock)?))
        });
        match started {
            Ok((origin, process)) => {
                let since = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
                let status = ServerStatus { pid: process.id(), since, origin };
                log::say(&self.spec.log, &format!("server started as process {}", status.pid));
                self.server = Some(Server { process, started: Instant::now(), status });
                self.starts += 1;
                self.start_at = None;
                if let Some(ending) = self.ending.take() {
                    answer(ending.askers, &Ok(self.status()));
                }
            }
            Err(error) => {
                self.last_exit = Some(error.to_string());
                self.start_later();
                log::say(&self.spec.log, &error.to_string());
                if let Some(ending) = self.ending.take() {
                    answer(ending.askers, &Err(error.to_string()));
                }
            }
        }
    }

    fn start_later(&mut self) {
        self.start_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn reap(&mut self) {
        let Some(server) = &mut self.server else { return };
        let exit = match server.process.try_wait() {
            Ok(None) => return,
            Ok(Some(exit)) => exit.to_string(),
            Err(error) => error.to_string(),
        };
        let ran = server.started.elapsed();
        log::say(&self.spec.log, &format!("server {} ended: {exit}", server.status.pid));
        self.last_exit = Some(exit);
        self.server = None;
        if self.ending.is_some() || ran >= HEALTHY {
            self.pause = FIRST_PAUSE;
        }
        if self.ending.is_some() {
            self.start_at = None;
        } else {
            self.start_later();
        }
    }

    fn restart(&mut self, asker: Option<SyncSender<Answer>>) {
        // Everything that can be wrong is found while the old server still answers.
        let reloaded = Spec::read(&self.spec_path).map_err(SuperviseError::from).and_then(|spec| {
            spec.environment()?;
            let sockets = listen(&spec.listen, &self.sockets)?;
            Ok((spec, sockets))
        });
        match reloaded {
            Ok((spec, sockets)) if spec.state == self.spec.state => {
                self.sockets = sockets;
                self.spec = spec;
                self.end(true, asker);
            }
            Ok(_) => answer(
                asker.into_iter().collect(),
                &Err("the state folder cannot move; stop and start".into()),
            ),
            Err(error) => {
                log::say(&self.spec.log, &format!("not restarted: {error}"));
                answer(asker.into_iter().collect(), &Err(error.to_string()));
            }
        }
    }

    fn end(&mut self, again: bool, asker: Option<SyncSender<Answer>>) {
        let kill_at = Instant::now() + Duration::from_secs(self.spec.stop_limit);
        let ending = self.ending.get_or_insert_with(|| Ending { again, kill_at, askers: Vec::new() });
        // A stop outweighs a restart that is under way.
        ending.again &= again;
        ending.askers.extend(asker);
        if let Some(server) = &self.server {
            // Not reaped yet, so the pid is still this child's.
            let _ = kill_process(Pid::from_child(&server.process), Signal::TERM);
        } else {
            self.start_at = None;
        }
    }

    fn status(&self) -> SupervisorStatus {
        SupervisorStatus {
            pid: std::process::id(),
            server: self.server.as_ref().map(|server| server.status.clone()),
            starts: self.starts,
            last_exit: self.last_exit.clone(),
            listen: self.sockets.iter().map(|(address, _)| *address).collect(),
        }
    }
}

fn answer(askers: Vec<SyncSender<Answer>>, text: &Answer) {
    for asker in askers {
        let _ = asker.try_send(text.clone());
    }
}

/// Binds what is not bound yet.
fn listen(
    addresses: &[SocketAddr],
    bound: &[(SocketAddr, TcpListener)],
) -> Result<Vec<(SocketAddr, TcpListener)>, SuperviseError> {
    let one = |address: &SocketAddr| {
        let socket = match bound.iter().find(|(known, _)| known == address) {
            Some((_, socket)) => socket.try_clone(),
            None => TcpListener::bind(address),
        };
        socket
            .map(|socket| (*address, socket))
            .map_err(|source| SuperviseError::Listen { address: *address, source })
    };
    addresses.iter().map(one).collect()
}

fn take_lock(spec: &Spec) -> Result<OwnedFd, SuperviseError> {
    let path = spec.state.join(control::LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(SuperviseError::Prepare)?;
    let limit = Instant::now() + Duration::from_secs(spec.stop_limit + 5);
    let mut told = false;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file.into()),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(SuperviseError::Prepare(error.into())),
        }
        if control::Control::new(&spec.state).status().is_ok_and(|status| status.is_some()) {
            return Err(SuperviseError::AlreadyRunning(spec.state.clone()));
        }
        if Instant::now() >= limit {
            return Err(SuperviseError::Orphan(path));
        }
        if !told {
            told = true;
            log::say(&spec.log, "waiting for the server of a former supervisor to end");
        }
        #[allow(clippy::disallowed_methods, reason = "the lock is polled, with a limit above")]
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn watch_signals(messages: Sender<Message>) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGCHLD])?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let message = match signal {
                SIGHUP => Message::Restart,
                SIGCHLD => Message::ChildMoved,
                _ => Message::Stop,
            };
            if messages.send(message).is_err() {
                return;
            }
        }
    });
    Ok(())
}
