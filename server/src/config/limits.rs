//! How much a client may ask of the server, and how full the disk may get.

use super::ConfigError;

/// Calls per minute (server-protocol 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Sign-in attempts, per client address.
    pub auth: usize,
    /// Pushes, per key and project.
    pub push: usize,
    /// Pulls, per key and project.
    pub pull: usize,
    /// Other calls, per key.
    pub other: usize,
}

impl RateLimits {
    /// From the texts of the settings.
    pub(super) fn read(text: impl Fn(&str) -> String) -> Result<Self, ConfigError> {
        Ok(Self {
            auth: count(&text, "SYNC_RATE_LIMIT_AUTH")?,
            push: count(&text, "SYNC_RATE_LIMIT_PUSH")?,
            pull: count(&text, "SYNC_RATE_LIMIT_PULL")?,
            other: count(&text, "SYNC_RATE_LIMIT_OTHER")?,
        })
    }
}

/// A whole number, already checked by the setting's kind.
pub(super) fn count(text: impl Fn(&str) -> String, name: &str) -> Result<usize, ConfigError> {
    let given = text(name);
    given.parse().map_err(|_| ConfigError(vec![format!("{name}: {given:?} cannot be used")]))
}
