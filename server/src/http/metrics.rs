//! `/metricz` and `/metrics`: for who runs the server, and nobody else (server-protocol 4.2, W37).
//!
//! Danger: "from this machine" is what the connection says. Behind a proxy on the same machine every stranger would look
//! like that, so a request with a proxy's marks counts as local only if the proxy is named in `SYNC_TRUSTED_PROXIES` and
//! says that its own client is local.

use crate::http::admin::{Admin, ReadServer};
use crate::http::answer::{json, with_type};
use crate::http::caller::client_behind;
use crate::http::error::ApiError;
use crate::http::{App, Peer};
use crate::log::Counts;
use crate::logging::blocking;
use crate::metrics::{Page, content_type};
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Somebody on this machine, or an admin whose key may read the server's state.
pub struct Insider;

impl FromRequestParts<Arc<App>> for Insider {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        // The listener puts the peer there for every connection.
        let peer = parts.extensions.get::<Peer>().map_or(Ipv4Addr::UNSPECIFIED.into(), |p| p.0);
        if is_local(app, peer, &parts.headers) {
            return Ok(Self);
        }
        Admin::<ReadServer>::from_request_parts(parts, app).await.map(|_| Self)
    }
}

fn is_local(app: &App, peer: IpAddr, headers: &HeaderMap) -> bool {
    const HOPS: &str = "x-forwarded-for";
    if ![HOPS, "forwarded", "x-real-ip", "via"].iter().any(|h| headers.contains_key(*h)) {
        return peer.to_canonical().is_loopback();
    }
    // A hop without an address would leave the proxy itself as the client.
    let hops = headers.get_all(HOPS).iter().flat_map(|v| v.as_bytes().split(|b| *b == b','));
    let mut addresses = hops.map(|hop| str::from_utf8(hop).ok()?.trim().parse::<IpAddr>().ok()).peekable();
    let told = addresses.peek().is_some() && addresses.all(|a| a.is_some());
    told && app.config.trusted_proxies.contains(peer) && client_behind(app, peer, headers).is_loopback()
}

/// GET `/metricz`
pub async fn metricz(State(app): State<Arc<App>>, _: Insider) -> Response {
    json(StatusCode::OK, &app.metrics.summary())
}

/// GET `/metrics`
pub async fn metrics(State(app): State<Arc<App>>, _: Insider) -> Result<Response, ApiError> {
    let text = blocking(move || text(&app)).await;
    let text = text.map_err(|e| ApiError::internal("failed to read metrics", e))?;
    Ok(with_type(StatusCode::OK, content_type(), text))
}

fn text(app: &App) -> String {
    let mut page = Page::default();
    page.family("td_sync_build_info", "gauge", "Which program this is; always 1.");
    let commit = option_env!("TD_COMMIT").unwrap_or_default();
    page.line("td_sync_build_info", &[("version", crate::version::VERSION), ("commit", commit)], 1);
    app.metrics.write(&mut page);
    writers(app, &mut page);
    projects(app, &mut page);
    machine(app, &mut page);
    page.finish()
}

fn writers(app: &App, page: &mut Page) {
    let Counts { commits, pushes, events, checkpoints, failures, waiting } = app.writers.read();
    page.one("td_sync_commits_total", "counter", "Group commits of event logs.", commits);
    page.one("td_sync_committed_pushes_total", "counter", "Pushes answered by group commits.", pushes);
    page.one("td_sync_committed_events_total", "counter", "Events stored by group commits.", events);
    page.one("td_sync_checkpoints_total", "counter", "Checkpoints of event logs.", checkpoints);
    page.one("td_sync_commit_failures_total", "counter", "Groups that the storage refused.", failures);
    page.one("td_sync_queued_pushes", "gauge", "Pushes that wait for a commit, or are in one.", waiting);
    page.family("td_sync_commit_pushes", "histogram", "Pushes per group commit.");
    page.histogram("td_sync_commit_pushes", &[], &app.writers.groups, 1.0);
    page.family("td_sync_commit_duration_seconds", "histogram", "Time of a group commit, disk included.");
    page.histogram("td_sync_commit_duration_seconds", &[], &app.writers.durations, 1e-6);
}

fn projects(app: &App, page: &mut Page) {
    let lag: Vec<_> =
        app.projects.lag().into_iter().map(|p| (p.project, p.head.seq.0 - p.applied.0)).collect();
    let streams = app.streams.open();
    page.one("td_sync_streams", "gauge", "Live streams and waiting pulls that are open.", streams);
    page.one("td_sync_open_projects", "gauge", "Projects in use.", lag.len());
    const MOST: &str = "td_sync_applied_lag_events";
    let most = lag.iter().map(|(_, n)| *n).max().unwrap_or(0);
    page.one(MOST, "gauge", "Events by which the live view farthest behind lags its log.", most);
    const EACH: &str = "td_sync_project_applied_lag_events";
    page.family(EACH, "gauge", "The same by project, where there is a lag.");
    page.projects(EACH, lag.iter().filter(|(_, n)| *n > 0).map(|(id, n)| (id.as_str(), *n)));
}

fn machine(app: &App, page: &mut Page) {
    page.one("td_sync_connections", "gauge", "Connections that are open.", app.connections.count());
    const REFUSED: &str = "td_sync_refused_connections_total";
    let refused = app.connections.refused();
    page.one(REFUSED, "counter", "Connections that were closed as they came: too many.", refused);
    let held = i32::from(app.gate.is_closed());
    page.one("td_sync_maintenance", "gauge", "1 while maintenance mode holds writes.", held);
    if let Ok(free) = crate::disk::free_bytes(app.dir.path()) {
        page.one("td_sync_free_bytes", "gauge", "Room on the data directory's disk.", free);
    }
    if let Some(days) = app.tls.as_ref().and_then(|tls| tls.days_left()) {
        const DAYS: &str = "td_sync_certificate_days";
        page.one(DAYS, "gauge", "Days until the certificate in service ends; below 0 once it has.", days);
    }
    if let Some(bytes) = resident_bytes() {
        page.one("process_resident_memory_bytes", "gauge", "Memory of this process.", bytes);
    }
}

/// `None` where the system does not say (an empty root folder has no `/proc`).
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
