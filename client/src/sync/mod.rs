//! One project and its server: push, pull, watch, pause.
//!
//! Duty: bring this device's outstanding events into the log and the log's events into the rows.
//! Invariant: no SQLite write transaction is open while the server is asked; every step may be killed and repeated.
//! Danger: a server that was put back to an older copy. Its epoch is checked before anything is sent, and a cursor that
//! lies beyond its log is never moved back silently.

mod gate;
mod link;
mod pull;
mod push;
mod resync;
mod status;
mod watch;

pub use gate::{Gate, Pause};
pub use link::{Linked, link, unlink};
pub use pull::Pulled;
pub use push::{MAX_BATCH, Pushed};
pub use resync::{Resynced, resync};
pub use status::{DigestAt, Rejected, Status};
pub use watch::Cancel;

use crate::pending;
use crate::store::{Store, StoreError};
use crate::transport::{RemoteStatus, Transport, TransportError};
use rusqlite::OptionalExtension;
use td_engine::apply::ApplyError;
use td_engine::id::{BadId, Epoch, ProjectId, Seq};
use td_engine::replay::ReplayError;

/// Why a synchronisation did not happen or was not finished. Nothing is lost by any of them.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The page could not be applied.
    #[error(transparent)]
    Replay(ReplayError),
    /// No project.
    #[error("project not linked")]
    NotLinked,
    /// The link row holds something that is no project id.
    #[error(transparent)]
    BadLink(#[from] BadId),
    /// The server's data began a new history: it was restored.
    #[error(
        "the server's data was put back to an older state: its epoch is {found}, this project was synced with {known}"
    )]
    EpochChanged {
        /// What this project knows.
        known: Epoch,
        /// What the server says.
        found: Epoch,
    },
    /// The log ends before what was already pulled from it.
    #[error("the server's log ends at {head}, but this project already has its events up to {cursor}")]
    LogEndsBefore {
        /// Newest sequence there.
        head: Seq,
        /// Newest sequence here.
        cursor: Seq,
    },
    /// Another program moved the cursor or the rows.
    #[error(
        "another program synced this project (its cursor is {theirs}, ours is {ours}); the rows cannot be told apart"
    )]
    ForeignSync {
        /// In `sync_state`.
        theirs: Seq,
        /// Ours.
        ours: Seq,
    },
    /// Go `td` wrote (parts of) this database, and its first publication needs what this version cannot do.
    #[error("this project was written by Go td ({0}); publishing it without loss comes with a later version")]
    WrittenByGo(String),
    /// The events here belong to another project.
    #[error(
        "this database holds events of project {known}; moving it to {wanted} comes with a later version"
    )]
    OtherProject {
        /// Where its events are.
        known: ProjectId,
        /// What was asked for.
        wanted: ProjectId,
    },
    /// A sync runs, or somebody paused syncing.
    #[error("another sync is running, or syncing is paused")]
    Paused,
    /// An answer that contradicts the protocol.
    #[error("the server's answer makes no sense: {0}")]
    Nonsense(String),
}

impl From<rusqlite::Error> for SyncError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<ApplyError> for SyncError {
    fn from(error: ApplyError) -> Self {
        Self::Store(error.into())
    }
}

impl From<ReplayError> for SyncError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Storage(e) => Self::Store(e.into()),
            other => Self::Replay(other),
        }
    }
}

impl SyncError {
    /// Stable word for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::Store(e) => e.code(),
            Self::Transport(e) => e.code(),
            Self::Replay(e) => e.code(),
            Self::NotLinked => "not_linked",
            Self::BadLink(_) => "invalid_input",
            Self::EpochChanged { .. } => "epoch_changed",
            Self::LogEndsBefore { .. } => "log_ends_before_cursor",
            Self::ForeignSync { .. } => "foreign_sync",
            Self::WrittenByGo(_) => "written_by_go",
            Self::OtherProject { .. } => "other_project",
            Self::Paused => "paused",
            Self::Nonsense(_) => "foreign_answer",
        }
    }

    /// Whether nothing answered, so that trying later is the whole remedy.
    pub fn is_offline(&self) -> bool {
        matches!(self, Self::Transport(TransportError::Offline { .. }))
    }

    /// What to do, `td` being the name this program is installed as.
    pub fn remedy(&self, td: &str) -> String {
        match self {
            Self::Store(e) => e.remedy(td),
            Self::Transport(e) => transport_remedy(e, td),
            Self::Replay(e) => e.remedy().replace("`td ", &format!("`{td} ")),
            Self::NotLinked | Self::BadLink(_) => {
                format!("run `{td} sync-project join` or `{td} sync-project create`")
            }
            Self::EpochChanged { .. } | Self::LogEndsBefore { .. } | Self::ForeignSync { .. } => {
                format!("run `{td} resync`; it keeps what was not sent yet")
            }
            Self::WrittenByGo(_) => {
                "keep using Go td for this project; new projects can be synced now".into()
            }
            Self::OtherProject { known, .. } => format!("run `{td} sync-project link {known}`"),
            Self::Paused => format!("wait for it to end, then run `{td} sync` again"),
            Self::Nonsense(_) => format!("run `{td} doctor`"),
        }
    }
}

