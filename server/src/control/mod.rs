//! The control plane: users, keys, projects, members, enrolments and what is known about their use.
//!
//! Duty: one thin trait ([`ControlStore`]) over whatever database holds them, and [`Control`], which answers the two
//! questions of every request (whose key, which role) from memory.
//! Invariant: refusals that a person can meet are values, not errors; an error means that the store failed.
//! Danger: a cache that outlives a revocation. Entries belong to a generation that every change ends.

mod cache;
pub mod invitations;
mod lifecycle;
pub mod logins;
mod oversight;
mod slug;
mod sqlite;
pub mod tokens;
mod usage;

pub use cache::Control;
pub use lifecycle::{Lifecycle, Undeleted, UserDeleted};
pub use oversight::{
    AuthEventSeen, CursorSeen, Keep, Oversight, Page, ProjectSeen, Records, RefusalSeen, Slice, Totals,
    UserSeen,
};
pub use slug::slug_stem;
pub(crate) use sqlite::CONTROL_SCHEMA;
pub use sqlite::{SCHEMA, SqliteControl};
pub use usage::{Refused, Usage};

use crate::auth::{Principal, Role, Scopes};
use crate::secret;
use serde::Serialize;
use td_engine::time::ClientTime;
use zeroize::Zeroizing;

/// The store did not do what was asked; nothing of it happened.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The database failed.
    #[error("server.db failed: {0}")]
    Storage(String),
    /// The file is of a schema this program does not open.
    #[error("server.db has schema version {found}; this program opens version {supported}")]
    Schema {
        /// What the file says.
        found: String,
        /// What we read.
        supported: u32,
    },
    /// No randomness for an id or a key.
    #[error(transparent)]
    NoRandom(#[from] secret::NoRandom),
    /// The task that ran the query died.
    #[error("the query was abandoned")]
    Abandoned,
}

impl ControlError {
    /// Stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Storage(_) | Self::Abandoned => "control_storage",
            Self::Schema { .. } => "control_schema",
            Self::NoRandom(_) => "no_random",
        }
    }

    /// What helps.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Schema { .. } => "use the td-sync that wrote it (td-sync version)",
            _ => "td-sync doctor",
        }
    }
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// `u_` + 16 hex.
    pub id: String,
    /// Lower case.
    pub email: String,
    /// May use the admin routes.
    pub is_admin: bool,
    /// Since when.
    pub created_at: ClientTime,
}

/// A key as it can be shown: without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Key {
    /// `ak_` + 16 hex.
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// Their address.
    pub email: String,
    /// First characters of the secret, for recognising it.
    pub prefix: String,
    /// What it was called.
    pub name: String,
    /// What it is for.
    pub scopes: String,
    /// Until when.
    pub expires_at: Option<ClientTime>,
    /// Last use, up to 30 seconds old.
    pub last_used_at: Option<ClientTime>,
    /// Since when.
    pub created_at: ClientTime,
}

/// A key to be stored.
pub struct NewKey {
    /// Shown once, never stored.
    pub plaintext: Zeroizing<String>,
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub scopes: Scopes,
    /// `None` for ever.
    pub expires_at: Option<ClientTime>,
}

impl NewKey {
    /// With a fresh secret.
    pub fn make(name: &str, scopes: Scopes, expires_at: Option<ClientTime>) -> Result<Self, ControlError> {
        Ok(Self { plaintext: Zeroizing::new(secret::api_key()?), name: name.into(), scopes, expires_at })
    }
}

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Project {
    /// `p_` + 16 hex.
    pub id: String,
    /// As given.
    pub name: String,
    /// As given.
    pub description: String,
    /// Unique, made once.
    pub slug: String,
    /// Since when.
    pub created_at: ClientTime,
    /// Last renamed.
    pub updated_at: ClientTime,
    /// When it was deleted; its files stay.
    pub deleted_at: Option<ClientTime>,
}

/// A person in a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Which project.
    pub project_id: String,
    /// Who.
    pub user_id: String,
    /// Their address.
    pub email: String,
    /// What they may do.
    pub role: String,
    /// By whom; empty for the creator.
    pub invited_by: String,
    /// Since when.
    pub created_at: ClientTime,
}

/// What a person is in a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// What they may do.
    pub role: Role,
    /// Whether the project is marked as deleted.
    pub deleted: bool,
}

/// How a change of a row that may not be there ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Done.
    Done,
    /// There is no such row.
    Unknown,
    /// It would leave a project without an owner, or the server without an admin.
    Last,
}

/// How adding a member ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// Since this moment.
    Since(ClientTime),
    /// Unknown user, deleted project or already a member; the wire does not tell them apart.
    Refused,
    /// The account's address is proven by nobody but another owner's word.
    Unproven,
}

/// An enrolment link to be stored.
#[derive(Clone, Debug)]
pub struct NewEnrolment {
    /// Hash of the link's secret.
    pub secret_hash: String,
    /// Who will own the key.
    pub user_id: String,
    /// Project to join, with the role.
    pub project: Option<(String, Role)>,
    /// Until when the link works.
    pub expires_at: ClientTime,
}

