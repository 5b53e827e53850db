//! Keys that may do less than their maker: an agent's token, a project's public link.
//!
//! Duty: a token has a list of grants (project, role), perhaps an end and a budget of events, and can be revoked alone.
//! Invariant: a token never does more than its maker may at that moment, and never makes another one. Its budget is
//! taken on disk before the log sees the events: it may run out early after a crash, never late.

use super::{ControlError, NewKey};
use crate::auth::Role;
use serde::{Deserialize, Serialize};
use td_engine::time::ClientTime;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A program that works for a person.
    Agent,
    /// Anybody who has the link, reading one project.
    Link,
}

impl Kind {
    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Link => "link",
        }
    }
}

/// One project a token is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// `p_` and 16 hex digits.
    pub project: String,
    /// `reader` or `writer`.
    pub role: String,
}

impl Grant {
    /// As a role; whatever else stands there gives nothing.
    pub fn role(&self) -> Option<Role> {
        Role::parse(&self.role).filter(|r| *r < Role::Owner)
    }
}

/// What a token may do, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// What it is called.
    pub name: String,
    /// Where.
    pub grants: Vec<Grant>,
    /// Seconds from now; `None`: for ever.
    pub expires_in: Option<u64>,
    /// Events it may store; `None`: as many as the limits let through.
    pub max_events: Option<i64>,
}

/// A token as it can be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Token {
    /// `tk_` and 16 hex digits.
    pub id: String,
    /// What for.
    pub kind: Kind,
    /// What it is called.
    pub name: String,
    /// First characters of the secret, for recognising it.
    pub prefix: String,
    /// Where.
    pub grants: Vec<Grant>,
    /// Since when.
    pub created_at: ClientTime,
    /// Until when.
    pub expires_at: Option<ClientTime>,
    /// Last use, up to 30 seconds old.
    pub last_used_at: Option<ClientTime>,
    /// Events it may store.
    pub max_events: Option<i64>,
    /// Events it has stored.
    pub used_events: i64,
}

/// How making a token ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is stored.
    Done(Box<Token>),
    /// The maker has not this role in this project.
    NotYours(String),
}

/// A request of an agent, as its approver sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenRequest {
    /// Eight letters and digits that a person compares and types.
    pub code: String,
    /// What the agent calls itself.
    pub name: String,
    /// From where it asked.
    pub client: String,
    /// When.
    pub created_at: ClientTime,
}

/// How deciding about a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// The agent gets its token at its next poll.
    Done,
    /// No such request, or it took too long.
    Unknown,
    /// Decided before.
    Before,
}

/// What a polling agent is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collected {
    /// Nobody decided yet, or the request is unknown.
    Pending,
    /// It took too long, was used, or its approver lost the right meanwhile.
    Gone,
    /// Here it is.
    Done(Box<Token>),
}

/// Tokens. Every method is one transaction.
pub trait TokenStore: Send + Sync {
    /// Stores a token of `maker`, if they may give all of its grants.
    fn create_token(
        &self,
        maker: &str,
        kind: Kind,
        terms: &Terms,
        key: &NewKey,
        now: ClientTime,
    ) -> Result<Made, ControlError>;

    /// A person's tokens, oldest first.
    fn tokens_of(&self, maker: &str) -> Result<Vec<Token>, ControlError>;

    /// One token.
    fn token(&self, id: &str) -> Result<Option<Token>, ControlError>;

    /// Forgets a token or a key of this person; `false` if they have none with this id.
    fn revoke_own(&self, user: &str, id: &str) -> Result<bool, ControlError>;

    /// Forgets a token, whoever made it.
    fn forget_token(&self, id: &str) -> Result<(), ControlError>;

    /// The public link of a project, if it has one.
    fn public_link(&self, project: &str) -> Result<Option<Token>, ControlError>;

    /// Stores the public link of a project in place of the one it had.
    fn replace_link(
        &self,
        maker: &str,
        project: &str,
        key: &NewKey,
        now: ClientTime,
    ) -> Result<Made, ControlError>;

    /// Ends the public link of a project; `false` if it has none.
    fn forget_link(&self, project: &str) -> Result<bool, ControlError>;

    /// Takes up to so many events from a budget. Returns how many; 0 for a token that is gone.
    fn spend(&self, token: &str, events: i64) -> Result<i64, ControlError>;

    /// Gives back what was taken and not used.
    fn refund(&self, token: &str, events: i64) -> Result<(), ControlError>;

    /// Stores a request of an agent; `false` if too many wait. `poll_hash` is of the secret it polls with.
    fn ask_token(
        &self,
        poll_hash: &str,
        code: &str,
        name: &str,
        client: &str,
        until: ClientTime,
        now: ClientTime,
    ) -> Result<bool, ControlError>;

    /// The request a person typed the code of.
    fn token_request(&self, code: &str, now: ClientTime) -> Result<Option<TokenRequest>, ControlError>;

    /// Approves a request under these terms. Whether the approver may give them is looked at now and at the collection.
    fn approve_token(
        &self,
        code: &str,
        approver: &str,
        terms: &Terms,
        now: ClientTime,
    ) -> Result<Result<Decided, Made>, ControlError>;

    /// Makes the token that was approved, once.
    fn collect_token(
        &self,
        poll_hash: &str,
        key: &NewKey,
        now: ClientTime,
    ) -> Result<Collected, ControlError>;
}
