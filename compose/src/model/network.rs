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
