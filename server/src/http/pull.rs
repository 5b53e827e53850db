//! GET `/v1/projects/{id}/sync/pull` (server-protocol 4.6, 5.4).
//!
//! Duty: hand a page from the log to the wire without holding it in memory.
//! Invariant: payloads are pasted as they are stored; they were checked on the way in.
//! Danger: a slow client holds a read transaction, so it gets [`PATIENCE`] per chunk and pages end at [`PAGE_BYTES`];
//! after the status line is out, a failing log can only cut the connection.
//!
//! Ours: `wait=SECONDS` holds an answer that would be empty until there is something, for clients without streams.

use crate::auth::Role;
use crate::http::App;
use crate::http::answer::{JSON, with_type};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::http::stream::{Sender, channel};
use crate::live::OpenProject;
use crate::log::ReadQuery;
use crate::logging::blocking;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use td_engine::event::LogEvent;
use td_engine::id::{DeviceId, Seq};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

const DEFAULT_LIMIT: i64 = 1000;
const MAX_LIMIT: i64 = 10_000;
/// A page ends behind the event that passes this size.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// Size of what is handed to the socket at once; a page below it has a Content-Length.
const CHUNK: usize = 64 * 1024;
/// Longest an empty answer is held: less than the 30 seconds after which clients give up.
const LONGEST_WAIT: Duration = Duration::from_secs(25);
/// How long a client may take for one chunk.
const PATIENCE: Duration = Duration::from_secs(30);

/// The route.
pub async fn pull(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Reader).await?;
    app.metrics.pulled();
    let given = Query::parse(query.as_deref().unwrap_or_default());
    let (query, client) = parse(&given)?;
    let patience = patience(&given)?;
    let open = app.projects.open(&project).await?;
    if let Some(patience) = patience {
        wait_for_news(&app, &caller, &open, &query, patience).await?;
        if !caller.still_reads(&app, &project).await {
            return Err(crate::http::caller::not_found());
        }
    }
    let (first, page) = oneshot::channel();
    let handle = Handle::current();
    blocking(move || {
        let mut page = Page::new(query, first, handle);
        let result = page.read(&open);
        let last = page.last;
        page.end(result, &open);
        if let Some(client) = client.filter(|_| last > Seq(0)) {
            app.control.saw_cursor(project.as_str(), &client, last);
        }
        tracing::debug!(last = last.0, "pulled");
    });
    let body = page.await.map_err(|e| ApiError::internal("failed to query events", e))??;
    Ok(with_type(StatusCode::OK, JSON, body))
}

/// The page that is asked for, and the client whose cursor moves.
fn parse(query: &Query) -> Result<(ReadQuery, Option<String>), ApiError> {
    let after = query.int("after_server_seq").unwrap_or(Some(0));
    let after = after.ok_or_else(|| ApiError::bad_request("invalid after_server_seq"))?;
    let limit = query.int("limit").unwrap_or(Some(DEFAULT_LIMIT)).filter(|l| *l >= 1);
    let limit = limit.ok_or_else(|| ApiError::bad_request("invalid limit"))?.min(MAX_LIMIT);
    let client = query.text("exclude_client").map(str::to_string);
    let read = ReadQuery {
        after: Seq(after),
        // 1 to 10,000 fits everywhere.
        limit: usize::try_from(limit).unwrap_or(1),
        exclude: client.clone().and_then(|c| DeviceId::new(c).ok()),
    };
    Ok((read, client))
}

/// How long an empty answer may be held: `wait`, in whole seconds.
fn patience(query: &Query) -> Result<Option<Duration>, ApiError> {
    let seconds = query.int("wait").map(|s| s.and_then(|s| u64::try_from(s).ok()));
    match seconds {
        None => Ok(None),
        Some(None) => Err(ApiError::bad_request("invalid wait")),
        Some(Some(s)) => Ok(Some(Duration::from_secs(s).min(LONGEST_WAIT))),
    }
}

