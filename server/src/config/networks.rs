//! Addresses and blocks, for proxies that are believed.

use std::net::IpAddr;

/// A set of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<(IpAddr, u8)>);

impl Networks {
    /// A comma list of addresses and CIDR blocks; the empty text is the empty set. No block of everything: whoever
    /// believes everybody takes a stranger's word that they are this machine.
    pub fn parse(text: &str) -> Option<Self> {
        text.split(',').map(str::trim).filter(|p| !p.is_empty()).map(block).collect::<Option<_>>().map(Self)
    }

    /// Whether the address is in one of the blocks.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|(net, bits)| match (net, ip) {
            (IpAddr::V4(n), IpAddr::V4(i)) => prefix(u32::from(*n).into(), u32::from(i).into(), 32, *bits),
            (IpAddr::V6(n), IpAddr::V6(i)) => prefix((*n).into(), i.into(), 128, *bits),
            _ => false,
        })
    }
}

fn block(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
    let ip = address.parse::<IpAddr>().ok()?;
    let width = if ip.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(width), |b| b.parse().ok().filter(|b| (1..=width).contains(b)))?;
    Some((ip, bits))
}

fn prefix(a: u128, b: u128, width: u8, bits: u8) -> bool {
    let drop = u32::from(width - bits);
    drop >= 128 || a >> drop == b >> drop
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_their_addresses_only() {
        let nets = Networks::parse("10.0.0.1, 192.168.0.0/16,fd00::/8").expect("list");
        for (ip, within) in [
            ("10.0.0.1", true),
            ("10.0.0.2", false),
            ("192.168.77.1", true),
            ("::ffff:192.168.77.1", true),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(nets.contains(ip.parse().expect("ip")), within, "{ip}");
        }
        for refused in ["10.0.0.0/33", "proxy", "0.0.0.0/0", "10.0.0.1,::/0", "0.0.0.0/000"] {
            assert_eq!(Networks::parse(refused), None, "{refused}");
        }
    }
}
