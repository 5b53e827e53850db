//! What runs on this machine, in one look: supervisor, server, and whether it is the server that is wanted.
//!
//! A step sees it through `td-sync-setup host-status`, so that it works the same where the host is another machine.

use super::{Control, Spec, SupervisorStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// A local server that works answers within milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// `/readyz` and `/version` are a few hundred bytes.
const BODY_LIMIT: u64 = 64 << 10;

/// What runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// A supervisor lives, or the server of one that was killed.
    pub lives: bool,
    /// The supervisor's own words; none if there is no supervisor to ask.
    pub supervisor: Option<SupervisorStatus>,
    /// [`Spec::origin`] of the files as they are now.
    pub wanted: Option<String>,
    /// What `/readyz` says; none if nobody answers.
    pub ready: Option<Value>,
    /// What `/version` says; none if nobody answers.
    pub version: Option<Value>,
}

impl HostStatus {
    /// Looks. An absent specification means that nothing of ours runs.
    #[must_use]
    pub fn look(spec_path: &Path) -> Self {
        let Ok(spec) = Spec::read(spec_path) else { return Self::default() };
        let control = Control::new(&spec.state);
        let address = spec.listen.first();
        let get = |path| address.and_then(|address| get(*address, path).ok());
        let lives = control.anybody_lives();
        Self {
            lives,
            supervisor: control.status().ok().flatten(),
            wanted: spec.origin().ok(),
            ready: lives.then(|| get("/readyz")).flatten(),
            version: lives.then(|| get("/version")).flatten(),
        }
    }

    /// The server that runs was started from the files as they are.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let runs = self.supervisor.as_ref().and_then(|supervisor| supervisor.server.as_ref());
        runs.is_some_and(|server| Some(&server.origin) == self.wanted.as_ref())
    }

    /// The server takes requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.as_ref().and_then(|ready| ready.get("ready")).and_then(Value::as_bool) == Some(true)
    }
}

/// Body of one plain GET on loopback, of whatever status.
fn get(address: SocketAddr, path: &str) -> io::Result<Value> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    // 1.0: the body ends with the connection and is never chunked.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(BODY_LIMIT).read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    Ok(serde_json::from_str(body)?)
}
