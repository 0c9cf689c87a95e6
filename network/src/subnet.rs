//! Ranges of addresses, and the choice of one that nobody uses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The two families of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, the older first.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// That of an address.
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

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

    /// The first address of the range, with the same prefix.
    pub const fn network(self) -> Self {
        Self { address: Ipv6Addr::from_bits(self.address.to_bits() & self.mask()), ..self }
    }

    /// The address `offset` places after the first, or `None` past the end of the range.
    pub fn nth(self, offset: u32) -> Option<Ipv6Addr> {
        let address = self.network().address.to_bits().checked_add(offset.into())?;
        Some(Ipv6Addr::from_bits(address)).filter(|&address| self.contains(address))
    }
}

impl IpNet {
    /// The address with the length of its prefix; `None` beyond that of its family.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Ipv4Net::new(address, prefix).map(Self::V4),
            IpAddr::V6(address) => Ipv6Net::new(address, prefix).map(Self::V6),
        }
    }

    /// It, if it is of IPv4.
    pub const fn ipv4(self) -> Option<Ipv4Net> {
        match self {
            Self::V4(net) => Some(net),
            Self::V6(_) => None,
        }
    }

    /// It, if it is of IPv6.
    pub const fn ipv6(self) -> Option<Ipv6Net> {
        match self {
            Self::V4(_) => None,
            Self::V6(net) => Some(net),
        }
    }

    /// Of which family it is.
    pub const fn family(self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }

    /// Whether it is of IPv4.
    pub const fn is_ipv4(self) -> bool {
        matches!(self, Self::V4(_))
    }

    /// The address, its host part included.
    pub const fn address(self) -> IpAddr {
        match self {
            Self::V4(net) => IpAddr::V4(net.address()),
            Self::V6(net) => IpAddr::V6(net.address()),
        }
    }

    /// The length of the prefix.
    pub const fn prefix(self) -> u8 {
        match self {
            Self::V4(net) => net.prefix(),
            Self::V6(net) => net.prefix(),
        }
    }

    /// The prefix as bits, in the order of the network.
    pub(crate) fn mask(self) -> Vec<u8> {
        match self {
            Self::V4(net) => net.mask().to_be_bytes().to_vec(),
            Self::V6(net) => net.mask().to_be_bytes().to_vec(),
        }
    }

    /// The first address of the range, with the same prefix.
    pub const fn network(self) -> Self {
        match self {
            Self::V4(net) => Self::V4(net.network()),
            Self::V6(net) => Self::V6(net.network()),
        }
    }

    /// The address `offset` places after the first, or `None` past the end of the range.
    pub fn nth(self, offset: u32) -> Option<IpAddr> {
        match self {
            Self::V4(net) => net.nth(offset).map(IpAddr::V4),
            Self::V6(net) => net.nth(offset).map(IpAddr::V6),
        }
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
            Self::new(address.parse().ok()?, prefix)
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

/// Point-to-point ranges for uplinks in IPv6, a unique local one (RFC 4193): the last 32 bits are the IPv4 address of
/// the same end, so that whoever has a free pair in the one has one in the other.
pub(crate) const UPLINKS_IPV6: Ipv6Net =
    Ipv6Net { address: Ipv6Addr::new(0xfd63, 0x6f6d, 0x706f, 0x7365, 0, 0, 0, 0), prefix: 64 };

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
    fn an_ipv6_range_counts_from_its_first_address() {
        let range: Ipv6Net = "fd12:3456:789a::beef/64".parse().unwrap();
        assert_eq!(range.network().to_string(), "fd12:3456:789a::/64");
        assert_eq!(range.nth(2).unwrap().to_string(), "fd12:3456:789a::2");
        let narrow: Ipv6Net = "fd00::8/126".parse().unwrap();
        assert_eq!(narrow.nth(3).unwrap().to_string(), "fd00::b");
        assert_eq!(narrow.nth(4), None);
    }
}
