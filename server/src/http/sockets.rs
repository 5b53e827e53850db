//! Sockets to listen on: bound by us, or handed over by whoever owns them, each with what is spoken on it.
//!
//! Invariant: nothing is guessed. A handed-over socket says by its name (`LISTEN_FDNAMES`, systemd's
//! `FileDescriptorName=`) what it is for; one without such a name is plain HTTP where TLS is off, and refused where it is
//! on. Where sockets are handed over, only these are used. With TLS on, no socket that strangers reach speaks plain HTTP.

use crate::config::{Config, Listen};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// What is spoken on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything, in plain HTTP.
    Plain,
    /// Everything, in HTTPS.
    Https,
    /// Redirects to HTTPS and HTTP-01, in plain HTTP.
    Redirect,
}

impl Role {
    /// The name of such a socket.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Https => "https",
            Self::Redirect => "http",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Plain, Self::Https, Self::Redirect].into_iter().find(|r| r.name() == name)
    }
}

/// Why there is nothing to listen on.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// An address of ours.
    #[error("cannot listen on {listen} ({setting}): {source}")]
    Bind {
        /// What was asked for.
        listen: Listen,
        /// By which setting.
        setting: &'static str,
        /// What happened.
        source: io::Error,
    },
    /// A socket that was handed over.
    #[error("a socket that was handed over cannot be used: {0}")]
    HandedOver(io::Error),
    /// A socket whose use nobody told us.
    #[error("socket {place} was handed over as {name:?}, and SYNC_TLS is on: is it for HTTPS or not?")]
    Unnamed {
        /// Its place, from 1.
        place: usize,
        /// What it is called.
        name: String,
    },
    /// Sockets that do not fit the settings.
    #[error("{0}")]
    Unfit(&'static str),
}

impl SocketsError {
    /// What helps.
    pub fn remedy(&self) -> String {
        match self {
            Self::Bind { setting, source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                format!("another program uses this address: stop it, or set {setting} to another port")
            }
            Self::Bind { setting, source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!(
                    "ports below 1024 need a right: AmbientCapabilities=CAP_NET_BIND_SERVICE or a socket unit with \
                 FileDescriptorName=https (http for the redirect), or set {setting} to a higher port"
                )
            }
            Self::Unnamed { .. } => {
                "name it in its socket unit: FileDescriptorName=https for HTTPS, http for redirects, \
                                     plain for plain HTTP"
                    .into()
            }
            Self::Unfit(_) => "td-sync config check".into(),
            Self::Bind { .. } | Self::HandedOver(_) => "td-sync doctor".into(),
        }
    }
}

/// Sockets to accept from.
pub struct Listeners(pub(super) Vec<(Role, TcpListener)>);

impl Listeners {
    /// The sockets that were handed over (`LISTEN_FDS`), or our own.
    pub fn take(config: &Config) -> Result<Self, SocketsError> {
        // Read before the descriptors are taken, which clears what belongs to them.
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut handed = listenfd::ListenFd::from_env();
        let sockets: Result<Vec<_>, _> = (0..handed.len()).map(|i| handed.take_tcp_listener(i)).collect();
        let sockets: Vec<_> = sockets.map_err(SocketsError::HandedOver)?.into_iter().flatten().collect();
        let sockets = if sockets.is_empty() {
            bind_all(config)?
        } else {
            let roles = roles(&names, sockets.len(), config.tls.is_some())?;
            roles.into_iter().zip(sockets).collect()
        };
        let open = |(_, s): &(Role, TcpListener)| s.set_nonblocking(true);
        sockets.iter().try_for_each(open).map_err(SocketsError::HandedOver)?;
        Ok(Self(sockets))
    }

    /// Where they listen, and for what.
    pub fn addresses(&self) -> io::Result<Vec<(Role, SocketAddr)>> {
        self.0.iter().map(|(role, socket)| Ok((*role, socket.local_addr()?))).collect()
    }

    /// Whether HTTP-01 can be answered.
    pub fn answers_http(&self) -> bool {
        self.0.iter().any(|(role, _)| *role == Role::Redirect)
    }
}

