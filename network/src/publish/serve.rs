//! A published port that is served: tasks of the event loop, and where they lead.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::kernel::KernelPath;
use super::{Protocol, Publish, Reserved, tcp, udp};
use crate::endpoint::WayOut;
use crate::file::FileError;
use crate::network::Network;
use crate::subnet::Family;

/// Where a published port leads: the addresses of a container, and the network from which they are reached.
#[derive(Debug, Clone)]
pub struct Target {
    namespace: Arc<OwnedFd>,
    addresses: Vec<IpAddr>,
    /// Where the host finds the network, in the families in which the kernel may carry what comes from other machines.
    inner: Vec<IpAddr>,
    /// Held by every connection that is led there.
    _held: Option<mpsc::Sender<()>>,
}

/// Connections that are led where no new ones are led any more.
#[derive(Debug)]
pub struct Former {
    targets: Vec<mpsc::Receiver<()>>,
}

impl Former {
    /// Comes back when the last of them has ended.
    pub async fn ended(mut self) {
        for target in &mut self.targets {
            // Nobody sends anything: it is over when nobody could.
            while target.recv().await.is_some() {}
        }
    }
}

/// A published port that is served. Dropping it ends the listeners and all connections.
#[derive(Debug)]
pub struct Served {
    publish: Publish,
    addresses: Vec<SocketAddr>,
    port: u16,
    target: watch::Sender<Option<Target>>,
    /// One for each place where connections may still be led; the last is where new ones are.
    targets: Mutex<Vec<mpsc::Receiver<()>>>,
    /// Taken back when dropped.
    kernel: Mutex<Vec<KernelPath>>,
    /// Aborted when dropped.
    tasks: JoinSet<()>,
}

impl Target {
    /// The member of `network` with these addresses.
    ///
    /// # Errors
    ///
    /// When the process is out of descriptors.
    pub fn new(network: &Network, addresses: impl IntoIterator<Item = IpAddr>) -> io::Result<Self> {
        let namespace = Arc::new(network.namespace().try_clone_to_owned()?);
        let addresses = addresses.into_iter().collect();
        Ok(Self { namespace, addresses, inner: Vec::new(), _held: None })
    }

    /// A container with these addresses, reached from within its own `sandbox`: nobody else is where it can be.
    ///
    /// # Errors
    ///
    /// When the process is out of descriptors.
    pub fn within(
        sandbox: BorrowedFd<'_>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> io::Result<Self> {
        let namespace = Arc::new(sandbox.try_clone_to_owned()?);
        let addresses = addresses.into_iter().collect();
        Ok(Self { namespace, addresses, inner: Vec::new(), _held: None })
    }

    /// The same, and what comes from other machines is carried by the kernel: faster, and the container sees who
    /// asks.
    ///
    /// Only in the families in which the container's default route goes out by `network`: its answers have to come
    /// back this way. On a network without uplink nothing changes.
    ///
    /// # Errors
    ///
    /// When the record of the uplink cannot be read.
    pub fn by_kernel(mut self, network: &Network, way_out: WayOut) -> Result<Self, FileError> {
        for family in Family::ALL {
            if way_out.has(family) {
                self.inner.extend(network.inner_address(family)?);
            }
        }
        Ok(self)
    }

    pub(super) fn inner(&self, family: Family) -> Option<IpAddr> {
        self.inner.iter().copied().find(|address| Family::of(*address) == family)
    }

    pub(super) fn member(&self, family: Family, port: u16) -> Option<SocketAddr> {
        let address = self.addresses.iter().find(|address| Family::of(**address) == family)?;
        Some(SocketAddr::new(*address, port))
    }

    /// Where to try, for somebody who came by `family`: at first there, as long as the container has it.
    pub(super) fn members(&self, family: Family, port: u16) -> impl Iterator<Item = SocketAddr> {
        let other = match family {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        };
        [family, other].into_iter().filter_map(move |family| self.member(family, port))
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
        let kernel = KernelPath::open_all(&self.publish, port, target.as_ref());
        let (target, held) = held(target, self.publish.protocol);
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
        let (targets, kernel) = (Mutex::new(vec![held]), Mutex::new(kernel));
        let publish = self.publish;
        Ok(Served { publish, addresses, port, target: sender, targets, kernel, tasks })
    }
}

/// Lets the connections that are led to `target` be waited for. Datagrams are no connections.
fn held(target: Option<Target>, protocol: Protocol) -> (Option<Target>, mpsc::Receiver<()>) {
    let (sender, receiver) = mpsc::channel(1);
    let held = (protocol == Protocol::Tcp).then_some(sender);
    (target.map(|target| Target { _held: held, ..target }), receiver)
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
        kernel.clear();
        *kernel = KernelPath::open_all(&self.publish, self.port, target.as_ref());
        let (target, held) = held(target, self.publish.protocol);
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        self.target.send_replace(target);
        targets.retain(|target| !target.is_closed());
        targets.push(held);
    }

    /// The connections that are still led where new ones are not, to be waited for.
    pub fn former(&self) -> Former {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let current = targets.pop();
        let former = std::mem::replace(&mut *targets, current.into_iter().collect());
        Former { targets: former }
    }
}
