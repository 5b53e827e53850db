//! How projects and people end.

use super::{Change, ControlError, Project};
use td_engine::time::ClientTime;

/// How taking a deletion back ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undeleted {
    /// The project is there again.
    Done(Project),
    /// There is no such project (any more).
    Unknown,
    /// It is not deleted.
    Alive,
    /// Nobody would own it.
    Ownerless,
}

/// How deleting a person ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserDeleted {
    /// Gone, with keys, memberships and invitations; these projects were deleted with them.
    Done(Vec<Project>),
    /// There is no such person.
    Unknown,
    /// The server would be left without an admin.
    LastAdmin,
    /// These projects would be left without an owner.
    Owns(Vec<Project>),
}

/// The ends of projects and people. A deleted project keeps its row and files until it is forgotten.
pub trait Lifecycle {
    /// Takes the mark of deletion away. `owner` becomes an owner.
    fn undelete_project(
        &self,
        id: &str,
        owner: Option<&str>,
        now: ClientTime,
    ) -> Result<Undeleted, ControlError>;
    /// Projects deleted before a moment, longest first; at most so many.
    fn deleted_before(&self, moment: ClientTime, most: usize) -> Result<Vec<Project>, ControlError>;
    /// Removes the row of a deleted project and everything that belongs to it. The files must be gone already: after this
    /// nothing points to them.
    fn forget_project(&self, id: &str) -> Result<Change, ControlError>;
    /// Removes a person. Projects of which they are the only owner are deleted too, if that was asked for.
    fn delete_user(
        &self,
        user: &str,
        with_projects: bool,
        now: ClientTime,
    ) -> Result<UserDeleted, ControlError>;
}
