//! Fuzz targets: hostile bytes for everything of the server that reads what others wrote.
//!
//! Duty: each [`Target`] takes any bytes, hands them to the real entry point and checks what must hold whatever they
//! are: no panic, a refusal instead of a failure, and what was accepted reads back as the same.
//! The targets run twice: `cargo test -p td-fuzz` replays every file of `corpus/` with each change, and `tests/fuzz/run`
//! lets libFuzzer look for new ones.
//! Danger: a target whose answer depends on what ran before it, because its finding cannot be replayed. Those that keep
//! a server ([`world`]) renew it, and check one input at a time.

mod apply;
mod certificate;
mod codes;
mod config;
mod forwarded;
mod headers;
mod import;
mod mail;
mod names;
mod payload;
mod push;
mod query;
mod request;
mod times;
mod world;

use std::path::PathBuf;

/// A parser, or what stands around one.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Also the folder of its corpus.
    pub name: &'static str,
    /// What the bytes are.
    pub about: &'static str,
    /// Panics if something does not hold.
    pub run: fn(&[u8]),
}

const fn of(name: &'static str, run: fn(&[u8]), about: &'static str) -> Target {
    Target { name, about, run }
}

/// Every target there is.
pub const TARGETS: &[Target] = &[
    of("push", push::run, "the body of a push, through the router, log and live view"),
    of("query", query::run, "a query string, on every route that reads one"),
    of("request", request::run, "method and address on the first line, then the body, on any route"),
    of("headers", headers::run, "headers, one a line, of a snapshot, a pull, a stream and a status"),
    of("codes", codes::run, "what is typed or shown as a code; \\x01 to \\x04 stand for good ones"),
    of("config", config::run, "an environment, one NAME=value a line"),
    of("forwarded", forwarded::run, "trusted proxies, the peer, then X-Forwarded-For, one a line"),
    of("mail", mail::run, "a mail address"),
    of("times", times::run, "a time, as pushed and as stored"),
    of("payload", payload::run, "the JSON of an event"),
    of("names", names::run, "the name of a snapshot's file, a project's id, an epoch"),
    of("apply", apply::run, "events of a log, one a line, for the engine"),
    of("import", import::run, "changes to a data directory of the reference that is taken over, one a line"),
    of("certificate", certificate::run, "a certificate in DER"),
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}

/// Where the inputs of a target are kept.
pub fn corpus(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}
