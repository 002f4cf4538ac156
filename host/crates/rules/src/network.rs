//! Owns IP addresses: a [`Network`] of `cidr`, or the one address that a plain
//! string of a pattern spells.

use std::net::{Ipv4Addr, Ipv6Addr};

use pointsman_core::integer;

use super::Dialect;

/// An IPv4 or IPv6 address as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    V4(u32),
    V6(u128),
}

/// The addresses from `low` to `high`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    low: u128,
    high: u128,
    v6: bool,
}

/// What is wrong with the text of a `cidr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkError {
    /// Not `address/bits`.
    Form,
    /// The part before `/` is no address.
    Address,
    /// The part after `/` is not a number from 0 to this one.
    Bits(u32),
}

impl Address {
    /// Reads an address in its usual form. As in event-ruler, an IPv6 address
    /// has only hexadecimal digits and colons, and the `eventbridge` dialect
    /// takes an IPv4-mapped one for IPv4.
    pub(crate) fn parse(text: &str, dialect: Dialect) -> Option<Self> {
        // Cheap refusal first: most strings of a command are no addresses.
        if text.len() > 39
            || !matches!(text.as_bytes().first()?, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' | b':')
        {
            return None;
        }
        if text.contains('.') {
            let mut octets = text.split('.');
            let mut address = 0;
            for _ in 0..4 {
                let octet = octets.next()?;
                if octet.is_empty()
                    || octet.len() > 3
                    || !octet.bytes().all(|byte| byte.is_ascii_digit())
                {
                    return None;
                }
                address = address << 8 | u32::from(octet.parse::<u8>().ok()?);
            }
            return octets.next().is_none().then_some(Self::V4(address));
        }
        let address: Ipv6Addr = text.parse().ok()?;
        match address.to_ipv4_mapped() {
            Some(mapped) if dialect == Dialect::EventBridge => Some(Self::V4(mapped.into())),
            _ => Some(Self::V6(address.into())),
        }
    }

    fn parts(self) -> (u128, bool) {
        match self {
            Self::V4(address) => (address.into(), false),
            Self::V6(address) => (address, true),
        }
    }
}

impl Network {
    /// The network of exactly one address.
    pub(crate) fn single(address: Address) -> Self {
        let (low, v6) = address.parts();
        Self { low, high: low, v6 }
    }

    /// The first and the last address, and whether they are IPv6.
    pub(crate) fn ends(&self) -> (u128, u128, bool) {
        (self.low, self.high, self.v6)
    }

    /// Whether every address of `other` is one of this network too.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        self.v6 == other.v6 && self.low <= other.low && other.high <= self.high
    }

    /// One address of the network as text.
    pub(crate) fn example(&self) -> String {
        if self.v6 {
            Ipv6Addr::from(self.low).to_string()
        } else {
            Ipv4Addr::from(self.low as u32).to_string()
        }
    }

    /// Reads `address/bits`; bits of the address beyond the mask are ignored.
    pub(crate) fn parse(text: &str, dialect: Dialect) -> Result<Self, NetworkError> {
        let (address, bits) = text.split_once('/').ok_or(NetworkError::Form)?;
        let (address, v6) = Address::parse(address, dialect)
            .ok_or(NetworkError::Address)?
            .parts();
        let width: u32 = if v6 { 128 } else { 32 };
        // event-ruler refuses the network of one address.
        let max = if dialect == Dialect::EventBridge {
            width - 1
        } else {
            width
        };
        let bits = match integer::parse::<u32>(bits) {
            Some(value) if value <= max => value,
            _ => return Err(NetworkError::Bits(max)),
        };
        let all = u128::MAX >> (128 - width);
        let host = if bits == 0 {
            all
        } else {
            all & !(all << (width - bits))
        };
        Ok(Self {
            low: address & !host,
            high: address | host,
            v6,
        })
    }

    pub(crate) fn contains(&self, address: Address, dialect: Dialect) -> bool {
        let (address, v6) = address.parts();
        match (self.v6, v6) {
            (true, true) | (false, false) => self.low <= address && address <= self.high,
            _ if dialect == Dialect::Pointsman => false,
            // event-ruler compares hexadecimal digits from the left and stops
            // at the shorter text, so that the two families meet.
            (false, true) => (self.low..=self.high).contains(&(address >> 96)),
            (true, false) => self.low >> 96 < address && address < self.high >> 96,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        let dialect = Dialect::Pointsman;
        Network::parse(network, dialect)
            .unwrap()
            .contains(Address::parse(address, dialect).unwrap(), dialect)
    }

    #[test]
    fn a_network_contains_its_addresses() {
        assert!(contains("10.0.0.0/24", "10.0.0.255") && !contains("10.0.0.0/24", "10.0.1.0"));
        assert!(contains("220.160.153.171/31", "220.160.153.170"));
        assert!(contains("0.0.0.0/0", "255.255.255.255") && contains("::/0", "ffff::"));
        assert!(contains("10.0.0.1/32", "10.0.0.1") && contains("::1/128", "0:0:0:0:0:0:0:1"));
        assert!(!contains("0.0.0.0/0", "::1") && !contains("::/0", "1.2.3.4"));
    }

    #[test]
    fn in_event_bridge_the_families_meet_between_the_ends_of_a_network() {
        let dialect = Dialect::EventBridge;
        let network = Network::parse("2001::/16", dialect).unwrap();
        let contains =
            |address| network.contains(Address::parse(address, dialect).unwrap(), dialect);
        assert!(contains("32.1.0.1") && contains("32.1.255.254"));
        assert!(!contains("32.1.0.0") && !contains("32.1.255.255") && !contains("32.2.0.1"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "foo",
            "/",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+1",
            "10.0.0/8",
            "2.1.0.-1/3",
            "::1/129",
            "1/2/3",
            "256.0.0.1/8",
        ] {
            assert!(Network::parse(text, Dialect::Pointsman).is_err(), "{text}");
        }
        assert!(Network::parse("10.0.0.0/32", Dialect::EventBridge).is_err());
    }
}
