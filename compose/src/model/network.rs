//! Top-level `networks`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Place;

/// One entry of the top-level `networks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The real name, `PROJECT_KEY` unless the file gives one.
    pub name: String,
    /// Exists before the project and outlives it: never created, never removed.
    pub external: bool,
    /// The driver, if one is named.
    pub driver: Option<String>,
    /// Options of the driver.
    pub driver_opts: BTreeMap<String, String>,
    /// No way out of the network.
    pub internal: bool,
    /// Containers outside of the project may join.
    pub attachable: bool,
    /// IPv4 addresses are given out (default true).
    pub enable_ipv4: Option<bool>,
    /// IPv6 addresses are given out (default false).
    pub enable_ipv6: Option<bool>,
    /// Which addresses are given out.
    pub ipam: Ipam,
    /// Labels of the network.
    pub labels: BTreeMap<String, String>,
    /// Where it was written; nothing for the implicit default network.
    pub place: Option<Place>,
}

/// Options of networks and of places on them that are looked at in more than one room.
pub mod network_option {
    /// Bytes in a packet.
    pub const MTU: &str = "com.docker.network.driver.mtu";
    /// How the names of interfaces in containers begin, in place of `eth`.
    pub const INTERFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";
    /// The address of the host at which ports are published that name none.
    pub const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
    /// The name of the interface of a service.
    pub const ENDPOINT_INTERFACE: &str = "com.docker.network.endpoint.ifname";
    /// Settings of the interface of a service, separated by commas.
    pub const ENDPOINT_SETTINGS: &str = "com.docker.network.endpoint.sysctls";
}

/// A network that is no network of its own, and that every machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predefined {
    /// The namespace of the host.
    Host,
    /// Nothing but loopback.
    None,
}

impl Network {
    /// What it is if it is no network of its own: by the name of an external one, or by its driver.
    #[must_use]
    pub fn predefined(&self) -> Option<Predefined> {
        let word = if self.external { Some(self.name.as_str()) } else { self.driver.as_deref() };
        match (word, self.external) {
            (Some("host"), _) => Some(Predefined::Host),
            (Some("none"), _) | (Some("null"), false) => Some(Predefined::None),
            _ => None,
        }
    }

    /// Whether it is the bridge that every machine has, which is made when it is first used.
    #[must_use]
    pub fn is_common_bridge(&self) -> bool {
        self.external && self.name == "bridge"
    }
}

/// Address management of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipam {
    /// The driver, if one is named.
    pub driver: Option<String>,
    /// The pools, in the order of the file.
    pub pools: Vec<IpamPool>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// One entry of `ipam.config`; addresses and prefixes are checked by the network crate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamPool {
    /// The network in CIDR notation.
    pub subnet: Option<String>,
    /// The part that is given out, in CIDR notation.
    pub ip_range: Option<String>,
    /// The address of the bridge.
    pub gateway: Option<String>,
    /// Addresses that are never given out, by host name.
    pub aux_addresses: BTreeMap<String, String>,
}
