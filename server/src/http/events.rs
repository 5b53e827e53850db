//! GET `/v1/projects/{id}/events`: a stream of server-sent events (server-protocol 4.7).
//!
//! Duty: tell a watcher of every change, pushes by command-line clients included, as soon as it is on disk.
//! Invariant: the stream asks for its next piece only when the last one was taken, so a slow watcher costs no memory; it
//! ends when the server stops, the key is revoked or expires, the membership ends, or the project goes.
//! Danger: a write deadline, as the reference has one (W39): a stream may live for days.

use crate::auth::Role;
use crate::http::App;
use crate::http::answer::with_type;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::streams::Place;
use crate::live::{Announcements, refresh};
use crate::log::Head;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream::unfold;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use td_engine::id::{ProjectId, Seq};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// Silence after which a comment is sent, so that nothing between us and the watcher takes the stream for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Pushes that follow each other faster than this are told of together.
const TOGETHER: Duration = Duration::from_millis(50);
const PING: Bytes = Bytes::from_static(b": ping\n\n");

/// The route.
pub async fn events(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Reader).await?;
    let place = app.streams.take(&caller.0)?;
    let open = app.projects.open(&project).await?;
    let (head, ring) = (open.log.watch(), Arc::clone(&open.announcements));
    drop(open);
    let stop = app.stopping.subscribe();
    let mut watcher =
        Watcher { app, caller, project, ring, head, stop, cursor: Seq(0), last: None, _place: place };
    let first = watcher.greet(headers.get("last-event-id")).await?;
    let pieces = unfold((watcher, first), |(mut watcher, first)| async move {
        let piece = match first {
            Some(first) => Some(first),
            None => watcher.next().await,
        };
        piece.map(|piece| (Ok::<_, Infallible>(piece), (watcher, None)))
    });
    let kind = HeaderValue::from_static("text/event-stream");
    let mut response = with_type(StatusCode::OK, kind, Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

struct Watcher {
    app: Arc<App>,
    caller: Caller,
    project: ProjectId,
    /// And not the project, which would stay open for as long as somebody watches.
    ring: Arc<Announcements>,
    head: watch::Receiver<Head>,
    stop: watch::Receiver<bool>,
    cursor: Seq,
    /// When something was told last.
    last: Option<Instant>,
    _place: Place,
}

impl Watcher {
    /// Where the stream begins, and what it says first: what a returning watcher missed, or that it must load
    /// everything again; a `Last-Event-ID` we cannot place is echoed.
    async fn greet(&mut self, last_id: Option<&HeaderValue>) -> Result<Option<Bytes>, ApiError> {
        let last_id = last_id.map(|v| String::from_utf8_lossy(v.as_bytes())).filter(|id| !id.is_empty());
        // Before the look at the ring, so that the first watcher begins it at the head.
        let here = self.missed(Seq(i64::MAX)).await?.1;
        self.cursor = here;
        let Some(id) = last_id else { return Ok(None) };
        match id.parse().map(Seq) {
            Ok(seq) if self.ring.reaches(seq).await => {
                let (piece, cursor) = self.missed(seq).await?;
                self.cursor = cursor;
                Ok(piece)
            }
            _ => Ok(Some(refresh(&id, self.app.control.now()))),
        }
    }

    /// The next piece; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let heartbeat = tokio::select! {
                biased;
                _ = self.stop.wait_for(|stopping| *stopping) => return None,
                moved = self.head.changed() => {
                    moved.ok()?;
                    false
                }
                () = sleep(HEARTBEAT) => true,
            };
            if !heartbeat && let Some(last) = self.last {
                sleep_until(last + TOGETHER).await;
            }
            if !self.caller.still_reads(&self.app, &self.project).await {
                return None;
            }
            if heartbeat {
                return Some(PING);
            }
            self.head.mark_unchanged();
            match self.missed(self.cursor).await {
                Ok((piece, cursor)) => {
                    self.cursor = cursor;
                    if piece.is_some() {
                        self.last = Some(Instant::now());
                        return piece;
                    }
                }
                Err(e) => {
                    tracing::error!(pid = %self.project, cause = ?e, "a stream ends: its log cannot be read");
                    return None;
                }
            }
        }
    }

    async fn missed(&self, cursor: Seq) -> Result<(Option<Bytes>, Seq), ApiError> {
        let open = self.app.projects.open(&self.project).await?;
        let (log, schema, now) =
            (Arc::clone(&open.log), Arc::clone(&self.app.schema), self.app.control.now());
        let missed = self.ring.after(cursor, log, schema, now).await?;
        let piece = (!missed.frames.is_empty()).then(|| missed.frames.concat().into());
        Ok((piece, missed.cursor))
    }
}
