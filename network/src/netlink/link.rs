//! Links: bridges, veth pairs, up and down, lists.

use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

use super::message::{Message, attributes, flag, u32_at};
use super::socket::{NetlinkError, RouteSocket};
use crate::driver::{ChildKind, IpvlanFlag, IpvlanMode, MacvlanMode};
use crate::endpoint::Mac;
use crate::name::InterfaceName;

const NEW: u16 = flag::CREATE | flag::EXCLUSIVE;
const UP: u32 = libc::IFF_UP as u32;
/// Attributes within `IFLA_INFO_DATA` (linux/if_link.h, linux/veth.h).
const BRIDGE_FORWARD_DELAY: u16 = 1;
const BRIDGE_STP_STATE: u16 = 5;
const VETH_PEER: u16 = 1;
const MACVLAN_MODE: u16 = 1;
const IPVLAN_MODE: u16 = 1;
const IPVLAN_FLAGS: u16 = 2;
/// Attributes within `IFLA_LINKINFO` of a port of a bridge.
const SLAVE_KIND: u16 = 4;
const SLAVE_DATA: u16 = 5;
/// `IFLA_BRPORT_ISOLATED`.
const PORT_ISOLATED: u16 = 33;
/// `IF_OPER_UP` of linux/if.h.
const OPERATIONAL: u8 = 6;
/// How often a link is looked at until it carries, and how long it rests in between: a fifth of a second in all.
const SETTLE_TRIES: u32 = 100;
const SETTLE_REST: Duration = Duration::from_millis(2);

/// A link as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    /// Whether it is up and so is its other end: `IFLA_OPERSTATE` is `IF_OPER_UP`, RFC 2863.
    pub(crate) carries: bool,
}

/// One end of a veth pair.
#[derive(Debug, Clone)]
pub(crate) struct VethEnd<'a> {
    pub(crate) name: &'a InterfaceName,
    /// The number of the link; 0 leaves it to the kernel.
    pub(crate) index: u32,
    pub(crate) mac: Option<Mac>,
}

/// A veth pair: the near end in the namespace of the socket, the far end in another.
#[derive(Debug)]
pub(crate) struct Veth<'a> {
    pub(crate) near: VethEnd<'a>,
    /// The bridge to which the near end belongs.
    pub(crate) bridge: Option<u32>,
    pub(crate) far: VethEnd<'a>,
    /// Where the far end is born. Not moved there: a move waits for an RCU grace period.
    pub(crate) into: BorrowedFd<'a>,
    pub(crate) mtu: u32,
    /// Whether the near end comes up at once. The far one cannot: the kernel has not joined the two by then.
    pub(crate) near_up: bool,
}

/// A link on another one, in another namespace than that.
#[derive(Debug)]
pub(crate) struct Child<'a> {
    pub(crate) name: &'a InterfaceName,
    pub(crate) parent: &'a Link,
    pub(crate) kind: ChildKind,
    pub(crate) mac: Option<Mac>,
    /// That of the parent where not given.
    pub(crate) mtu: Option<u32>,
    /// Where it is born. The socket is in the namespace of the parent.
    pub(crate) into: BorrowedFd<'a>,
}

