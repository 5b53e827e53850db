//! Names with a grammar, so that no bare string or number stands for one of them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// `server_seq`: an event's place in its project's log. Starts at 1; 0 means "before the first". Grows, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub i64);

/// A client's own number for an action (its `action_log` rowid). Any 64-bit integer is legal on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionId(pub i64);

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text as it stands on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// Who pushed: chosen by the client, not empty, trusted only as a name (server-protocol 5.3).
    DeviceId
}
text_id! {
    /// The pushing session: second part of the idempotency key. Not empty.
    SessionId
}
text_id! {
    /// `p_` and 16 lower-case hex digits. Nothing else ever becomes a path (server-protocol W24).
    ProjectId
}
text_id! {
    /// Random id of one history of a server's data (law 9): 32 lower-case hex digits.
    Epoch
}

/// A text that is not what its kind requires.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}: {text:?}")]
pub struct BadId {
    /// The kind of name that was expected.
    pub kind: &'static str,
    /// What was given.
    pub text: String,
}

impl DeviceId {
    /// Any non-empty text (a blank passes, as in the reference).
    pub fn new(text: impl Into<String>) -> Result<Self, BadId> {
        non_empty("device id", text.into()).map(Self)
    }
}

impl SessionId {
    /// Any non-empty text.
    pub fn new(text: impl Into<String>) -> Result<Self, BadId> {
        non_empty("session id", text.into()).map(Self)
    }
}

impl ProjectId {
    /// Accepts exactly `p_` + 16 of `[0-9a-f]`.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let hex = text.strip_prefix("p_").filter(|h| is_hex(h, 16));
        hex.map(|_| Self(text.into())).ok_or_else(|| BadId { kind: "project id", text: text.into() })
    }
}

impl Epoch {
    /// Accepts exactly 32 of `[0-9a-f]`.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        if is_hex(text, 32) { Ok(Self(text.into())) } else { Err(BadId { kind: "epoch", text: text.into() }) }
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn non_empty(kind: &'static str, text: String) -> Result<String, BadId> {
    if text.is_empty() { Err(BadId { kind, text }) } else { Ok(text) }
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_project_ids_pass() {
        assert!(ProjectId::parse("p_0123456789abcdef").is_ok());
        for bad in [
            "",
            "p_",
            "p_0123456789ABCDEF",
            "p_0123456789abcde",
            "../../x",
            "p_0123456789abcde/",
            "q_0123456789abcdef",
        ] {
            assert!(ProjectId::parse(bad).is_err(), "{bad}");
        }
    }
}
