//! Projects, members, events.

use super::operation::{Access, Operation, op};
use super::schema::{any, flag, int, list, map, named, object, or_null, text, time, words};

/// What a database file is sent as.
const FILE: &str = "application/x-sqlite3";

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
            .refuses(400, "Nobody named, no role, or no JSON.")
            .refuses(409, "Another owner's link made this account, and nobody has proven its address."),
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
    let side = || object(&[("server_seq", int()), ("device_id", text()), ("values", map(any()))]);
    let conflict = object(&[
        ("id", text()),
        ("kind", text()),
        ("entity_type", text()),
        ("entity_id", text()),
        ("winner", side()),
        ("loser", side()),
    ]);
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
        op("GET", "/v1/projects/{id}/sync/snapshot", Access::Member("reader"))
            .other(200, "A td database with all events up to the sequence in X-Snapshot-Seq.", FILE)
            .other(206, "The part that Range asks for.", FILE)
            .empty(304, "If-None-Match names this file.")
            .refuses(404, "The log is empty.")
            .refuses(412, "The file that If-Match names is not kept any more.")
            .refuses(416, "The file has no such part.")
            .refuses(503, "Too many downloads, or no room to make one; Retry-After says when to ask again."),
        op("GET", "/v1/projects/{id}/sync/conflicts", Access::Member("reader"))
            .query("after", text(), "`next` of the page before.")
            .query("limit", int(), "At most so many, 100 if not said, 1000 at most.")
            .json(
                200,
                "Losing sides that are kept, oldest first.",
                object(&[("seq", int()), ("conflicts", list(conflict)), ("next", or_null(text()))]),
            )
            .refuses(400, "A parameter that cannot be read.")
            .refuses(503, "The live view is still catching up; Retry-After says when to ask again."),
        op("GET", "/v1/projects/{id}/history/{type}/{entity}", Access::Member("reader"))
            .query("after_server_seq", int(), "Only events behind this sequence.")
            .query("limit", int(), "At most so many, 100 if not said, 1000 at most.")
            .json(
                200,
                "Every event of one entity, in order of sequence.",
                object(&[
                    ("entity_type", text()),
                    ("entity_id", text()),
                    ("events", list(named("Event"))),
                    ("last_server_seq", int()),
                    ("has_more", flag()),
                ]),
            )
            .refuses(400, "No such type, or a parameter that cannot be read."),
        op("GET", "/v1/projects/{id}/sync/digest", Access::Member("reader"))
            .query("seq", int(), "The head, or the point of a kept snapshot; the head if not said.")
            .json(
                200,
                "Hash of the project's state at a sequence.",
                object(&[("seq", int()), ("digest", text()), ("format", int())]),
            )
            .refuses(400, "A sequence that is none.")
            .refuses(409, "No state is kept there; X-Td-Digest-Seq has the nearest that is.")
            .refuses(503, "The live view is still catching up; Retry-After says when to ask again."),
    ]
}
