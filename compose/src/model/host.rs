//! `extra_hosts`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExtraHost {
    /// The name.
    pub host: String,
    /// Its address.
    pub address: HostAddress,
}

/// An address of `extra_hosts`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HostAddress {
    /// An address.
    Ip(IpAddr),
    /// `host-gateway`: whatever address reaches the host.
    HostGateway,
}
