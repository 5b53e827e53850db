//! Projects, members, events.

use super::operation::{Access, Operation, op};
use super::schema::{any, flag, int, list, named, object, or_null, text, time, words};

pub(super) fn operations() -> Vec<Operation> {
    [crud(), members(), sync()].concat()
}

fn crud() -> Vec<Operation> {
    const ALL: &str = "/v1/projects";
    const ONE: &str = "/v1/projects/{id}";
    vec![
        op("GET", ALL, Access::Key).json(200, "The caller's projects, oldest first.", list(named("Project"))),
        op("POST", ALL, Access::Key)
            .body(object(&[("name", text()), ("description?", text())]))
            .json(201, "The new project; the caller owns it.", named("Project"))
            .refuses(400, "No name, or no JSON."),
        op("GET", ONE, Access::Member("reader")).json(200, "The project.", named("Project")),
        op("PATCH", ONE, Access::Member("writer"))
            .body(object(&[("name?", text()), ("description?", text())]))
            .json(200, "The project as it is now.", named("Project"))
            .refuses(400, "An empty name, or no JSON."),
        op("DELETE", ONE, Access::Member("owner"))
            .empty(204, "Deleted; an admin can bring it back for a while."),
    ]
}

fn members() -> Vec<Operation> {
    const ALL: &str = "/v1/projects/{id}/members";
    const ONE: &str = "/v1/projects/{id}/members/{user}";
    let last = "The project would be left without an owner.";
    vec![
        op("GET", ALL, Access::Member("reader")).json(200, "Members, oldest first.", list(named("Member"))),
        op("POST", ALL, Access::Member("owner"))
            .body(object(&[("user_id?", text()), ("email?", text()), ("role", text())]))
            .json(201, "The new member.", named("Member"))
            .refuses(400, "Nobody named, no role, or no JSON."),
        op("PATCH", ONE, Access::Member("owner"))
            .body(object(&[("role", text())]))
            .json(200, "Changed.", object(&[("status", words(&["updated"]))]))
            .refuses(400, "No role, or no JSON.")
            .refuses(409, last),
        op("DELETE", ONE, Access::Member("owner")).empty(204, "No member any more.").refuses(409, last),
    ]
}

fn sync() -> Vec<Operation> {
    let pushed = object(&[
        ("client_action_id", int()),
        ("action_type", text()),
        ("entity_type", text()),
        ("entity_id", text()),
        ("payload?", any()),
        ("client_timestamp", time()),
    ]);
    let acks = list(object(&[("client_action_id", int()), ("server_seq", int())]));
    let rejected = list(object(&[("client_action_id", int()), ("reason", text()), ("server_seq?", int())]));
    vec![
        op("POST", "/v1/projects/{id}/sync/push", Access::Member("writer"))
            .body(object(&[("device_id", text()), ("session_id", text()), ("events", list(pushed))]))
            .json(
                200,
                "Durable. A duplicate is in `rejected` with the sequence it has.",
                object(&[("accepted", int()), ("acks", or_null(acks)), ("rejected?", rejected)]),
            )
            .refuses(400, "Something in the batch is wrong; nothing of it was stored."),
        op("GET", "/v1/projects/{id}/sync/pull", Access::Member("reader"))
            .query("after_server_seq", int(), "Only events behind this sequence.")
            .query("limit", int(), "At most so many, 1000 if not said, 10000 at most.")
            .query("exclude_client", text(), "Leave out this device's own events.")
            .query("wait", int(), "Hold an empty answer for up to so many seconds until there is something.")
            .json(
                200,
                "Events in order of sequence.",
                object(&[("events", list(named("Event"))), ("last_server_seq", int()), ("has_more", flag())]),
            )
            .refuses(400, "A parameter that is no number, or too small."),
        op("GET", "/v1/projects/{id}/events", Access::Member("reader"))
            .other(200, "Server-sent events: every change as soon as it is on disk.", "text/event-stream")
            .refuses(503, "Too many streams are open."),
        op("GET", "/v1/projects/{id}/sync/status", Access::Member("reader")).json(
            200,
            "Head and count of the log.",
            named("SyncStatus"),
        ),
        op("GET", "/v1/projects/{id}/sync/digest", Access::Member("reader"))
            .json(
                200,
                "Hash of the project's state at a sequence.",
                object(&[("seq", int()), ("digest", text()), ("format", int())]),
            )
            .refuses(503, "The live view is still catching up; Retry-After says when to ask again."),
    ]
}
