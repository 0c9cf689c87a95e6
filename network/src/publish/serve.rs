//! A published port that is served: tasks of the event loop, and where they lead.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::kernel::KernelPath;
use super::{Protocol, Publish, Reserved, tcp, udp};
use crate::file::FileError;
use crate::network::Network;

/// Where a published port leads: an address, and the network from which it is reached.
#[derive(Debug, Clone)]
pub struct Target {
    namespace: Arc<OwnedFd>,
    address: Ipv4Addr,
    /// Where the host finds the network, if the kernel may carry what comes from other machines.
    inner: Option<Ipv4Addr>,
}

/// A published port that is served. Dropping it ends the listeners and all connections.
#[derive(Debug)]
pub struct Served {
    publish: Publish,
    addresses: Vec<SocketAddr>,
    port: u16,
    target: watch::Sender<Option<Target>>,
    /// Taken back when dropped.
    kernel: Mutex<Option<KernelPath>>,
    /// Aborted when dropped.
    tasks: JoinSet<()>,
}

impl Target {
    /// The member of `network` with this address.
    ///
    /// # Errors
    ///
    /// When the process is out of descriptors.
    pub fn new(network: &Network, address: Ipv4Addr) -> io::Result<Self> {
        let namespace = network.namespace().try_clone_to_owned()?;
        Ok(Self { namespace: Arc::new(namespace), address, inner: None })
    }

    /// The same, and what comes from other machines is carried by the kernel: faster, and the container sees who
    /// asks.
    ///
    /// Only for a container whose default route goes out by `network`: its answers have to come back this way. On
    /// a network without uplink nothing changes.
    ///
    /// # Errors
    ///
    /// When the record of the uplink cannot be read.
    pub fn by_kernel(mut self, network: &Network) -> Result<Self, FileError> {
        self.inner = network.inner_address()?;
        Ok(self)
    }

    pub(super) fn inner(&self) -> Option<Ipv4Addr> {
        self.inner
    }

    pub(super) fn member(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, port)
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
        let kernel = KernelPath::open(&self.publish, port, target.as_ref());
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
        let kernel = Mutex::new(kernel);
        Ok(Served { publish: self.publish, addresses, port, target: sender, kernel, tasks })
    }
}

impl Served {
    /// Ends the listeners and all connections. When this returns the port is free, which dropping does not promise.
    pub async fn close(mut self) {
        self.tasks.shutdown().await;
    }

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
        let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
        // The old way goes before the new one comes: they are the same elements.
        *kernel = None;
        *kernel = KernelPath::open(&self.publish, self.port, target.as_ref());
        self.target.send_replace(target);
    }
}
