//! GET `/v1/projects/{id}/sync/pull` (server-protocol 4.6, 5.4).
//!
//! Duty: hand a page from the log to the wire without holding it in memory.
//! Invariant: payloads are pasted as they are stored; they were checked on the way in.
//! Danger: a slow client holds a read transaction, so it has a limited time per chunk ([`Outlet`]) and pages end at some
//! bytes ([`Page`]); after the status line is out, a failing log can only cut the connection.
//!
//! Ours: `wait=SECONDS` holds an answer that would be empty until there is something, for clients without streams.

use crate::auth::Role;
use crate::http::App;
use crate::http::accept;
use crate::http::answer::{JSON, with_encoding, with_head, with_type};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::outlet::Outlet;
use crate::http::page::{self, Page};
use crate::http::query::Query;
use crate::log::ReadQuery;
use crate::logging::blocking;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use td_engine::id::{DeviceId, ProjectId, Seq};
use tokio::sync::oneshot;

/// What a page begins with.
const OPENING: &str = r#"{"events":["#;
const DEFAULT_LIMIT: i64 = 1000;
const MAX_LIMIT: i64 = 10_000;
/// Longest an empty answer is held: less than the 30 seconds after which clients give up.
const LONGEST_WAIT: Duration = Duration::from_secs(25);

/// The route.
pub async fn pull(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Reader).await?;
    app.metrics.pulled();
    let given = Query::parse(query.as_deref().unwrap_or_default());
    let (query, client) = parse(&given)?;
    let patience = patience(&given)?;
    if let Some(patience) = patience {
        wait_for_news(&app, &caller, &project, &query, patience).await?;
        if !caller.still_reads(&app, &project).await {
            return Err(crate::http::caller::not_found());
        }
    }
    let open = app.projects.open(&project).await?;
    let head = open.log.head().seq;
    if query.after >= head {
        // What is answered is at or below the head, so nothing has to be read to see that there is nothing.
        if let Some(client) = client.filter(|_| query.after > Seq(0)) {
            // Never beyond the head, here and below: a restore continues above the highest number seen anywhere (law 2).
            app.control.saw_cursor(project.as_str(), &client, head);
        }
        let body = with_type(StatusCode::OK, JSON, page::empty(OPENING, query.after));
        return Ok(with_head(with_encoding(body, None), head));
    }
    let turn = app.turns.take(&caller.0).await?;
    let (first, page) = oneshot::channel();
    let outlet = Outlet::new(accept::encoding(&headers), first);
    blocking(move || {
        let page = Page::new(OPENING, query.after, query.limit, outlet);
        let last = page.write(|limit, each| open.log.read_raw(&ReadQuery { limit, ..query }, each));
        if let Some(client) = client.filter(|_| last > Seq(0)) {
            app.control.saw_cursor(project.as_str(), &client, last.min(open.log.head().seq));
        }
        drop(turn);
        tracing::debug!(last = last.0, "pulled");
    });
    let (body, packed) = page.await.map_err(|e| ApiError::internal("failed to query events", e))??;
    Ok(with_head(with_encoding(with_type(StatusCode::OK, JSON, body), packed), head))
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

/// Returns when the query has something to show, the time is over, or the server stops. The project is open only for a look.
async fn wait_for_news(
    app: &Arc<App>,
    caller: &Caller,
    project: &ProjectId,
    query: &ReadQuery,
    patience: Duration,
) -> Result<(), ApiError> {
    let end = tokio::time::Instant::now() + patience;
    let mut head = app.projects.open(project).await?.log.watch();
    let (mut stop, mut place, mut seen) = (app.stopping.subscribe(), None, query.after);
    loop {
        let there = head.borrow_and_update().seq;
        if there > seen && has_news(app, caller, project, ReadQuery { after: seen, ..query.clone() }).await? {
            return Ok(());
        }
        // What was looked at shows nothing later either; each look would else begin where the first one did, and walk over
        // everything that the client itself has sent since.
        seen = seen.max(there);
        // Only who really waits takes a place among the streams.
        if place.is_none() {
            place = Some(app.streams.take(&caller.0)?);
        }
        tokio::select! {
            _ = stop.wait_for(|stopping| *stopping) => return Ok(()),
            moved = head.changed() => if moved.is_err() { return Ok(()) },
            () = tokio::time::sleep_until(end) => return Ok(()),
        }
    }
}

async fn has_news(
    app: &Arc<App>,
    caller: &Caller,
    project: &ProjectId,
    query: ReadQuery,
) -> Result<bool, ApiError> {
    let _turn = app.turns.take(&caller.0).await?;
    let (open, one) = (app.projects.open(project).await?, ReadQuery { limit: 1, ..query });
    let asked = tokio::task::spawn_blocking(move || open.log.read(&one, &mut |_| ControlFlow::Continue(())));
    Ok(asked.await.map_err(|e| ApiError::internal("failed to query events", e))?? > 0)
}
