//! What admins see: everybody, everything, page by page.

use super::{Change, ControlError, Project, User};
use serde::Serialize;
use td_engine::time::ClientTime;

/// A part of a list that is ordered by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In order of id.
    pub items: Vec<T>,
    /// Whether more follow.
    pub more: bool,
}

/// Which part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Only ids behind this one.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// Sizes of the control plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Projects that are not deleted.
    pub projects: i64,
    /// Everybody.
    pub users: i64,
    /// Memberships, those in deleted projects too.
    pub members: i64,
}

/// A person, with what is known of their use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSeen {
    /// Who.
    pub user: User,
    /// Memberships, those in deleted projects too.
    pub projects: i64,
    /// Newest use of one of their keys, as it is stored.
    pub last_activity: Option<String>,
}

/// A project, with what is known of its use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectSeen {
    /// Which.
    pub project: Project,
    /// Events in its log.
    pub events: i64,
    /// When the newest came.
    pub last_event_at: Option<ClientTime>,
    /// Its members.
    pub members: i64,
}

/// How far a client has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorSeen {
    /// Which client.
    pub client: String,
    /// The newest sequence it has.
    pub seq: i64,
    /// When that was noted.
    pub at: Option<ClientTime>,
}

/// Which records of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Not before this moment.
    pub from: Option<ClientTime>,
    /// Not after this moment.
    pub to: Option<ClientTime>,
    /// Which part.
    pub slice: Slice,
}

/// A call that a limit refused. The names are those of the reference's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RefusalSeen {
    /// Place in the journal.
    #[serde(rename = "ID")]
    pub id: i64,
    /// Whose key; empty before a sign-in.
    #[serde(rename = "KeyID")]
    pub key_id: String,
    /// From where.
    #[serde(rename = "IP")]
    pub ip: String,
    /// `auth`, `push`, `pull` or `other`.
    pub endpoint_class: String,
    /// When.
    #[serde(serialize_with = "whole_seconds")]
    pub created_at: ClientTime,
}

/// Something that happened around signing in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuthEventSeen {
    /// Place in the journal.
    pub id: i64,
    /// Which attempt; may be empty.
    pub auth_request_id: String,
    /// Whose address.
    pub email: String,
    /// What happened.
    pub event_type: String,
    /// A JSON object of texts.
    pub metadata: String,
    /// When.
    #[serde(serialize_with = "whole_seconds")]
    pub created_at: ClientTime,
}

fn whole_seconds<S: serde::Serializer>(time: &ClientTime, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&time.rfc3339s_utc())
}

/// Moments before which records are no longer kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Sign-in events.
    pub auth_events: ClientTime,
    /// Refusals by a limit.
    pub refusals: ClientTime,
    /// Last signs of a client.
    pub cursors: ClientTime,
}

/// Looking at everything, and forgetting what is too old.
pub trait Oversight {
    /// Sizes.
    fn totals(&self) -> Result<Totals, ControlError>;

    /// Users whose address holds `email`, in any case of its letters; `%` and `_` in it stand for any text and letter.
    fn users_page(&self, email: Option<&str>, slice: &Slice) -> Result<Page<UserSeen>, ControlError>;
    /// One user.
    fn user_seen(&self, id: &str) -> Result<Option<UserSeen>, ControlError>;
    /// (project id, name, role) of a user's projects that are not deleted, by name.
    fn roles_of(&self, user: &str) -> Result<Vec<(String, String, String)>, ControlError>;
    /// Forgets a key if it is this user's, and notes who did it. One transaction.
    fn revoke_key_of(
        &self,
        user: &User,
        key: &str,
        by: &str,
        now: ClientTime,
    ) -> Result<Change, ControlError>;

    /// Projects whose name holds `name`, as for users.
    fn projects_page(
        &self,
        name: Option<&str>,
        deleted: bool,
        slice: &Slice,
    ) -> Result<Page<ProjectSeen>, ControlError>;
    /// One project, deleted or not.
    fn project_seen(&self, id: &str) -> Result<Option<ProjectSeen>, ControlError>;
    /// How far the project's clients are, by client; at most 10,000 of them.
    fn cursors(&self, project: &str) -> Result<Vec<CursorSeen>, ControlError>;
    /// (project id, events) of all projects, deleted ones included.
    fn event_counts(&self) -> Result<Vec<(String, i64)>, ControlError>;

    /// Refusals of exactly this key or from exactly this address.
    fn refusals(
        &self,
        key_id: Option<&str>,
        ip: Option<&str>,
        which: &Records,
    ) -> Result<Page<RefusalSeen>, ControlError>;
    /// Sign-in events of exactly this kind, of addresses that hold `email`.
    fn auth_events(
        &self,
        kind: Option<&str>,
        email: Option<&str>,
        which: &Records,
    ) -> Result<Page<AuthEventSeen>, ControlError>;

    /// Forgets what is older, and the oldest refusals beyond a hundred thousand: up to some thousand records of each kind.
    /// Returns how many; 0 says that nothing is left to forget.
    fn forget(&self, keep: &Keep) -> Result<usize, ControlError>;
}
