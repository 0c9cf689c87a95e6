//! What is wanted of a network, and what is written down about it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::lease::Range;
use crate::name::NetworkName;
use crate::subnet::{IpNet, Ipv4Net, Ipv6Net, NETWORKS, seed};

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
    /// Whether members get an IPv6 address as well.
    pub ipv6: bool,
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
            ipv6: false,
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
    /// The range of the members.
    pub subnet: Ipv4Net,
    /// The address of the bridge.
    pub gateway: Ipv4Addr,
    /// The range of the members in IPv6, with the address of the bridge.
    pub ipv6: Option<Ipv6Net>,
    /// When it was created.
    pub created: SystemTime,
}

/// What was asked for makes no network.
#[derive(Debug, thiserror::Error)]
pub enum WantedError {
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
        subnet: Ipv4Net,
    },
    /// All ranges for networks overlap routes of the host or other networks.
    #[error(
        "no free range for a network: routes of this host and other networks cover 10.0.0.0/8; name one with `ipam.config.subnet`"
    )]
    Exhausted,
}

impl Wanted {
    /// The range for IPv4, where one was asked for.
    fn ipv4(&self) -> Option<(&SubnetWish, Ipv4Net)> {
        self.subnets.iter().find_map(|wish| match wish.subnet {
            IpNet::V4(net) => Some((wish, net.network())),
            IpNet::V6(_) => None,
        })
    }

    /// The range for IPv6 with the address of the bridge: as asked for, else a unique local one (RFC 4193).
    fn ipv6(&self) -> Option<Ipv6Net> {
        let asked = self.subnets.iter().find_map(|wish| match (wish.subnet, wish.gateway) {
            (IpNet::V6(net), Some(IpAddr::V6(gateway))) => Ipv6Net::new(gateway, net.prefix()),
            (IpNet::V6(net), _) => Some(net.with_host(Ipv4Addr::new(0, 0, 0, 1))),
            (IpNet::V4(_), _) => None,
        });
        let local = || {
            let bits = 0xfd << 120 | u128::from(seed(self.name.as_str()) >> 24) << 80 | 1;
            Ipv6Net::new(Ipv6Addr::from_bits(bits), 64)
        };
        asked.or_else(|| local().filter(|_| self.ipv6))
    }

    fn check(&self) -> Result<(), WantedError> {
        for (index, wish) in self.subnets.iter().enumerate() {
            let same = |other: &&SubnetWish| other.subnet.is_ipv4() == wish.subnet.is_ipv4();
            if self.subnets[..index].iter().any(|other| same(&other)) {
                return Err(WantedError::SecondSubnet { second: wish.subnet });
            }
            wish.check()?;
        }
        Ok(())
    }

    /// Decides what was left open. `taken` are ranges that are in use.
    pub(crate) fn decide(self, taken: &[Ipv4Net]) -> Result<Record, WantedError> {
        self.check()?;
        let (subnet, gateway) = match self.ipv4() {
            Some((wish, subnet)) => (subnet, wish.gateway),
            None => (free_range(&self.name, taken).ok_or(WantedError::Exhausted)?, None),
        };
        let gateway = match gateway {
            Some(IpAddr::V4(gateway)) => gateway,
            _ => subnet.nth(1).ok_or(WantedError::TooSmall { subnet })?,
        };
        if subnet.prefix() > 30 {
            return Err(WantedError::TooSmall { subnet });
        }
        let ipv6 = self.ipv6();
        Ok(Record { version: 1, wanted: self, subnet, gateway, ipv6, created: SystemTime::now() })
    }
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

    /// From where addresses are given out.
    pub(crate) fn range(&self) -> Range {
        let asked = self.wanted.ipv4();
        let pool = match asked.and_then(|(wish, _)| wish.ip_range) {
            Some(IpNet::V4(range)) => range.network(),
            _ => self.subnet,
        };
        let mut reserved = BTreeSet::from([self.gateway]);
        for address in asked.iter().flat_map(|(wish, _)| wish.aux_addresses.values()) {
            if let IpAddr::V4(address) = address {
                reserved.insert(*address);
            }
        }
        Range { subnet: self.subnet, pool, reserved }
    }

    /// What would have to be another for this to be the network that is `wanted`; labels aside.
    pub(crate) fn difference(&self, wanted: &Wanted) -> Option<&'static str> {
        let Wanted { name: _, labels: _, internal, subnets, mtu, ipv6 } = &self.wanted;
        let pairs = [
            ("internal", *internal == wanted.internal),
            // Without a wish any range will do.
            ("subnets", wanted.subnets.is_empty() || *subnets == wanted.subnets),
            ("mtu", *mtu == wanted.mtu),
            ("ipv6", *ipv6 == wanted.ipv6),
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
        assert_eq!(record.subnet.prefix(), 24);
        assert_eq!(record.gateway, record.subnet.nth(1).unwrap());
        assert_eq!(record.ipv6, None);
        let elsewhere = wanted(vec![]).decide(&[record.subnet]).unwrap();
        assert!(!elsewhere.subnet.overlaps(record.subnet));
    }

    #[test]
    fn a_wish_is_kept() {
        let mut asked = wish("172.20.0.0/16");
        asked.gateway = Some("172.20.5.254".parse().unwrap());
        asked.ip_range = Some("172.20.5.0/24".parse().unwrap());
        asked.aux_addresses.insert("router".to_owned(), "172.20.5.1".parse().unwrap());
        let record = wanted(vec![asked, wish("fd00:1::/64")]).decide(&[]).unwrap();
        assert_eq!(record.gateway.to_string(), "172.20.5.254");
        assert_eq!(record.ipv6.unwrap().to_string(), "fd00:1::1/64");
        let range = record.range();
        assert_eq!(range.pool.to_string(), "172.20.5.0/24");
        assert_eq!(range.reserved.len(), 2);
    }

    #[test]
    fn a_wish_that_cannot_be_is_refused() {
        let gateway = SubnetWish { gateway: "10.1.0.1".parse().ok(), ..wish("10.0.0.0/24") };
        let range = SubnetWish { ip_range: "10.0.0.0/16".parse().ok(), ..wish("10.0.0.0/24") };
        let table = [
            (vec![gateway], "the gateway 10.1.0.1 is not in 10.0.0.0/24"),
            (vec![range], "the range 10.0.0.0/16 is not in 10.0.0.0/24"),
            (vec![wish("10.0.0.0/31")], "10.0.0.0/31 is too small for a network"),
            (
                vec![wish("10.0.0.0/24"), wish("10.0.1.0/24")],
                "a network has at most one subnet of each family; 10.0.1.0/24 is one too many",
            ),
        ];
        for (subnets, message) in table {
            assert_eq!(wanted(subnets).decide(&[]).unwrap_err().to_string(), message);
        }
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
