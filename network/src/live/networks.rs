//! Networks, from creation to removal.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use super::*;
use crate::StoreError;
use crate::firewall::HostTable;

fn link_names(namespace: impl AsFd) -> Vec<String> {
    let links = inside(namespace, || RouteSocket::open().unwrap().links().unwrap());
    links.into_iter().map(|link| link.name).collect()
}

pub(super) fn host_links() -> Vec<String> {
    link_names(sys::namespace::current_network().unwrap())
}

/// A request that is lost is repeated after a second: all of three are not as late by chance.
#[test]
fn the_first_packet_to_a_member_is_not_lost() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let (web, _) = container(&network, "web");
        let took = ["one", "two", "three"].map(|name| {
            let (other, address) = container(&network, name);
            let _listener = listen(&other, "0.0.0.0:5432");
            let start = Instant::now();
            connect(&web, (address, 5432)).unwrap();
            start.elapsed()
        });
        assert!(took.iter().min() < Some(&Duration::from_millis(500)), "{took:?}");
    });
}

#[test]
fn members_reach_each_other_and_the_outside() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let (web, web_address) = container(&network, "web");
        let (db, db_address) = container(&network, "db");
        assert_ne!(web_address, db_address);

        let listener = listen(&db, "0.0.0.0:5432");
        let mut there = connect(&web, (db_address, 5432)).unwrap();
        let (mut here, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), web_address);
        there.write_all(b"hello").unwrap();
        let mut buffer = [0; 5];
        here.read_exact(&mut buffer).unwrap();

        let listener = listen(&host.outside, "0.0.0.0:80");
        connect(&web, (OUTSIDE, 80)).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), HOST, "leaves with the address of the host");

        let listener = TcpListener::bind("0.0.0.0:81").unwrap();
        connect(&web, (network.host_address(Family::V4).unwrap().unwrap(), 81)).unwrap();
        listener.accept().unwrap();
    });
}

#[test]
fn networks_are_apart_from_each_other_and_from_outside() {
    on_a_host(|host| {
        let (front, back) = (host.network("front"), host.network("back"));
        assert!(!front.record().subnet.unwrap().overlaps(back.record().subnet.unwrap()));
        let (web, _) = container(&front, "web");
        let (db, db_address) = container(&back, "db");
        let _listener = listen(&db, "0.0.0.0:5432");
        assert!(connect(&web, (db_address, 5432)).is_err());
        // Not even with a route to the network, the host lets nobody in who was not asked for.
        let mut outside = inside(&host.outside, RouteSocket::open).unwrap();
        outside.batch(&[Route::add_default(HOST.into())]).unwrap();
        assert!(connect(&host.outside, (db_address, 5432)).is_err());
    });
}

#[test]
fn two_networks_may_have_the_same_subnet() {
    on_a_host(|host| {
        let subnet = crate::SubnetWish {
            subnet: "172.20.0.0/24".parse().unwrap(),
            gateway: None,
            ip_range: None,
            aux_addresses: Default::default(),
        };
        for name in ["one", "two"] {
            let wanted = Wanted { subnets: vec![subnet.clone()], ..wanted(name) };
            let network = host.store.create(&wanted).unwrap();
            let (sandbox, address) = container(&network, "web");
            assert_eq!(address, Ipv4Addr::new(172, 20, 0, 2));
            let listener = listen(&host.outside, "0.0.0.0:80");
            connect(&sandbox, (OUTSIDE, 80)).unwrap();
            listener.accept().unwrap();
        }
    });
}

#[test]
fn an_internal_network_has_no_way_out() {
    on_a_host(|host| {
        let network = host.store.create(&Wanted { internal: true, ..wanted("quiet") }).unwrap();
        let (web, _) = container(&network, "web");
        let (db, db_address) = container(&network, "db");
        let _listener = listen(&db, "0.0.0.0:1");
        connect(&web, (db_address, 1)).unwrap();
        let error = connect(&web, (OUTSIDE, 80)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable);
        assert_eq!(host_links().len(), 2, "lo and eth0");
        host.store.remove(network.name()).unwrap_err();
    });
}

#[test]
fn creation_and_removal_are_idempotent_and_leave_nothing() {
    on_a_host(|host| {
        let before = host_links();
        let name = "shop_default".parse().unwrap();
        for _ in 0..2 {
            let first = host.network("shop_default");
            let again = host.network("shop_default");
            assert_eq!(first.record(), again.record());
            assert_eq!(link_names(first.namespace()), ["lo", "br0", "uplink"]);
            assert_eq!(host.store.list().unwrap().len(), 1);
            drop((first, again));
            host.store.remove(&name).unwrap();
            host.store.remove(&name).unwrap();
            assert!(host.store.find(&name).unwrap().is_none());
        }
        wait_until("the uplinks go with their namespaces", || host_links() == before);
        assert!(HostTable::open(Family::V4).unwrap().contents().unwrap().0.is_empty());
        let left = |folder| {
            std::fs::read_dir(folder)
                .unwrap()
                .flatten()
                .map(|entry| entry.file_name())
                .collect::<Vec<_>>()
        };
        assert!(left("/mnt/data").is_empty());
        assert!(left("/mnt/run").is_empty());
    });
}

