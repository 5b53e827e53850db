//! The routes over the log and the control store.
//!
//! Duty: check a request in the order of the protocol, hand it to the log or the control store, spell the answer as the
//! reference does. One file per family of routes, with its header; the routes are listed in [`ROUTES`] and nowhere else.
//! Invariant: no handler opens a database or names a table.
//! Adding a route: a line in [`ROUTES`], a handler that takes [`caller::Caller`] first if it needs a key, a refusal for
//! every bad input, a row in `server/tests/refusals.rs`, and an operation in `openapi/`.

mod accept;
mod admin;
mod answer;
mod around;
mod body;
mod caller;
mod conflicts;
mod connections;
mod cors;
mod enroll;
mod error;
mod events;
mod health;
mod history;
mod invitations;
mod json;
mod keys;
mod login;
mod mailbox;
mod members;
mod metrics;
mod outlet;
mod owed;
mod page;
mod projects;
mod pull;
mod push;
mod query;
mod range;
mod redirect;
mod serve;
mod shares;
mod snapshot;
mod sockets;
mod status;
mod stream;
mod streams;
mod turns;

pub use body::Uploads;
pub use connections::Connections;
pub use error::ApiError;
pub use serve::serve;
pub use sockets::{Listeners, Role, SocketsError};
pub use streams::Streams;
pub use turns::Turns;

use crate::config::Config;
use crate::control::Control;
use crate::datadir::DataDir;
use crate::disk::Room;
use crate::ending::Ending;
use crate::identity::Identity;
use crate::jobs::Jobs;
use crate::limit::Limits;
use crate::live::OpenProjects;
use crate::log::{Counters, Logs};
use crate::mail::Post;
use crate::maintenance::Gate;
use crate::metrics::Metrics;
use crate::tls::Tls;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, patch, post};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use td_engine::taxonomy::Schema;
use tokio::sync::watch;

/// Everything a handler may use.
pub struct App {
    /// Settings.
    pub config: Config,
    /// The data directory, held: where its epoch is from, and proof that the databases are ours.
    pub dir: DataDir,
    /// This server's key.
    pub identity: Identity,
    /// Users, keys, projects, members.
    pub control: Control,
    /// All logs.
    pub logs: Arc<dyn Logs>,
    /// Logs in use, each with its live view.
    pub projects: Arc<OpenProjects>,
    /// What events mean.
    pub schema: Arc<dyn Schema>,
    /// HTTPS, if the server speaks it itself.
    pub tls: Option<Arc<Tls>>,
    /// Maintenance mode.
    pub gate: Arc<Gate>,
    /// Snapshots that may be sent at once.
    pub downloads: Turns,
    /// How often somebody may call.
    pub limits: Limits,
    /// How mail leaves.
    pub post: Post,
    /// Connections that are open.
    pub connections: Arc<Connections>,
    /// What is held open for a client.
    pub streams: Arc<Streams>,
    /// Pages that are being read.
    pub turns: Turns,
    /// The memory that pushes may hold.
    pub uploads: Uploads,
    /// Whether the disk has room for more events.
    pub room: Room,
    /// Becomes true once, when a stop begins.
    pub stopping: watch::Sender<bool>,
    /// What is counted about requests.
    pub metrics: Metrics,
    /// What the writers of all logs count.
    pub writers: Arc<Counters>,
    /// How the work went that nobody asked for.
    pub jobs: Jobs,
    /// The end of deleted projects.
    pub ending: Ending,
}

/// When to come back to a full disk.
const FULL: Duration = Duration::from_secs(60);

impl App {
    /// Whether a stop has begun.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Whether the disk has room for more; else, a refusal.
    pub fn has_room(&self) -> Result<(), ApiError> {
        let Some(free) = self.room.shortage() else { return Ok(()) };
        tracing::warn!(free, "a write was refused: the disk is nearly full");
        Err(ApiError::unavailable("the server's disk is nearly full; try again later", FULL))
    }
}