/// An enrolment link as it can be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Enrolment {
    /// `en_` + 16 hex.
    pub id: String,
    /// For whom.
    pub email: String,
    /// Project it joins.
    pub project_id: Option<String>,
    /// Role it gives there.
    pub role: Option<String>,
    /// When it was made.
    pub created_at: ClientTime,
    /// Until when it works.
    pub expires_at: ClientTime,
    /// When it was used.
    pub used_at: Option<ClientTime>,
}

/// How redeeming a link ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// The key is stored.
    Done {
        /// Owner of the key.
        user: User,
        /// Project joined.
        project_id: Option<String>,
    },
    /// No such link.
    Unknown,
    /// Used before.
    Used,
    /// Too old, or what it leads to is gone.
    Expired,
}

/// Something worth remembering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Kind, as `event_moved`.
    pub kind: &'static str,
    /// User id, or `admin` for the command line.
    pub actor: String,
    /// Project it is about.
    pub project_id: Option<String>,
    /// JSON object.
    pub detail: String,
}

/// Users, keys, projects, members, enrolments.
///
/// Every method is one transaction: it happened completely and is on disk, or not at all. Methods block.
pub trait ControlStore:
    logins::LoginStore + invitations::InvitationStore + tokens::TokenStore + Lifecycle + Oversight + Send + Sync
{
    /// Answers if the store can be read.
    fn ping(&self) -> Result<(), ControlError>;

    /// Owner of the key with this hash, expired or not.
    fn principal(&self, key_hash: &str) -> Result<Option<Principal>, ControlError>;
    /// The user's membership in the project, deleted or not.
    fn membership(&self, project: &str, user: &str) -> Result<Option<Membership>, ControlError>;

    /// The user with this address, made if unknown (`true`). The very first one becomes an admin if `first_is_admin`.
    fn ensure_user(
        &self,
        email: &str,
        first_is_admin: bool,
        now: ClientTime,
    ) -> Result<(User, bool), ControlError>;
    /// The user with this address.
    fn user_by_email(&self, email: &str) -> Result<Option<User>, ControlError>;
    /// Everybody, oldest first.
    fn users(&self) -> Result<Vec<User>, ControlError>;
    /// Gives or takes the admin flag; the last admin keeps it.
    fn set_admin(&self, user: &str, admin: bool, now: ClientTime) -> Result<Change, ControlError>;

    /// Stores a key; answers its id.
    fn create_key(&self, user: &str, key: &NewKey, now: ClientTime) -> Result<String, ControlError>;
    /// All keys, or one user's, oldest first.
    fn keys(&self, user: Option<&str>) -> Result<Vec<Key>, ControlError>;
    /// Forgets a key.
    fn revoke_key(&self, key_id: &str) -> Result<Change, ControlError>;

    /// Stores a project with its owner and a slug nobody has.
    fn create_project(
        &self,
        id: &str,
        name: &str,
        description: &str,
        owner: &str,
        now: ClientTime,
    ) -> Result<Project, ControlError>;
    /// Projects the user is a member of and that are not deleted, oldest first.
    fn projects_of(&self, user: &str) -> Result<Vec<Project>, ControlError>;
    /// All projects, oldest first.
    fn projects(&self) -> Result<Vec<Project>, ControlError>;
    /// A project, deleted or not.
    fn project(&self, id: &str) -> Result<Option<Project>, ControlError>;
    /// Changes what is given and moves `updated_at`; `None` if unknown or deleted.
    fn update_project(
        &self,
        id: &str,
        name: Option<&str>,
        description: Option<&str>,
        now: ClientTime,
    ) -> Result<Option<Project>, ControlError>;
    /// Marks as deleted; `Unknown` also if it is already.
    fn delete_project(&self, id: &str, now: ClientTime) -> Result<Change, ControlError>;

    /// Adds a member.
    fn add_member(
        &self,
        project: &str,
        user: &str,
        role: Role,
        invited_by: &str,
        now: ClientTime,
    ) -> Result<Added, ControlError>;
    /// Members, oldest first.
    fn members(&self, project: &str) -> Result<Vec<Member>, ControlError>;
    /// Changes a role; a project keeps an owner.
    fn set_role(&self, project: &str, user: &str, role: Role) -> Result<Change, ControlError>;
    /// Removes a member; a project keeps an owner.
    fn remove_member(&self, project: &str, user: &str) -> Result<Change, ControlError>;

    /// Stores a link; answers its id.
    fn create_enrolment(&self, new: &NewEnrolment, now: ClientTime) -> Result<String, ControlError>;
    /// Links, oldest first.
    fn enrolments(&self) -> Result<Vec<Enrolment>, ControlError>;
    /// Marks the link used, stores the key and joins the project, if the link is good.
    fn redeem(&self, secret_hash: &str, key: &NewKey, now: ClientTime) -> Result<Redeemed, ControlError>;

    /// Writes down what was used and remembered since the last time.
    fn record(&self, usage: &Usage, now: ClientTime) -> Result<(), ControlError>;
}
