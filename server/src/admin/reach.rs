//! How a command gets its answer: it takes the data directory if it is free, else it asks the server that holds it.

use super::socket::{Asked, Spoken, connect};
use super::{AdminError, Alone, Office, Reply, Request};
use crate::clock;
use crate::config::Config;
use crate::control::ControlError;
use crate::datadir::{DataDir, DataDirError};
use crate::identity::Identity;
use crate::server::open_control;
use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

/// How long a command tries before it says that the directory is held by something that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer may take; a backup of everything is the slowest.
const LIMIT: Duration = Duration::from_secs(3600);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// The request was refused.
    #[error(transparent)]
    Refused(#[from] AdminError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The control store cannot be opened.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The server that holds the directory went away in the middle.
    #[error("the running server did not answer: {0}")]
    Lost(std::io::Error),
}

impl ReachError {
    /// Stable word for programs.
    pub fn code(&self) -> String {
        match self {
            Self::Refused(e) => e.code.clone(),
            Self::DataDir(e) => e.code().into(),
            Self::Control(e) => e.code().into(),
            Self::Lost(_) => "server_lost".into(),
        }
    }

    /// What helps.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Refused(e) => e.remedy.clone(),
            Self::DataDir(e) => Some(e.remedy()),
            Self::Control(e) => Some(e.remedy().into()),
            Self::Lost(_) => Some("td-sync doctor".into()),
        }
    }
}

/// Asks whoever can answer.
pub fn ask(config: &Config, request: &Request) -> Result<Reply, ReachError> {
    let (dir, begun) = (config.data_dir(), Instant::now());
    if !request.may_begin() && !dir.exists() {
        let message = format!("there is no data directory at {}", dir.display());
        return Err(AdminError::new("no_data_dir", message)
            .remedy("name the server's: td-sync admin --db DIR/server.db …, or SYNC_SERVER_DB_PATH")
            .into());
    }
    loop {
        // Asked before it is tried: taking the lock of a running server's directory would only make noise.
        match DataDir::take(&dir, Duration::ZERO) {
            Ok(dir) => return alone(config, dir, request),
            Err(DataDirError::Held { .. }) => {}
            Err(e) => return Err(e.into()),
        }
        if let Some(reply) = ask_running(config, request)? {
            return Ok(reply);
        }
        // Another command holds it for a moment, or a server is just starting or stopping.
        if begun.elapsed() >= PATIENCE {
            return Err(DataDir::take(&dir, Duration::ZERO).map_or_else(ReachError::from, |_| {
                ReachError::Lost(std::io::Error::other(
                    "the data directory became free at the last moment; ask again",
                ))
            }));
        }
        #[allow(clippy::disallowed_methods, reason = "polls for the lock or the socket, up to a limit")]
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn alone(config: &Config, dir: DataDir, request: &Request) -> Result<Reply, ReachError> {
    let identity = Identity::load(&dir)?;
    let control = open_control(config, &dir, clock::system())?;
    let office = Office::Alone(Box::new(Alone { config: config.clone(), dir, identity, control }));
    Ok(office.answer(request)?)
}

/// Asks the server that runs on the data directory; `None` if nobody listens. Takes and changes nothing.
pub fn ask_running(config: &Config, request: &Request) -> Result<Option<Reply>, ReachError> {
    let Some(mut stream) = connect(&config.data_dir()).map_err(ReachError::Lost)? else { return Ok(None) };
    let mut speak = || -> std::io::Result<String> {
        stream.set_read_timeout(Some(LIMIT))?;
        let mut line = serde_json::to_string(&Asked { database: config.database_name(), request })?;
        line.push('\n');
        stream.write_all(line.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = speak().map_err(ReachError::Lost)?;
    match serde_json::from_str(&answer) {
        Ok(Spoken::Ok(reply)) => Ok(Some(reply)),
        Ok(Spoken::Error(e)) => Err(e.into()),
        Err(e) => Err(ReachError::Lost(e.into())),
    }
}
