//! Where everything of a local server is (DESIGN 7), from answers and facts alone.

use super::questions;
use crate::facts::Facts;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use td_state::answers::Answers;

/// The programs that travel together.
pub(super) const PROGRAMS: [&str; 3] = ["td-sync", "td-sync-setup", "td"];
/// How long a program that only looks may take.
pub(super) const LOOK: Duration = Duration::from_secs(10);
/// How long a program that works on the data may take.
pub(super) const WORK: Duration = Duration::from_secs(120);

/// Every path and address of a local server.
#[derive(Clone, Debug)]
pub struct Places {
    /// Releases and data.
    pub root: PathBuf,
    /// One folder for each release.
    pub releases: PathBuf,
    /// Link to the release that runs.
    pub current: PathBuf,
    /// The server's data directory.
    pub data: PathBuf,
    /// Copies of the data.
    pub backups: PathBuf,
    /// Folder of the two files below.
    pub config: PathBuf,
    /// The server's environment.
    pub env_file: PathBuf,
    /// The supervisor's specification.
    pub spec: PathBuf,
    /// What setup keeps on the host.
    pub host: PathBuf,
    /// The supervisor's lock and socket.
    pub supervisor: PathBuf,
    /// Log of server and supervisor.
    pub log: PathBuf,
    /// Where commands are installed.
    pub bin: PathBuf,
    /// The client's own settings.
    pub client: PathBuf,
    /// The demo project.
    pub demo: PathBuf,
    /// Name our client is installed under: `td`, or `tds` beside a foreign `td`.
    pub td: String,
    /// Where the server listens.
    pub address: SocketAddr,
    /// What devices connect to.
    pub url: String,
    /// The release that is wanted, once it is known.
    pub release: Option<String>,
}

impl Places {
    /// From what was chosen; defaults where nothing was.
    #[must_use]
    pub fn of(answers: &Answers, facts: &Facts) -> Self {
        let root = facts.data_home.join("td-sync");
        let config = facts.config_home.join("td-sync");
        let host = facts.state_home.join("td-sync-setup/host");
        let text = |key, default: PathBuf| answers.text(key).map_or(default, PathBuf::from);
        let port = answers.int(&questions::PORT).and_then(|port| u16::try_from(port).ok());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(questions::FIRST_PORT)));
        Self {
            releases: root.join("releases"),
            current: root.join("current"),
            data: text(&questions::DATA, root.join("data")),
            backups: text(&questions::BACKUPS, root.join("backups")),
            env_file: config.join("td-sync.env"),
            spec: config.join("supervisor.json"),
            supervisor: host.join("supervisor"),
            log: host.join("log/server.log"),
            bin: text(&questions::PREFIX, facts.home.join(".local")).join("bin"),
            client: facts.config_home.join("td"),
            demo: text(&questions::DEMO, facts.home.join("td-sync-demo")),
            td: answers.text(&questions::TD_NAME).unwrap_or_else(|| "td".into()),
            url: format!("http://{address}"),
            release: answers.text(&questions::RELEASE),
            address,
            root,
            config,
            host,
        }
    }

    /// The program of the release that is wanted.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        Some(self.releases.join(self.release.as_ref()?).join(name))
    }
}
