//! The place of the server of a container whose sandbox has loopback to itself.
//!
//! gVisor takes the interfaces of the namespace over as it starts, with their addresses, and what it sends to 127.0.0.11 never
//! leaves it. So there is one more pair of links in the namespace: one end is gVisor's, at the other the server listens.
//!
//! gVisor takes what is up at its start, so the server's end comes up later. Its address can be bound before: the kernel
//! knows the addresses of links that are down.

use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;

use super::server::BindError;
use crate::name::InterfaceName;
use crate::netlink::{Address, Link, NetlinkError, RouteSocket, Veth, VethEnd};
use crate::sandbox::Sandbox;
use crate::subnet::{IpNet, Ipv4Net};

/// Where the server answers: an address for links alone (RFC 3927), which no network can have.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(169, 254, 127, 9);
/// The container's own end.
const CONTAINER: Ipv4Addr = Ipv4Addr::new(169, 254, 127, 10);
const PREFIX: u8 = 30;
const NAMES: &str = "names0";
const ASKER: &str = "names1";
const MTU: u32 = 1500;

/// Makes the two links in the namespace of this thread, which is that of `sandbox`, unless they are there.
pub(super) fn make(sandbox: &Sandbox) -> Result<(), NetlinkError> {
    let mut route = RouteSocket::open()?;
    if route.links()?.iter().any(|link| link.name == NAMES) {
        return Ok(());
    }
    let (near, far) = (InterfaceName::known(ASKER), InterfaceName::known(NAMES));
    let near = VethEnd { name: &near, index: 0, mac: None };
    let far = VethEnd { name: &far, index: 0, mac: None };
    let into = sandbox.as_fd();
    let pair = Veth { near, bridge: None, far, into, mtu: MTU, near_up: false };
    route.batch(&[pair.add()])?;
    let (asker, names) = (route.link(ASKER)?.index, route.link(NAMES)?.index);
    route.batch(&[at(asker, CONTAINER).add(ASKER), at(names, SERVER).add(NAMES), Link::up(ASKER)])
}

fn at(link: u32, address: Ipv4Addr) -> Address {
    let net = Ipv4Net::new(address, PREFIX).expect("30 is a length that a prefix can have");
    Address { link, address: IpNet::V4(net) }
}

/// Lets questions come to the server, as soon as gVisor has taken the other links over.
///
/// # Errors
///
/// [`BindError`], by step.
pub fn open(sandbox: &Sandbox) -> Result<(), BindError> {
    let up = || RouteSocket::open()?.batch(&[Link::up(NAMES)]);
    let up = sys::namespace::within(sandbox.as_fd(), up).map_err(BindError::Enter)?;
    up.map_err(BindError::Link)
}
