//! Our bytes, read by others: the crates `netlink-packet-core` and `netlink-packet-route`.

use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute};

use super::{Address, Child, Link, Message, Route, Veth, VethEnd, flag};
use crate::driver::{ChildKind, IpvlanFlag, IpvlanMode, MacvlanMode};
use crate::endpoint::Mac;
use crate::name::InterfaceName;

fn read(message: &Message) -> RouteNetlinkMessage {
    let bytes = message.finish(9, flag::REQUEST);
    let read = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes).unwrap();
    assert_eq!(read.header.length as usize, bytes.len());
    assert_eq!(
        (read.header.sequence_number, read.header.flags & flag::REQUEST),
        (9, flag::REQUEST)
    );
    match read.payload {
        NetlinkPayload::InnerMessage(message) => message,
        other => panic!("{other:?}"),
    }
}

fn read_link(message: &Message) -> LinkMessage {
    match read(message) {
        RouteNetlinkMessage::NewLink(link) => link,
        other => panic!("{other:?}"),
    }
}

/// What the kind of a link says, with attributes in order.
fn info(link: &LinkMessage) -> (InfoKind, InfoData) {
    let info = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => Some(info),
        _ => None,
    });
    match info.unwrap().as_slice() {
        [LinkInfo::Kind(kind), LinkInfo::Data(data)] => (kind.clone(), data.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bridge_is_a_bridge() {
    let mac = Mac([2, 0x42, 10, 0, 0, 1]);
    let link = read_link(&Link::add_bridge("br0", 2, mac, 1400));
    assert_eq!((link.header.index, link.header.flags), (2, LinkFlags::Up));
    for attribute in [
        LinkAttribute::IfName("br0".to_owned()),
        LinkAttribute::Mtu(1400),
        LinkAttribute::Address(mac.0.to_vec()),
    ] {
        assert!(link.attributes.contains(&attribute), "{attribute:?}");
    }
    let (kind, data) = info(&link);
    assert_eq!(kind, InfoKind::Bridge);
    let InfoData::Bridge(data) = data else { panic!("{data:?}") };
    assert!(
        matches!(data.as_slice(), [InfoBridge::ForwardDelay(0), InfoBridge::StpState(_)]),
        "{data:?}"
    );
}

#[test]
fn a_pair_is_born_in_two_namespaces() {
    let namespace = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
    let (near, far): (InterfaceName, InterfaceName) =
        ("ve0".parse().unwrap(), "eth0".parse().unwrap());
    let mac = Mac([2, 0, 0, 0, 0, 7]);
    let veth = Veth {
        near: VethEnd { name: &near, index: 77, mac: None },
        bridge: Some(2),
        far: VethEnd { name: &far, index: 0, mac: Some(mac) },
        into: namespace.as_fd(),
        mtu: 1500,
        near_up: true,
    };
    let link = read_link(&veth.add());
    assert_eq!((link.header.index, link.header.flags), (77, LinkFlags::Up));
    assert!(link.attributes.contains(&LinkAttribute::Controller(2)));
    let (kind, data) = info(&link);
    assert_eq!(kind, InfoKind::Veth);
    let InfoData::Veth(InfoVeth::Peer(peer)) = data else { panic!("{data:?}") };
    assert_eq!((peer.header.index, peer.header.flags), (0, LinkFlags::empty()));
    assert_eq!(
        peer.attributes,
        [
            LinkAttribute::IfName("eth0".to_owned()),
            LinkAttribute::Mtu(1500),
            LinkAttribute::NumTxQueues(1),
            LinkAttribute::NumRxQueues(1),
            LinkAttribute::Address(mac.0.to_vec()),
            LinkAttribute::NetNsFd(namespace.as_raw_fd()),
        ]
    );
}

#[test]
fn a_child_is_born_elsewhere_on_its_parent() {
    let namespace = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
    let name: InterfaceName = "eth0".parse().unwrap();
    let parent = Link { index: 7, name: "up0".to_owned(), mtu: 1500, carries: true };
    let child = |kind| {
        let mac = Some(Mac([2, 0, 0, 0, 0, 7]));
        let child =
            Child { name: &name, parent: &parent, kind, mac, mtu: None, into: namespace.as_fd() };
        (child.add().request().to_owned(), read_link(&child.add()))
    };
    let (text, link) = child(ChildKind::Macvlan(MacvlanMode::Vepa));
    assert_eq!(text, "ip link add link up0 name eth0 type macvlan mode vepa");
    for attribute in [
        LinkAttribute::IfName("eth0".to_owned()),
        LinkAttribute::Link(7),
        LinkAttribute::NetNsFd(namespace.as_raw_fd()),
    ] {
        assert!(link.attributes.contains(&attribute), "{attribute:?}");
    }
    let (kind, data) = info(&link);
    assert_eq!(kind, InfoKind::MacVlan);
    let InfoData::MacVlan(data) = data else { panic!("{data:?}") };
    assert_eq!(format!("{data:?}"), "[Mode(Vepa)]");
    let (text, link) = child(ChildKind::Ipvlan(IpvlanMode::L3s, IpvlanFlag::Private));
    assert_eq!(text, "ip link add link up0 name eth0 type ipvlan mode l3s private");
    let (kind, data) = info(&link);
    assert_eq!(kind, InfoKind::IpVlan);
    let InfoData::IpVlan(data) = data else { panic!("{data:?}") };
    assert_eq!(format!("{data:?}").to_lowercase(), "[mode(l3s), flags(ipvlanflags(private))]");
}

#[test]
fn addresses_have_their_broadcast_where_there_is_one() {
    let table =
        [("10.0.0.2/24", Some("10.0.0.255")), ("198.18.0.1/31", None), ("fd00::2/64", None)];
    for (text, broadcast) in table {
        let address = Address { link: 5, address: text.parse().unwrap() };
        let RouteNetlinkMessage::NewAddress(message) = read(&address.add("eth0")) else {
            panic!("{text}")
        };
        assert_eq!(message.header.index, 5, "{text}");
        let (ip, prefix) = text.split_once('/').unwrap();
        assert_eq!(message.header.prefix_len.to_string(), prefix);
        let ip: IpAddr = ip.parse().unwrap();
        assert!(message.attributes.contains(&AddressAttribute::Address(ip)), "{text}");
        let found = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Broadcast(address) => Some(address.to_string()),
            _ => None,
        });
        assert_eq!(found.as_deref(), broadcast, "{text}");
    }
}

#[test]
fn a_default_route_has_a_gateway_and_nothing_else() {
    let gateway = RouteAddress::Inet([10, 0, 0, 1].into());
    let RouteNetlinkMessage::NewRoute(route) = read(&Route::add_default([10, 0, 0, 1].into()))
    else {
        panic!("a route");
    };
    assert_eq!(route.header.destination_prefix_length, 0);
    assert_eq!(route.attributes, [RouteAttribute::Gateway(gateway)]);
}

#[test]
fn requests_are_written_as_one_would_type_them() {
    let table = [
        (Link::up("eth0"), "ip link set eth0 up"),
        (Link::delete("ve0"), "ip link del ve0"),
        (Route::add_default([10, 0, 0, 1].into()), "ip route add default via 10.0.0.1"),
        (
            Address { link: 5, address: "10.0.0.2/24".parse().unwrap() }.add("eth0"),
            "ip addr add 10.0.0.2/24 dev eth0",
        ),
    ];
    for (message, text) in table {
        assert_eq!(message.request(), text);
    }
}