/// Returns when the query has something to show, the time is over, or the server stops.
async fn wait_for_news(
    app: &Arc<App>,
    caller: &Caller,
    open: &Arc<OpenProject>,
    query: &ReadQuery,
    patience: Duration,
) -> Result<(), ApiError> {
    let end = tokio::time::Instant::now() + patience;
    let (mut head, mut stop) = (open.log.watch(), app.stopping.subscribe());
    let mut place = None;
    loop {
        head.mark_unchanged();
        let (open, one) = (Arc::clone(open), ReadQuery { limit: 1, ..query.clone() });
        let asked =
            tokio::task::spawn_blocking(move || open.log.read(&one, &mut |_| ControlFlow::Continue(())));
        if asked.await.map_err(|e| ApiError::internal("failed to query events", e))?? > 0 {
            return Ok(());
        }
        // Only who really waits takes a place among the streams.
        if place.is_none() {
            place = Some(app.streams.take(&caller.0.key_id)?);
        }
        tokio::select! {
            _ = stop.wait_for(|stopping| *stopping) => return Ok(()),
            moved = head.changed() => if moved.is_err() { return Ok(()) },
            () = tokio::time::sleep_until(end) => return Ok(()),
        }
    }
}

/// A page that is being written: into one buffer as long as it is small, then in chunks.
struct Page {
    query: ReadQuery,
    buffer: Vec<u8>,
    written: usize,
    last: Seq,
    cut: bool,
    first: Option<oneshot::Sender<Result<Body, ApiError>>>,
    more: Option<Sender>,
    handle: Handle,
}

impl Page {
    fn new(query: ReadQuery, first: oneshot::Sender<Result<Body, ApiError>>, handle: Handle) -> Self {
        let (last, buffer) = (query.after, br#"{"events":["#.to_vec());
        Self { query, buffer, written: 0, last, cut: false, first: Some(first), more: None, handle }
    }

    fn read(&mut self, open: &OpenProject) -> Result<usize, ApiError> {
        let query = self.query.clone();
        let mut broken = None;
        let read = open.log.read(&query, &mut |event| match self.put(&event) {
            Ok(flow) => flow,
            Err(e) => {
                broken = Some(e);
                ControlFlow::Break(())
            }
        });
        match broken {
            Some(e) => Err(ApiError::internal("failed to query events", e)),
            None => read.map_err(ApiError::from),
        }
    }

    fn put(&mut self, event: &LogEvent) -> Result<ControlFlow<()>, serde_json::Error> {
        if self.last > self.query.after {
            self.buffer.push(b',');
        }
        let before = self.buffer.len();
        serde_json::to_writer(&mut self.buffer, event)?;
        self.written += self.buffer.len() - before;
        self.last = event.seq;
        if self.buffer.len() >= CHUNK && !self.send() {
            return Ok(ControlFlow::Break(()));
        }
        self.cut = self.written >= PAGE_BYTES;
        Ok(if self.cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// Hands the buffer on; `false` if nobody takes it any more.
    fn send(&mut self) -> bool {
        let chunk = std::mem::take(&mut self.buffer);
        if let Some(first) = self.first.take() {
            let (sender, body) = channel();
            if first.send(Ok(Body::new(body))).is_err() {
                return false;
            }
            self.more = Some(sender);
        }
        self.more.as_ref().is_some_and(|more| more.send(&self.handle, chunk.into(), PATIENCE))
    }

    fn end(mut self, result: Result<usize, ApiError>, open: &OpenProject) {
        let count = match (result, self.first.is_some()) {
            (Ok(count), _) => count,
            (Err(e), true) => {
                // A client that is gone does not need the error.
                let _ = self.first.take().map(|first| first.send(Err(e)));
                return;
            }
            (Err(e), false) => {
                tracing::error!(cause = ?e, "a pull broke off in the middle of its page");
                let _ = self.more.as_ref().map(|more| more.fail(&self.handle, PATIENCE));
                return;
            }
        };
        // Not "the page is full", as the reference has it: that sends every client around once more for nothing (W15).
        let full = self.cut || count == self.query.limit;
        let has_more = full && self.last < open.log.head().seq;
        // Writing into a vector does not fail.
        let _ = writeln!(self.buffer, r#"],"last_server_seq":{},"has_more":{has_more}}}"#, self.last);
        match self.first.take() {
            Some(first) => {
                let _ = first.send(Ok(Body::from(std::mem::take(&mut self.buffer))));
            }
            None => {
                self.send();
            }
        }
    }
}
