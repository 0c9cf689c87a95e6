//! Ranges of addresses, and the choice of one that nobody uses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An IPv4 address with the length of its prefix: `10.1.2.3/24`, or a range when the rest is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv4Net {
    address: Ipv4Addr,
    prefix: u8,
}

/// An IPv6 address with the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv6Net {
    address: Ipv6Addr,
    prefix: u8,
}

/// An address with the length of its prefix, of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum IpNet {
    /// IPv4.
    V4(Ipv4Net),
    /// IPv6.
    V6(Ipv6Net),
}

/// A text that is not `ADDRESS/PREFIX`.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a subnet such as 10.1.2.0/24")]
pub struct SubnetError {
    text: String,
}

impl Ipv4Net {
    /// The address with a prefix of at most 32 bits; `None` above.
    pub const fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        if prefix <= 32 { Some(Self { address, prefix }) } else { None }
    }

    /// The address, its host part included.
    pub const fn address(self) -> Ipv4Addr {
        self.address
    }

    /// The length of the prefix, 0 to 32.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// The prefix as bits.
    pub(crate) const fn mask(self) -> u32 {
        match u32::MAX.checked_shl(32 - self.prefix as u32) {
            Some(mask) => mask,
            None => 0,
        }
    }

    /// The first address of the range, with the same prefix.
    pub const fn network(self) -> Self {
        Self { address: Ipv4Addr::from_bits(self.address.to_bits() & self.mask()), ..self }
    }

    /// The last address of the range.
    pub const fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !self.mask())
    }

    /// The address `offset` places after the first, or `None` past the end of the range.
    pub fn nth(self, offset: u32) -> Option<Ipv4Addr> {
        let address = self.network().address.to_bits().checked_add(offset)?;
        Some(Ipv4Addr::from_bits(address)).filter(|&address| self.contains(address))
    }

    /// Whether `address` is in the range.
    pub const fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask() == self.address.to_bits() & self.mask()
    }

    /// Whether the two ranges share an address.
    pub const fn overlaps(self, other: Self) -> bool {
        self.contains(other.network().address) || other.contains(self.network().address)
    }
}

impl Ipv6Net {
    /// The address with a prefix of at most 128 bits; `None` above.
    pub const fn new(address: Ipv6Addr, prefix: u8) -> Option<Self> {
        if prefix <= 128 { Some(Self { address, prefix }) } else { None }
    }

    /// The address, its host part included.
    pub const fn address(self) -> Ipv6Addr {
        self.address
    }

    /// The length of the prefix, 0 to 128.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    const fn mask(self) -> u128 {
        match u128::MAX.checked_shl(128 - self.prefix as u32) {
            Some(mask) => mask,
            None => 0,
        }
    }

    /// Whether `address` is in the range.
    pub const fn contains(self, address: Ipv6Addr) -> bool {
        address.to_bits() & self.mask() == self.address.to_bits() & self.mask()
    }

    /// The first address of the range with `host` as its last 32 bits.
    ///
    /// So the IPv4 lease of an endpoint is its IPv6 lease as well.
    pub const fn with_host(self, host: Ipv4Addr) -> Self {
        let mask = self.mask();
        let bits = self.address.to_bits() & mask | host.to_bits() as u128 & !mask;
        Self { address: Ipv6Addr::from_bits(bits), ..self }
    }
}

impl IpNet {
    /// Whether it is of IPv4.
    pub const fn is_ipv4(self) -> bool {
        matches!(self, Self::V4(_))
    }

    /// Whether `address` is in the range; one of the other family never is.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(net), IpAddr::V4(address)) => net.contains(address),
            (Self::V6(net), IpAddr::V6(address)) => net.contains(address),
            _ => false,
        }
    }

    /// Whether all of `part` is in the range.
    pub fn covers(self, part: Self) -> bool {
        match (self, part) {
            (Self::V4(net), Self::V4(part)) => {
                part.prefix >= net.prefix && net.contains(part.address)
            }
            (Self::V6(net), Self::V6(part)) => {
                part.prefix >= net.prefix && net.contains(part.address)
            }
            _ => false,
        }
    }
}

impl FromStr for IpNet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let prefix = prefix.parse().ok()?;
            match address.parse().ok()? {
                IpAddr::V4(address) => Ipv4Net::new(address, prefix).map(Self::V4),
                IpAddr::V6(address) => Ipv6Net::new(address, prefix).map(Self::V6),
            }
        };
        parse().ok_or_else(|| SubnetError { text: text.to_owned() })
    }
}

impl FromStr for Ipv4Net {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        match text.parse()? {
            IpNet::V4(net) => Ok(net),
            IpNet::V6(_) => Err(SubnetError { text: text.to_owned() }),
        }
    }
}

impl FromStr for Ipv6Net {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        match text.parse()? {
            IpNet::V6(net) => Ok(net),
            IpNet::V4(_) => Err(SubnetError { text: text.to_owned() }),
        }
    }
}

