//! From the supervisor's process to the server's.
//!
//! The supervisor starts the *launcher* with the sockets already in place; [`exec_server`] runs inside that new process,
//! prepares what only the process itself can (its own pid in `LISTEN_PID`, the death signal) and becomes the server.

use super::{Spec, SuperviseError, log};
use command_fds::{CommandFdExt as _, FdMapping};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// First descriptor of systemd's protocol.
const FIRST: i32 = 3;

/// Starts the launcher with the sockets from descriptor 3 on and the lock behind them.
///
/// Must be called on a thread that lives as long as the supervisor: the kernel delivers the death signal when the
/// *thread* that made the process ends.
pub(super) fn start(
    spec_path: &Path,
    spec: &Spec,
    sockets: &[&std::net::TcpListener],
    lock: &OwnedFd,
) -> Result<Child, SuperviseError> {
    let io = |source| SuperviseError::Start { program: spec.program.clone(), source };
    let mut mappings = Vec::new();
    for (number, socket) in (FIRST..).zip(sockets) {
        let parent_fd = socket.as_fd().try_clone_to_owned().map_err(io)?;
        mappings.push(FdMapping { parent_fd, child_fd: number });
    }
    let behind = FIRST + i32::try_from(sockets.len()).unwrap_or(i32::MAX - FIRST);
    mappings.push(FdMapping { parent_fd: lock.try_clone().map_err(io)?, child_fd: behind });
    let output = log::open(&spec.log).map_err(io)?;
    let mut command = Command::new(&spec.launcher);
    command
        .arg("exec-server")
        .arg("--spec")
        .arg(spec_path)
        .arg("--supervisor")
        .arg(std::process::id().to_string())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(io)?)
        .stderr(output);
    command.fd_mappings(mappings).map_err(|error| io(std::io::Error::other(error)))?;
    command.spawn().map_err(io)
}

/// Becomes the server of `spec_path`. Returns only with the reason why it could not.
///
/// `supervisor` is the pid of the process that asked: if it is already gone, nobody would end this server, so it does not
/// start.
pub fn exec_server(spec_path: &Path, supervisor: u32) -> SuperviseError {
    match prepared(spec_path, supervisor) {
        Ok((program, mut command)) => SuperviseError::Start { program, source: command.exec() },
        Err(error) => error,
    }
}

fn prepared(spec_path: &Path, supervisor: u32) -> Result<(std::path::PathBuf, Command), SuperviseError> {
    die_with_parent(supervisor)?;
    let spec = Spec::read(spec_path)?;
    let mut command = Command::new(&spec.program);
    command.args(&spec.args).current_dir(&spec.directory).env_clear();
    command.envs(spec.environment()?.iter());
    command.env("LISTEN_FDS", spec.listen.len().to_string());
    // exec keeps the process, so the pid of now is the server's.
    command.env("LISTEN_PID", std::process::id().to_string());
    Ok((spec.program, command))
}

/// SIGTERM, not SIGKILL: an orphan drains and flushes before it goes.
#[cfg(target_os = "linux")]
fn die_with_parent(supervisor: u32) -> Result<(), SuperviseError> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| SuperviseError::Prepare(error.into()))?;
    // The signal is sent for deaths after the call above; an earlier one shows as another parent.
    let parent = getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
    if parent == supervisor { Ok(()) } else { Err(SuperviseError::Abandoned) }
}

/// Other systems have no death signal: an orphan is found by its lock and has to be stopped by hand.
#[cfg(not(target_os = "linux"))]
fn die_with_parent(_supervisor: u32) -> Result<(), SuperviseError> {
    Ok(())
}
