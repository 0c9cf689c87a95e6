//! The way of the kernel, for what comes from other machines: host -> uplink -> container, by two translations.
//!
//! The container sees the address of who asks. What comes from the host itself, from containers, or over IPv6 is
//! relayed by the listener, which holds the port in any case.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use super::serve::Target;
use super::{Protocol, Publish};
use crate::firewall::{HostTable, InsideTable, Port, obstacles};
use crate::netlink::NetlinkError;

/// A way that is open. Dropping it closes it; connections that are established go on.
#[derive(Debug)]
pub(super) struct KernelPath {
    port: Port,
    target: Target,
}

impl KernelPath {
    /// Opens the way, if the target asks for it and the port is published on all addresses.
    ///
    /// Without it the listener serves everybody, so a failure is told and passed over.
    pub(super) fn open(publish: &Publish, port: u16, target: Option<&Target>) -> Option<Self> {
        let target = target?;
        let inner = target.inner().filter(|_| is_everywhere(publish.host_ip))?;
        if Self::is_blocked() {
            return None;
        }
        let path = Self {
            port: Port { protocol: number(publish.protocol), port },
            target: target.clone(),
        };
        match path.add(inner, publish.target) {
            Ok(()) => Some(path),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    error,
                    port,
                    "the kernel path of a published port; the relay serves it"
                );
                None
            }
        }
    }

    /// Whether a chain of somebody else drops what passes through the host: then the relay is the only way.
    fn is_blocked() -> bool {
        let chains = obstacles().unwrap_or_default();
        if !chains.is_empty() {
            tracing::warn!(?chains, "forwarded traffic is dropped; published ports are relayed");
        }
        !chains.is_empty()
    }

    /// The inner translation first: nobody is led to where nothing is.
    fn add(&self, inner: Ipv4Addr, target: u16) -> Result<(), NetlinkError> {
        self.inside(|table| table.publish(self.port, self.target.member(target)))?;
        HostTable::open()?.publish(self.port, SocketAddrV4::new(inner, self.port.port))
    }

    fn remove(&self) -> Result<(), NetlinkError> {
        HostTable::open()?.withdraw(self.port)?;
        self.inside(|table| table.withdraw(self.port))
    }

    fn inside(
        &self,
        change: impl FnOnce(&mut InsideTable) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        let mut table = self
            .target
            .socket(|| Ok(InsideTable::open()))
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
fn is_everywhere(host_ip: Option<IpAddr>) -> bool {
    host_ip.is_none_or(|ip| ip == Ipv4Addr::UNSPECIFIED)
}

fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}
