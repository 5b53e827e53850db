//! Who calls a `/v1/projects*` route, checked in the order of the protocol (1.2): key, scope, membership.

use crate::auth::{Principal, Role, bearer, client_ip, impersonation_gate, project_role, project_scope};
use crate::http::App;
use crate::http::error::ApiError;
use crate::logging::Trail;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use std::net::IpAddr;
use std::sync::Arc;
use td_engine::id::ProjectId;

/// A caller with a good key whose scopes admit project routes.
pub struct Caller(pub Principal);

/// From where a request came, behind trusted proxies too (W22).
pub fn client_behind(app: &App, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let hops = headers.get_all("x-forwarded-for").iter();
    let hops: Vec<String> = hops.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect();
    client_ip(peer, hops.into_iter(), &app.config.trusted_proxies)
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let token = bearer(parts.headers.get(AUTHORIZATION).map(|v| v.as_bytes()))?;
        let found = app.control.principal(token).await.map_err(ApiError::control("failed to verify key"))?;
        let principal = found.ok_or_else(|| {
            ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "invalid or expired api key")
        })?;
        Trail::user(&principal.user_id);
        impersonation_gate(&principal, parts.method.as_str(), parts.uri.path())?;
        project_scope(&principal)?;
        Ok(Self(principal))
    }
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
        project_role(id, found.map(|m| m.role), need)?;
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

/// 404 for members of a deleted project.
pub fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "project not found")
}
