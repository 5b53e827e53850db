//! One server engine in this process: the product's log, live view and snapshot, without HTTP.
//!
//! Duty: answer what a device asks as the routes would, and survive being killed at any write.
//! Invariant: after [`Server::restart`] nothing is left of the old instance but its files.

use crate::mind::Mind;
use anyhow::Context;
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use td_client::transport::{
    Ack, PullPage, PushRequest, PushResponse, Rejection, RemoteDigest, RemoteStatus, TransportError,
};
use td_engine::db::ProjectDb;
use td_engine::event::{LogEvent, NewEvent, Push};
use td_engine::id::{ProjectId, Seq};
use td_engine::taxonomy::{Action, Schema, TdSchema};
use td_faultfs::kill::Folder;
use td_server::live::LiveView;
use td_server::log::{
    CheckpointPolicy, EventLog, LogError, Logs, Options, Outcome, Projects, ProjectsOptions, ReadQuery,
};
use td_server::snapshot::{self, SnapshotError};

/// A server with one project.
pub struct Server {
    dir: PathBuf,
    project: ProjectId,
    mind: Arc<Mind>,
    disk: Folder,
    running: RefCell<Option<Running>>,
}

struct Running {
    logs: Projects,
    log: Arc<dyn EventLog>,
    view: LiveView,
}

impl Server {
    /// A new server with an empty project, in a new folder below `dir`.
    pub fn new(dir: &Path, project: ProjectId, mind: Arc<Mind>) -> anyhow::Result<Self> {
        let dir = dir.join("server");
        std::fs::create_dir_all(&dir)?;
        let disk = Folder::watch(&dir)?;
        let server = Self { dir, project, mind, disk, running: RefCell::new(None) };
        let logs = server.logs()?;
        let log = logs.create(&server.project)?;
        server.running.replace(Some(server.run(logs, log)));
        Ok(server)
    }

    fn logs(&self) -> anyhow::Result<Projects> {
        let mind = self.mind.clone();
        let mut log = Options::new(Arc::new(move || mind.time()));
        // A checkpoint runs beside the next request: where a kill would hit it, no seed could say.
        log.checkpoint = CheckpointPolicy::Sidecar;
        Ok(Projects::new(ProjectsOptions { dir: self.dir.clone(), most_open: 4, log })?)
    }

    /// The open log.
    pub fn log(&self) -> anyhow::Result<Arc<dyn EventLog>> {
        let running = self.running.borrow();
        running.as_ref().map(|r| r.log.clone()).ok_or_else(|| anyhow::anyhow!("the server is down"))
    }

    /// The next write but `more` kills the server.
    pub fn kill_after(&self, more: u32) {
        self.disk.kill_after(more);
    }

    /// Kills the server now.
    pub fn kill(&self) {
        self.disk.kill();
    }

    /// Whether it was killed.
    pub fn is_dead(&self) -> bool {
        self.disk.is_dead()
    }

    /// Takes back a death that has not come.
    pub fn spare(&self) {
        self.disk.revive();
    }

    /// Ends the server, dead or alive, and starts it on what is on its disk.
    pub fn restart(&self) -> anyhow::Result<()> {
        self.stop();
        self.disk.revive();
        let logs = self.logs()?;
        let log = logs.open(&self.project)?;
        self.running.replace(Some(self.run(logs, log)));
        Ok(())
    }

    fn stop(&self) {
        if let Some(Running { logs, log, view }) = self.running.take() {
            drop((log, view));
            logs.close_all();
        }
    }

    fn run(&self, logs: Projects, log: Arc<dyn EventLog>) -> Running {
        let mind = self.mind.clone();
        let view = LiveView::new(self.live_path(), Arc::new(move || mind.time()));
        Running { logs, log, view }
    }

    /// Every event of the log.
    pub fn events(&self) -> anyhow::Result<Vec<LogEvent>> {
        let mut all = Vec::new();
        read(&*self.log()?, Seq(0), usize::MAX, &mut all)?;
        Ok(all)
    }

    /// One event of another server's log, under its own key.
    pub fn take_in(&self, event: &LogEvent) -> anyhow::Result<Seq> {
        let action = Action::from_stored(&event.action).context("an action of td")?;
        let new = NewEvent {
            action_id: event.action_id,
            action,
            entity_type: event.entity_type.clone(),
            entity_id: event.entity_id.clone(),
            payload: Some(event.payload.clone()),
            client_time: event.client_time,
        };
        let push = Push { device: event.device.clone(), session: event.session.clone(), events: vec![new] };
        match self.log()?.append(push).blocking_recv()??.as_slice() {
            [Outcome::Accepted { seq, .. }] => Ok(*seq),
            other => anyhow::bail!("event {} was not stored: {other:?}", event.seq),
        }
    }

