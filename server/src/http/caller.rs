//! Who calls a `/v1/projects*` route, checked in the order of the protocol (1.2): key, scope, membership, limit.

use crate::auth::{
    Principal, Role, bearer, client_ip, impersonation_gate, project_role, project_scope, token_gate,
    write_scope,
};
use crate::control::Refused;
use crate::http::error::ApiError;
use crate::http::{App, Peer};
use crate::limit::Class;
use crate::logging::Trail;
use crate::maintenance::Writing;
use crate::secret;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use td_engine::id::ProjectId;

/// A caller with a good key whose scopes admit project routes.
pub struct Caller(pub Arc<Principal>, Call);

/// What this call counts as, from where it came, and by which key it can be asked again whether it still holds.
pub struct Call {
    class: Class,
    client: IpAddr,
    key_hash: String,
}

/// From where a request came, behind trusted proxies too (W22).
pub fn client_of(app: &App, parts: &Parts) -> IpAddr {
    // The listener puts the peer there for every connection.
    let peer = parts.extensions.get::<Peer>().map_or(Ipv4Addr::UNSPECIFIED.into(), |p| p.0);
    client_behind(app, peer, &parts.headers)
}

/// As [`client_of`], from the pieces.
pub fn client_behind(app: &App, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let hops = headers.get_all("x-forwarded-for").iter();
    let hops: Vec<String> = hops.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect();
    client_ip(peer, hops.into_iter(), &app.config.trusted_proxies)
}

/// Counts a call by somebody without a key.
pub fn stranger(app: &App, class: Class, client: IpAddr) -> Result<(), ApiError> {
    app.limits.stranger(class, client).map_err(|wait| {
        app.control.refused(Refused {
            key_id: None,
            client: client.to_string(),
            class: class.as_str(),
            at: app.control.now(),
        });
        ApiError::rate_limited(wait)
    })
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let caller = known(parts, app).await?;
        project_scope(&caller.0)?;
        write_scope(&caller.0, parts.method.as_str())?;
        let path = parts.uri.path();
        if !path.starts_with("/v1/projects/") {
            // Routes about one project count when the role is known.
            caller.count(app, None)?;
        }
        Ok(caller)
    }
}

/// The owner of a key, for routes that ask for no scope (server-protocol 1.2).
pub struct KeyOwner(pub Caller);

impl FromRequestParts<Arc<App>> for KeyOwner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let caller = known(parts, app).await?;
        write_scope(&caller.0, parts.method.as_str())?;
        caller.count(app, None)?;
        Ok(Self(caller))
    }
}

/// Whoever holds a good key.
pub async fn known(parts: &Parts, app: &App) -> Result<Caller, ApiError> {
    let token = bearer(parts.headers.get(AUTHORIZATION).map(|v| v.as_bytes()))?;
    // Any text is looked up, so bytes that are no UTF-8 are simply the hash of an unknown key.
    let key_hash = secret::hash(&String::from_utf8_lossy(token));
    let found = app.control.holder(&key_hash).await.map_err(ApiError::control("failed to verify key"))?;
    let principal = found.ok_or_else(no_key)?;
    Trail::user(&principal.user_id);
    let path = parts.uri.path();
    impersonation_gate(&principal, parts.method.as_str(), path)?;
    token_gate(&principal, parts.method.as_str(), path)?;
    let call = Call { class: Class::of_path(path), client: client_of(app, parts), key_hash };
    Ok(Caller(principal, call))
}

/// A project in which the caller has the role that was asked for: holding this is the proof.
#[derive(Debug)]
pub struct Admitted {
    /// Which project; its name is safe in a path.
    pub project: ProjectId,
    /// Marked as deleted: only the project routes themselves still answer about it.
    pub deleted: bool,
}

impl Caller {
    /// The membership gate. `id` is whatever stood in the path: a text that is no project id is nobody's project, and is
    /// never looked up anywhere (server-protocol W24).
    pub async fn admitted(&self, app: &App, id: &str, need: Role) -> Result<Admitted, ApiError> {
        let project = ProjectId::parse(id).ok();
        let found = match &project {
            Some(project) => {
                let asked = app.control.membership(project.as_str(), &self.0.user_id).await;
                asked.map_err(|e| ApiError::internal("failed to check membership", e))?
            }
            None => None,
        };
        let role = self.0.role_in(id, found.map(|m| m.role));
        project_role(id, role, need)?;
        self.count(app, project.as_ref())?;
        // `project_role` refuses where there is no membership, and there is none without a project id.
        match (project, found) {
            (Some(project), Some(found)) => {
                Trail::project(project.as_str());
                Ok(Admitted { project, deleted: found.deleted })
            }
            _ => Err(not_found()),
        }
    }

    /// [`Caller::admitted`] for routes that a deleted project does not have any more (server-protocol W26).
    pub async fn in_project(&self, app: &App, id: &str, need: Role) -> Result<ProjectId, ApiError> {
        let admitted = self.admitted(app, id, need).await?;
        if admitted.deleted { Err(not_found()) } else { Ok(admitted.project) }
    }
}

impl Caller {
    fn count(&self, app: &App, project: Option<&ProjectId>) -> Result<(), ApiError> {
        let Call { class, client, .. } = &self.1;
        app.limits.key(*class, &self.0, project).map_err(|wait| {
            app.control.refused(Refused {
                key_id: Some(self.0.key_id.clone()),
                client: client.to_string(),
                class: class.as_str(),
                at: app.control.now(),
            });
            ApiError::rate_limited(wait)
        })
    }

    /// Lets a write begin, if the key still stands.
    ///
    /// Asked again, for what came between may have taken hours: a body whose last byte is held back was begun by somebody
    /// who may have lost the right meanwhile, and such a push, key or new owner went through after the revocation.
    pub async fn write(&self, app: &App) -> Result<Writing, ApiError> {
        let writing = app.gate.write().await?;
        self.holder_now(app).await?;
        Ok(writing)
    }

    /// As [`Caller::write`], if the caller also still has this role in a project that is still there.
    pub async fn write_in(&self, app: &App, project: &ProjectId, need: Role) -> Result<Writing, ApiError> {
        let writing = app.gate.write().await?;
        let holder = self.holder_now(app).await?;
        let member = app.control.membership(project.as_str(), &self.0.user_id).await;
        let member = member.map_err(|e| ApiError::internal("failed to check membership", e))?;
        project_role(project.as_str(), holder.role_in(project.as_str(), member.map(|m| m.role)), need)?;
        if member.is_some_and(|m| m.deleted) { Err(not_found()) } else { Ok(writing) }
    }

    async fn holder_now(&self, app: &App) -> Result<Arc<Principal>, ApiError> {
        let known = app.control.holder(&self.1.key_hash).await;
        known.map_err(ApiError::control("failed to verify key"))?.ok_or_else(no_key)
    }

    /// Whether key and membership still stand; asked again and again by what stays open.
    pub async fn still_reads(&self, app: &App, project: &ProjectId) -> bool {
        let known = app.control.holder(&self.1.key_hash).await;
        let member = app.control.membership(project.as_str(), &self.0.user_id).await;
        let (Ok(Some(holder)), Ok(Some(member))) = (known, member) else { return false };
        !member.deleted && holder.role_in(project.as_str(), Some(member.role)).is_some()
    }
}

fn no_key() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "invalid or expired api key")
}

/// 404 for members of a deleted project.
pub fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "project not found")
}
