//! IP addresses in one form, however they are written, and networks of them.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

/// Networks at which cloud platforms serve credentials of the machine or of the Pod, and which no
/// test reaches, whatever a policy says. Those of IPv4 are also meant where IPv6 carries them.
pub const METADATA_NETWORKS: [&str; 8] = [
    // all of IPv4 link-local: 169.254.169.254, 169.254.170.2, 169.254.170.23, 169.254.169.252
    "169.254.0.0/16",
    // Alibaba
    "100.100.100.200/32",
    // link-local, which has no meaning without an interface
    "fe80::/10",
    // AWS: metadata and Pod identity
    "fd00:ec2::/32",
    // Google
    "fd20:ce::254/128",
    // Oracle
    "fd00:c1::a9fe:a9fe/128",
    // Scaleway
    "fd00:42::42/128",
    // 169.254.0.0/16 behind NAT64
    "64:ff9b::a9fe:0/112",
];

/// Prefix of NAT64 (RFC 6052), behind which lies an IPv4 address.
const NAT64: u128 = 0x0064_ff9b << 96;
/// Prefix of NAT64 within one network (RFC 8215), of which each network has its own form.
const LOCAL_NAT64: u128 = 0x0064_ff9b_0001 << 80;
/// Prefix of 6to4 (RFC 3056), behind which lies an IPv4 address.
const SIX_TO_FOUR: u128 = 0x2002 << 112;

/// Returns the address that packets to `ip` arrive at: the IPv4 address in an IPv6 one that is
/// mapped (`::ffff:0:0/96`), compatible (`::/96`), of NAT64 (`64:ff9b::/96`) or of 6to4
/// (`2002::/16`); any other address as it is.
pub fn canonical(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else {
        return ip;
    };
    let bits = u128::from(v6);
    let embedded = match bits {
        // the unspecified address and the loopback address
        0 | 1 => return ip,
        _ if bits >> 32 == NAT64 >> 32 => low(bits),
        _ if bits >> 112 == SIX_TO_FOUR >> 112 => low(bits >> 80),
        _ if bits >> 32 == 0 => low(bits),
        _ => match v6.to_ipv4_mapped() {
            Some(v4) => v4,
            None => return ip,
        },
    };
    IpAddr::V4(embedded)
}

/// The last 32 bits as an IPv4 address.
fn low(bits: u128) -> Ipv4Addr {
    Ipv4Addr::from(bits as u32)
}

/// Returns whether cloud platforms serve credentials at `ip`.
pub(super) fn is_metadata(ip: IpAddr) -> bool {
    let networks = || {
        METADATA_NETWORKS
            .iter()
            .filter_map(|text| Cidr::parse(text).ok())
    };
    let is_in = |ip: IpAddr| networks().any(|network| network.contains(ip));
    is_in(ip) || is_in(canonical(ip)) || local_nat64(ip).into_iter().any(|ip| is_in(ip.into()))
}

/// IPv4 addresses that may lie behind an address of NAT64 within one network: which one depends on
/// the length of that network's prefix (RFC 6052, section 2.2).
fn local_nat64(ip: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(v6) = ip else {
        return vec![];
    };
    let bits = u128::from(v6);
    if bits >> 80 != LOCAL_NAT64 >> 80 {
        return vec![];
    }
    // bits 64 to 71 are never part of the address
    let around_gap = |before: u32| {
        let (high, rest) = ((bits >> 64) as u32, ((bits >> 24) as u32));
        let kept = 64 - before;
        match kept {
            0 => rest,
            _ => (high << (32 - kept)) | (rest >> kept),
        }
    };
    vec![
        Ipv4Addr::from(around_gap(48)),
        Ipv4Addr::from(around_gap(56)),
        Ipv4Addr::from(around_gap(64)),
        low(bits),
    ]
}

