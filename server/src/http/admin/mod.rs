//! `/v1/admin/*`: what operators read (server-protocol 4.10). One file per family.
//!
//! Invariant: every handler takes an [`Admin`] with the scope it needs; holding one is the proof. Lists go by id in pages.
//! Deviations from the reference stand in `docs/compatibility.md`. View-as and snapshot queries are not here.

mod events;
mod listing;
mod projects;
mod server;
mod snapshots;
mod users;

pub use events::{entity_types, event, events};
pub use projects::{cursors, members, project, projects, status};
pub use server::{config, overview, violations};
pub use snapshots::snapshot_meta;
pub use users::{auth_events, keys, revoke_key, user, users};

use crate::auth::{Principal, admin_gate};
use crate::http::App;
use crate::http::caller::known;
use crate::http::error::ApiError;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use std::marker::PhantomData;
use std::sync::Arc;

/// A scope that an admin's key may have.
pub trait Scope: Send + Sync {
    /// As it is stored.
    const NAME: &'static str;
}

macro_rules! scopes {
    ($($(#[$doc:meta])* $scope:ident = $name:literal;)*) => {$(
        $(#[$doc])*
        pub struct $scope;
        impl Scope for $scope {
            const NAME: &'static str = $name;
        }
    )*};
}

scopes! {
    /// Settings, users, sign-ins, limits.
    ReadServer = "admin:read:server";
    /// Projects and their use.
    ReadProjects = "admin:read:projects";
    /// What is in a project.
    ReadEvents = "admin:read:events";
    /// Snapshots.
    ReadSnapshots = "admin:read:snapshots";
    /// Taking keys away.
    WriteUsers = "admin:write:users";
}

/// An admin whose key has the scope.
pub struct Admin<S>(pub Arc<Principal>, PhantomData<S>);

impl<S: Scope> FromRequestParts<Arc<App>> for Admin<S> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let principal = known(parts, app).await?.0;
        admin_gate(&principal, S::NAME)?;
        Ok(Self(principal, PhantomData))
    }
}

fn not_found(message: &'static str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
}
