//! `ports` and `expose`.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One published port: host address and port(s) to one port of the container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Port {
    /// The host address to listen at; nothing means all.
    pub host_ip: Option<IpAddr>,
    /// The port(s) of the host.
    pub published: Published,
    /// The port of the container.
    pub target: u16,
    /// The transport protocol.
    pub protocol: Protocol,
    /// How replicas share it.
    pub mode: PortMode,
    /// A name, for people.
    pub name: Option<String>,
    /// What is spoken on it, for people.
    pub app_protocol: Option<String>,
}

impl Port {
    /// Whether both can want the same port of the host.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let everywhere = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
        let same_ip =
            everywhere(self.host_ip) || everywhere(other.host_ip) || self.host_ip == other.host_ip;
        match (self.published, other.published) {
            (Published::Range(x), Published::Range(y)) => {
                self.protocol == other.protocol && same_ip && x.first <= y.last && y.first <= x.last
            }
            (Published::Ephemeral, _) | (_, Published::Ephemeral) => false,
        }
    }
}

/// The host side of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Published {
    /// Any free port.
    Ephemeral,
    /// The first free one of these; often a range of one.
    Range(PortRange),
}

/// A non-empty range of ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port, at least `first`.
    pub last: u16,
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A transport protocol.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// How replicas share a published port; without a cluster both mean the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortMode {
    /// Balanced over all replicas.
    #[default]
    Ingress,
    /// On the host of each replica.
    Host,
}

/// Ports that only other containers reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Expose {
    /// The ports.
    pub ports: PortRange,
    /// The transport protocol.
    pub protocol: Protocol,
}

impl Expose {
    /// Whether `port` is among them.
    #[must_use]
    pub const fn has(&self, port: u16) -> bool {
        self.ports.first <= port && port <= self.ports.last
    }
}
