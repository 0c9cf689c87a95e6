//! Which address belongs to whom, across restarts, replacements and reboots.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::subnet::{Family, IpNet};

/// The addresses of one network that are given out, by key: `PROJECT/SERVICE/N`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leases {
    /// Version of this format: 1.
    version: u32,
    addresses: BTreeMap<String, IpAddr>,
    /// Those of IPv6, where the network has it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    ipv6: BTreeMap<String, IpAddr>,
}

/// From where addresses of one family are given out.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    /// The whole network.
    pub(crate) subnet: IpNet,
    /// The part of it for those who ask for no particular one.
    pub(crate) pool: IpNet,
    /// The gateway and others that are never given out.
    pub(crate) reserved: BTreeSet<IpAddr>,
}

/// No address was given out.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// A fixed address outside of the network.
    #[error("{address} is not in {subnet}")]
    Outside {
        /// The address asked for.
        address: IpAddr,
        /// The range of the network.
        subnet: IpNet,
    },
    /// A fixed address of a family that the network does not have.
    #[error("{address} is no address for it: the network has no {family}")]
    NoFamily {
        /// The address asked for.
        address: IpAddr,
        /// Its family.
        family: Family,
    },
    /// A fixed address that is the gateway, an `aux_addresses` entry, or an end of the range.
    #[error("{address} is reserved on this network")]
    Reserved {
        /// The address asked for.
        address: IpAddr,
    },
    /// A fixed address that a running container has.
    #[error("{address} is in use by {holder}")]
    Taken {
        /// The address asked for.
        address: IpAddr,
        /// The key of who has it.
        holder: String,
    },
    /// All are given out.
    #[error("all addresses of {pool} are in use")]
    Exhausted {
        /// The range from which they are given out.
        pool: IpNet,
    },
}

impl Range {
    fn is_free_for_use(&self, address: IpAddr) -> bool {
        let end = match self.subnet {
            // A /31 or /32 has no address to spare for network and broadcast (RFC 3021).
            IpNet::V4(net) => {
                let ends = [net.network().address(), net.last()].map(IpAddr::V4);
                net.prefix() < 31 && ends.contains(&address)
            }
            // The first is that of all routers of the link (RFC 4291, section 2.6.1).
            IpNet::V6(net) => net.prefix() < 127 && net.network().address() == address,
        };
        !end && !self.reserved.contains(&address)
    }
}

impl Leases {
    /// The address of `key` in `range`: the fixed one, else the one that it has had, else the lowest that is free.
    ///
    /// `live` tells whether a container with that key is attached: then nobody else gets its address. Without
    /// one, a lease is a courtesy that ends when the address is needed.
    pub(crate) fn lease(
        &mut self,
        key: &str,
        fixed: Option<IpAddr>,
        range: &Range,
        live: impl Fn(&str) -> bool,
    ) -> Result<IpAddr, LeaseError> {
        self.version = 1;
        let held = match range.subnet.family() {
            Family::V4 => Held(&mut self.addresses),
            Family::V6 => Held(&mut self.ipv6),
        };
        let address = match fixed {
            Some(address) => held.fixed(key, address, range, live)?,
            None => held.any(key, range, live)?,
        };
        held.0.retain(|holder, held| holder == key || *held != address);
        held.0.insert(key.to_owned(), address);
        Ok(address)
    }

    /// Gives the addresses of `key` back; whether it had one.
    pub(crate) fn release(&mut self, key: &str) -> bool {
        let had = [self.addresses.remove(key), self.ipv6.remove(key)];
        had.iter().any(Option::is_some)
    }
}

/// The addresses of one family that are given out.
struct Held<'a>(&'a mut BTreeMap<String, IpAddr>);

