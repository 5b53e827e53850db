//! Getting a key, and knowing the server.

use super::operation::{Access, Operation, op};
use super::schema::{object, text, time, words};

pub(super) fn operations() -> Vec<Operation> {
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
            .refuses(429, "Too often; Retry-After says when."),
    ]
}
