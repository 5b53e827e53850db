//! Invitations into a project (server-protocol 4.5).
//!
//! Invariant: whoever answers an invitation is its addressee. An invitation of somebody else, an unknown one and one of
//! a deleted project look the same.

use super::{ControlError, Member};
use crate::auth::Role;
use serde::Serialize;
use td_engine::time::ClientTime;

/// An invitation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invitation {
    /// `inv_` and 16 hex digits.
    pub id: String,
    /// Into which project.
    pub project_id: String,
    /// Bare address, lower case.
    pub email: String,
    /// To be what.
    pub role: String,
    /// By whom.
    pub invited_by: String,
    /// `pending`, `accepted`, `declined` or `expired`.
    pub status: String,
    /// When it was made.
    pub created_at: ClientTime,
    /// Until when it can be answered.
    pub expires_at: ClientTime,
    /// When it was accepted.
    pub accepted_at: Option<ClientTime>,
}

/// An invitation to be stored.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    /// Into which project.
    pub project: String,
    /// Bare address, lower case.
    pub email: String,
    /// To be what.
    pub role: Role,
    /// By whom.
    pub by: String,
    /// Hash of the token in the mail.
    pub token_hash: String,
    /// Until when it can be answered.
    pub expires_at: ClientTime,
}

/// How answering ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered<T> {
    /// So.
    Done(T),
    /// No such invitation for this person.
    Unknown,
    /// Answered before.
    NotPending,
    /// Too late.
    Expired,
}

/// Invitations. Every method is one transaction.
pub trait InvitationStore: Send + Sync {
    /// Stores an invitation; `None` if the project is gone.
    fn invite(&self, new: &NewInvitation, now: ClientTime) -> Result<Option<Invitation>, ControlError>;

    /// Makes the invited account and a link that signs it in and accepts the invitation; `false`, and neither, if there
    /// is such an account already.
    fn hand_over(
        &self,
        invitation: &Invitation,
        secret_hash: &str,
        until: ClientTime,
        now: ClientTime,
    ) -> Result<bool, ControlError>;

    /// Whether the account of this address is proven by nobody but another owner's word.
    fn is_unproven(&self, email: &str, owner: &str) -> Result<bool, ControlError>;

    /// All invitations of a project, newest first.
    fn invitations_of_project(&self, project: &str) -> Result<Vec<Invitation>, ControlError>;

    /// Those a person can still answer, newest first.
    fn invitations_of_person(&self, email: &str, now: ClientTime) -> Result<Vec<Invitation>, ControlError>;

    /// Forgets an invitation in any status; `false` if there is none.
    fn withdraw_invitation(&self, project: &str, id: &str) -> Result<bool, ControlError>;

    /// Makes the person a member. A membership that is there stays as it is, and is what is answered.
    fn accept_invitation(
        &self,
        id: &str,
        user: &str,
        email: &str,
        now: ClientTime,
    ) -> Result<Answered<Member>, ControlError>;

    /// Says no.
    fn decline_invitation(
        &self,
        id: &str,
        email: &str,
        now: ClientTime,
    ) -> Result<Answered<()>, ControlError>;
}