impl Child<'_> {
    /// The request that makes it.
    pub(crate) fn add(&self) -> Message {
        let (kind, words) = match self.kind {
            ChildKind::Macvlan(mode) => ("macvlan", format!("mode {}", macvlan_mode(mode).0)),
            ChildKind::Ipvlan(mode, flag) => {
                ("ipvlan", format!("mode {} {}", ipvlan_mode(mode).0, ipvlan_flag(flag).0))
            }
        };
        let (name, parent) = (self.name, &self.parent.name);
        let request = format!("ip link add link {parent} name {name} type {kind} {words}");
        let mut message = Message::new(libc::RTM_NEWLINK, NEW, request);
        message.raw(&header(0, false));
        message.text(libc::IFLA_IFNAME, name.as_str()).u32(libc::IFLA_LINK, self.parent.index);
        if let Some(mtu) = self.mtu {
            message.u32(libc::IFLA_MTU, mtu);
        }
        if let Some(Mac(address)) = self.mac {
            message.bytes(libc::IFLA_ADDRESS, &address);
        }
        message.u32(libc::IFLA_NET_NS_FD, self.into.as_raw_fd().cast_unsigned());
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, kind).nest(libc::IFLA_INFO_DATA, |data| {
                match self.kind {
                    ChildKind::Macvlan(mode) => data.u32(MACVLAN_MODE, macvlan_mode(mode).1),
                    ChildKind::Ipvlan(mode, flag) => data
                        .bytes(IPVLAN_MODE, &ipvlan_mode(mode).1.to_ne_bytes())
                        .bytes(IPVLAN_FLAGS, &ipvlan_flag(flag).1.to_ne_bytes()),
                };
            });
        });
        message
    }
}

/// As ip(8) and the kernel (linux/if_link.h) have it.
const fn macvlan_mode(mode: MacvlanMode) -> (&'static str, u32) {
    match mode {
        MacvlanMode::Private => ("private", 1),
        MacvlanMode::Vepa => ("vepa", 2),
        MacvlanMode::Bridge => ("bridge", 4),
        MacvlanMode::Passthru => ("passthru", 8),
    }
}

/// As ip(8) and the kernel have it.
const fn ipvlan_mode(mode: IpvlanMode) -> (&'static str, u16) {
    match mode {
        IpvlanMode::L2 => ("l2", 0),
        IpvlanMode::L3 => ("l3", 1),
        IpvlanMode::L3s => ("l3s", 2),
    }
}

/// As ip(8) and the kernel have it.
const fn ipvlan_flag(flag: IpvlanFlag) -> (&'static str, u16) {
    match flag {
        IpvlanFlag::Bridge => ("bridge", 0),
        IpvlanFlag::Private => ("private", 1),
        IpvlanFlag::Vepa => ("vepa", 2),
    }
}

/// `struct ifinfomsg`: which link, and whether to bring it up.
fn header(index: u32, up: bool) -> [u8; 16] {
    let flags = if up { UP } else { 0 };
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

impl VethEnd<'_> {
    fn describe(&self, message: &mut Message, mtu: u32) {
        message.text(libc::IFLA_IFNAME, self.name.as_str()).u32(libc::IFLA_MTU, mtu);
        // One is what veth uses; left to itself it makes one for each processor and waits for RCU to take them away again.
        message.u32(libc::IFLA_NUM_TX_QUEUES, 1).u32(libc::IFLA_NUM_RX_QUEUES, 1);
        if let Some(Mac(address)) = self.mac {
            message.bytes(libc::IFLA_ADDRESS, &address);
        }
    }
}

impl Veth<'_> {
    /// The request that makes both ends.
    pub(crate) fn add(&self) -> Message {
        let (near, far) = (&self.near, &self.far);
        let request = format!("ip link add {} type veth peer name {}", near.name, far.name);
        let mut message = Message::new(libc::RTM_NEWLINK, NEW, request);
        message.raw(&header(near.index, self.near_up));
        near.describe(&mut message, self.mtu);
        if let Some(bridge) = self.bridge {
            message.u32(libc::IFLA_MASTER, bridge);
        }
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |data| {
                data.nest(VETH_PEER, |peer| {
                    peer.raw(&header(far.index, false));
                    far.describe(peer, self.mtu);
                    peer.u32(libc::IFLA_NET_NS_FD, self.into.as_raw_fd().cast_unsigned());
                });
            });
        });
        message
    }
}

impl Link {
    /// The request that brings a link up.
    pub(crate) fn up(name: &str) -> Message {
        let mut message = Message::new(libc::RTM_NEWLINK, 0, format!("ip link set {name} up"));
        message.raw(&header(0, true)).text(libc::IFLA_IFNAME, name);
        message
    }