#[test]
fn a_network_in_use_is_not_removed() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let (sandbox, _) = container(&network, "web");
        let error = host.store.remove(network.name()).unwrap_err();
        assert_eq!(error.to_string(), "network shop_default is in use by web");
        // A container that died unseen holds nothing.
        drop(sandbox);
        wait_until("its link goes", || network.members().unwrap().is_empty());
        host.store.remove(network.name()).unwrap();
    });
}

#[test]
fn a_broken_network_is_made_whole() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let record = network.record().clone();
        type Damage = fn(&Network);
        let breaks: [(&str, Damage); 4] = [
            ("after a reboot", |_| {
                rustix::mount::unmount(
                    "/mnt/run/shop_default.ns",
                    rustix::mount::UnmountFlags::DETACH,
                )
                .unwrap();
                std::fs::remove_file("/mnt/run/shop_default.ns").unwrap();
            }),
            ("killed before the mount", |_| {
                rustix::mount::unmount(
                    "/mnt/run/shop_default.ns",
                    rustix::mount::UnmountFlags::DETACH,
                )
                .unwrap();
            }),
            ("without its bridge", |network| {
                let mut route = inside(network.namespace(), RouteSocket::open).unwrap();
                route.batch(&[Link::delete("br0")]).unwrap();
            }),
            ("with the rules of the host flushed", |_| {
                let mut table = HostTable::open(Family::V4).unwrap();
                for uplink in table.contents().unwrap().0 {
                    table.delete_uplink(&uplink.parse().unwrap(), HOST.into()).unwrap();
                }
            }),
        ];
        for (case, damage) in breaks {
            damage(&host.network("shop_default"));
            let network = host.network("shop_default");
            assert_eq!(*network.record(), record, "{case}");
            let (web, _) = container(&network, "web");
            let listener = listen(&host.outside, "0.0.0.0:80");
            connect(&web, (OUTSIDE, 80)).unwrap_or_else(|error| panic!("{case}: {error}"));
            listener.accept().unwrap();
        }
    });
}

#[test]
fn another_definition_is_refused() {
    on_a_host(|host| {
        host.network("shop_default");
        let error =
            host.store.create(&Wanted { internal: true, ..wanted("shop_default") }).unwrap_err();
        assert_eq!(error.to_string(), "network shop_default exists with another `internal`");
        assert!(matches!(error, StoreError::Differs { .. }));
    });
}

#[test]
fn an_address_stays_with_its_service() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let (web, address) = container(&network, "web");
        let (_db, db_address) = container(&network, "db");
        network.forget("web").unwrap();
        drop(web);
        let (_, again) = container(&network, "web");
        assert_eq!(again, address);
        let fixed = EndpointWish { ipv4: Some(db_address), ..wish("cache") };
        let sandbox = Sandbox::create().unwrap();
        let error = network.attach(&sandbox, &fixed, WayOut::BOTH).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, format!("{db_address} is in use by db"));
    });
}

#[test]
fn a_container_is_on_several_networks() {
    on_a_host(|host| {
        let (front, back) = (host.network("front"), host.network("back"));
        let sandbox = Sandbox::create().unwrap();
        front.attach(&sandbox, &wish("web"), WayOut::BOTH).unwrap();
        let second = EndpointWish {
            interface: "eth1".parse().unwrap(),
            mac: Some("02:00:00:00:00:07".parse().unwrap()),
            ..wish("web")
        };
        let endpoint = back.attach(&sandbox, &second, WayOut::NONE).unwrap();
        assert_eq!(link_names(&sandbox), ["lo", "eth0", "eth1"]);
        let (db, _) = container(&back, "db");
        let listener = listen(&sandbox, "0.0.0.0:80");
        connect(&db, (endpoint.address.unwrap().address(), 80)).unwrap();
        listener.accept().unwrap();
        back.detach(&sandbox, &endpoint).unwrap();
        back.detach(&sandbox, &endpoint).unwrap();
        assert_eq!(link_names(&sandbox), ["lo", "eth0"]);
        assert_eq!(back.members().unwrap().len(), 1);
    });
}

#[test]
fn a_sandbox_has_the_settings_of_docker() {
    on_a_host(|_| {
        let sandbox = Sandbox::create().unwrap();
        let read = |name: &str| {
            inside(&sandbox, || std::fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap())
        };
        assert_eq!(read("ipv4/ip_unprivileged_port_start").trim(), "0");
        assert_eq!(read("ipv4/ping_group_range").trim(), "0\t2147483647");
        assert_eq!(link_names(&sandbox), ["lo"]);
        let listener = listen(&sandbox, "127.0.0.1:80");
        connect(&sandbox, listener.local_addr().unwrap()).unwrap();
    });
}

#[test]
fn a_network_of_fifty_goes_at_once() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let sandboxes: Vec<Sandbox> = (0..50).map(|_| Sandbox::create().unwrap()).collect();
        for (number, sandbox) in sandboxes.iter().enumerate() {
            network.attach(sandbox, &wish(&format!("web-{number}")), WayOut::BOTH).unwrap();
        }
        let members = network.members().unwrap();
        let addresses: BTreeSet<_> = members.iter().map(|one| one.endpoint.address).collect();
        assert_eq!(addresses.len(), 50);
        drop(sandboxes);
        for number in 0..50 {
            network.forget(&format!("web-{number}")).unwrap();
        }
        let name = network.name().clone();
        drop(network);
        host.store.remove(&name).unwrap();
    });
}