macro_rules! as_text {
    ($($net:ident),*) => {$(
        impl TryFrom<String> for $net {
            type Error = SubnetError;

            fn try_from(text: String) -> Result<Self, SubnetError> {
                text.parse()
            }
        }

        impl From<$net> for String {
            fn from(net: $net) -> Self {
                net.to_string()
            }
        }
    )*};
}

as_text!(IpNet, Ipv4Net, Ipv6Net);

impl fmt::Display for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Display for Ipv6Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(net) => net.fmt(f),
            Self::V6(net) => net.fmt(f),
        }
    }
}

/// A large range from which small ones are handed out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pool {
    /// All of it.
    pub(crate) range: Ipv4Net,
    /// Bits of prefix of what is handed out.
    pub(crate) prefix: u8,
}

/// Ranges for networks: the upper half of 10.0.0.0/8 first, since home networks and VPNs cluster in the lower.
pub(crate) const NETWORKS: [Pool; 2] = [
    Pool { range: Ipv4Net { address: Ipv4Addr::new(10, 128, 0, 0), prefix: 9 }, prefix: 24 },
    Pool { range: Ipv4Net { address: Ipv4Addr::new(10, 0, 0, 0), prefix: 9 }, prefix: 24 },
];

/// Point-to-point ranges for uplinks, out of the range for benchmarks of network devices (RFC 2544), which is
/// never routed on the Internet.
pub(crate) const UPLINKS: Pool =
    Pool { range: Ipv4Net { address: Ipv4Addr::new(198, 18, 0, 0), prefix: 15 }, prefix: 31 };

impl Pool {
    /// A range that overlaps none of `taken`, looked for from a place that depends on `seed`.
    ///
    /// With the name as the seed a network that is made again gets the same range while that is free.
    pub(crate) fn pick(self, seed: u64, taken: &[Ipv4Net]) -> Option<Ipv4Net> {
        let count = 1_u32 << (self.prefix - self.range.prefix);
        let start = u32::try_from(seed % u64::from(count)).unwrap_or(0);
        (0..count).map(|step| self.nth((start + step) % count)).find(|candidate| {
            // A default route covers everything and says nothing about use.
            !taken.iter().any(|used| used.prefix > 0 && used.overlaps(*candidate))
        })
    }

    fn nth(self, index: u32) -> Ipv4Net {
        let first = self.range.address.to_bits() + (index << (32 - self.prefix));
        Ipv4Net { address: Ipv4Addr::from_bits(first), prefix: self.prefix }
    }
}

/// A number that depends on `text` alone, the same in every process: 64-bit FNV-1a.
pub(crate) fn seed(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_knows_its_ends() {
        let table = [
            ("10.1.2.3/24", "10.1.2.0/24", "10.1.2.255"),
            ("198.18.0.1/31", "198.18.0.0/31", "198.18.0.1"),
            ("1.2.3.4/32", "1.2.3.4/32", "1.2.3.4"),
            ("1.2.3.4/0", "0.0.0.0/0", "255.255.255.255"),
        ];
        for (text, network, last) in table {
            assert_eq!(net(text).network(), net(network), "{text}");
            assert_eq!(net(text).last().to_string(), last, "{text}");
        }
        assert_eq!(net("10.0.0.0/30").nth(3).unwrap().to_string(), "10.0.0.3");
        assert_eq!(net("10.0.0.0/30").nth(4), None);
    }

    #[test]
    fn overlap_is_symmetric() {
        let table = [
            ("10.0.0.0/8", "10.200.0.0/24", true),
            ("10.0.0.0/24", "10.0.1.0/24", false),
            ("0.0.0.0/0", "10.0.1.0/24", true),
        ];
        for (one, other, shared) in table {
            assert_eq!(net(one).overlaps(net(other)), shared);
            assert_eq!(net(other).overlaps(net(one)), shared);
        }
    }

    #[test]
    fn text_that_is_no_range_is_refused() {
        for bad in ["10.0.0.0", "10.0.0.0/33", "10.0.0/24", "fd00::/129", "/", "10.0.0.0/-1"] {
            assert!(bad.parse::<IpNet>().is_err(), "{bad}");
        }
        assert!("fd00::/64".parse::<Ipv4Net>().is_err());
    }

    #[test]
    fn a_pool_avoids_what_is_taken() {
        let pool = Pool { range: net("10.0.0.0/22"), prefix: 24 };
        assert_eq!(pool.pick(1, &[]), Some(net("10.0.1.0/24")));
        assert_eq!(pool.pick(1, &[net("0.0.0.0/0"), net("10.0.1.7/32")]), Some(net("10.0.2.0/24")));
        assert_eq!(pool.pick(3, &[net("10.0.2.0/23")]), Some(net("10.0.0.0/24")));
        assert_eq!(pool.pick(3, &[net("10.0.0.0/8")]), None);
    }

    #[test]
    fn an_ipv6_address_carries_the_ipv4_lease() {
        let range: Ipv6Net = "fd12:3456:789a::/64".parse().unwrap();
        assert_eq!(
            range.with_host(Ipv4Addr::new(10, 1, 2, 3)).to_string(),
            "fd12:3456:789a::a01:203/64"
        );
    }
}
