//! What is wanted of a network, and what is written down about it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::driver::Driver;
use crate::lease::Range;
use crate::name::NetworkName;
use crate::subnet::{Family, IpNet, Ipv4Net, Ipv6Net, NETWORKS, seed};

/// A network as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The real name, with the project in front where there is one.
    pub name: NetworkName,
    /// Labels, kept and not looked at.
    pub labels: BTreeMap<String, String>,
    /// Without a way out: no uplink, no default route.
    pub internal: bool,
    /// At most one range of each family; a free one is chosen where there is none.
    pub subnets: Vec<SubnetWish>,
    /// Bytes in a packet; that of the host's default route where not given.
    pub mtu: Option<u32>,
    /// Whether members get an IPv4 address.
    #[serde(default = "yes")]
    pub ipv4: bool,
    /// Whether members get an IPv6 address as well; so it is where there is a range of IPv6.
    pub ipv6: bool,
    /// How it is made.
    #[serde(default)]
    pub driver: Driver,
    /// Options as they were written, kept and not looked at.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// Records of before had IPv4 in any case.
const fn yes() -> bool {
    true
}

/// One entry of `ipam.config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetWish {
    /// The whole range.
    pub subnet: IpNet,
    /// The address of the bridge; the first of the range where not given.
    pub gateway: Option<IpAddr>,
    /// The part of the range from which addresses are given out.
    pub ip_range: Option<IpNet>,
    /// Addresses that are not given out, by the name of whatever has them.
    pub aux_addresses: BTreeMap<String, IpAddr>,
}

impl Wanted {
    /// A network with a way out and a range that is chosen for it.
    pub fn new(name: NetworkName) -> Self {
        Self {
            name,
            labels: BTreeMap::new(),
            internal: false,
            subnets: Vec::new(),
            mtu: None,
            ipv4: true,
            ipv6: false,
            driver: Driver::default(),
            options: BTreeMap::new(),
        }
    }
}

/// A network as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this format: 1.
    pub version: u32,
    /// As asked for.
    pub wanted: Wanted,
    /// The range of the members in IPv4, if the network has it.
    pub subnet: Option<Ipv4Net>,
    /// The address of the bridge in it.
    pub gateway: Option<Ipv4Addr>,
    /// The range of the members in IPv6, with the address of the bridge.
    pub ipv6: Option<Ipv6Net>,
    /// When it was created.
    pub created: SystemTime,
}

/// What was asked for makes no network.
#[derive(Debug, thiserror::Error)]
pub enum WantedError {
    /// Addresses of neither family.
    #[error("a network has IPv4 or IPv6 addresses, or both; with neither it would have none")]
    NoFamily,
    /// A range of a family that is turned off.
    #[error("{subnet} is a range of {family}, which the network is not to have")]
    FamilyOff {
        /// The range.
        subnet: IpNet,
        /// Its family.
        family: Family,
    },
    /// A second range of the same family.
    #[error("a network has at most one subnet of each family; {second} is one too many")]
    SecondSubnet {
        /// The second.
        second: IpNet,
    },
    /// Something that belongs into the range lies outside.
    #[error("{what} {outside} is not in {subnet}")]
    Outside {
        /// What it was meant to be.
        what: &'static str,
        /// What was asked for.
        outside: String,
        /// The range.
        subnet: IpNet,
    },
    /// A range without room for a gateway and a member.
    #[error("{subnet} is too small for a network")]
    TooSmall {
        /// The range.
        subnet: IpNet,
    },
    /// All ranges for networks overlap routes of the host or other networks.
    #[error(
        "no free range for a network: routes of this host and other networks cover 10.0.0.0/8; name one with `ipam.config.subnet`"
    )]
    Exhausted,
}

impl Wanted {
    /// The wish for the range of `family`, where there is one.
    fn subnet(&self, family: Family) -> Option<&SubnetWish> {
        self.subnets.iter().find(|wish| wish.subnet.family() == family)
    }

