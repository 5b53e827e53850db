//! Whose address counts behind proxies: trusted networks on the first line, the peer on the second, then the lines of
//! `X-Forwarded-For`.
//!
//! What holds: an address is the peer's or was written by a proxy that is trusted, and never stands left of a hop that is
//! not.

use std::net::IpAddr;
use td_server::auth::client_ip;
use td_server::config::Networks;

pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.split('\n');
    let Some(trusted) = Networks::parse(lines.next().unwrap_or_default()) else { return };
    let Ok(peer) = lines.next().unwrap_or_default().parse::<IpAddr>() else { return };
    let lines: Vec<String> = lines.map(str::to_string).collect();
    let client = client_ip(peer, lines.iter().cloned(), &trusted);

    // From the right, as far as each hop is an address and the one that named it is trusted.
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(',')).map(|hop| hop.trim().parse::<IpAddr>());
    let mut path = vec![peer.to_canonical()];
    path.extend(hops.map_while(Result::ok).map(|ip| ip.to_canonical()));
    let trusted_ones = path.iter().take_while(|ip| trusted.contains(**ip)).count();
    assert_eq!(client, path[trusted_ones.min(path.len() - 1)], "{path:?}");
}
