//! The way of the kernel, for what comes from other machines: host -> uplink -> container, by two translations.
//!
//! The container sees the address of who asks. What comes from the host itself, from containers, or in a family in
//! which the container has no address is relayed by the listener, which holds the port in any case.

use std::net::{IpAddr, SocketAddr};

use super::serve::Target;
use super::{Protocol, Publish};
use crate::firewall::{HostTable, InsideTable, Port, obstacles};
use crate::netlink::NetlinkError;
use crate::subnet::Family;

/// A way that is open in one family. Dropping it closes it; connections that are established go on.
#[derive(Debug)]
pub(super) struct KernelPath {
    family: Family,
    port: Port,
    target: Target,
}

impl KernelPath {
    /// Opens the way, in each family in which the target asks for it and the port is published on all addresses.
    ///
    /// Without it the listener serves everybody, so a failure is told and passed over.
    pub(super) fn open_all(publish: &Publish, port: u16, target: Option<&Target>) -> Vec<Self> {
        let Some(target) = target else { return Vec::new() };
        let open = |family| Self::open(publish, port, target, family);
        Family::ALL.into_iter().filter_map(open).collect()
    }

    fn open(publish: &Publish, port: u16, target: &Target, family: Family) -> Option<Self> {
        let inner = target.inner(family).filter(|_| is_everywhere(publish.host_ip, family))?;
        let member = target.member(family, publish.target)?;
        if Self::is_blocked(family) {
            return None;
        }
        let port = Port { protocol: number(publish.protocol), port };
        let path = Self { family, port, target: target.clone() };
        match path.add(inner, member) {
            Ok(()) => Some(path),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    error,
                    port = port.port,
                    "the kernel path of a published port; the relay serves it"
                );
                None
            }
        }
    }

    /// Whether a chain of somebody else drops what passes through the host: then the relay is the only way.
    fn is_blocked(family: Family) -> bool {
        let chains = obstacles(family).unwrap_or_default();
        if !chains.is_empty() {
            tracing::warn!(?chains, "forwarded traffic is dropped; published ports are relayed");
        }
        !chains.is_empty()
    }

    /// The inner translation first: nobody is led to where nothing is.
    fn add(&self, inner: IpAddr, member: SocketAddr) -> Result<(), NetlinkError> {
        self.inside(|table| table.publish(self.port, member))?;
        HostTable::open(self.family)?.publish(self.port, SocketAddr::new(inner, self.port.port))
    }

    fn remove(&self) -> Result<(), NetlinkError> {
        HostTable::open(self.family)?.withdraw(self.port)?;
        self.inside(|table| table.withdraw(self.port))
    }

    fn inside(
        &self,
        change: impl FnOnce(&mut InsideTable) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        let mut table = self
            .target
            .socket(|| Ok(InsideTable::open(self.family)))
            .map_err(|source| NetlinkError::new("setns(CLONE_NEWNET)", source))??;
        change(&mut table)
    }
}

impl Drop for KernelPath {
    fn drop(&mut self) {
        // What cannot be taken back goes with the network.
        if let Err(error) = self.remove() {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "close the kernel path of a published port");
        }
    }
}

/// Only a wildcard says that nobody else has the port on another address.
fn is_everywhere(host_ip: Option<IpAddr>, family: Family) -> bool {
    host_ip.is_none_or(|ip| ip.is_unspecified() && Family::of(ip) == family)
}

fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}
