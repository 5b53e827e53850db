//! How often somebody may call (server-protocol 8).
//!
//! Duty: one window per class of route: pushes and pulls per key *and* project, everything else per key, sign-in per
//! client address. Whoever is refused learns when to come back; refusals are remembered for the operator.
//! Invariant: a call counts after it was let through by key, role and project, so strangers cannot use up a limit.
//! Danger: an address. Behind a proxy it is the proxy's, unless `SYNC_TRUSTED_PROXIES` names it (W22); an IPv6 client
//! owns a whole /64, so that is what counts.

mod window;

pub use window::{Bucket, WINDOW};

use crate::auth::Principal;
use crate::config::RateLimits;
use crate::control::logins::Purpose;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};
use td_engine::id::ProjectId;

/// What a call counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Sign-in, per address.
    Auth,
    /// Asking whether a sign-in is through, per address.
    AuthPoll,
    /// Events into a project, per key and project.
    Push,
    /// Events out of a project, per key and project.
    Pull,
    /// Anything else with a key.
    Other,
    /// Counted while it is open ([`crate::http::Streams`]), not per minute.
    Stream,
}

impl Class {
    /// As it stands in `rate_limit_events`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth | Self::AuthPoll => "auth",
            Self::Push => "push",
            Self::Pull => "pull",
            Self::Other | Self::Stream => "other",
        }
    }

    /// Of a route that needs a key, by its path.
    pub fn of_path(path: &str) -> Self {
        match path.strip_prefix("/v1/projects/").and_then(|rest| rest.split_once('/')) {
            Some((_, "sync/push")) => Self::Push,
            Some((_, "sync/pull")) => Self::Pull,
            Some((_, "events")) => Self::Stream,
            _ => Self::Other,
        }
    }
}

/// Mails of one purpose to one address a minute, whoever asks.
const MAILS: usize = 5;
/// Invitations of one address a minute, from all projects together.
const INVITATIONS: usize = 3;

/// All limits of a server.
pub struct Limits {
    auth: Bucket<IpAddr>,
    auth_poll: Bucket<IpAddr>,
    push: Bucket<(String, ProjectId)>,
    pull: Bucket<(String, ProjectId)>,
    other: Bucket<String>,
    mail: Bucket<(&'static str, String, IpAddr)>,
    mailbox: Bucket<(&'static str, String)>,
    invited: Bucket<String>,
    agent: Bucket<String>,
}

impl Limits {
    /// As configured.
    pub fn new(limits: &RateLimits) -> Self {
        Self {
            auth: Bucket::new(limits.auth),
            auth_poll: Bucket::new(limits.other),
            push: Bucket::new(limits.push),
            pull: Bucket::new(limits.pull),
            other: Bucket::new(limits.other),
            mail: Bucket::new(1),
            mailbox: Bucket::new(MAILS),
            invited: Bucket::new(INVITATIONS),
            agent: Bucket::new(limits.agent),
        }
    }

    /// Whether one more mail may go to this address now: one a minute and purpose for whoever asks, and a few for all. The
    /// reference counts the address alone: a stranger who asks once a minute then keeps its owner from signing in, and the
    /// only mail that arrives is the stranger's.
    pub fn mail(&self, purpose: Purpose, address: &str, client: IpAddr) -> bool {
        let (purpose, now) = (purpose.as_str(), Instant::now());
        self.mail.hit((purpose, address.into(), network(client)), now).is_ok()
            && self.mailbox.hit((purpose, address.into()), now).is_ok()
    }

    /// Counts an invitation of this address, whoever invites; else, when to come back. An owner must not be able to fill
    /// a stranger's mailbox (W34).
    pub fn invitation(&self, address: &str) -> Result<(), Duration> {
        self.invited.hit(address.into(), Instant::now())
    }

    /// Counts a call by somebody who has no key yet; else, when to come back.
    pub fn stranger(&self, class: Class, client: IpAddr) -> Result<(), Duration> {
        let bucket = if class == Class::AuthPoll { &self.auth_poll } else { &self.auth };
        bucket.hit(network(client), Instant::now())
    }

    /// Counts a call with a key; else, when to come back.
    pub fn key(&self, class: Class, who: &Principal, project: Option<&ProjectId>) -> Result<(), Duration> {
        let (key, now) = (who.key_id.clone(), Instant::now());
        if who.grants.is_some() {
            self.agent.hit(key.clone(), now)?;
        }
        match (class, project) {
            (Class::Push, Some(project)) => self.push.hit((key, project.clone()), now),
            (Class::Pull, Some(project)) => self.pull.hit((key, project.clone()), now),
            (Class::Stream, _) => Ok(()),
            _ => self.other.hit(key, now),
        }
    }
}

/// What one client owns: an IPv4 address, or the /64 around an IPv6 one.
pub fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_a_call_is_told_by_its_path() {
        for (path, class) in [
            ("/v1/projects", Class::Other),
            ("/v1/projects/p_1", Class::Other),
            ("/v1/projects/p_1/sync/push", Class::Push),
            ("/v1/projects/p_1/sync/pull", Class::Pull),
            ("/v1/projects/p_1/sync/status", Class::Other),
            ("/v1/projects/p_1/events", Class::Stream),
            ("/v1/projects/p_1/history/events", Class::Other),
            ("/v1/invitations", Class::Other),
        ] {
            assert_eq!(Class::of_path(path), class, "{path}");
        }
    }

    #[test]
    fn an_ipv6_client_cannot_escape_its_limit_by_changing_the_last_bits() {
        let limits = Limits::new(&RateLimits { auth: 1, push: 1, pull: 1, other: 1, agent: 1 });
        let ip = |text: &str| text.parse::<IpAddr>().expect("ip");
        assert!(limits.stranger(Class::Auth, ip("2001:db8::1")).is_ok());
        assert!(limits.stranger(Class::Auth, ip("2001:db8::2")).is_err());
        assert!(limits.stranger(Class::AuthPoll, ip("2001:db8::2")).is_ok(), "polls count apart");
        assert!(limits.stranger(Class::Auth, ip("2001:db8:0:1::1")).is_ok());
        assert!(limits.stranger(Class::Auth, ip("::ffff:10.0.0.1")).is_ok());
        assert!(limits.stranger(Class::Auth, ip("10.0.0.1")).is_err(), "the same address in two spellings");
    }
}
