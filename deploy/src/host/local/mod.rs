//! This machine.
//!
//! Duty: the real thing behind [`super::Host`], for the local target and for everything setup does on the laptop.
//! Invariant: what a program gets of the environment is what this host was made with, not what the process has.

mod command;
mod files;

use super::{Clock, HostError, Look, Ports};
use crate::facts::Facts;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The machine this process runs on.
#[derive(Clone, Debug)]
pub struct LocalHost {
    env: BTreeMap<String, String>,
    program: PathBuf,
    began: Instant,
}

impl LocalHost {
    /// With this environment; `program` is the setup program itself.
    pub fn new(env: BTreeMap<String, String>, program: PathBuf) -> Self {
        Self { env, program, began: Instant::now() }
    }

    /// With the environment of this process. Variables that are not text are left out.
    pub fn of_this_process() -> io::Result<Self> {
        let env =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Ok(Self::new(env.collect(), std::env::current_exe()?))
    }

    fn var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// A folder variable of the XDG rules: a relative path counts as none.
    fn folder(&self, name: &str) -> Option<PathBuf> {
        self.var(name).map(PathBuf::from).filter(|p| p.is_absolute())
    }

    fn path(&self) -> Vec<PathBuf> {
        let folders = self.var("PATH").map(|p| std::env::split_paths(p).collect::<Vec<_>>());
        folders.unwrap_or_default().into_iter().filter(|p| p.is_absolute()).collect()
    }
}

impl Look for LocalHost {
    fn facts(&self) -> Result<Facts, HostError> {
        let no_home = || HostError::Missing { op: "find the home folder", path: PathBuf::from("$HOME") };
        let home = self.folder("HOME").ok_or_else(no_home)?;
        let or_home = |name, below: &str| self.folder(name).unwrap_or_else(|| home.join(below));
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Ok(Facts {
            os: std::env::consts::OS.into(),
            arch: std::env::consts::ARCH.into(),
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            uid: rustix::process::geteuid().as_raw(),
            user: self.var("USER").or_else(|| self.var("LOGNAME")).unwrap_or_default().into(),
            config_home: or_home("XDG_CONFIG_HOME", ".config"),
            data_home: or_home("XDG_DATA_HOME", ".local/share"),
            state_home: or_home("XDG_STATE_HOME", ".local/state"),
            runtime_dir: self.folder("XDG_RUNTIME_DIR"),
            path: self.path(),
            systemd: Path::new("/run/systemd/system").is_dir(),
            boot_id: boot.map(|b| b.trim().to_owned()),
            program: self.program.clone(),
            home,
        })
    }
}

impl Ports for LocalHost {
    fn port_is_free(&self, at: SocketAddr) -> Result<bool, HostError> {
        match TcpListener::bind(at) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => Ok(false),
            Err(e) => Err(io_error("listen on", Path::new(&at.to_string()), &e)),
        }
    }

    fn port_answers(&self, at: SocketAddr, limit: Duration) -> Result<bool, HostError> {
        Ok(TcpStream::connect_timeout(&at, limit).is_ok())
    }
}

impl Clock for LocalHost {
    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }

    fn unix(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    #[allow(clippy::disallowed_methods, reason = "between two looks at a condition with a limit")]
    fn pause(&self, for_: Duration) {
        std::thread::sleep(for_);
    }
}

/// Sorts an answer of the system.
fn io_error(op: &'static str, path: &Path, e: &io::Error) -> HostError {
    let path = path.to_path_buf();
    match e.kind() {
        io::ErrorKind::PermissionDenied => HostError::Denied { op, path },
        io::ErrorKind::NotFound => HostError::Missing { op, path },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => HostError::Full { op, path },
        io::ErrorKind::ReadOnlyFilesystem => HostError::ReadOnly { op, path },
        io::ErrorKind::IsADirectory => HostError::InTheWay { op, path, found: "a directory" },
        io::ErrorKind::NotADirectory => {
            HostError::InTheWay { op, path, found: "something that is no directory" }
        }
        _ => HostError::Io { op, path, why: e.to_string() },
    }
}