    fn check(&self) -> Result<(), WantedError> {
        for (index, wish) in self.subnets.iter().enumerate() {
            let (subnet, family) = (wish.subnet, wish.subnet.family());
            if self.subnets[..index].iter().any(|other| other.subnet.family() == family) {
                return Err(WantedError::SecondSubnet { second: subnet });
            }
            if family == Family::V4 && !self.ipv4 {
                return Err(WantedError::FamilyOff { subnet, family });
            }
            wish.check()?;
        }
        if self.ipv4 || self.has_ipv6() { Ok(()) } else { Err(WantedError::NoFamily) }
    }

    /// Whether members get IPv6 addresses: it was asked for, or a range for them was.
    pub fn has_ipv6(&self) -> bool {
        self.ipv6 || self.subnet(Family::V6).is_some()
    }

    /// The range for IPv4 with the address of the bridge. `taken` are ranges that are in use.
    fn decide_ipv4(&self, taken: &[Ipv4Net]) -> Result<Ipv4Net, WantedError> {
        let (range, gateway) = match self.subnet(Family::V4).map(|wish| (wish.subnet, wish.gateway))
        {
            Some((IpNet::V4(net), gateway)) => (net.network(), gateway),
            _ => (free_range(&self.name, taken).ok_or(WantedError::Exhausted)?, None),
        };
        let first = || range.nth(1).filter(|_| range.prefix() <= 30);
        let gateway = match gateway {
            Some(IpAddr::V4(gateway)) if range.prefix() <= 30 => Some(gateway),
            _ => first(),
        };
        let net = gateway.and_then(|gateway| Ipv4Net::new(gateway, range.prefix()));
        net.ok_or(WantedError::TooSmall { subnet: IpNet::V4(range) })
    }

    /// The range for IPv6 with the address of the bridge: as asked for, else a unique local one (RFC 4193).
    fn decide_ipv6(&self) -> Result<Ipv6Net, WantedError> {
        let (range, gateway) = match self.subnet(Family::V6).map(|wish| (wish.subnet, wish.gateway))
        {
            Some((IpNet::V6(net), gateway)) => (net.network(), gateway),
            _ => (local_range(&self.name), None),
        };
        let gateway = match gateway {
            Some(IpAddr::V6(gateway)) => Some(gateway),
            _ => range.nth(1),
        };
        let net = gateway.filter(|_| range.prefix() <= 126);
        let net = net.and_then(|gateway| Ipv6Net::new(gateway, range.prefix()));
        net.ok_or(WantedError::TooSmall { subnet: IpNet::V6(range) })
    }

    /// Decides what was left open. `taken` are ranges that are in use.
    pub(crate) fn decide(self, taken: &[Ipv4Net]) -> Result<Record, WantedError> {
        self.check()?;
        let ipv4 = self.ipv4.then(|| self.decide_ipv4(taken)).transpose()?;
        let ipv6 = self.has_ipv6().then(|| self.decide_ipv6()).transpose()?;
        let (subnet, gateway) = (ipv4.map(Ipv4Net::network), ipv4.map(Ipv4Net::address));
        Ok(Record { version: 1, wanted: self, subnet, gateway, ipv6, created: SystemTime::now() })
    }
}

/// The range that belongs to the name: always the same, and by its 40 bits nobody else's.
fn local_range(name: &NetworkName) -> Ipv6Net {
    let bits = 0xfd << 120 | u128::from(seed(name.as_str()) >> 24) << 80;
    Ipv6Net::new(Ipv6Addr::from_bits(bits), 64).expect("64 bits are no more than 128")
}

fn free_range(name: &NetworkName, taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    NETWORKS.iter().find_map(|pool| pool.pick(seed(name.as_str()), taken))
}

impl SubnetWish {
    fn check(&self) -> Result<(), WantedError> {
        let subnet = self.subnet;
        let inside = |what, address: IpAddr| match subnet.contains(address) {
            true => Ok(()),
            false => Err(WantedError::Outside { what, outside: address.to_string(), subnet }),
        };
        if let Some(gateway) = self.gateway {
            inside("the gateway", gateway)?;
        }
        for address in self.aux_addresses.values() {
            inside("the address", *address)?;
        }
        match self.ip_range {
            Some(range) if !subnet.covers(range) => {
                Err(WantedError::Outside { what: "the range", outside: range.to_string(), subnet })
            }
            _ => Ok(()),
        }
    }
}

