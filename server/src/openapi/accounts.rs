//! Signing in, keys and tokens, invitations, and knowing the server.

use super::operation::{Access, Operation, op};
use super::schema::{flag, int, list, named, object, or_null, text, time, words};

const TOO_OFTEN: &str = "Too often; Retry-After says when.";

pub(super) fn operations() -> Vec<Operation> {
    [enrolment(), login(), pages(), retired(), keys(), requests(), invitations()].concat()
}

fn enrolment() -> Vec<Operation> {
    let enrolled = object(&[
        ("status", words(&["complete"])),
        ("api_key", text()),
        ("user_id", text()),
        ("email", text()),
        ("expires_at", time()),
        ("project_id?", text()),
    ]);
    vec![
        op("GET", "/connect", Access::Anybody).other(
            200,
            "A page that says what to do with the link.",
            "text/html",
        ),
        op("GET", "/v1/identity", Access::Anybody)
            .query("nonce", text(), "32 to 128 hexadecimal digits, chosen by the caller.")
            .json(
                200,
                "Ed25519 public key and signature over `td-sync identity 1\\n` and the nonce, in base64.",
                object(&[("public_key", text()), ("signature", text())]),
            )
            .refuses(400, "No such nonce."),
        op("POST", "/v1/enroll", Access::Anybody)
            .body(object(&[("secret", text()), ("device_name?", text())]))
            .json(200, "The key, shown once.", enrolled)
            .refuses(400, "No secret, or no JSON.")
            .refuses(404, "Unknown link.")
            .refuses(410, "The link was used or is too old.")
            .refuses(429, TOO_OFTEN),
        op("GET", "/internal/dev/last-email", Access::Anybody)
            .json(200, "The newest mail, where the development mailbox is on.", named("Mail"))
            .other(404, "It is off, or empty.", "text/plain"),
    ]
}

/// An operation of signing in: by anybody, as often as an address may.
fn signing_in(path: &'static str) -> Operation {
    op("POST", path, Access::Anybody).refuses(429, TOO_OFTEN)
}

fn login() -> Vec<Operation> {
    let begun = [("device_code", text()), ("expires_in", int()), ("interval", int()), ("email_sent", flag())];
    let mailed =
        [("status", words(&["email_sent_if_allowed"])), ("expires_in", int()), ("retry_after", int())];
    vec![
        signing_in("/v1/auth/device/start")
            .body(object(&[
                ("email", text()),
                ("code_challenge", text()),
                ("code_challenge_method", words(&["S256"])),
            ]))
            .json(200, "Begun. The same for an address that nobody has here.", object(&begun))
            .refuses(400, "No address, no challenge, or no JSON."),
        signing_in("/v1/auth/device/poll")
            .body(object(&[("device_code", text()), ("code_verifier", text())]))
            .json(200, "The key, shown once, or `pending`.", named("LoginResult"))
            .refuses(400, "A part is missing, or no JSON.")
            .refuses(401, "The verifier does not fit.")
            .refuses(410, "Over, or the key was handed out before."),
        signing_in("/v1/auth/web/start")
            .body(object(&[("email", text()), ("redirect_uri", text()), ("state", text())]))
            .json(200, "Mailed, if the address may sign in.", object(&mailed))
            .refuses(400, "No address, another redirect_uri than the configured one, or no JSON."),
        signing_in("/v1/auth/web/exchange")
            .body(object(&[("token", text()), ("state", text())]))
            .json(200, "The key, shown once.", named("LoginResult"))
            .refuses(400, "No token, or no JSON.")
            .refuses(401, "Unknown, used or too old, or another state."),
    ]
}

fn pages() -> Vec<Operation> {
    let page = |method, path| {
        op(method, path, Access::Anybody)
            .other(200, "A page; its words say how it ended.", "text/html")
            .refuses(429, TOO_OFTEN)
    };
    vec![
        page("GET", "/auth/device/approve").query("token", text(), "From the mail.").other(
            400,
            "A page: no such link.",
            "text/html",
        ),
        page("POST", "/auth/device/approve").other(400, "A page: no such link.", "text/html"),
        page("GET", "/auth/device/code"),
        page("POST", "/auth/device/code").other(400, "A page: no such code.", "text/html"),
    ]
}

/// The reference's first login, which proves no address.
fn retired() -> Vec<Operation> {
    let gone = |path| signing_in(path).refuses(410, "Retired; the message names what to use.");
    let nowhere = |method| op(method, "/auth/verify", Access::Anybody).other(404, "Retired.", "text/plain");
    vec![gone("/v1/auth/login/start"), gone("/v1/auth/login/poll"), nowhere("GET"), nowhere("POST")]
}

fn terms() -> super::schema::Schema {
    let grants = list(object(&[("project", text()), ("role", words(&["reader", "writer"]))]));
    object(&[("name", text()), ("grants", grants), ("expires_in?", int()), ("max_events?", int())])
}

