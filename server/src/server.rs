//! A server from its settings to its end.
//!
//! Duty: take the data directory, open what is in it, serve, drain, close, in that order.
//! Invariant: starting costs the same whatever the history: no log and no project is opened before somebody asks for it.
//! Danger: an order that closes the control store's write-behind before the last request was answered.

use crate::admin::{Office, Socket};
use crate::clock;
use crate::config::Config;
use crate::control::{Control, ControlError, SqliteControl};
use crate::datadir::{DataDir, DataDirError};
use crate::descriptors::Share;
use crate::disk::Room;
use crate::ending::Ending;
use crate::http::{App, Connections, Listeners, Role, SocketsError, Streams, Turns, Uploads, serve};
use crate::identity::Identity;
use crate::jobs::{self, Jobs};
use crate::limit::Limits;
use crate::live::OpenProjects;
use crate::log::{Clock, Counts, Logs, Options, Projects, ProjectsOptions};
use crate::mail::{MailError, Post};
use crate::maintenance::Gate;
use crate::metrics::Metrics;
use crate::redact;
use crate::tls::{Tls, TlsError};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use td_engine::taxonomy::TdSchema;
use tokio::sync::watch;

/// How long a start waits for a predecessor that is still closing.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a stop waits for mails under way.
const LAST_MAILS: Duration = Duration::from_secs(5);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The control store.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The folder of projects.
    #[error("the project folder {} cannot be used: {source}", .path.display())]
    Projects {
        /// Which folder.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The sockets.
    #[error(transparent)]
    Sockets(#[from] SocketsError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The way for mail.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The admin socket.
    #[error("the admin socket {} cannot be made: {source}", .path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

impl StartError {
    /// Stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::DataDir(e) => e.code(),
            Self::Control(e) => e.code(),
            Self::Projects { .. } => "projects_io",
            Self::Sockets(_) => "cannot_listen",
            Self::Tls(_) => "tls",
            Self::Mail(_) => "mail",
            Self::Socket { .. } => "admin_socket",
        }
    }

    /// What helps.
    pub fn remedy(&self) -> String {
        match self {
            Self::DataDir(e) => e.remedy(),
            Self::Control(e) => e.remedy().into(),
            Self::Sockets(e) => e.remedy(),
            Self::Tls(TlsError::Dir(e)) => e.remedy(),
            Self::Tls(TlsError::Authorities(_)) => {
                "name a PEM file with certificates, or unset SYNC_ACME_CA_FILE".into()
            }
            Self::Tls(_) => "put a certificate and its key there, or set SYNC_TLS=off; td-sync doctor".into(),
            Self::Mail(_) => "td-sync config list".into(),
            _ => "td-sync doctor".into(),
        }
    }
}

/// A server that has everything it needs and listens, but answers nobody yet.
pub struct Server {
    app: Arc<App>,
    listeners: Listeners,
    socket: Socket,
}

/// Opens the control store of a data directory.
pub fn open_control(config: &Config, dir: &DataDir, clock: Clock) -> Result<Control, ControlError> {
    let store = SqliteControl::open(&config.server_db, dir)?;
    Ok(Control::new(Arc::new(store), clock))
}

impl Server {
    /// Takes the data directory and the sockets.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_by(config, clock::system())
    }

    /// [`Server::start`] by another clock than the machine's.
    pub fn start_by(config: Config, clock: Clock) -> Result<Self, StartError> {
        let share = Share::of_process();
        let dir = DataDir::take(&config.data_dir(), PATIENCE)?;
        dir.clear_staging()?;
        let identity = Identity::load(&dir)?;
        let control = open_control(&config, &dir, Arc::clone(&clock))?;
        let projects_error = |source| StartError::Projects { path: config.projects.clone(), source };
        std::fs::create_dir_all(&config.projects).map_err(projects_error)?;
        let log = Options::new(Arc::clone(&clock));
        let log_counters = Arc::clone(&log.counters);
        let options = ProjectsOptions { dir: config.projects.clone(), most_open: share.logs, log };
        let logs: Arc<dyn Logs> = Arc::new(Projects::new(options).map_err(projects_error)?);
        redact::resume(&*logs, &config.projects, &clock).map_err(projects_error)?;
        let listeners = Listeners::take(&config)?;
        let tls = config.tls.as_ref().map(|tls| Tls::start(tls, &dir, listeners.answers_http()));
        let tls = tls.transpose()?.map(Arc::new);
        let gate = Arc::new(Gate::default());
        let projects = OpenProjects::new(
            Arc::clone(&logs),
            config.projects.clone(),
            dir.epoch(),
            clock,
            share.projects(),
        );
        let app = Arc::new(App {
            limits: Limits::new(&config.limits),
            post: Post::new(&config.mail, &config.base_url)?,
            connections: Connections::new(share.connections, config.trusted_proxies.clone()),
            streams: Streams::new(config.streams_per_key),
            turns: Turns::pages(),
            uploads: Uploads::default(),
            room: Room::new(dir.path().to_owned(), config.disk_floor),
            schema: Arc::new(TdSchema),
            gate,
            stopping: watch::Sender::new(false),
            metrics: Metrics::default(),
            writers: log_counters,
            jobs: Jobs::default(),
            ending: Ending::new(control.clone(), Arc::clone(&logs), config.projects.clone()),
            dir,
            identity,
            control,
            logs,
            projects,
            tls,
            downloads: Turns::downloads(),
            config,
        });
        let socket = Socket::bind(&app.dir).map_err(|(path, source)| StartError::Socket { path, source })?;
        Ok(Self { app, listeners, socket })
    }

    /// What it serves: for whoever asks it without a socket between.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Where it listens, and for what.
    pub fn addresses(&self) -> io::Result<Vec<(Role, SocketAddr)>> {
        self.listeners.addresses()
    }

    /// Serves until `stop` resolves, answers what was begun, and closes everything. Returns whether all was in time.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<bool> {
        let Self { app, listeners, socket } = self;
        let office = Office::of_server(Arc::clone(&app));
        let admin = tokio::spawn(socket.serve(office));
        let jobs = tokio::spawn(jobs::run(Arc::clone(&app)));
        let certificates = app.tls.clone().map(|tls| tokio::spawn(tls.keep()));
        let in_time = serve(listeners, Arc::clone(&app), stop).await;
        for task in [admin, jobs].into_iter().chain(certificates) {
            task.abort();
            // Waited for, so that the socket's name is gone before the lock is: a successor binds the same name.
            let _ = task.await;
        }
        app.post.settle(LAST_MAILS).await;
        let writers = Arc::clone(&app.writers);
        let closed = tokio::task::spawn_blocking(move || {
            app.projects.close_idle(Duration::ZERO);
            app.logs.close_all();
            if let Err(e) = app.control.flush() {
                tracing::error!(cause = %e, "the last use of keys was not written down");
            }
        });
        closed.await.map_err(io::Error::other)?;
        let Counts { commits, pushes, events, checkpoints, failures, .. } = writers.read();
        tracing::info!(commits, pushes, events, checkpoints, failures, "logs closed");
        in_time
    }
}
