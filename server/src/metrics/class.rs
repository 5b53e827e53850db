//! Kinds of requests, by path alone, so that also a refused one has its kind.

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestClass {
    /// Events into a project.
    Push,
    /// Events out of a project.
    Pull,
    /// A project as a file.
    Snapshot,
    /// Head, digest, conflicts and history of a project.
    Sync,
    /// A live stream; its duration is that of its beginning.
    Stream,
    /// Projects, members and invitations.
    Projects,
    /// Signing in.
    Auth,
    /// Operators' routes.
    Admin,
    /// Health and metrics.
    Health,
    /// Pages, documents and paths that do not exist.
    Other,
}

impl RequestClass {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Push,
        Self::Pull,
        Self::Snapshot,
        Self::Sync,
        Self::Stream,
        Self::Projects,
        Self::Auth,
        Self::Admin,
        Self::Health,
        Self::Other,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull",
            Self::Snapshot => "snapshot",
            Self::Sync => "sync",
            Self::Stream => "stream",
            Self::Projects => "projects",
            Self::Auth => "auth",
            Self::Admin => "admin",
            Self::Health => "health",
            Self::Other => "other",
        }
    }

    /// Of a path.
    pub fn of(path: &str) -> Self {
        if let Some(rest) = path.strip_prefix("/v1/projects/").and_then(|rest| rest.split_once('/')) {
            return match rest.1 {
                "sync/push" => Self::Push,
                "sync/pull" => Self::Pull,
                "sync/snapshot" => Self::Snapshot,
                "events" => Self::Stream,
                other if other.starts_with("sync/") || other.starts_with("history/") => Self::Sync,
                _ => Self::Projects,
            };
        }
        let below = |prefixes: &[&str]| prefixes.iter().any(|p| path.starts_with(p));
        match path {
            "/healthz" | "/readyz" | "/version" | "/metricz" | "/metrics" | "/v1/identity" => Self::Health,
            "/v1/projects" => Self::Projects,
            _ if below(&["/v1/admin/"]) => Self::Admin,
            _ if below(&["/v1/auth/", "/auth/", "/v1/enroll", "/v1/keys", "/connect"]) => Self::Auth,
            _ if below(&["/v1/invitations"]) => Self::Projects,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_tells_the_kind_also_where_nothing_answers() {
        for (path, class) in [
            ("/v1/projects/p_1/sync/push", RequestClass::Push),
            ("/v1/projects/x/sync/snapshot", RequestClass::Snapshot),
            ("/v1/projects/x/sync/status", RequestClass::Sync),
            ("/v1/projects/x/events", RequestClass::Stream),
            ("/v1/projects/x/members/u", RequestClass::Projects),
            ("/v1/projects", RequestClass::Projects),
            ("/v1/admin/users", RequestClass::Admin),
            ("/v1/enroll", RequestClass::Auth),
            ("/metrics", RequestClass::Health),
            ("/wp-login.php", RequestClass::Other),
        ] {
            assert_eq!(RequestClass::of(path), class, "{path}");
        }
        for (n, class) in RequestClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, n, "{class:?} is counted in another's place");
        }
    }
}
