//! Networks whose members are on one link: that of the host which was named, or one of the network's own.
//!
//! A member's link is born in its namespace, so nothing of it is in that of the network; that it lives is seen by the
//! number under which the network's namespace knows that of the member, which the kernel takes back when it is gone.

use std::os::fd::{AsFd as _, BorrowedFd};

use crate::driver::ChildKind;
use crate::endpoint::Mac;
use crate::name::InterfaceName;
use crate::netlink::{Child, Link, NetlinkError, RouteSocket, Veth, VethEnd};
use crate::sandbox::Sandbox;

/// The link of a network for which none of the host was named; what is sent out by it is lost.
pub(crate) const OWN_PARENT: &str = "parent0";
const OTHER_END: &str = "parent1";
/// The numbers of both: they are the first links that are made there.
const OWN_INDEX: u32 = 2;
const OTHER_INDEX: u32 = 3;
/// A link that is made to see whether one can be.
const PROBE: &str = "probe0";

/// Makes the parent of a network that has none on the host, in `namespace`.
pub(crate) fn create_parent(
    inside: &mut RouteSocket,
    namespace: BorrowedFd<'_>,
    mtu: u32,
) -> Result<(), NetlinkError> {
    let (near, far) = (InterfaceName::known(OWN_PARENT), InterfaceName::known(OTHER_END));
    let near = VethEnd { name: &near, index: OWN_INDEX, mac: None };
    let far = VethEnd { name: &far, index: OTHER_INDEX, mac: None };
    let pair = Veth { near, bridge: None, far, into: namespace, mtu, near_up: false }.add();
    inside.batch(&[Link::up("lo"), pair, Link::up(OWN_PARENT), Link::up(OTHER_END)])?;
    inside.settle(OWN_PARENT)
}

/// Whether a member can be made on `parent`: by making one, in `namespace`, and taking it away.
pub(crate) fn try_out(
    beside_parent: &mut RouteSocket,
    parent: &str,
    kind: ChildKind,
    namespace: BorrowedFd<'_>,
) -> Result<(), NetlinkError> {
    let name = InterfaceName::known(PROBE);
    let parent = beside_parent.link(parent)?;
    let child = Child { name: &name, parent: &parent, kind, mac: None, mtu: None, into: namespace };
    beside_parent.batch(&[child.add()])?;
    let inside =
        sys::namespace::within(namespace, || RouteSocket::open()?.batch(&[Link::delete(PROBE)]));
    inside.map_err(|source| NetlinkError::new("setns(CLONE_NEWNET)", source))?
}

/// Makes the link of a member in its sandbox.
pub(crate) fn add(
    beside_parent: &mut RouteSocket,
    parent: &str,
    kind: ChildKind,
    sandbox: &Sandbox,
    (name, mac, mtu): (&InterfaceName, Mac, Option<u32>),
) -> Result<(), NetlinkError> {
    let parent = beside_parent.link(parent)?;
    let mac = matches!(kind, ChildKind::Macvlan(_)).then_some(mac);
    let child = Child { name, parent: &parent, kind, mac, mtu, into: sandbox.as_fd() };
    beside_parent.batch(&[child.add()])
}
