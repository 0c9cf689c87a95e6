//! Tests against the kernel, each on a host of its own: a thread in fresh network and mount namespaces.
//!
//! They need root, and fail without it.

mod drivers;
mod kills;
mod names;
mod networks;
mod ports;
mod six;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use crate::name::InterfaceName;
use crate::netlink::{Address, Link, Route, RouteSocket, Veth, VethEnd};
use crate::{EndpointWish, Family, IpNet, Network, Sandbox, Store, Wanted, WayOut};

/// A host of its own: `eth0` with 192.0.2.2/24 and 2001:db8::2/64, and default routes to `outside`, 192.0.2.1 and
/// 2001:db8::1.
pub(crate) struct Host {
    /// What lies beyond `eth0`.
    pub(crate) outside: OwnedFd,
    pub(crate) store: Store,
}

pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(crate) const OUTSIDE_SIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub(crate) const HOST_SIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// Runs `case` on a host of its own.
pub(crate) fn on_a_host(case: impl FnOnce(&Host) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("these tests need root");
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        // A file system of the test's own, which goes with the thread.
        mount("host", "/mnt", "tmpfs", MountFlags::empty(), None::<&std::ffi::CStr>).unwrap();
        let store = Store::open(Path::new("/mnt/data"), Path::new("/mnt/run")).unwrap();
        case(&Host { outside: connect_outside(), store });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn connect_outside() -> OwnedFd {
    let outside = sys::namespace::new_network().unwrap();
    // Without this a link has no address to ask its neighbours from for a second.
    let trusting = || std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap();
    trusting();
    inside(&outside, trusting);
    let name: InterfaceName = "eth0".parse().unwrap();
    let net = |address: Ipv4Addr| IpNet::new(address.into(), 24).unwrap();
    let six = |address: Ipv6Addr| IpNet::new(address.into(), 64).unwrap();
    let near = VethEnd { name: &name, index: 10, mac: None };
    let far = VethEnd { name: &name, index: 11, mac: None };
    let mut host = RouteSocket::open().unwrap();
    let pair = Veth { near, bridge: None, far, into: outside.as_fd(), mtu: 1400, near_up: true };
    let address = |address| Address { link: 10, address }.add("eth0");
    host.batch(&[
        Link::up("lo"),
        pair.add(),
        address(net(HOST)),
        address(six(HOST_SIX)),
        Route::add_default(OUTSIDE.into()),
        Route::add_default(OUTSIDE_SIX.into()),
    ])
    .unwrap();
    let mut beyond = sys::namespace::within(outside.as_fd(), RouteSocket::open).unwrap().unwrap();
    beyond
        .batch(&[
            Link::up("lo"),
            Address { link: 11, address: net(OUTSIDE) }.add("eth0"),
            Address { link: 11, address: six(OUTSIDE_SIX) }.add("eth0"),
            Link::up("eth0"),
        ])
        .unwrap();
    beyond.settle("eth0").unwrap();
    host.settle("eth0").unwrap();
    outside
}

impl Host {
    pub(crate) fn network(&self, name: &str) -> Network {
        self.store.create(&wanted(name)).unwrap()
    }
}

pub(crate) fn wanted(name: &str) -> Wanted {
    Wanted::new(name.parse().unwrap())
}

/// The wish of a container called `name`.
pub(crate) fn wish(name: &str) -> EndpointWish {
    EndpointWish {
        names: vec![name.to_owned()],
        ..EndpointWish::new(name, name, "eth0".parse().unwrap())
    }
}

/// Does something in another namespace.
pub(crate) fn inside<T>(namespace: impl AsFd, visit: impl FnOnce() -> T) -> T {
    sys::namespace::within(namespace.as_fd(), visit).unwrap()
}

/// A listener at `address` in `namespace`.
pub(crate) fn listen(namespace: impl AsFd, address: &str) -> TcpListener {
    inside(namespace, || TcpListener::bind(address)).unwrap()
}

/// Connects from `namespace`; the error is the kernel's, or that it took more than 5 seconds.
pub(crate) fn connect(
    namespace: impl AsFd,
    to: impl Into<SocketAddr>,
) -> std::io::Result<TcpStream> {
    let to = to.into();
    inside(namespace, || TcpStream::connect_timeout(&to, Duration::from_secs(5)))
}

/// A container that is attached to a network.
pub(crate) fn container(network: &Network, name: &str) -> (Sandbox, Ipv4Addr) {
    let sandbox = Sandbox::create().unwrap();
    let endpoint = network.attach(&sandbox, &wish(name), WayOut::BOTH).unwrap();
    (sandbox, endpoint.address.unwrap().address())
}

/// Waits until `level` is reached; a minute is too long.
pub(crate) fn wait_until(what: &str, level: impl Fn() -> bool) {
    let start = Instant::now();
    while !level() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}
