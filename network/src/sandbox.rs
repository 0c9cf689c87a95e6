//! The network namespace of a container.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::netlink::{Link, NetlinkError, RouteSocket};
use crate::sysctl::{self, SettingError};

/// The network namespace of a container: loopback, and one interface per endpoint.
///
/// It lives for as long as this, a process, a socket or another descriptor refers to it.
#[derive(Debug)]
pub struct Sandbox(OwnedFd);

/// A sandbox could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The kernel gave no namespace.
    #[error("unshare(CLONE_NEWNET)")]
    Namespace(#[source] io::Error),
    /// The namespace could not be entered.
    #[error("setns(CLONE_NEWNET)")]
    Enter(#[source] io::Error),
    /// A setting was refused.
    #[error("settings of the sandbox")]
    Setting(#[from] SettingError),
    /// The loopback interface did not come up.
    #[error("loopback of the sandbox")]
    Loopback(#[from] NetlinkError),
}

/// What Docker sets for each container (moby `daemon/oci_linux.go`): ping and low ports without privileges.
const DOCKER: [(&str, &str); 2] =
    [("net.ipv4.ping_group_range", "0 2147483647"), ("net.ipv4.ip_unprivileged_port_start", "0")];

/// For each interface to come: tell the neighbours at once where the address is. IPv6 only where asked for.
const ARP_NOTIFY: (&str, &str) = ("net.ipv4.conf.default.arp_notify", "1");
const IPV6: [(&str, &str); 3] = [
    ("net.ipv6.conf.default.disable_ipv6", "1"),
    ("net.ipv6.conf.default.accept_ra", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
];

impl Sandbox {
    /// Makes a namespace with loopback up and Docker's settings.
    ///
    /// # Errors
    ///
    /// [`SandboxError`], by step.
    pub fn create() -> Result<Self, SandboxError> {
        let sandbox = Self(sys::namespace::new_network().map_err(SandboxError::Namespace)?);
        sandbox.visit(|| {
            for (name, value) in DOCKER.into_iter().chain([ARP_NOTIFY]) {
                sysctl::set(name, value)?;
            }
            for (name, value) in IPV6 {
                sysctl::set_if_there(name, value)?;
            }
            RouteSocket::open()?.batch(&[Link::up("lo")])?;
            Ok::<_, SandboxError>(())
        })??;
        Ok(sandbox)
    }

    fn visit<T>(&self, visit: impl FnOnce() -> T) -> Result<T, SandboxError> {
        sys::namespace::within(self.as_fd(), visit).map_err(SandboxError::Enter)
    }
}

impl From<OwnedFd> for Sandbox {
    /// Takes a namespace that was made before, by another process perhaps.
    fn from(namespace: OwnedFd) -> Self {
        Self(namespace)
    }
}

impl From<Sandbox> for OwnedFd {
    fn from(sandbox: Sandbox) -> Self {
        sandbox.0
    }
}

impl AsFd for Sandbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
