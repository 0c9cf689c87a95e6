//! Which address belongs to whom, across restarts, replacements and reboots.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::subnet::Ipv4Net;

/// The addresses of one network that are given out, by key: `PROJECT/SERVICE/N`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leases {
    /// Version of this format: 1.
    version: u32,
    addresses: BTreeMap<String, Ipv4Addr>,
}

/// From where addresses are given out.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    /// The whole network.
    pub(crate) subnet: Ipv4Net,
    /// The part of it for those who ask for no particular one.
    pub(crate) pool: Ipv4Net,
    /// The gateway and others that are never given out.
    pub(crate) reserved: BTreeSet<Ipv4Addr>,
}

/// No address was given out.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// A fixed address outside of the network.
    #[error("{address} is not in {subnet}")]
    Outside {
        /// The address asked for.
        address: Ipv4Addr,
        /// The range of the network.
        subnet: Ipv4Net,
    },
    /// A fixed address that is the gateway, an `aux_addresses` entry, or an end of the range.
    #[error("{address} is reserved on this network")]
    Reserved {
        /// The address asked for.
        address: Ipv4Addr,
    },
    /// A fixed address that a running container has.
    #[error("{address} is in use by {holder}")]
    Taken {
        /// The address asked for.
        address: Ipv4Addr,
        /// The key of who has it.
        holder: String,
    },
    /// All are given out.
    #[error("all addresses of {pool} are in use")]
    Exhausted {
        /// The range from which they are given out.
        pool: Ipv4Net,
    },
}

impl Range {
    fn is_free_for_use(&self, address: Ipv4Addr) -> bool {
        // A /31 or /32 has no address to spare for network and broadcast (RFC 3021).
        let ends = [self.subnet.network().address(), self.subnet.last()];
        let end = self.subnet.prefix() < 31 && ends.contains(&address);
        !end && !self.reserved.contains(&address)
    }
}

impl Leases {
    /// The address of `key`: the fixed one, else the one that it has had, else the lowest that is free.
    ///
    /// `live` tells whether a container with that key is attached: then nobody else gets its address. Without
    /// one, a lease is a courtesy that ends when the address is needed.
    pub(crate) fn lease(
        &mut self,
        key: &str,
        fixed: Option<Ipv4Addr>,
        range: &Range,
        live: impl Fn(&str) -> bool,
    ) -> Result<Ipv4Addr, LeaseError> {
        let address = match fixed {
            Some(address) => self.fixed(key, address, range, live)?,
            None => self.any(key, range, live)?,
        };
        self.version = 1;
        self.addresses.retain(|holder, held| holder == key || *held != address);
        self.addresses.insert(key.to_owned(), address);
        Ok(address)
    }

    fn fixed(
        &self,
        key: &str,
        address: Ipv4Addr,
        range: &Range,
        live: impl Fn(&str) -> bool,
    ) -> Result<Ipv4Addr, LeaseError> {
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
    ) -> Result<Ipv4Addr, LeaseError> {
        let usable =
            |address: &Ipv4Addr| range.pool.contains(*address) && range.is_free_for_use(*address);
        if let Some(kept) = self.addresses.get(key).copied().filter(usable) {
            return Ok(kept);
        }
        let held: BTreeSet<Ipv4Addr> = self.addresses.values().copied().collect();
        let all = || (0..).map_while(|offset| range.pool.nth(offset)).filter(usable);
        let dormant = |address: &Ipv4Addr| self.holder(*address).is_none_or(|holder| !live(holder));
        let free = all().find(|address| !held.contains(address)).or_else(|| all().find(dormant));
        free.ok_or(LeaseError::Exhausted { pool: range.pool })
    }

    fn holder(&self, address: Ipv4Addr) -> Option<&str> {
        self.addresses.iter().find(|(_, held)| **held == address).map(|(holder, _)| holder.as_str())
    }

    /// Gives the address of `key` back; whether it had one.
    pub(crate) fn release(&mut self, key: &str) -> bool {
        self.addresses.remove(key).is_some()
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

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
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
}
