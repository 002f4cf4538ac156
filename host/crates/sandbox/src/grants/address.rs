//! Owns the judgement of addresses that names lead to: how far inside they are,
//! and how far a pattern reaches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far inside an address is, and how far inside a pattern reaches: to
/// addresses of its own kind and those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// The Internet.
    Public,
    /// The networks of the operator, and this machine under its own address.
    Private,
    /// This machine.
    Loopback,
    /// What no name should lead to: link-local addresses (with the credentials
    /// that clouds serve there), multicast, unspecified and reserved ones.
    Any,
}

impl Reach {
    /// Of `ip`, by the address of version 4 that it stands for, where it does.
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => of_v4(ip),
            IpAddr::V6(ip) => of_v6(ip),
        }
    }

    /// What the address is called in a message.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Loopback => "loopback",
            Self::Any => "link-local or reserved",
        }
    }
}

/// Where clouds serve credentials outside the link-local range: Azure, Alibaba
/// and Oracle; AWS and Google.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// By IANA's registry of special addresses.
fn of_v4(ip: Ipv4Addr) -> Reach {
    if METADATA_V4.contains(&ip) {
        return Reach::Any;
    }
    match ip.octets() {
        [127, ..] => Reach::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Reach::Private,
        // Shared between carriers and customers; benchmarks.
        [100, 64..=127, ..] | [198, 18..=19, ..] => Reach::Private,
        // "This network", link-local, protocols and the old 6to4 relays.
        [0, ..] | [169, 254, ..] | [192, 0, 0, _] | [192, 88, 99, _] => Reach::Any,
        // Documentation.
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Reach::Any,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => Reach::Any,
        _ => Reach::Public,
    }
}

fn of_v6(ip: Ipv6Addr) -> Reach {
    if METADATA_V6.contains(&ip) {
        return Reach::Any;
    }
    if ip.is_loopback() {
        return Reach::Loopback;
    }
    let octets = ip.octets();
    let v4_at = |at: usize| {
        let [a, b, c, d] = [octets[at], octets[at + 1], octets[at + 2], octets[at + 3]];
        of_v4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        // IPv4-compatible (the unspecified address among them), mapped, translated, NAT64.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, 0, 0, 0, 0, ..] => v4_at(12),
        // 6to4.
        [0x2002, ..] => v4_at(2).max(interface(ip)),
        [0xfc00..=0xfdff, ..] => Reach::Private.max(interface(ip)),
        // Of the rest only global unicast: not link-local, site-local, multicast,
        // the local NAT64 prefix or discard.
        [0x2000..=0x3fff, ..] => match ip.segments() {
            // Teredo and other protocols, documentation.
            [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Reach::Any,
            _ => interface(ip),
        },
        _ => Reach::Any,
    }
}

/// By the address of version 4 in an interface identifier of ISATAP, if it is one.
fn interface(ip: Ipv6Addr) -> Reach {
    match ip.segments() {
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => {
            of_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
        }
        _ => Reach::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_it_stands_for_in_any_form() {
        for (reach, addresses) in [
            (
                Reach::Public,
                "1.1.1.1 8.8.8.8 100.63.0.1 100.128.0.1 172.15.0.1 172.32.0.1 169.253.0.1 \
                 2606:4700::1111 ::ffff:1.1.1.1 64:ff9b::8.8.8.8 2002:808:808::1",
            ),
            (
                Reach::Private,
                "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 198.18.0.1 fd12::1 fc00::1 \
                 ::ffff:10.0.0.1 64:ff9b::10.0.0.1 2002:a00:1::1 ::10.0.0.1 2600::5efe:10.0.0.1",
            ),
            (
                Reach::Loopback,
                "127.0.0.1 127.255.255.255 ::1 ::ffff:127.0.0.1 ::127.0.0.1 64:ff9b::127.0.0.1 \
                 2002:7f00:1::1 ::ffff:0:127.0.0.1 2600::200:5efe:127.0.0.1",
            ),
            (
                Reach::Any,
                "0.0.0.0 0.1.2.3 169.254.169.254 224.0.0.1 255.255.255.255 240.0.0.1 192.0.0.192 \
                 168.63.129.16 100.100.100.200 :: fe80::1 febf::1 fec0::1 ff02::1 ::ffff:169.254.169.254 \
                 64:ff9b::169.254.169.254 64:ff9b:1::1 2002:a9fe:a9fe::1 2001::1 fd00:ec2::254 \
                 2001:db8::1 100::1 ::ffff:0.0.0.0",
            ),
        ] {
            for address in addresses.split_whitespace() {
                assert_eq!(Reach::of(address.parse().unwrap()), reach, "{address}");
            }
        }
    }
}
