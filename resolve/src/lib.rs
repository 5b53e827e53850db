//! Names to addresses, without the C library.
//!
//! Duty: the only place where a host name becomes an address. A statically linked program must not ask NSS (DESIGN 2),
//! so literals and `localhost` are answered here and everything else by hickory, which reads `/etc/resolv.conf` itself.
//! Invariant: never more than one look-up's worth of runtime: it is made for the question and dropped with the answer.
//! Danger: it blocks. In a program with a runtime of its own, call it from a blocking thread.

use hickory_resolver::Resolver as Hickory;
use hickory_resolver::config::LookupIpStrategy;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Longest wait where the HTTP client has none of its own.
const PATIENCE: Duration = Duration::from_secs(10);

/// A name that has no address, or no way to ask for one.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the name {host} does not resolve: {why}")]
pub struct Unresolved {
    /// The name.
    pub host: String,
    /// What the look-up said.
    pub why: String,
}

/// All addresses of `host` (a name, an address, or an IPv6 address in brackets), IPv6 and IPv4 as the name has them.
pub fn addresses(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, Unresolved> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let name = bare.trim_end_matches('.').to_ascii_lowercase();
    // RFC 6761: these names mean this machine and are never asked of a name server.
    if name == "localhost" || name.ends_with(".localhost") {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(loopback.map(|ip| SocketAddr::new(ip, port)).to_vec());
    }
    let failed = |why: String| Unresolved { host: bare.into(), why };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| failed(e.to_string()))?;
    let found = runtime.block_on(async {
        let mut builder = Hickory::builder_tokio().map_err(|e| format!("/etc/resolv.conf: {e}"))?;
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let resolver = builder.build().map_err(|e| e.to_string())?;
        let answer = tokio::time::timeout(limit, resolver.lookup_ip(name.as_str()));
        let answer = answer.await.map_err(|_| format!("no answer within {} s", limit.as_secs()))?;
        answer.map(|found| found.iter().collect::<Vec<_>>()).map_err(|e| e.to_string())
    });
    let found = found.map_err(failed)?;
    if found.is_empty() {
        return Err(failed("it has no address".into()));
    }
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

/// [`addresses`] as the HTTP client asks for them.
#[derive(Debug)]
pub struct OurResolver;

impl Resolver for OurResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let limit = if timeout.after.is_not_happening() { PATIENCE } else { *timeout.after };
        let found = addresses(host, uri.port_u16().unwrap_or(default), limit)
            .map_err(|e| ureq::Error::Io(io::Error::new(io::ErrorKind::NotFound, e)))?;
        let mut out = self.empty();
        for address in config.ip_family().keep_wanted(found.into_iter()).take(16) {
            out.push(address);
        }
        if out.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_localhost_need_no_name_server() {
        let of = |host| addresses(host, 8470, Duration::ZERO).expect(host);
        assert_eq!(of("127.0.0.1"), ["127.0.0.1:8470".parse().expect("address")]);
        assert_eq!(of("[::1]"), ["[::1]:8470".parse().expect("address")]);
        assert_eq!(of("LocalHost."), of("td.localhost"));
        assert_eq!(of("localhost").len(), 2);
    }

    #[test]
    fn a_look_up_from_a_blocking_thread_of_another_runtime_says_which_name_failed() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
        let asked = runtime.block_on(async {
            tokio::task::spawn_blocking(|| addresses("no-such.invalid", 1, Duration::from_secs(5))).await
        });
        let error = asked.expect("thread").expect_err("invalid").to_string();
        assert!(error.starts_with("the name no-such.invalid does not resolve: "), "{error}");
    }
}
