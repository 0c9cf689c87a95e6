//! Networks that are made otherwise than most: options of the bridge, links on links, settings of an interface.

use super::*;
use crate::endpoint::Endpoint;
use crate::{
    Bridge, ChildKind, Driver, IpvlanFlag, IpvlanMode, MacvlanMode, MemberError, StoreError,
};

fn attach(network: &Network, wish: &EndpointWish) -> (Sandbox, Endpoint) {
    let sandbox = Sandbox::create().unwrap();
    let endpoint = network.attach(&sandbox, wish, WayOut::BOTH).unwrap();
    (sandbox, endpoint)
}

fn with(driver: Driver) -> Wanted {
    Wanted { driver, ..wanted("shop_default") }
}

/// A part of the network behind `eth0`, for members that are on it.
fn beside_the_host(driver: Driver) -> Wanted {
    let subnet = |subnet: &str, range: &str, gateway: std::net::IpAddr| crate::SubnetWish {
        subnet: subnet.parse().unwrap(),
        gateway: Some(gateway),
        ip_range: range.parse().ok(),
        aux_addresses: Default::default(),
    };
    let subnets = vec![
        subnet("192.0.2.0/24", "192.0.2.128/25", OUTSIDE.into()),
        subnet("2001:db8::/64", "2001:db8::100/120", OUTSIDE_SIX.into()),
    ];
    Wanted { subnets, ..with(driver) }
}

fn address(endpoint: &Endpoint) -> Ipv4Addr {
    endpoint.address.unwrap().address()
}

#[test]
fn members_that_are_kept_apart_reach_the_outside_only() {
    on_a_host(|host| {
        let driver = Driver::Bridge(Bridge { isolates: true, ..Bridge::default() });
        let network = host.store.create(&with(driver)).unwrap();
        let (web, _) = attach(&network, &wish("web"));
        let (db, of_db) = attach(&network, &wish("db"));
        let _listener = listen(&db, "0.0.0.0:80");
        assert!(connect(&web, (address(&of_db), 80)).is_err());
        let listener = listen(&host.outside, "0.0.0.0:80");
        connect(&web, (OUTSIDE, 80)).unwrap();
        listener.accept().unwrap();
        inside(network.namespace(), || TcpStream::connect((address(&of_db), 80))).unwrap();
    });
}

#[test]
fn a_network_has_the_name_on_the_host_that_it_was_given() {
    on_a_host(|host| {
        let host_name = Some("br-shop".parse().unwrap());
        let wanted = with(Driver::Bridge(Bridge { host_name, ..Bridge::default() }));
        let is_there = || {
            let links = RouteSocket::open().unwrap().links().unwrap();
            links.iter().any(|link| link.name == "br-shop")
        };
        for _ in 0..3 {
            let network = host.store.create(&wanted).unwrap();
            assert!(is_there());
            let (web, _) = container(&network, "web");
            let listener = listen(&host.outside, "0.0.0.0:80");
            connect(&web, (OUTSIDE, 80)).unwrap();
            listener.accept().unwrap();
            network.forget("web").unwrap();
            drop(web);
            // The namespace is held, and the name is free all the same.
            host.store.remove(network.name()).unwrap_or_else(|error| match error {
                StoreError::InUse { .. } => {
                    wait_until("the member goes", || network.members().unwrap().is_empty());
                    host.store.remove(network.name()).unwrap();
                }
                error => panic!("{error}"),
            });
            assert!(!is_there());
        }
    });
}

#[test]
fn members_that_are_not_masqueraded_are_seen_as_they_are() {
    on_a_host(|host| {
        let driver = Driver::Bridge(Bridge { exposes: true, ..Bridge::default() });
        let network = host.store.create(&Wanted { ipv6: true, ..with(driver) }).unwrap();
        let (web, of_web) = attach(&network, &wish("web"));
        let mut outside = inside(&host.outside, RouteSocket::open).unwrap();
        let back = [Route::add_default(HOST.into()), Route::add_default(HOST_SIX.into())];
        outside.batch(&back).unwrap();
        for (listener, to) in [
            (listen(&host.outside, "0.0.0.0:80"), SocketAddr::from((OUTSIDE, 80))),
            (listen(&host.outside, "[::]:81"), (OUTSIDE_SIX, 81).into()),
        ] {
            connect(&web, to).unwrap();
            let peer = listener.accept().unwrap().1.ip();
            assert!(of_web.addresses().any(|address| address == peer), "{peer}");
        }
    });
}

#[test]
fn members_of_a_macvlan_are_beside_the_host() {
    on_a_host(|host| {
        let kind = ChildKind::Macvlan(MacvlanMode::Bridge);
        let parent = Some("eth0".parse().unwrap());
        let network = host.store.create(&beside_the_host(Driver::Child { parent, kind })).unwrap();
        let mac = Some("02:00:00:00:00:17".parse().unwrap());
        let (web, of_web) = attach(&network, &EndpointWish { mac, ..wish("web") });
        let (db, of_db) = attach(&network, &wish("db"));
        let listener = listen(&db, "[::]:80");
        connect(&web, (address(&of_db), 80)).unwrap();
        connect(&web, (of_db.ipv6.unwrap().address(), 80)).unwrap();
        listener.accept().unwrap();
        for (listener, to) in [
            (listen(&host.outside, "0.0.0.0:80"), SocketAddr::from((OUTSIDE, 80))),
            (listen(&host.outside, "[::]:81"), (OUTSIDE_SIX, 81).into()),
        ] {
            connect(&web, to).unwrap();
            let peer = listener.accept().unwrap().1.ip();
            assert!(of_web.addresses().any(|address| address == peer), "{peer}");
        }
        let open = listen(&web, "0.0.0.0:80");
        connect(&host.outside, (address(&of_web), 80)).unwrap();
        let seen = inside(&web, || std::fs::read_to_string("/proc/thread-self/net/route")).unwrap();
        assert!(seen.contains("eth0"), "{seen}");

        assert_eq!(network.members().unwrap().len(), 2);
        host.store.remove(network.name()).unwrap_err();
        network.detach(&db, &of_db).unwrap();
        network.detach(&db, &of_db).unwrap();
        assert_eq!(network.members().unwrap().len(), 1);
        // Back again, and gone without a word, with all that is open in them.
        network.attach(&db, &wish("db"), WayOut::BOTH).unwrap();
        drop((web, db, open, listener));
        wait_until("they are missed", || network.members().unwrap().is_empty());
        host.store.remove(network.name()).unwrap();
    });
}