/// What to do about a server that did not answer as hoped.
pub fn transport_remedy(error: &TransportError, td: &str) -> String {
    match error {
        TransportError::Offline { .. } => {
            format!("your changes are kept; run `{td} sync` again when the server can be reached")
        }
        TransportError::Refused { status: 401, .. } => {
            format!("the login is not accepted any more: ask for a new link, then `{td} connect LINK`")
        }
        TransportError::Refused { status: 403, .. } => {
            "ask the project's owner for a role that allows this".into()
        }
        TransportError::Refused { status: 404, .. } => {
            format!("see `{td} sync-project list` for what exists there")
        }
        TransportError::Refused { status: 429, retry_after, .. } => match retry_after {
            Some(wait) => format!("wait {} s and try again", wait.as_secs()),
            None => "wait a minute and try again".into(),
        },
        TransportError::Refused { .. } | TransportError::Foreign { .. } => format!("run `{td} doctor`"),
    }
}

/// The state of a link, as the database has it.
#[derive(Clone, Debug)]
pub(crate) struct LinkState {
    pub project: ProjectId,
    pub cursor: Seq,
    pub last_sync: Option<String>,
}

pub(crate) fn link_state(store: &Store) -> Result<Option<LinkState>, SyncError> {
    let mut ask = store.conn().prepare_cached(
        "SELECT project_id, last_pulled_server_seq, last_sync_at FROM sync_state ORDER BY rowid LIMIT 1",
    )?;
    let row: Option<(String, i64, Option<String>)> =
        ask.query_row([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).optional()?;
    row.map(|(project, cursor, last_sync)| {
        Ok(LinkState { project: ProjectId::parse(&project)?, cursor: Seq(cursor), last_sync })
    })
    .transpose()
}

/// A linked project and a way to its server.
pub struct Sync<'s, T: Transport> {
    store: &'s mut Store,
    transport: T,
    project: ProjectId,
    gate: Gate,
    known_epoch: Option<Epoch>,
    remote: Option<RemoteStatus>,
}

/// What a whole round did.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Sent.
    pub pushed: Pushed,
    /// Received.
    pub pulled: Pulled,
}

impl<'s, T: Transport> Sync<'s, T> {
    /// For the project this database is linked to. `known_epoch` is the history the project was last synced with;
    /// `gate` keeps two syncs of one project apart.
    pub fn open(
        store: &'s mut Store,
        transport: T,
        gate: Gate,
        known_epoch: Option<Epoch>,
    ) -> Result<Self, SyncError> {
        let state = link_state(store)?.ok_or(SyncError::NotLinked)?;
        if !store.is_ours()? {
            return Err(SyncError::WrittenByGo("it held data before this program first opened it".into()));
        }
        let ours = pending::cursor(store.conn())?;
        if ours != state.cursor {
            return Err(SyncError::ForeignSync { theirs: state.cursor, ours });
        }
        Ok(Self { store, transport, project: state.project, gate, known_epoch, remote: None })
    }

    /// The linked project.
    pub fn project(&self) -> &ProjectId {
        &self.project
    }

    /// The database this syncs.
    pub fn store(&self) -> &Store {
        self.store
    }

    /// The history the project counts in: what was given, or what the server said if nothing was.
    pub fn epoch(&self) -> Option<&Epoch> {
        self.known_epoch.as_ref()
    }

    /// Push, then pull.
    pub fn round(&mut self) -> Result<Round, SyncError> {
        let pushed = self.push()?;
        let pulled = self.pull()?;
        Ok(Round { pushed, pulled })
    }

    /// Holds syncing off, in this process and (for a project folder) in every other, until the guard is dropped.
    pub fn pause(&self) -> Result<Pause, SyncError> {
        self.gate.close()?.ok_or(SyncError::Paused)
    }

    /// Asks the server once who it is and how far its log goes, before anything is sent to it.
    fn greet(&mut self) -> Result<&RemoteStatus, SyncError> {
        let status = self.transport.status(&self.project)?;
        self.check_epoch()?;
        let cursor = pending::cursor(self.store.conn())?;
        if status.last_server_seq < cursor {
            return Err(SyncError::LogEndsBefore { head: status.last_server_seq, cursor });
        }
        Ok(self.remote.insert(status))
    }

    /// Compares the history of the latest answer with ours. The first one seen becomes ours.
    fn check_epoch(&mut self) -> Result<(), SyncError> {
        match (&self.known_epoch, self.transport.epoch()) {
            (Some(known), Some(found)) if *known != found => {
                Err(SyncError::EpochChanged { known: known.clone(), found })
            }
            (None, Some(found)) => {
                self.known_epoch = Some(found);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
