//! What is wanted of a network, and what is written down about it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::name::NetworkName;
use crate::subnet::{IpNet, Ipv4Net, Ipv6Net};

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
