//! Who is calling and what they may do (server-protocol 2.2 to 2.5).
//!
//! Duty: turn an `Authorization` header into a [`Principal`] and a project id into a proven [`Role`].
//! Invariant: a revocation is effective at the next request: caches are valid for one generation of the control store.
//! Danger: the sentences here are wire contract; clients match on some of them.

mod address;
mod client_ip;

pub use address::address;
pub use client_ip::client_ip;

use crate::control::tokens::Grant;
use std::fmt;
use td_engine::time::ClientTime;

/// What a member may do in a project; later ones include earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Pull, status, snapshot, member list.
    Reader,
    /// Also push and rename.
    Writer,
    /// Also members and deletion.
    Owner,
}

impl Role {
    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Owner => "owner",
        }
    }

    /// From the stored word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Reader, Self::Writer, Self::Owner].into_iter().find(|r| r.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Every scope a key can have.
pub const SCOPES: [&str; 8] = [
    "sync",
    "impersonation:read",
    "admin:read:server",
    "admin:read:projects",
    "admin:read:events",
    "admin:read:snapshots",
    "admin:export",
    "admin:write:users",
];

/// The scopes of a key, as stored: comma separated, blanks and empty parts do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Vec<String>);

impl Scopes {
    /// From the stored text.
    pub fn stored(text: &str) -> Self {
        Self(text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_string).collect())
    }

    /// From an operator; the first unknown part is the error.
    pub fn parse(text: &str) -> Result<Self, String> {
        let scopes = Self::stored(text);
        match scopes.0.iter().find(|s| !SCOPES.contains(&s.as_str())) {
            Some(unknown) => Err(unknown.clone()),
            None => Ok(scopes),
        }
    }

    /// Whether the key has it.
    pub fn has(&self, scope: &str) -> bool {
        self.0.iter().any(|s| s == scope)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

/// A caller whose key is known and not expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Row id of the key.
    pub key_id: String,
    /// Whose key it is.
    pub user_id: String,
    /// That user's address.
    pub email: String,
    /// Whether that user is an admin.
    pub is_admin: bool,
    /// What the key is for.
    pub scopes: Scopes,
    /// `None` for ever.
    pub expires_at: Option<ClientTime>,
    /// Of a token: the only projects there are for it. `None`: a person's own key.
    pub grants: Option<Vec<Grant>>,
    /// Whether its events are counted against a budget.
    pub has_budget: bool,
    /// Whether anybody may hold it: a public link.
    pub is_public: bool,
    /// Who has its share of what there is a bounded number of: its person, or whoever made that account, as long as
    /// nothing but their word says that somebody is behind it. A person makes as many such accounts as they like.
    pub counts_as: String,
}

impl Principal {
    /// What the holder of this key is in a project, if its person is `member` there: the one place where a token
    /// becomes less than its maker.
    pub fn role_in(&self, project: &str, member: Option<Role>) -> Option<Role> {
        let Some(grants) = &self.grants else { return member };
        let granted = grants.iter().find(|g| g.project == project)?.role()?;
        member.map(|member| member.min(granted))
    }

    /// Expired is reported like unknown.
    pub fn expired(&self, now: ClientTime) -> bool {
        self.expires_at.is_some_and(|e| e.unix_nanos() < now.unix_nanos())
    }
}