fn keys() -> Vec<Operation> {
    vec![
        op("GET", "/v1/keys", Access::Key).json(200, "Own devices, then own tokens.", list(named("Token"))),
        op("POST", "/v1/keys", Access::Key)
            .body(terms())
            .json(201, "The token with its `api_key`, shown once.", named("Token"))
            .refuses(400, "What is wrong with the terms, or no JSON.")
            .refuses(409, "Too many tokens."),
        op("GET", "/v1/keys/current", Access::Key).json(
            200,
            "What the key that asks may do; of a device less is said.",
            object(&[("id", text()), ("kind", text())]),
        ),
        op("DELETE", "/v1/keys/{key}", Access::Key)
            .empty(204, "It does not sign in any more.")
            .refuses(404, "No such key of yours."),
        op("GET", "/v1/projects/{id}/public-link", Access::Member("owner"))
            .json(200, "The link; its key is not shown again.", named("Token"))
            .refuses(404, "There is none."),
        op("POST", "/v1/projects/{id}/public-link", Access::Member("owner")).json(
            201,
            "A new link with its `api_key`, shown once. An old one stops working.",
            named("Token"),
        ),
        op("DELETE", "/v1/projects/{id}/public-link", Access::Member("owner"))
            .empty(204, "It does not work any more.")
            .refuses(404, "There is none."),
    ]
}

fn requests() -> Vec<Operation> {
    let begun = [("poll_code", text()), ("user_code", text()), ("expires_in", int()), ("interval", int())];
    let shown = [("user_code", text()), ("name", text()), ("client", text()), ("created_at", time())];
    vec![
        signing_in("/v1/keys/requests")
            .body(object(&[("name", text())]))
            .json(200, "An agent's request waits for a person who is told the user_code.", object(&begun))
            .refuses(400, "No name, or no JSON.")
            .refuses(503, "Too many requests wait."),
        signing_in("/v1/keys/requests/poll")
            .body(object(&[("poll_code", text())]))
            .json(
                200,
                "`{\"status\":\"pending\"}`, or the token with its `api_key`, shown once.",
                object(&[]),
            )
            .refuses(400, "No JSON.")
            .refuses(410, "Over."),
        op("GET", "/v1/keys/requests/{code}", Access::Key)
            .json(200, "Who asks.", object(&shown))
            .refuses(404, "No request with this code waits."),
        op("POST", "/v1/keys/requests/{code}", Access::Key)
            .body(terms())
            .json(200, "Approved under these terms.", object(&[("status", words(&["approved"]))]))
            .refuses(400, "What is wrong with the terms, or no JSON.")
            .refuses(404, "No request with this code waits.")
            .refuses(409, "Decided before."),
    ]
}

fn invitations() -> Vec<Operation> {
    const ALL: &str = "/v1/projects/{id}/invitations";
    let answer = |path| {
        op("POST", path, Access::Key)
            .refuses(404, "No such invitation of this address.")
            .refuses(409, "Answered before.")
            .refuses(410, "Too old.")
    };
    vec![
        op("GET", "/v1/invitations", Access::Key).json(
            200,
            "Those of the caller's address that can be answered.",
            list(named("Invitation")),
        ),
        answer("/v1/invitations/{invitation}/accept").json(200, "A member now.", named("Member")),
        answer("/v1/invitations/{invitation}/decline").json(
            200,
            "Declined.",
            object(&[("status", words(&["declined"]))]),
        ),
        op("GET", ALL, Access::Member("owner")).json(
            200,
            "Everybody who was asked.",
            list(named("Invitation")),
        ),
        op("POST", ALL, Access::Member("owner"))
            .body(object(&[("email", text()), ("role", text())]))
            .json(
                201,
                "Mailed; without mail the header X-Td-Enrolment-Link may have a link to hand over.",
                named("Invitation"),
            )
            .refuses(400, "No address, no role, or no JSON.")
            .refuses(409, "Another owner's link made this account, and nobody has proven its address."),
        op("DELETE", "/v1/projects/{id}/invitations/{invitation}", Access::Member("owner"))
            .empty(204, "Taken back.")
            .refuses(404, "No such invitation."),
    ]
}

/// What more than one operation here speaks of.
pub(super) fn schemas() -> Vec<(&'static str, super::schema::Schema)> {
    let grants = list(object(&[("project", text()), ("role", text())]));
    let mail = ["to", "subject", "text", "html", "purpose", "trace_id"].map(|name| (name, text()));
    vec![
        ("Mail", object(&mail)),
        (
            "LoginResult",
            object(&[
                ("status", words(&["pending", "complete"])),
                ("api_key?", text()),
                ("user_id?", text()),
                ("email?", text()),
                ("expires_at?", time()),
            ]),
        ),
        (
            "Token",
            object(&[
                ("id", text()),
                ("kind", text()),
                ("name", text()),
                ("prefix", text()),
                ("grants", or_null(grants)),
                ("created_at", time()),
                ("expires_at", or_null(time())),
                ("last_used_at", or_null(time())),
                ("max_events", or_null(int())),
                ("used_events", or_null(int())),
                ("api_key?", text()),
            ]),
        ),
        (
            "Invitation",
            object(&[
                ("id", text()),
                ("project_id", text()),
                ("email", text()),
                ("role", text()),
                ("invited_by", text()),
                ("status", text()),
                ("created_at", time()),
                ("expires_at", time()),
                ("accepted_at?", time()),
            ]),
        ),
    ]
}