    /// The request that makes a bridge, up, with a hardware address of its own.
    ///
    /// Without one it takes the lowest of its ports' addresses, and changes it as they come and go.
    pub(crate) fn add_bridge(name: &str, index: u32, mac: Mac, mtu: u32) -> Message {
        let request = format!("ip link add {name} address {mac} mtu {mtu} type bridge stp_state 0");
        let mut message = Message::new(libc::RTM_NEWLINK, NEW, request);
        message.raw(&header(index, true));
        message
            .text(libc::IFLA_IFNAME, name)
            .u32(libc::IFLA_MTU, mtu)
            .bytes(libc::IFLA_ADDRESS, &mac.0);
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "bridge").nest(libc::IFLA_INFO_DATA, |data| {
                data.u32(BRIDGE_FORWARD_DELAY, 0).u32(BRIDGE_STP_STATE, 0);
            });
        });
        message
    }

    /// The request that keeps a port of a bridge from reaching the others that are kept so.
    pub(crate) fn isolate(name: &str) -> Message {
        let request = format!("ip link set {name} type bridge_slave isolated on");
        let mut message = Message::new(libc::RTM_NEWLINK, 0, request);
        message.raw(&header(0, false)).text(libc::IFLA_IFNAME, name);
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.text(SLAVE_KIND, "bridge").nest(SLAVE_DATA, |data| {
                data.bytes(PORT_ISOLATED, &[1]);
            });
        });
        message
    }

    /// The request that deletes a link, and with a veth its other end. Waits for RCU: 16 ms.
    pub(crate) fn delete(name: &str) -> Message {
        let mut message = Message::new(libc::RTM_DELLINK, 0, format!("ip link del {name}"));
        message.raw(&header(0, false)).text(libc::IFLA_IFNAME, name);
        message
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let index = u32_at(payload, 4)?;
        let (mut name, mut mtu, mut carries) = (None, 0, false);
        for (kind, value) in attributes(payload.get(16..)?) {
            match kind {
                libc::IFLA_IFNAME => {
                    name = Some(String::from_utf8_lossy(value).trim_end_matches('\0').to_owned());
                }
                libc::IFLA_MTU => mtu = u32_at(value, 0)?,
                libc::IFLA_OPERSTATE => carries = value == [OPERATIONAL],
                _ => {}
            }
        }
        Some(Self { index, name: name?, mtu, carries })
    }
}

impl RouteSocket {
    /// All links of the namespace.
    pub(crate) fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut message = Message::new(libc::RTM_GETLINK, 0, "ip link show".to_owned());
        message.raw(&header(0, false));
        let read = |kind, payload: &[u8]| {
            (kind == libc::RTM_NEWLINK).then(|| Link::read(payload)).flatten()
        };
        self.0.dump(&message, read)
    }

    /// A link, by its name.
    pub(crate) fn link(&mut self, name: &str) -> Result<Link, NetlinkError> {
        let mut message = Message::new(libc::RTM_GETLINK, 0, format!("ip link show {name}"));
        message.raw(&header(0, false)).text(libc::IFLA_IFNAME, name);
        self.0.get(&message, Link::read)
    }

    /// Waits until a link that was brought up carries packets.
    ///
    /// The kernel takes note of a new carrier later, in a worker of its own; until then the link drops what it is
    /// given, and an address that is asked for in that moment is asked for again a second later. Reading the link
    /// makes it take note at once since Linux 6.2 (`linkwatch_sync_dev` in `rtnl_getlink`), before it takes a while.
    pub(crate) fn settle(&mut self, name: &str) -> Result<(), NetlinkError> {
        for _ in 0..SETTLE_TRIES {
            if self.link(name)?.carries {
                break;
            }
            std::thread::sleep(SETTLE_REST);
        }
        Ok(())
    }
}
