//! Logins that are under way: a challenge is mailed, or approved by an operator, and ends in a key (server-protocol 3).
//!
//! Duty: the state machine `pending → verified → consumed`, with `pending → consumed` for the web and `expired` for all
//! that took too long.
//! Invariant: a challenge turns into at most one key, and the key is stored in the transaction that consumes it: a
//! failure in between loses no login (W33). Purpose and state are checked before anything changes.
//! Danger: secrets. Selector and id may be shown; of token, device code and state only hashes are here.

use super::{ControlError, NewKey, User};
use serde::Serialize;
use std::collections::BTreeMap;
use td_engine::time::ClientTime;

/// What a challenge is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A browser.
    WebLogin,
    /// A command line.
    DeviceLogin,
}

impl Purpose {
    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebLogin => "web_login",
            Self::DeviceLogin => "device_login",
        }
    }
}

/// A challenge to be stored.
#[derive(Clone, Debug)]
pub struct NewLogin {
    /// What for.
    pub purpose: Purpose,
    /// As typed, trimmed.
    pub email: String,
    /// Whose key it will be.
    pub user_id: String,
    /// 32 hex digits, the public half of the mailed token.
    pub selector: String,
    /// Hash of the secret half.
    pub token_hash: String,
    /// Of a device login: hash of what the device polls with, and its PKCE challenge.
    pub device: Option<DeviceProof>,
    /// Of a web login: the address it returns to, and the hash of the browser's state.
    pub web: Option<WebProof>,
    /// From where it was asked for.
    pub client: String,
    /// By which program.
    pub user_agent: String,
    /// Until when it can be approved and used.
    pub expires_at: ClientTime,
}

/// What a device has to show for its key.
#[derive(Clone, Debug)]
pub struct DeviceProof {
    /// Hash of the device code.
    pub code_hash: String,
    /// Base64url of SHA-256 of the verifier.
    pub challenge: String,
}

/// What a browser has to show for its key.
#[derive(Clone, Debug)]
pub struct WebProof {
    /// Where the login returns to.
    pub redirect_uri: String,
    /// Hash of the state.
    pub state_hash: String,
}

/// A login that waits for somebody's approval, as an operator may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PendingLogin {
    /// `ec_` and 16 hex digits: the code an operator approves by.
    pub id: String,
    /// Whose it would be.
    pub email: String,
    /// From where it was asked for.
    pub client: String,
    /// By which program.
    pub user_agent: String,
    /// When.
    pub created_at: ClientTime,
    /// Until when it can be approved.
    pub expires_at: ClientTime,
}

/// How an approval ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approved {
    /// The device gets its key at its next poll.
    Done,
    /// No such challenge, or the wrong secret; not told apart.
    Unknown,
    /// Approved or used before.
    Used,
    /// Too late.
    Expired,
}

/// What a polling device is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Not approved yet, or unknown: not told apart.
    Pending,
    /// The key is stored.
    Complete(User, String),
    /// The verifier is not the one of the start.
    WrongVerifier,
    /// The account is gone.
    NoUser,
    /// The key was given out before.
    Used,
    /// Too late.
    Expired,
}

/// What an exchanging browser is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchanged {
    /// The key is stored.
    Complete(User, String),
    /// No such token.
    Unknown,
    /// Used before.
    Used,
    /// Too late.
    Expired,
    /// Another browser than the one that started.
    WrongState,
}

/// Who approves without a mailed token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approver {
    /// The operator, for anybody.
    Operator,
    /// Whoever holds the enrolment link with this hash, for its account only; the link is used up.
    Enrolment(String),
}

/// Something that happened around a login (server-protocol 3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginEvent {
    /// `challenge_started`, `email_sent`, …
    pub kind: &'static str,
    /// Selector, or empty.
    pub request: String,
    /// Address.
    pub email: String,
    /// From where, and by which program.
    pub metadata: Metadata,
}

/// What the journal says about who did something: `ip` and `user_agent`, `key_id`, `by`.
pub type Metadata = BTreeMap<&'static str, String>;

/// Logins under way. Every method is one transaction.
pub trait LoginStore: Send + Sync {
    /// Stores a challenge, and writes down that it began.
    fn start_login(&self, new: &NewLogin, begun: &LoginEvent, now: ClientTime) -> Result<(), ControlError>;

    /// The device login behind a mailed token, if it waits.
    fn pending_login(
        &self,
        selector: &str,
        token_hash: &str,
        now: ClientTime,
    ) -> Result<Option<PendingLogin>, ControlError>;

    /// Approves a device login by its mailed token.
    fn approve_login(
        &self,
        selector: &str,
        token_hash: &str,
        metadata: &Metadata,
        now: ClientTime,
    ) -> Result<Approved, ControlError>;

    /// Approves (or, with `false`, ends) a device login without its token.
    fn decide_login(
        &self,
        id: &str,
        by: &Approver,
        approve: bool,
        metadata: &Metadata,
        now: ClientTime,
    ) -> Result<Approved, ControlError>;

    /// Device logins that wait, newest first: all, or those that the holder of an enrolment link may approve. `None` if
    /// that link is no good.
    fn pending_logins(
        &self,
        of: &Approver,
        now: ClientTime,
    ) -> Result<Option<Vec<PendingLogin>>, ControlError>;

    /// Whether a device that polls with this code could get a key now. Only reads; everything but `Pending` has to be
    /// asked again through [`LoginStore::finish_device_login`].
    fn is_login_pending(&self, code_hash: &str, now: ClientTime) -> Result<bool, ControlError>;

    /// Gives the device its key, if the login is approved and the verifier right.
    fn finish_device_login(
        &self,
        code_hash: &str,
        challenge: &str,
        key: &NewKey,
        metadata: &Metadata,
        now: ClientTime,
    ) -> Result<Polled, ControlError>;

    /// Gives the browser its key, if token and state are right.
    fn finish_web_login(
        &self,
        selector: &str,
        token_hash: &str,
        state_hash: &str,
        key: &NewKey,
        metadata: &Metadata,
        now: ClientTime,
    ) -> Result<Exchanged, ControlError>;

    /// Whether this address was invited somewhere and may answer.
    fn has_open_invitation(&self, email: &str, now: ClientTime) -> Result<bool, ControlError>;

    /// Writes down what happened.
    fn login_events(&self, events: &[LoginEvent], now: ClientTime) -> Result<(), ControlError>;

    /// Ends what is overdue, and forgets keys and tokens that expired a month ago. Returns how many rows changed.
    fn sweep(&self, now: ClientTime) -> Result<usize, ControlError>;
}