/// What each handed-over socket is for.
fn roles(names: &str, count: usize, tls: bool) -> Result<Vec<Role>, SocketsError> {
    let mut names = names.split(':');
    let role = |place: usize, name: &str| match Role::of(name) {
        Some(role) if tls || role == Role::Plain => Ok(role),
        Some(_) => {
            Err(SocketsError::Unfit("a socket named https or http was handed over, and SYNC_TLS is off"))
        }
        None if tls => Err(SocketsError::Unnamed { place, name: name.into() }),
        None => Ok(Role::Plain),
    };
    let roles: Result<Vec<_>, _> = (1..=count).map(|place| role(place, names.next().unwrap_or(""))).collect();
    let roles = roles?;
    if tls && !roles.contains(&Role::Https) {
        return Err(SocketsError::Unfit(
            "sockets were handed over, but none named https, and SYNC_TLS is on",
        ));
    }
    Ok(roles)
}

fn bind_all(config: &Config) -> Result<Vec<(Role, TcpListener)>, SocketsError> {
    wanted(config)
        .into_iter()
        .map(|(role, listen, setting)| {
            let socket = bind(listen).map_err(|source| SocketsError::Bind { listen, setting, source })?;
            Ok((role, socket))
        })
        .collect()
}

/// What the settings ask for. With TLS on, a plain address that strangers reach is for redirects only.
fn wanted(config: &Config) -> Vec<(Role, Listen, &'static str)> {
    const PLAIN: &str = "SYNC_LISTEN_ADDR";
    let Some(tls) = &config.tls else { return vec![(Role::Plain, config.listen, PLAIN)] };
    let role = if config.listen.is_loopback() { Role::Plain } else { Role::Redirect };
    let mut all = vec![(role, config.listen, PLAIN), (Role::Https, tls.listen, "SYNC_TLS_LISTEN_ADDR")];
    if let Some(redirect) = tls.redirect.filter(|r| *r != config.listen) {
        all.push((Role::Redirect, redirect, "SYNC_TLS_REDIRECT_ADDR"));
    }
    all
}

fn bind(listen: Listen) -> io::Result<TcpListener> {
    match listen {
        Listen::At(address) => TcpListener::bind(address),
        // A socket for all of IPv6 takes IPv4 too, where the machine has IPv6 at all.
        Listen::Everywhere(port) => TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
            .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Role::{Https, Plain, Redirect};

    #[test]
    fn handed_over_sockets_are_told_apart_by_name_and_by_nothing_else() {
        for (names, count, tls, expected) in [
            ("", 1, false, Some(vec![Plain])),
            ("td-sync.socket:td-sync.socket", 2, false, Some(vec![Plain, Plain])),
            ("http:https:plain", 3, true, Some(vec![Redirect, Https, Plain])),
            ("https", 1, true, Some(vec![Https])),
            ("https", 1, false, None),
            ("", 1, true, None),
            ("https:td-sync.socket", 2, true, None),
            ("http:plain", 2, true, None),
        ] {
            assert_eq!(roles(names, count, tls).ok(), expected, "{names:?} {tls}");
        }
    }

    #[test]
    fn with_tls_no_public_socket_speaks_plain_http() {
        let config = |pairs: &[(&str, &str)]| {
            let files = [("SYNC_TLS", "files"), ("SYNC_TLS_CERT_FILE", "/c"), ("SYNC_TLS_KEY_FILE", "/k")];
            let all = files.iter().chain(pairs).map(|(k, v)| (k.to_string(), v.to_string()));
            Config::from_pairs(all).expect("config")
        };
        let roles = |pairs: &[(&str, &str)]| {
            wanted(&config(pairs)).into_iter().map(|(role, listen, _)| (role, listen)).collect::<Vec<_>>()
        };
        let local = Listen::At(([127, 0, 0, 1], 8080).into());
        let (https, http) = (Listen::Everywhere(443), Listen::Everywhere(80));
        assert_eq!(roles(&[]), [(Plain, local), (Https, https), (Redirect, http)]);
        assert_eq!(roles(&[("SYNC_LISTEN_ADDR", ":80")]), [(Redirect, http), (Https, https)]);
        assert_eq!(roles(&[("SYNC_TLS_REDIRECT_ADDR", "off")]), [(Plain, local), (Https, https)]);
    }
}