impl Held<'_> {
    fn fixed(
        &self,
        key: &str,
        address: IpAddr,
        range: &Range,
        live: impl Fn(&str) -> bool,
    ) -> Result<IpAddr, LeaseError> {
        if !range.subnet.contains(address) {
            return Err(LeaseError::Outside { address, subnet: range.subnet });
        }
        if !range.is_free_for_use(address) {
            return Err(LeaseError::Reserved { address });
        }
        match self.holder(address) {
            Some(holder) if holder != key && live(holder) => {
                Err(LeaseError::Taken { address, holder: holder.to_owned() })
            }
            _ => Ok(address),
        }
    }

    fn any(
        &self,
        key: &str,
        range: &Range,
        live: impl Fn(&str) -> bool,
    ) -> Result<IpAddr, LeaseError> {
        let usable =
            |address: &IpAddr| range.pool.contains(*address) && range.is_free_for_use(*address);
        if let Some(kept) = self.0.get(key).copied().filter(usable) {
            return Ok(kept);
        }
        let held: BTreeSet<IpAddr> = self.0.values().copied().collect();
        let all = || (0..).map_while(|offset| range.pool.nth(offset)).filter(usable);
        let dormant = |address: &IpAddr| self.holder(*address).is_none_or(|holder| !live(holder));
        let free = all().find(|address| !held.contains(address)).or_else(|| all().find(dormant));
        free.ok_or(LeaseError::Exhausted { pool: range.pool })
    }

    fn holder(&self, address: IpAddr) -> Option<&str> {
        self.0.iter().find(|(_, held)| **held == address).map(|(holder, _)| holder.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range() -> Range {
        Range {
            subnet: "10.0.0.0/29".parse().unwrap(),
            pool: "10.0.0.0/29".parse().unwrap(),
            reserved: ["10.0.0.1".parse().unwrap()].into(),
        }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_key_keeps_its_address() {
        let mut leases = Leases::default();
        assert_eq!(leases.lease("web/1", None, &range(), |_| true).unwrap(), address(2));
        assert_eq!(leases.lease("web/2", None, &range(), |_| true).unwrap(), address(3));
        assert_eq!(leases.lease("web/1", None, &range(), |_| true).unwrap(), address(2));
        assert!(leases.release("web/1"));
        assert!(!leases.release("web/1"));
        assert_eq!(leases.lease("db/1", None, &range(), |_| true).unwrap(), address(2));
    }

    #[test]
    fn a_fixed_address_is_taken_from_the_absent_only() {
        let mut leases = Leases::default();
        leases.lease("web/1", None, &range(), |_| true).unwrap();
        let error = leases.lease("db/1", Some(address(2)), &range(), |_| true).unwrap_err();
        assert_eq!(error.to_string(), "10.0.0.2 is in use by web/1");
        assert_eq!(
            leases.lease("db/1", Some(address(2)), &range(), |_| false).unwrap(),
            address(2)
        );
        assert_eq!(leases.lease("web/1", None, &range(), |_| true).unwrap(), address(3));
        // A fixed address that is given up for one from the pool is not kept by accident: it still suits.
        assert_eq!(leases.lease("db/1", None, &range(), |_| true).unwrap(), address(2));
    }

    #[test]
    fn what_cannot_be_given_is_refused() {
        let mut leases = Leases::default();
        let table = [
            ("10.0.0.1", "10.0.0.1 is reserved on this network"),
            ("10.0.0.0", "10.0.0.0 is reserved on this network"),
            ("10.0.0.7", "10.0.0.7 is reserved on this network"),
            ("10.0.1.2", "10.0.1.2 is not in 10.0.0.0/29"),
        ];
        for (asked, message) in table {
            let error =
                leases.lease("a", Some(asked.parse().unwrap()), &range(), |_| true).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn a_full_network_takes_from_the_absent() {
        let mut leases = Leases::default();
        for number in 2..=6 {
            leases.lease(&format!("web/{number}"), None, &range(), |_| true).unwrap();
        }
        let error = leases.lease("db/1", None, &range(), |_| true).unwrap_err();
        assert_eq!(error.to_string(), "all addresses of 10.0.0.0/29 are in use");
        let given = leases.lease("db/1", None, &range(), |holder| holder != "web/4").unwrap();
        assert_eq!(given, address(4));
    }

    #[test]
    fn each_family_is_given_out_by_itself() {
        let mut leases = Leases::default();
        let six = Range {
            subnet: "fd00::/64".parse().unwrap(),
            pool: "fd00::/64".parse().unwrap(),
            reserved: ["fd00::1".parse().unwrap()].into(),
        };
        let text = |address: IpAddr| address.to_string();
        assert_eq!(text(leases.lease("web/1", None, &six, |_| true).unwrap()), "fd00::2");
        leases.lease("web/1", None, &range(), |_| true).unwrap();
        assert_eq!(text(leases.lease("web/2", None, &six, |_| true).unwrap()), "fd00::3");
        let fixed = "fd00::3".parse().ok();
        let error = leases.lease("db/1", fixed, &six, |_| true).unwrap_err();
        assert_eq!(error.to_string(), "fd00::3 is in use by web/2");
        let anycast = leases.lease("db/1", "fd00::".parse().ok(), &six, |_| true).unwrap_err();
        assert_eq!(anycast.to_string(), "fd00:: is reserved on this network");
        let part = Range { pool: "fd00::100/120".parse().unwrap(), ..six };
        assert_eq!(text(leases.lease("db/1", None, &part, |_| true).unwrap()), "fd00::100");
        assert!(leases.release("web/1"));
        assert!(leases.addresses.is_empty());
        assert_eq!(leases.ipv6.len(), 2);
    }

    #[test]
    fn leases_of_before_are_read() {
        let text = r#"{"version":1,"addresses":{"web/1":"10.0.0.2"}}"#;
        let leases: Leases = serde_json::from_str(text).unwrap();
        assert_eq!(leases.addresses["web/1"], address(2));
        assert_eq!(serde_json::to_string(&leases).unwrap(), text);
    }
}
