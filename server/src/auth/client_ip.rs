//! Whose address counts: the connection's, unless that is a trusted proxy (server-protocol W22).

use crate::config::Networks;
use std::net::IpAddr;

/// The right-most hop that is not a trusted proxy. Whatever stands left of it was written by a stranger.
pub fn client_ip(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = String>,
    trusted: &Networks,
) -> IpAddr {
    let mut client = peer.to_canonical();
    for line in forwarded.rev() {
        for hop in line.rsplit(',') {
            if !trusted.contains(client) {
                return client;
            }
            match hop.trim().parse::<IpAddr>() {
                Ok(ip) => client = ip.to_canonical(),
                Err(_) => return client,
            }
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(peer: &str, forwarded: &[&str]) -> String {
        let trusted = Networks::parse("10.0.0.0/8").expect("nets");
        let lines = forwarded.iter().map(|s| s.to_string());
        client_ip(peer.parse().expect("ip"), lines, &trusted).to_string()
    }

    #[test]
    fn a_spoofed_header_counts_only_from_the_first_untrusted_hop_on() {
        assert_eq!(ip("1.2.3.4", &["9.9.9.9"]), "1.2.3.4");
        assert_eq!(ip("10.0.0.1", &["9.9.9.9, 5.6.7.8"]), "5.6.7.8");
        assert_eq!(ip("10.0.0.1", &["9.9.9.9, 5.6.7.8, 10.0.0.2"]), "5.6.7.8");
        assert_eq!(ip("10.0.0.1", &["9.9.9.9", "5.6.7.8"]), "5.6.7.8");
        assert_eq!(ip("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(ip("10.0.0.1", &["junk"]), "10.0.0.1");
    }
}
