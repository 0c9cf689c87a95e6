//! A published port that is served: tasks of the event loop, and where they lead.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Protocol, Publish, Reserved, tcp, udp};
use crate::network::Network;

/// Where a published port leads: an address, and the network from which it is reached.
#[derive(Debug, Clone)]
pub struct Target {
    namespace: Arc<OwnedFd>,
    address: Ipv4Addr,
}

/// A published port that is served. Dropping it ends the listeners and all connections.
#[derive(Debug)]
pub struct Served {
    publish: Publish,
    addresses: Vec<SocketAddr>,
    port: u16,
    target: watch::Sender<Option<Target>>,
    /// Aborted when dropped.
    _tasks: JoinSet<()>,
}

impl Target {
    /// The member of `network` with this address.
    ///
    /// # Errors
    ///
    /// When the process is out of descriptors.
    pub fn new(network: &Network, address: Ipv4Addr) -> io::Result<Self> {
        let namespace = network.namespace().try_clone_to_owned()?;
        Ok(Self { namespace: Arc::new(namespace), address })
    }

    pub(super) fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address, port))
    }

    /// Makes a socket that is in the network, so the host needs no route to it.
    pub(super) fn socket<T>(&self, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        sys::namespace::within(self.namespace.as_fd(), make)?
    }
}

impl Reserved {
    /// Serves the port on the event loop of the calling thread.
    ///
    /// Without a target connections wait, which is how a container is replaced without one being refused;
    /// datagrams get lost, as they do.
    ///
    /// # Errors
    ///
    /// When a listener cannot be made known to the event loop.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O and time enabled.
    pub fn serve(self, target: Option<Target>) -> io::Result<Served> {
        let (addresses, port) = (self.addresses(), self.port());
        let (sender, receiver) = watch::channel(target);
        let (protocol, inside) = (self.publish.protocol, self.publish.target);
        let mut tasks = JoinSet::new();
        for socket in self.sockets {
            match protocol {
                Protocol::Tcp => {
                    let listener = tokio::net::TcpListener::from_std(socket.into())?;
                    tasks.spawn(tcp::serve(listener, receiver.clone(), inside));
                }
                Protocol::Udp => {
                    let listener = udp::Listener::new(socket)?;
                    tasks.spawn(udp::serve(listener, receiver.clone(), inside));
                }
            }
        }
        Ok(Served { publish: self.publish, addresses, port, target: sender, _tasks: tasks })
    }
}

impl Served {
    /// What was asked for.
    pub fn publish(&self) -> &Publish {
        &self.publish
    }

    /// The port of the host.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The addresses that are bound.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Leads new connections elsewhere, or lets them wait. The listeners stay as they are.
    pub fn retarget(&self, target: Option<Target>) {
        self.target.send_replace(target);
    }
}
