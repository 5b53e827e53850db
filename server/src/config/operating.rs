//! What is kept how long, and who may look from a browser.

use super::{ConfigError, value::parse_duration, value::parse_origins};
use std::time::Duration;

/// Settings of running a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operating {
    /// Origins that may call the admin routes from a browser; `*` means all (server-protocol 1.6).
    pub cors_origins: Vec<String>,
    /// How long sign-in events are kept.
    pub auth_event_retention: Duration,
    /// How long refusals by a limit are kept.
    pub refusal_retention: Duration,
    /// How long a deleted project can be brought back.
    pub grace: Duration,
}

impl Operating {
    /// From the texts of the settings.
    pub(super) fn read(text: impl Fn(&str) -> String) -> Result<Self, ConfigError> {
        let duration = |name: &str| {
            let given = text(name);
            parse_duration(&given)
                .ok_or_else(|| ConfigError(vec![format!("{name}: {given:?} cannot be used")]))
        };
        let origins = text("SYNC_CORS_ALLOWED_ORIGINS");
        let cors_origins = parse_origins(&origins).ok_or_else(|| {
            ConfigError(vec![format!("SYNC_CORS_ALLOWED_ORIGINS: {origins:?} cannot be used")])
        })?;
        Ok(Self {
            cors_origins,
            auth_event_retention: duration("SYNC_AUTH_EVENT_RETENTION")?,
            refusal_retention: duration("SYNC_RATE_LIMIT_EVENT_RETENTION")?,
            grace: duration("SYNC_PROJECT_GRACE")?,
        })
    }
}
