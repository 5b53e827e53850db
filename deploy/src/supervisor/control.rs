//! How other processes talk to the supervisor: a Unix socket in its state folder, one JSON line each way.

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Longest request or answer.
const LINE_LIMIT: u64 = 64 << 10;
/// Name of the socket in the state folder.
const SOCKET: &str = "supervisor.sock";
/// Name of the lock in the state folder: held while a supervisor or its server lives.
pub(super) const LOCK: &str = "supervisor.lock";

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// How things stand.
    Status,
    /// Read the specification again, end the server after it has drained, start it. Answered when the new one runs.
    Restart,
    /// End the server after it has drained, then the supervisor. Never answered: see [`Control::stop`].
    Stop,
}

/// The server process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its process.
    pub pid: u32,
    /// When it was started, RFC 3339.
    pub since: String,
    /// [`super::Spec::origin`] at its start.
    pub origin: String,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorStatus {
    /// The supervisor's process.
    pub pid: u32,
    /// The server, unless it is down just now.
    pub server: Option<ServerStatus>,
    /// Servers started so far.
    pub starts: u64,
    /// How the last one ended.
    pub last_exit: Option<String>,
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
}

/// Answer of the supervisor.
pub(super) type Answer = Result<SupervisorStatus, String>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No supervisor runs for this folder.
    #[error("no supervisor runs here ({})", .0.display())]
    NotRunning(PathBuf),
    /// It runs and said no.
    #[error("the supervisor refused: {0}")]
    Refused(String),
    /// It was told to end, and something still holds the lock.
    #[error("supervisor or server still run after {} seconds", .0.as_secs())]
    StillRunning(Duration),
    /// It runs and did not answer properly, or not in time.
    #[error("the supervisor does not answer: {0}")]
    Silent(io::Error),
}

/// The way to the supervisor of a state folder.
#[derive(Debug, Clone)]
pub struct Control {
    state: PathBuf,
}

impl Control {
    /// For the supervisor whose [`super::Spec::state`] this is.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    /// Asks and waits for the answer, at most `limit`.
    pub fn ask(&self, ask: Ask, limit: Duration) -> Result<SupervisorStatus, ControlError> {
        let mut stream =
            at(&self.state, |path| UnixStream::connect(path)).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ControlError::NotRunning(self.state.clone())
                }
                _ => ControlError::Silent(error),
            })?;
        let answer = (|| {
            stream.set_read_timeout(Some(limit))?;
            stream.set_write_timeout(Some(Duration::from_secs(5)))?;
            send(&mut stream, &ask)?;
            receive::<Answer>(&stream)
        })();
        answer.map_err(ControlError::Silent)?.map_err(ControlError::Refused)
    }

    /// Ends supervisor and server and waits until both are gone; also for the server of a supervisor that was killed.
    pub fn stop(&self, limit: Duration) -> Result<(), ControlError> {
        let until = Instant::now() + limit;
        match self.ask(Ask::Stop, limit) {
            // It ends without an answer: the end of the connection is the expected outcome.
            Ok(_) | Err(ControlError::NotRunning(_) | ControlError::Silent(_)) => {}
            Err(refused) => return Err(refused),
        }
        while self.anybody_lives() {
            if Instant::now() >= until {
                return Err(ControlError::StillRunning(limit));
            }
            #[allow(clippy::disallowed_methods, reason = "the lock is polled, with a limit above")]
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Whether a supervisor, or the server of one that was killed, lives: one of them holds the lock.
    #[must_use]
    pub fn anybody_lives(&self) -> bool {
        File::open(self.state.join(LOCK))
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
    }

    /// The status, or `None` if no supervisor runs.
    pub fn status(&self) -> Result<Option<SupervisorStatus>, ControlError> {
        match self.ask(Ask::Status, Duration::from_secs(5)) {
            Ok(status) => Ok(Some(status)),
            Err(ControlError::NotRunning(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Question of another process, with the way back.
pub(super) type Question = (Ask, SyncSender<Answer>);

/// Listens in the state folder and passes questions on. Only the holder of the lock may call this: it removes the socket
/// that a killed supervisor left.
pub(super) fn serve<M: Send + 'static>(
    state: &Path,
    questions: Sender<M>,
    wrap: fn(Question) -> M,
) -> io::Result<()> {
    remove(state);
    let listener = at(state, |path| UnixListener::bind(path))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let questions = questions.clone();
            std::thread::spawn(move || {
                // A caller that goes away or sends rubbish costs one thread for five seconds.
                let _ = converse(stream, |question| questions.send(wrap(question)).is_ok());
            });
        }
    });
    Ok(())
}

/// Takes the socket away.
pub(super) fn remove(state: &Path) {
    let _ = std::fs::remove_file(state.join(SOCKET));
}

fn converse(mut stream: UnixStream, pass_on: impl FnOnce(Question) -> bool) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let ask = receive(&stream)?;
    let (back, answer) = sync_channel(1);
    if pass_on((ask, back))
        && let Ok(answer) = answer.recv()
    {
        send(&mut stream, &answer)?;
    }
    Ok(())
}

fn send(stream: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn receive<T: for<'de> Deserialize<'de>>(stream: &UnixStream) -> io::Result<T> {
    let mut line = String::new();
    BufReader::new(stream).take(LINE_LIMIT).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// Calls `use_path` with a path to the socket that the kernel accepts: an address has room for 107 bytes, so a long one
/// goes through an open descriptor of its folder.
fn at<T>(state: &Path, use_path: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = state.join(SOCKET);
    if path.as_os_str().len() <= 100 || !cfg!(target_os = "linux") {
        return use_path(&path);
    }
    let folder = File::open(state)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&folder);
    use_path(&Path::new("/proc/self/fd").join(number.to_string()).join(SOCKET))
}