/// Address of the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// A route: where, which methods (GET also answers HEAD), and what it is for.
pub struct Route {
    /// Path with `{name}` for one segment.
    pub path: &'static str,
    /// As in an `Allow` header, without HEAD.
    pub methods: &'static str,
    /// For the generated list.
    pub about: &'static str,
    handlers: fn() -> MethodRouter<Arc<App>>,
}

const fn route(
    path: &'static str,
    methods: &'static str,
    about: &'static str,
    handlers: fn() -> MethodRouter<Arc<App>>,
) -> Route {
    Route { path, methods, about, handlers }
}

/// Every route there is.
pub const ROUTES: &[Route] = &[
    route("/healthz", "GET", "the process answers", || get(health::healthz)),
    route("/readyz", "GET", "clients should be sent here, or why not", || get(health::readyz)),
    route("/metricz", "GET", "a few counters; on this machine or for an admin", || get(metrics::metricz)),
    route("/metrics", "GET", "numbers for Prometheus; on this machine or for an admin", || {
        get(metrics::metrics)
    }),
    route("/version", "GET", "which program, schemas, epoch", || get(health::version)),
    route("/openapi.json", "GET", "these routes as an OpenAPI document", || get(health::openapi)),
    route("/connect", "GET", "page behind an enrolment link", || get(enroll::page)),
    route("/v1/identity", "GET", "proof of the server's key", || get(health::identity)),
    route("/v1/enroll", "POST", "enrolment link for an API key", || post(enroll::enroll)),
    route("/internal/dev/last-email", "GET", "development mailbox", || get(mailbox::last)),
    route("/auth/verify", "GET, POST", "retired", || get(login::page::retired).post(login::page::retired)),
    route("/auth/device/approve", "GET, POST", "page behind a mailed login link", || {
        get(login::page::look).post(login::page::press)
    }),
    route("/auth/device/code", "GET, POST", "page that approves a login by an enrolment code", || {
        get(login::page::code_form).post(login::page::code)
    }),
    route("/v1/auth/device/start", "POST", "begins a command line's login", || post(login::device::start)),
    route("/v1/auth/device/poll", "POST", "asks whether it is through", || post(login::device::poll)),
    route("/v1/auth/web/start", "POST", "begins a browser's login", || post(login::web::start)),
    route("/v1/auth/web/exchange", "POST", "ends it", || post(login::web::exchange)),
    route("/v1/auth/login/start", "POST", "retired", || post(login::retired_start)),
    route("/v1/auth/login/poll", "POST", "retired", || post(login::retired_poll)),
    route("/v1/invitations", "GET", "own invitations", || get(invitations::of_person)),
    route("/v1/invitations/{invitation}/accept", "POST", "becomes a member", || post(invitations::accept)),
    route("/v1/invitations/{invitation}/decline", "POST", "says no", || post(invitations::decline)),
    route("/v1/keys", "GET, POST", "own devices and tokens; new token", || {
        get(keys::list).post(keys::create)
    }),
    route("/v1/keys/current", "GET", "what this key may do", || get(keys::current)),
    route("/v1/keys/requests", "POST", "an agent asks for a token", || post(keys::ask)),
    route("/v1/keys/requests/poll", "POST", "the agent collects it", || post(keys::collect)),
    route("/v1/keys/requests/{code}", "GET, POST", "a person looks at a request, and approves it", || {
        get(keys::look).post(keys::approve)
    }),
    route("/v1/keys/{key}", "DELETE", "revokes a device or a token", || delete(keys::revoke)),
    route("/v1/projects", "GET, POST", "own projects; new project", || {
        get(projects::list).post(projects::create)
    }),
    route("/v1/projects/{id}", "DELETE, GET, PATCH", "one project", || {
        get(projects::get).patch(projects::update).delete(projects::delete)
    }),
    route("/v1/projects/{id}/members", "GET, POST", "who may do what", || {
        get(members::list).post(members::add)
    }),
    route("/v1/projects/{id}/members/{user}", "DELETE, PATCH", "one member", || {
        patch(members::update).delete(members::remove)
    }),
    route("/v1/projects/{id}/events", "GET", "stream of changes (SSE)", || get(events::events)),
    route("/v1/projects/{id}/invitations", "GET, POST", "who was asked to join", || {
        get(invitations::of_project).post(invitations::invite)
    }),
    route("/v1/projects/{id}/invitations/{invitation}", "DELETE", "takes an invitation back", || {
        delete(invitations::withdraw)
    }),
    route("/v1/projects/{id}/public-link", "DELETE, GET, POST", "a link that anybody may read by", || {
        get(keys::link).post(keys::make_link).delete(keys::unlink)
    }),
    route("/v1/projects/{id}/sync/push", "POST", "events into the log", || post(push::push)),
    route("/v1/projects/{id}/sync/pull", "GET", "events from the log", || get(pull::pull)),
    route("/v1/projects/{id}/sync/status", "GET", "head and count of the log", || get(status::status)),
    route("/v1/projects/{id}/sync/snapshot", "GET", "database file to start a device from", || {
        get(snapshot::snapshot)
    }),
    route("/v1/projects/{id}/sync/digest", "GET", "hash of the project's state", || get(status::digest)),
    route("/v1/projects/{id}/sync/conflicts", "GET", "losing sides that are kept", || {
        get(conflicts::conflicts)
    }),
    route("/v1/projects/{id}/history/{type}/{entity}", "GET", "every event of one entity", || {
        get(history::history)
    }),
    route("/v1/admin/server/overview", "GET", "admin: health, counters, totals", || get(admin::overview)),
    route("/v1/admin/server/config", "GET", "admin: settings", || get(admin::config)),
    route("/v1/admin/server/rate-limit-violations", "GET", "admin: calls that a limit refused", || {
        get(admin::violations)
    }),
    route("/v1/admin/users", "GET", "admin: accounts", || get(admin::users)),
    route("/v1/admin/users/{id}", "GET", "admin: one account", || get(admin::user)),
    route("/v1/admin/users/{id}/keys", "GET", "admin: an account's keys", || get(admin::keys)),
    route("/v1/admin/users/{id}/keys/{key}", "DELETE", "admin: take a key away", || {
        delete(admin::revoke_key)
    }),
    route("/v1/admin/auth/events", "GET", "admin: what happened around signing in", || {
        get(admin::auth_events)
    }),
    route("/v1/admin/projects", "GET", "admin: all projects", || get(admin::projects)),
    route("/v1/admin/projects/{id}", "GET", "admin: one project", || get(admin::project)),
    route("/v1/admin/projects/{id}/members", "GET", "admin: a project's members", || get(admin::members)),
    route("/v1/admin/projects/{id}/sync/status", "GET", "admin: head and count of a log", || {
        get(admin::status)
    }),
    route("/v1/admin/projects/{id}/sync/cursors", "GET", "admin: how far a project's clients are", || {
        get(admin::cursors)
    }),
    route("/v1/admin/projects/{id}/events", "GET", "admin: a log by what its events are", || {
        get(admin::events)
    }),
    route("/v1/admin/projects/{id}/events/{server_seq}", "GET", "admin: one event", || get(admin::event)),
    route("/v1/admin/projects/{id}/snapshot/meta", "GET", "admin: the newest kept snapshot", || {
        get(admin::snapshot_meta)
    }),
    route("/v1/admin/entity-types", "GET", "admin: kinds of entities", || get(admin::entity_types)),
];

/// The whole service.
pub fn router(app: Arc<App>) -> Router {
    let routes = ROUTES.iter().fold(Router::new(), |router, r| router.route(r.path, (r.handlers)()));
    let routes = routes
        .fallback(around::not_found)
        .method_not_allowed_fallback(around::method_not_allowed)
        .with_state(Arc::clone(&app));
    // A layer on `routes` itself would sit inside the routing, where `Allow` is not there yet.
    Router::new().fallback_service(routes).layer(from_fn_with_state(app, around::every_request))
}
