//! Published ports: a listener on the host for each, and the way from it to the container.

mod holder;
mod kernel;
mod reserve;
mod serve;
mod tcp;
mod udp;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

pub use holder::Holder;
pub use reserve::{Reserved, reserve};
pub use serve::{Former, Served, Target};

/// A port of a container made reachable on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Address of the host; all of them, of both families, where not given.
    pub host_ip: Option<IpAddr>,
    /// Port of the host.
    pub host_port: HostPort,
    /// Port in the container.
    pub target: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// Which port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPort {
    /// One that the kernel chooses.
    Ephemeral,
    /// This one.
    Fixed(u16),
    /// The first from `first` to `last` that is free.
    Range {
        /// Lowest.
        first: u16,
        /// Highest, included.
        last: u16,
    },
}

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A host port could not be had. None is held after this.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Somebody else has it.
    #[error("{address}/{protocol} is already in use{}", holder.as_ref().map(|by| format!(" by {by}")).unwrap_or_default())]
    InUse {
        /// The address asked for.
        address: SocketAddr,
        /// TCP or UDP.
        protocol: Protocol,
        /// The process that has it, where it can be found.
        holder: Option<Holder>,
        /// The kernel's word.
        source: io::Error,
    },
    /// Every port of the range is taken.
    #[error("no port from {first} to {last} of {host_ip} is free for {protocol}")]
    RangeInUse {
        /// The address asked for.
        host_ip: IpAddr,
        /// Lowest.
        first: u16,
        /// Highest.
        last: u16,
        /// TCP or UDP.
        protocol: Protocol,
    },
    /// The host has no such address.
    #[error("{address} is not an address of this host")]
    NoSuchAddress {
        /// The address asked for.
        address: SocketAddr,
        /// The kernel's word.
        source: io::Error,
    },
    /// The kernel refused for another reason, such as a low port without the privilege.
    #[error("listen on {address}/{protocol}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// TCP or UDP.
        protocol: Protocol,
        /// The kernel's word.
        source: io::Error,
    },
}