#[test]
fn a_macvlan_without_a_parent_is_of_its_members_alone() {
    on_a_host(|host| {
        for (mode, together) in [(MacvlanMode::Bridge, true), (MacvlanMode::Private, false)] {
            let kind = ChildKind::Macvlan(mode);
            let name = format!("{mode:?}").to_lowercase();
            let driver = Driver::Child { parent: None, kind };
            let wanted = Wanted { name: name.parse().unwrap(), ipv6: true, ..with(driver) };
            let network = host.store.create(&wanted).unwrap();
            let again = host.store.create(&wanted).unwrap();
            assert_eq!(again.record(), network.record());
            let (web, _) = attach(&network, &wish("web"));
            let (db, of_db) = attach(&network, &wish("db"));
            let _listener = listen(&db, "[::]:80");
            for to in of_db.addresses() {
                assert_eq!(connect(&web, (to, 80)).is_ok(), together, "{mode:?} {to}");
            }
            let error = connect(&web, (OUTSIDE, 80)).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable);
        }
    });
}

#[test]
fn a_parent_that_is_missing_is_told() {
    on_a_host(|host| {
        let kind = ChildKind::Macvlan(MacvlanMode::Bridge);
        let parent = Some("eth7".parse().unwrap());
        let error = host.store.create(&with(Driver::Child { parent, kind })).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "there is no link eth7 on this host");
    });
}

/// Some kernels are built without: then it is said when the network is made.
#[test]
fn members_of_an_ipvlan_share_the_address_of_the_link() {
    on_a_host(|host| {
        for mode in [IpvlanMode::L2, IpvlanMode::L3, IpvlanMode::L3s] {
            let kind = ChildKind::Ipvlan(mode, IpvlanFlag::Bridge);
            let driver = Driver::Child { parent: Some("eth0".parse().unwrap()), kind };
            let network = match host.store.create(&beside_the_host(driver)) {
                Ok(network) => network,
                Err(error) => {
                    let mut text = String::new();
                    let mut next: Option<&dyn std::error::Error> = Some(&error);
                    while let Some(error) = next {
                        text += &format!("{error}: ");
                        next = error.source();
                    }
                    assert!(text.contains("type ipvlan mode"), "{text}");
                    assert!(text.contains("not supported"), "{text}");
                    return;
                }
            };
            let (web, of_web) = attach(&network, &wish("web"));
            let (db, of_db) = attach(&network, &wish("db"));
            let inside_listener = listen(&db, "0.0.0.0:80");
            connect(&web, (address(&of_db), 80)).unwrap();
            inside_listener.accept().unwrap();
            let listener = listen(&host.outside, "0.0.0.0:80");
            connect(&web, (OUTSIDE, 80)).unwrap();
            assert_eq!(listener.accept().unwrap().1.ip(), address(&of_web));
            drop((web, db, inside_listener));
            wait_until("they are missed", || network.members().unwrap().is_empty());
            host.store.remove(network.name()).unwrap();
        }
    });
}

#[test]
fn an_interface_has_its_own_settings_and_addresses() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let wanted = |name: &str, last: u8| EndpointWish {
            interface: "lan.1".parse().unwrap(),
            link_local: vec![
                [169, 254, 8, last].into(),
                Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 8, last.into()).into(),
            ],
            settings: vec![setting("net.ipv4.conf.IFNAME.log_martians", "1")],
            ..wish(name)
        };
        let (web, _) = attach(&network, &wanted("web", 1));
        let (db, _) = attach(&network, &wanted("db", 2));
        let read =
            inside(&web, || std::fs::read_to_string("/proc/sys/net/ipv4/conf/lan.1/log_martians"));
        assert_eq!(read.unwrap().trim(), "1");
        let listener = listen(&db, "[::]:80");
        connect(&web, (Ipv4Addr::new(169, 254, 8, 2), 80)).unwrap();
        listener.accept().unwrap();
        let link = inside(&web, || RouteSocket::open().unwrap().link("lan.1").unwrap().index);
        let there = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 8, 2);
        connect(&web, std::net::SocketAddrV6::new(there, 80, 0, link)).unwrap();
        let wrong = EndpointWish {
            settings: vec![setting("net.ipv4.conf.IFNAME.nothing", "1")],
            ..wish("c")
        };
        let sandbox = Sandbox::create().unwrap();
        let error = network.attach(&sandbox, &wrong, WayOut::BOTH).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "sysctl -w net.ipv4.conf.eth0.nothing=\"1\"");
        assert!(matches!(
            network.detach(&sandbox, &attach(&network, &wish("c")).1),
            Ok(()) | Err(MemberError::Netlink(_))
        ));
    });
}