impl Record {
    /// The name.
    pub fn name(&self) -> &NetworkName {
        &self.wanted.name
    }

    /// The addresses of the bridge with the length of their prefix, that of IPv4 first.
    pub fn gateways(&self) -> impl Iterator<Item = IpNet> + use<> {
        let ipv4 = self.subnet.zip(self.gateway);
        let ipv4 = ipv4.and_then(|(subnet, gateway)| Ipv4Net::new(gateway, subnet.prefix()));
        ipv4.map(IpNet::V4).into_iter().chain(self.ipv6.map(IpNet::V6))
    }

    /// Whether members get addresses of `family`.
    pub fn has(&self, family: Family) -> bool {
        self.gateways().any(|net| net.family() == family)
    }

    /// Whether members find a way out in `family`.
    pub fn leads_out(&self, family: Family) -> bool {
        let own_parent = matches!(self.wanted.driver, Driver::Child { parent: None, .. });
        !self.wanted.internal && !own_parent && self.has(family)
    }

    /// From where addresses of each family are given out.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range> {
        self.gateways().map(|gateway| {
            let asked = self.wanted.subnet(gateway.family());
            let subnet = gateway.network();
            let pool = asked.and_then(|wish| wish.ip_range).map_or(subnet, IpNet::network);
            let mut reserved = BTreeSet::from([gateway.address()]);
            reserved.extend(asked.iter().flat_map(|wish| wish.aux_addresses.values()));
            Range { subnet, pool, reserved }
        })
    }

    /// What would have to be another for this to be the network that is `wanted`; labels aside.
    pub(crate) fn difference(&self, wanted: &Wanted) -> Option<&'static str> {
        let Wanted { name: _, labels: _, options: _, internal, subnets, mtu, ipv4, ipv6, driver } =
            &self.wanted;
        let pairs = [
            ("internal", *internal == wanted.internal),
            // Without a wish any range will do.
            ("subnets", wanted.subnets.is_empty() || *subnets == wanted.subnets),
            ("mtu", *mtu == wanted.mtu),
            ("ipv4", *ipv4 == wanted.ipv4),
            ("ipv6", *ipv6 == wanted.ipv6),
            ("driver", *driver == wanted.driver),
        ];
        pairs.into_iter().find(|(_, same)| !same).map(|(what, _)| what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(subnet: &str) -> SubnetWish {
        SubnetWish {
            subnet: subnet.parse().unwrap(),
            gateway: None,
            ip_range: None,
            aux_addresses: BTreeMap::new(),
        }
    }

    fn wanted(subnets: Vec<SubnetWish>) -> Wanted {
        Wanted { subnets, ..Wanted::new("shop_default".parse().unwrap()) }
    }

    #[test]
    fn what_is_left_open_is_decided() {
        let record = wanted(vec![]).decide(&[]).unwrap();
        let subnet = record.subnet.unwrap();
        assert_eq!(subnet.prefix(), 24);
        assert_eq!(record.gateway, subnet.nth(1));
        assert_eq!(record.ipv6, None);
        let elsewhere = wanted(vec![]).decide(&[subnet]).unwrap();
        assert!(!elsewhere.subnet.unwrap().overlaps(subnet));

        let both = Wanted { ipv6: true, ..wanted(vec![]) }.decide(&[]).unwrap();
        let six = both.ipv6.unwrap();
        assert_eq!((six.prefix(), six.address().octets()[0]), (64, 0xfd), "{six}");
        assert_eq!(Some(six.address()), six.nth(1));
        let only = Wanted { ipv4: false, ipv6: true, ..wanted(vec![]) }.decide(&[]).unwrap();
        assert_eq!((only.subnet, only.gateway, only.ipv6), (None, None, Some(six)));
        assert!(only.leads_out(Family::V6) && !only.leads_out(Family::V4));
        let internal = Wanted { internal: true, ..both.wanted }.decide(&[]).unwrap();
        assert!(internal.has(Family::V6) && !internal.leads_out(Family::V6));
    }

    #[test]
    fn a_wish_is_kept() {
        let mut asked = wish("172.20.0.0/16");
        asked.gateway = Some("172.20.5.254".parse().unwrap());
        asked.ip_range = Some("172.20.5.0/24".parse().unwrap());
        asked.aux_addresses.insert("router".to_owned(), "172.20.5.1".parse().unwrap());
        let mut six = wish("fd00:1::/64");
        six.ip_range = Some("fd00:1::ff00/120".parse().unwrap());
        six.aux_addresses.insert("router".to_owned(), "fd00:1::ff01".parse().unwrap());
        let record = wanted(vec![asked, six]).decide(&[]).unwrap();
        assert_eq!(record.gateway.unwrap().to_string(), "172.20.5.254");
        assert_eq!(record.ipv6.unwrap().to_string(), "fd00:1::1/64");
        let ranges: Vec<_> = record.ranges().collect();
        let pools: Vec<_> = ranges.iter().map(|range| range.pool.to_string()).collect();
        assert_eq!(pools, ["172.20.5.0/24", "fd00:1::ff00/120"]);
        assert!(ranges.iter().all(|range| range.reserved.len() == 2));
    }

    #[test]
    fn records_of_before_are_read() {
        let text = r#"{"version":1,"wanted":{"name":"a","labels":{},"internal":false,"subnets":[],"mtu":null,"ipv6":false},
            "subnet":"10.0.0.0/24","gateway":"10.0.0.1","ipv6":null,"created":{"secs_since_epoch":0,"nanos_since_epoch":0}}"#;
        let record: Record = serde_json::from_str(text).unwrap();
        assert_eq!(
            record.gateways().map(|net| net.to_string()).collect::<Vec<_>>(),
            ["10.0.0.1/24"]
        );
        assert_eq!(record.difference(&Wanted::new("a".parse().unwrap())), None);
    }

    #[test]
    fn a_wish_that_cannot_be_is_refused() {
        let gateway = SubnetWish { gateway: "10.1.0.1".parse().ok(), ..wish("10.0.0.0/24") };
        let range = SubnetWish { ip_range: "10.0.0.0/16".parse().ok(), ..wish("10.0.0.0/24") };
        let table = [
            (vec![gateway], "the gateway 10.1.0.1 is not in 10.0.0.0/24"),
            (vec![range], "the range 10.0.0.0/16 is not in 10.0.0.0/24"),
            (vec![wish("10.0.0.0/31")], "10.0.0.0/31 is too small for a network"),
            (vec![wish("fd00::/127")], "fd00::/127 is too small for a network"),
            (
                vec![wish("10.0.0.0/24"), wish("10.0.1.0/24")],
                "a network has at most one subnet of each family; 10.0.1.0/24 is one too many",
            ),
        ];
        for (subnets, message) in table {
            assert_eq!(wanted(subnets).decide(&[]).unwrap_err().to_string(), message);
        }
        let neither = Wanted { ipv4: false, ..wanted(vec![]) };
        assert!(matches!(neither.decide(&[]), Err(WantedError::NoFamily)));
        let four = Wanted { ipv4: false, ipv6: true, ..wanted(vec![wish("10.0.0.0/24")]) };
        assert_eq!(
            four.decide(&[]).unwrap_err().to_string(),
            "10.0.0.0/24 is a range of IPv4, which the network is not to have"
        );
    }

    #[test]
    fn another_definition_is_noticed() {
        let record = wanted(vec![wish("10.0.0.0/24")]).decide(&[]).unwrap();
        assert_eq!(record.difference(&wanted(vec![])), None);
        assert_eq!(record.difference(&wanted(vec![wish("10.0.1.0/24")])), Some("subnets"));
        let internal = Wanted { internal: true, ..wanted(vec![]) };
        assert_eq!(record.difference(&internal), Some("internal"));
    }
}