/// Network of addresses, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Reads a network, or an address as a network of one, exactly as it is written.
    fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("{text:?} is not a network such as 10.0.0.0/8"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= most)
                .ok_or_else(|| format!("{text:?}: a prefix of this kind has 0 to {most} bits"))?,
            Some(_) => return Err(format!("{text:?} is not a network such as 10.0.0.0/8")),
        };
        let network = Self { address, prefix };
        if network.masked(address) != value(address) {
            return Err(format!("{text:?} has bits beyond its prefix"));
        }
        Ok(network)
    }

    /// Returns whether `ip`, taken as it is, lies in the network.
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.address.is_ipv4() && self.masked(ip) == value(self.address)
    }

    fn masked(&self, ip: IpAddr) -> u128 {
        let all = if ip.is_ipv4() { 32 } else { 128 };
        let rest = all - u32::from(self.prefix).min(all);
        value(ip)
            .checked_shr(rest)
            .unwrap_or(0)
            .checked_shl(rest)
            .unwrap_or(0)
    }
}

fn value(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// Reads a network of a policy. One of IPv6 addresses that carry IPv4 addresses is refused, since
/// such addresses are judged by the IPv4 address in them.
impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let network = Self::parse(&text)?;
        if network.prefix > 0 && canonical(network.address) != network.address {
            return Err(format!(
                "{text:?}: write the IPv4 network that lies in it; addresses are judged by that"
            ));
        }
        Ok(network)
    }
}

impl From<Cidr> for String {
    fn from(network: Cidr) -> Self {
        network.to_string()
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn cidr(text: &str) -> Result<Cidr, String> {
        Cidr::try_from(text.to_owned())
    }

    #[test]
    fn an_ipv4_address_is_one_however_ipv6_carries_it() {
        for carried in [
            "10.1.2.3",
            "::ffff:10.1.2.3",
            "::ffff:a01:203",
            "::10.1.2.3",
            "64:ff9b::10.1.2.3",
            "64:ff9b::a01:203",
            "2002:a01:203::",
            "2002:a01:203:7::1",
        ] {
            assert_eq!(canonical(ip(carried)), ip("10.1.2.3"), "{carried}");
        }
        for own in ["::", "::1", "fd00::1", "2001:db8::1", "64:ff9b:2::1"] {
            assert_eq!(canonical(ip(own)), ip(own), "{own}");
        }
    }

    #[test]
    fn metadata_addresses_are_known_in_every_form() {
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "100.100.100.200",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::",
            // prefixes of 48, 56, 64 and 96 bits
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1:a9:fe:a9fe::",
            "64:ff9b:1::a9:fea9:fe00:0",
            "64:ff9b:1::a9fe:a9fe",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "fe80::1",
        ] {
            assert!(is_metadata(ip(address)), "{address}");
        }
        for address in [
            "10.0.0.1",
            "127.0.0.1",
            "::1",
            "fd00::1",
            "100.100.100.201",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(!is_metadata(ip(address)), "{address}");
        }
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let ten = cidr("10.0.0.0/8").unwrap();
        assert!(ten.contains(ip("10.255.0.1")) && !ten.contains(ip("11.0.0.0")));
        assert!(!ten.contains(ip("::a00:1")));
        assert!(cidr("0.0.0.0/0").unwrap().contains(ip("255.255.255.255")));
        assert!(!cidr("0.0.0.0/0").unwrap().contains(ip("::1")));
        assert!(cidr("::/0").unwrap().contains(ip("2001:db8::1")));
        let one = cidr("fd00::7").unwrap();
        assert!(one.contains(ip("fd00::7")) && !one.contains(ip("fd00::8")));
        assert_eq!(one.to_string(), "fd00::7/128");
    }

    #[test]
    fn what_is_no_network_says_why() {
        for (text, words) in [
            ("10.0.0.0/33", "0 to 32"),
            ("10.1.0.0/8", "beyond"),
            ("10.0.0.0/+8", "not a network"),
            ("10.0.0/8", "not a network"),
            ("0xA9FEA9FE/32", "not a network"),
            ("example.com", "not a network"),
            ("10.0.0.0/", "0 to 32"),
            ("::ffff:10.0.0.0/104", "IPv4"),
            ("64:ff9b::/96", "IPv4"),
            ("2002:a00::/24", "IPv4"),
        ] {
            let why = cidr(text).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }
}
