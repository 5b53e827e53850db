//! What operators read.

use super::operation::{Access, Operation, listing, op};
use super::schema::{flag, int, list, map, named, number, object, or_null, text, time, words};

const SERVER: Access = Access::Admin("admin:read:server");
const PROJECTS: Access = Access::Admin("admin:read:projects");
const EVENTS: Access = Access::Admin("admin:read:events");

pub(super) fn operations() -> Vec<Operation> {
    [server(), users(), projects(), events()].concat()
}

trait Paged: Sized {
    fn paged(self) -> Self;
    fn between(self) -> Self;
}

impl Paged for Operation {
    fn paged(self) -> Self {
        self.query("limit", int(), "At most so many, 50 if not said, 200 at most.").query(
            "cursor",
            text(),
            "`next_cursor` of the page before.",
        )
    }

    fn between(self) -> Self {
        self.query("from", time(), "Not before this moment.")
            .query("to", time(), "Not after this moment.")
            .refuses(400, "No moment.")
    }
}

fn server() -> Vec<Operation> {
    let overview = object(&[
        ("uptime_seconds", number()),
        ("health", words(&["ok", "error"])),
        ("metrics", named("Metricz")),
        ("total_projects", int()),
        ("total_users", int()),
        ("total_members", int()),
        ("caller_user_id", text()),
    ]);
    let limits = object(&[("auth", int()), ("push", int()), ("pull", int()), ("other", int())]);
    let config = object(&[
        ("listen_addr", text()),
        ("allow_signup", flag()),
        ("log_level", text()),
        ("log_format", text()),
        ("rate_limits", limits),
        ("cors_origins", list(text())),
        ("auth_event_retention", text()),
        ("rate_limit_event_retention", text()),
    ]);
    let refused = object(&[
        ("ID", int()),
        ("KeyID", text()),
        ("IP", text()),
        ("EndpointClass", text()),
        ("CreatedAt", time()),
    ]);
    vec![
        op("GET", "/v1/admin/server/overview", SERVER).json(200, "Health, counters, totals.", overview),
        op("GET", "/v1/admin/server/config", SERVER).json(200, "Settings.", config),
        op("GET", "/v1/admin/server/rate-limit-violations", SERVER)
            .query("key_id", text(), "Of this key.")
            .query("ip", text(), "From this address.")
            .between()
            .paged()
            .json(200, "Calls that a limit refused.", listing(refused)),
    ]
}

fn users() -> Vec<Operation> {
    let key = object(&[
        ("id", text()),
        ("key_prefix", text()),
        ("name", text()),
        ("scopes", text()),
        ("created_at", time()),
        ("last_used_at", or_null(time())),
        ("expires_at", or_null(time())),
    ]);
    let event = object(&[
        ("id", int()),
        ("auth_request_id", text()),
        ("email", text()),
        ("event_type", text()),
        ("metadata", text()),
        ("created_at", time()),
    ]);
    vec![
        op("GET", "/v1/admin/users", SERVER)
            .query("q", text(), "Part of the address; `%` and `_` stand for any text and letter.")
            .paged()
            .json(200, "Accounts by id.", listing(named("AdminUser"))),
        op("GET", "/v1/admin/users/{id}", SERVER)
            .json(200, "The account and its projects.", named("AdminUserWithProjects"))
            .refuses(404, "No such account."),
        op("GET", "/v1/admin/users/{id}/keys", SERVER)
            .json(200, "Keys without their secrets, oldest first.", object(&[("data", list(key))]))
            .refuses(404, "No such account."),
        op("DELETE", "/v1/admin/users/{id}/keys/{key}", Access::Admin("admin:write:users"))
            .empty(204, "The key is refused from the next request on.")
            .refuses(404, "No such account, or no such key of it."),
        op("GET", "/v1/admin/auth/events", SERVER)
            .query("status", text(), "Of this kind.")
            .query("email", text(), "Part of the address.")
            .between()
            .paged()
            .json(200, "What happened around signing in.", listing(event)),
    ]
}

fn projects() -> Vec<Operation> {
    let member = object(&[
        ("user_id", text()),
        ("email", text()),
        ("role", text()),
        ("invited_by", text()),
        ("created_at", time()),
    ]);
    let cursor = object(&[
        ("client_id", text()),
        ("last_event_id", int()),
        ("last_sync_at", or_null(time())),
        ("distance_from_head", int()),
    ]);
    let none = "No such project.";
    vec![
        op("GET", "/v1/admin/projects", PROJECTS)
            .query("q", text(), "Part of the name; `%` and `_` stand for any text and letter.")
            .query("include_deleted", words(&["true"]), "Deleted ones too.")
            .paged()
            .json(200, "Projects by id.", listing(named("AdminProject"))),
        op("GET", "/v1/admin/projects/{id}", PROJECTS)
            .json(200, "The project, deleted or not.", named("AdminProjectInFull"))
            .refuses(404, none),
        op("GET", "/v1/admin/projects/{id}/members", PROJECTS)
            .json(200, "Its members, oldest first.", object(&[("data", list(member))]))
            .refuses(404, none),
        op("GET", "/v1/admin/projects/{id}/sync/status", PROJECTS)
            .json(200, "Head and count of its log.", named("SyncStatus"))
            .refuses(404, none),
        op("GET", "/v1/admin/projects/{id}/sync/cursors", PROJECTS)
            .json(200, "How far its clients are.", object(&[("data", list(cursor))]))
            .refuses(404, none),
    ]
}

fn events() -> Vec<Operation> {
    let snapshot = object(&[
        ("snapshot_seq", int()),
        ("head_seq", int()),
        ("staleness", int()),
        ("entity_counts", map(int())),
    ]);
    vec![
        op("GET", "/v1/admin/projects/{id}/events", EVENTS)
            .query("after_seq", int(), "Only events behind this sequence.")
            .query("limit", int(), "At most so many, 100 if not said, 1000 at most.")
            .query("entity_type", text(), "Of this kind of entity.")
            .query("entity_id", text(), "Of this entity.")
            .query("action_type", text(), "Doing this.")
            .query("device_id", text(), "Pushed by this device.")
            .query("session_id", text(), "In this session.")
            .between()
            .json(
                200,
                "Events in order of sequence, with the time they came.",
                object(&[("data", list(named("StampedEvent"))), ("has_more", flag())]),
            )
            .refuses(404, "No such project."),
        op("GET", "/v1/admin/projects/{id}/events/{server_seq}", EVENTS)
            .json(200, "The event.", named("StampedEvent"))
            .refuses(400, "No sequence.")
            .refuses(404, "No such project, or no such event."),
        op("GET", "/v1/admin/projects/{id}/snapshot/meta", Access::Admin("admin:read:snapshots"))
            .json(200, "The newest kept snapshot, and the rows in it by table; 0 if there is none.", snapshot)
            .refuses(404, "No such project."),
        op("GET", "/v1/admin/entity-types", EVENTS).json(
            200,
            "Canonical words, sorted.",
            object(&[("entity_types", list(text()))]),
        ),
    ]
}