    /// `POST …/sync/push`
    pub fn push(&self, request: &PushRequest) -> Result<PushResponse, TransportError> {
        let mut events = Vec::with_capacity(request.events.len());
        for e in &request.events {
            let entity_type =
                TdSchema.entity_type(&e.entity_type).ok_or_else(|| bad_request(&e.entity_type))?;
            let payload =
                TdSchema.scrub(entity_type.as_str(), e.payload.as_str()).unwrap_or_else(|| e.payload.clone());
            events.push(NewEvent {
                action_id: e.client_action_id,
                action: TdSchema.action(&e.action_type),
                entity_type,
                entity_id: e.entity_id.clone(),
                payload: Some(payload),
                client_time: e.client_timestamp,
            });
        }
        let push = Push { device: request.device_id.clone(), session: request.session_id.clone(), events };
        let ticket = self.log().map_err(|_| gone())?.append(push);
        let outcomes = ticket.blocking_recv().map_err(|_| gone())?.map_err(refused)?;
        let mut answer = PushResponse::default();
        for (event, outcome) in request.events.iter().zip(outcomes) {
            let client_action_id = event.client_action_id;
            let reject =
                |reason: &str, server_seq| Rejection { client_action_id, reason: reason.into(), server_seq };
            match outcome {
                Outcome::Accepted { seq, .. } => answer.acks.push(Ack { client_action_id, server_seq: seq }),
                Outcome::Duplicate { seq } => answer.rejected.push(reject("duplicate", seq)),
                Outcome::Rejected { reason } => answer.rejected.push(reject(reason, None)),
            }
        }
        answer.accepted = answer.acks.len() as i64;
        // Behind the acknowledgement, and never in its way (W2): a death in here is found by whoever asks next.
        let _ = self.with_view(|view, log| Ok(view.catch_up(log)?));
        Ok(answer)
    }

    /// `GET …/sync/pull`, answering at most `most` events.
    pub fn pull(&self, after: Seq, limit: u32, most: u32) -> Result<PullPage, TransportError> {
        let limit = limit.min(most).max(1) as usize;
        let mut events = Vec::new();
        read(&*self.log().map_err(|_| gone())?, after, limit + 1, &mut events).map_err(refused)?;
        let has_more = events.len() > limit;
        events.truncate(limit);
        Ok(PullPage { last_server_seq: events.last().map_or(after, |e| e.seq), events, has_more })
    }

    /// `GET …/sync/status`
    pub fn status(&self) -> Result<RemoteStatus, TransportError> {
        let head = self.log().map_err(|_| gone())?.head();
        Ok(RemoteStatus {
            event_count: head.count,
            last_server_seq: head.seq,
            last_event_time: head.last_time,
        })
    }

    /// `GET …/sync/digest`
    pub fn digest(&self) -> Result<RemoteDigest, TransportError> {
        let state = self.with_view(|view, log| Ok(view.digest(log)?)).map_err(|_| gone())?;
        Ok(RemoteDigest { seq: state.seq, digest: state.hex, format: state.format })
    }

    /// Lets the live view catch up, and opens what is then on disk.
    pub fn live_view(&self) -> anyhow::Result<ProjectDb> {
        self.with_view(|view, log| Ok(view.catch_up(log)?))?;
        Ok(ProjectDb::open_read_only(&self.live_path())?)
    }

    /// A snapshot at the head.
    pub fn snapshot(&self) -> anyhow::Result<ProjectDb> {
        let path = self.dir.join("snapshot.db");
        match snapshot::build(&*self.log()?, None, &path, self.mind.time()) {
            Err(SnapshotError::Empty) => Ok(ProjectDb::in_memory(self.mind.time())?),
            built => built.map(|_| Ok(ProjectDb::open_read_only(&path)?))?,
        }
    }

    /// Deletes the live view under the running server's hands, and restarts it.
    pub fn forget_live_view(&self) -> anyhow::Result<()> {
        self.stop();
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", self.live_path().display()));
        }
        self.restart()
    }

    /// Where the live view is.
    pub fn live_path(&self) -> PathBuf {
        self.dir.join(self.project.as_str()).join("project.db")
    }

    fn with_view<R>(
        &self,
        work: impl FnOnce(&mut LiveView, &dyn EventLog) -> anyhow::Result<R>,
    ) -> anyhow::Result<R> {
        let mut running = self.running.borrow_mut();
        let running = running.as_mut().context("the server is down")?;
        work(&mut running.view, &*running.log)
    }
}

fn read(log: &dyn EventLog, after: Seq, limit: usize, into: &mut Vec<LogEvent>) -> Result<(), LogError> {
    let query = ReadQuery { after, limit, exclude: None };
    log.read(&query, &mut |event| {
        into.push(event);
        ControlFlow::Continue(())
    })
    .map(drop)
}

fn bad_request(word: &str) -> TransportError {
    TransportError::Refused {
        status: 400,
        code: "bad_request".into(),
        message: format!("invalid entity type: {word}"),
        retry_after: None,
    }
}

fn gone() -> TransportError {
    TransportError::Offline { url: "harness".into(), why: "the server is gone".into() }
}

fn refused(error: LogError) -> TransportError {
    let (status, retry_after) = match error {
        LogError::Busy { retry_after } => (503, Some(retry_after)),
        LogError::Missing => (404, None),
        _ => (500, None),
    };
    TransportError::Refused { status, code: "internal".into(), message: error.to_string(), retry_after }
}
