//! What answers before anybody has a key.

use super::operation::{Access, Operation, op};
use super::schema::{any, flag, int, list, map, named, object, or_null, text, words};

pub(super) fn operations() -> Vec<Operation> {
    let version = object(&[
        ("product", words(&["td-sync"])),
        ("version", text()),
        ("commit", or_null(text())),
        ("schemas", map(list(int()))),
        ("epoch", or_null(text())),
    ]);
    let reasons = list(object(&[("id", text()), ("detail", text())]));
    let ready = || object(&[("ready", flag()), ("reasons", reasons.clone())]);
    vec![
        op("GET", "/healthz", Access::Anybody)
            .json(200, "The process and its control store answer.", object(&[("status", words(&["ok"]))]))
            .json(503, "They do not.", object(&[("status", words(&["error"])), ("detail", text())])),
        op("GET", "/readyz", Access::Anybody).json(200, "Clients should be sent here.", ready()).json(
            503,
            "They should not, and why.",
            ready(),
        ),
        op("GET", "/metricz", Access::Insider).json(200, "A few counters.", named("Metricz")),
        op("GET", "/metrics", Access::Insider).other(200, "Numbers as Prometheus reads them.", "text/plain"),
        op("GET", "/version", Access::Anybody).json(200, "Which program, schemas and epoch.", version),
        op("GET", "/openapi.json", Access::Anybody).json(200, "This document.", map(any())),
    ]
}