/// Why a caller is not let through; each is one sentence of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 401, with the message.
    Unauthorized(&'static str),
    /// 403, with code and message.
    Forbidden(&'static str, String),
}

/// The token of an `Authorization` header, or what is wrong with it (2.4, steps 1 to 3).
pub fn bearer(header: Option<&[u8]>) -> Result<&[u8], Refusal> {
    let value = header.unwrap_or_default();
    if value.is_empty() {
        return Err(Refusal::Unauthorized("missing authorization header"));
    }
    match value.strip_prefix(b"Bearer ") {
        Some(token) if !token.is_empty() => Ok(token),
        _ => Err(Refusal::Unauthorized("invalid authorization format")),
    }
}

/// What a view-as key may never do (2.4, step 5), asked before anything else of the route.
pub fn impersonation_gate(caller: &Principal, method: &str, path: &str) -> Result<(), Refusal> {
    if !caller.scopes.has("impersonation:read") {
        return Ok(());
    }
    if !path.starts_with("/v1/projects") {
        let message = "impersonation key is limited to /v1/projects read access";
        return Err(Refusal::Forbidden("forbidden", message.into()));
    }
    if method != "GET" {
        return Err(Refusal::Forbidden(
            "method_not_allowed_view_as",
            "read-only while viewing as user".into(),
        ));
    }
    Ok(())
}

/// The scope gate of `/v1/projects*` (2.5).
pub fn project_scope(caller: &Principal) -> Result<(), Refusal> {
    if caller.is_admin || caller.scopes.has("sync") || caller.scopes.has("impersonation:read") {
        return Ok(());
    }
    let message = "key does not have the sync or impersonation:read scope required for project routes";
    Err(Refusal::Forbidden("insufficient_scope", message.into()))
}

/// Whatever changes something needs a key with `sync`, an admin's too: a key that was made to read metrics must not be
/// one that writes, or makes itself a token that does (W25).
pub fn write_scope(caller: &Principal, method: &str) -> Result<(), Refusal> {
    if ["GET", "HEAD"].contains(&method) || caller.scopes.has("sync") {
        return Ok(());
    }
    let message = "key does not have the sync scope required for changes";
    Err(Refusal::Forbidden("insufficient_scope", message.into()))
}

/// What a token is let through to, named one by one: a route that is added stays closed to it until it is named here. An
/// agent sees its projects, their events and whom it works with, and pushes; whoever has a public link reads, and sees nothing about people.
pub fn token_gate(caller: &Principal, method: &str, path: &str) -> Result<(), Refusal> {
    if caller.grants.is_none() {
        return Ok(());
    }
    let reads = ["GET", "HEAD"].contains(&method);
    let inside = path.strip_prefix("/v1/projects/").map(|rest| rest.split_once('/').map_or("", |(_, r)| r));
    let public = caller.is_public;
    let may = match inside {
        Some("sync/push") => method == "POST" && !public,
        Some("" | "events" | "sync/digest" | "sync/pull" | "sync/snapshot" | "sync/status") => reads,
        Some("members") => reads && !public,
        Some(rest) => reads && !public && (rest.starts_with("sync/") || rest.starts_with("history/")),
        None => reads && ["/v1/projects", "/v1/keys/current"].contains(&path),
    };
    if may {
        return Ok(());
    }
    let message = match public {
        true => "a public link may read its project, nothing else",
        false => "a token may read and push events, nothing else",
    };
    Err(Refusal::Forbidden("insufficient_scope", message.into()))
}

/// The gate of the admin routes (2.6).
pub fn admin_gate(caller: &Principal, scope: &str) -> Result<(), Refusal> {
    const CODE: &str = "insufficient_admin_scope";
    if !caller.is_admin {
        return Err(Refusal::Forbidden(CODE, "admin access required".into()));
    }
    if !caller.scopes.has(scope) {
        return Err(Refusal::Forbidden(CODE, format!("missing required scope: {scope}")));
    }
    Ok(())
}

/// The membership gate (2.5). A project that does not exist reads exactly like one the caller is no member of.
pub fn project_role(project: &str, have: Option<Role>, need: Role) -> Result<Role, Refusal> {
    match have {
        None => Err(Refusal::Forbidden("forbidden", format!("not a member of project {project}"))),
        Some(role) if role < need => {
            let message = format!("insufficient permissions: have {role}, need {need}");
            Err(Refusal::Forbidden("forbidden", message))
        }
        Some(role) => Ok(role),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Principal {
        /// A person with a key.
        pub(crate) fn of(person: &str) -> Self {
            Self {
                key_id: format!("key of {person}"),
                user_id: person.into(),
                email: String::new(),
                is_admin: false,
                scopes: Scopes::stored("sync"),
                expires_at: None,
                grants: None,
                has_budget: false,
                is_public: false,
                counts_as: person.into(),
            }
        }
    }

    #[test]
    fn only_bearer_and_one_blank_is_a_bearer() {
        let missing = Err(Refusal::Unauthorized("missing authorization header"));
        let format = Err(Refusal::Unauthorized("invalid authorization format"));
        assert_eq!(bearer(None), missing);
        assert_eq!(bearer(Some(b"")), missing);
        for bad in ["Basic abc", "bearer x", "Bearer", "Bearer "] {
            assert_eq!(bearer(Some(bad.as_bytes())), format, "{bad}");
        }
        assert_eq!(bearer(Some(b"Bearer  x")), Ok(&b" x"[..]));
    }

    #[test]
    fn scopes_are_trimmed_and_unknown_ones_are_named() {
        assert_eq!(
            Scopes::parse(" sync ,,admin:export").map(|s| s.to_string()),
            Ok("sync,admin:export".into())
        );
        assert_eq!(Scopes::parse("sync,root"), Err("root".into()));
    }

    #[test]
    fn a_token_is_never_more_than_its_maker_and_nothing_outside_its_grants() {
        let grant = |project: &str, role: &str| Grant { project: project.into(), role: role.into() };
        let token = Principal {
            grants: Some(vec![grant("a", "writer"), grant("b", "reader"), grant("c", "owner")]),
            ..Principal::of("u_1")
        };
        for (project, member, role) in [
            ("a", Some(Role::Owner), Some(Role::Writer)),
            ("a", Some(Role::Reader), Some(Role::Reader)),
            ("a", None, None),
            ("b", Some(Role::Owner), Some(Role::Reader)),
            ("c", Some(Role::Owner), None),
            ("d", Some(Role::Owner), None),
        ] {
            assert_eq!(token.role_in(project, member), role, "{project} {member:?}");
        }
        for (method, path, agent, public) in [
            ("POST", "/v1/projects/p/sync/push", true, false),
            ("GET", "/v1/projects/p/sync/push", false, false),
            ("GET", "/v1/projects/p/sync/pull", true, true),
            ("GET", "/v1/projects/p/sync/conflicts", true, false),
            ("GET", "/v1/projects/p/history/issues/td-1", true, false),
            ("GET", "/v1/projects/p/events", true, true),
            ("GET", "/v1/projects/p/x/events", false, false),
            ("GET", "/v1/projects/p", true, true),
            ("GET", "/v1/projects", true, true),
            ("PATCH", "/v1/projects/p", false, false),
            ("GET", "/v1/projects/p/members", true, false),
            ("GET", "/v1/invitations", false, false),
            ("GET", "/v1/keys", false, false),
            ("GET", "/v1/admin/users", false, false),
        ] {
            assert_eq!(token_gate(&token, method, path).is_ok(), agent, "{method} {path}");
            let link = Principal { is_public: true, ..token.clone() };
            assert_eq!(token_gate(&link, method, path).is_ok(), public, "{method} {path}");
        }
        let person = Principal { grants: None, ..token };
        assert_eq!(person.role_in("d", Some(Role::Owner)), Some(Role::Owner));
        assert!(token_gate(&person, "PATCH", "/v1/projects/p").is_ok());
    }

    #[test]
    fn roles_include_lower_ones_and_missing_membership_looks_like_a_missing_project() {
        assert_eq!(project_role("p", Some(Role::Owner), Role::Writer), Ok(Role::Owner));
        let low =
            Refusal::Forbidden("forbidden", "insufficient permissions: have reader, need writer".into());
        assert_eq!(project_role("p", Some(Role::Reader), Role::Writer), Err(low));
        let none = Refusal::Forbidden("forbidden", "not a member of project p".into());
        assert_eq!(project_role("p", None, Role::Reader), Err(none));
    }
}
