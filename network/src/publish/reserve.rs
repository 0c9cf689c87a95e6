//! Ports of the host, bound before anything else is touched.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr, socket_type};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};

use super::{Holder, HostPort, Protocol, Publish, PublishError};

/// Connections that wait while the supervisor is busy, or being replaced; the kernel caps it at
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// How often a port that the kernel chose for one address may turn out to be taken on the other.
const EPHEMERAL_TRIES: usize = 64;

/// A published port whose listeners are bound and not yet served: connections wait.
#[derive(Debug)]
pub struct Reserved {
    pub(super) publish: Publish,
    port: u16,
    pub(super) sockets: Vec<OwnedFd>,
}

/// Binds all of `wanted`, or nothing.
///
/// The sockets belong to the namespace of the calling thread: the host's.
///
/// # Errors
///
/// [`PublishError`] for the first that cannot be had; those before it are closed again.
pub fn reserve(wanted: &[Publish]) -> Result<Vec<Reserved>, PublishError> {
    wanted.iter().map(Reserved::bind).collect()
}

impl Reserved {
    /// Takes over listeners that were bound before, by a supervisor that is gone perhaps.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there is none or they are not of the protocol; else what getsockname(2) says.
    pub fn adopt(publish: Publish, sockets: Vec<OwnedFd>) -> io::Result<Self> {
        let kind = publish.protocol.socket_type();
        for socket in &sockets {
            if socket_type(socket)? != kind {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
        let first = sockets.first().ok_or(io::ErrorKind::InvalidInput)?;
        let port = local_address(first)?.port();
        Ok(Self { publish, port, sockets })
    }

    /// What was asked for.
    pub fn publish(&self) -> &Publish {
        &self.publish
    }

    /// The port of the host, chosen where that was left open.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The addresses that are bound.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| local_address(socket).ok()).collect()
    }

    /// The listeners, for somebody who keeps them while a supervisor is replaced.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(AsFd::as_fd)
    }

    fn bind(publish: &Publish) -> Result<Self, PublishError> {
        match publish.host_port {
            HostPort::Fixed(port) => Self::bind_port(publish, port),
            HostPort::Ephemeral => Self::bind_any(publish),
            HostPort::Range { first, last } => Self::bind_first(publish, first, last),
        }
    }

    fn bind_first(publish: &Publish, first: u16, last: u16) -> Result<Self, PublishError> {
        for port in first..=last {
            match Self::bind_port(publish, port) {
                Err(PublishError::InUse { .. }) => {}
                outcome => return outcome,
            }
        }
        let host_ip = publish.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        Err(PublishError::RangeInUse { host_ip, first, last, protocol: publish.protocol })
    }

    /// The kernel chooses for the first address; the others have to have the same.
    fn bind_any(publish: &Publish) -> Result<Self, PublishError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::bind_port(publish, 0) {
                Err(PublishError::InUse { .. }) if tries < EPHEMERAL_TRIES => {}
                outcome => return outcome,
            }
        }
    }

    fn bind_port(publish: &Publish, port: u16) -> Result<Self, PublishError> {
        let protocol = publish.protocol;
        let mut chosen = port;
        let mut sockets = Vec::new();
        for ip in addresses(publish.host_ip) {
            let address = SocketAddr::new(ip, chosen);
            match bind_socket(address, protocol) {
                Ok((socket, bound)) => {
                    chosen = bound.port();
                    sockets.push(socket);
                }
                // A host without IPv6 publishes on IPv4 alone, unless an address of IPv6 was asked for.
                Err(error) if !sockets.is_empty() && is_family_missing(&error) => {}
                Err(error) => return Err(refused(address, protocol, error)),
            }
        }
        Ok(Self { publish: publish.clone(), port: chosen, sockets })
    }
}

fn addresses(host_ip: Option<IpAddr>) -> Vec<IpAddr> {
    match host_ip {
        Some(ip) => vec![ip],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    }
}

fn bind_socket(address: SocketAddr, protocol: Protocol) -> io::Result<(OwnedFd, SocketAddr)> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, protocol.socket_type(), flags, None)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // For a port with connections of a supervisor that was killed. With UDP it would share the port.
        set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    if protocol == Protocol::Tcp {
        listen(&socket, BACKLOG)?;
    }
    let bound = local_address(&socket)?;
    Ok((socket, bound))
}

fn local_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(getsockname(socket)?)?)
}

fn is_family_missing(error: &io::Error) -> bool {
    [Some(libc::EAFNOSUPPORT), Some(libc::EADDRNOTAVAIL)].contains(&error.raw_os_error())
}

fn refused(address: SocketAddr, protocol: Protocol, source: io::Error) -> PublishError {
    match source.kind() {
        io::ErrorKind::AddrInUse => PublishError::InUse {
            address,
            protocol,
            holder: Holder::find(address, protocol),
            source,
        },
        io::ErrorKind::AddrNotAvailable => PublishError::NoSuchAddress { address, source },
        _ => PublishError::Listen { address, protocol, source },
    }
}

impl Protocol {
    fn socket_type(self) -> SocketType {
        match self {
            Self::Tcp => SocketType::STREAM,
            Self::Udp => SocketType::DGRAM,
        }
    }
}
