//! IPv6: members, the way out, names' addresses, and published ports.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, UdpSocket};

use super::ports::publish;
use super::*;
use crate::StoreError;
use crate::endpoint::Endpoint;
use crate::firewall::HostTable;
use crate::publish::{HostPort, Protocol, Served, Target, reserve};

fn six(name: &str) -> Wanted {
    Wanted { ipv6: true, ..wanted(name) }
}

fn only_six(name: &str) -> Wanted {
    Wanted { ipv4: false, ..six(name) }
}

fn attach(network: &Network, name: &str) -> (Sandbox, Endpoint) {
    let sandbox = Sandbox::create().unwrap();
    let endpoint = network.attach(&sandbox, &wish(name), WayOut::BOTH).unwrap();
    (sandbox, endpoint)
}

fn address(endpoint: &Endpoint) -> Ipv6Addr {
    endpoint.ipv6.unwrap().address()
}

/// The addresses of ours that are of no use yet, since the kernel asks for others who have them (`IFA_F_TENTATIVE`);
/// those for the link only it gives itself, in its own time.
fn tentative(sandbox: &Sandbox) -> Vec<String> {
    let table =
        inside(sandbox, || std::fs::read_to_string("/proc/thread-self/net/if_inet6")).unwrap();
    let flags =
        |line: &str| u32::from_str_radix(line.split_whitespace().nth(4).unwrap(), 16).unwrap();
    table
        .lines()
        .filter(|line| !line.starts_with("fe80") && flags(line) & 0x40 != 0)
        .map(str::to_owned)
        .collect()
}

#[test]
fn members_reach_each_other_and_the_outside() {
    on_a_host(|host| {
        for wanted in [six("both"), only_six("six")] {
            let network = host.store.create(&wanted).unwrap();
            let (web, of_web) = attach(&network, "web");
            let (db, of_db) = attach(&network, "db");
            assert_eq!(of_web.address.is_some(), wanted.ipv4);
            assert_eq!(tentative(&web), Vec::<String>::new(), "looks for duplicates");
            let listener = listen(&db, "[::]:80");
            connect(&web, (address(&of_db), 80)).unwrap();
            assert_eq!(listener.accept().unwrap().1.ip(), IpAddr::from(address(&of_web)));

            let listener = listen(&host.outside, "[::]:80");
            connect(&web, (OUTSIDE_SIX, 80)).unwrap();
            let (_, peer) = listener.accept().unwrap();
            assert_eq!(peer.ip(), IpAddr::from(HOST_SIX), "leaves with the address of the host");

            let listener = TcpListener::bind("[::]:81").unwrap();
            let here = network.host_address(Family::V6).unwrap().unwrap();
            connect(&web, (here, 81)).unwrap();
            listener.accept().unwrap();
            let four = network.host_address(Family::V4).unwrap();
            assert_eq!(four.is_some(), wanted.ipv4, "only what a member can reach");
            assert_eq!(connect(&web, (OUTSIDE, 80)).is_ok(), wanted.ipv4);
        }
    });
}

#[test]
fn a_fixed_address_is_given_once() {
    on_a_host(|host| {
        let subnet = crate::SubnetWish {
            subnet: "fd00:7::/64".parse().unwrap(),
            gateway: "fd00:7::ff".parse().ok(),
            ip_range: "fd00:7::100/120".parse().ok(),
            aux_addresses: [("router".to_owned(), "fd00:7::100".parse().unwrap())].into(),
        };
        let wanted = Wanted { subnets: vec![subnet], ..wanted("six") };
        let network = host.store.create(&wanted).unwrap();
        let fixed = EndpointWish { ipv6: "fd00:7::9".parse().ok(), ..wish("db") };
        let sandbox = Sandbox::create().unwrap();
        let endpoint = network.attach(&sandbox, &fixed, WayOut::BOTH).unwrap();
        assert_eq!(endpoint.ipv6.unwrap().to_string(), "fd00:7::9/64");
        assert_eq!(endpoint.ipv6_gateway.unwrap().to_string(), "fd00:7::ff");
        let (_web, of_web) = attach(&network, "web");
        assert_eq!(address(&of_web).to_string(), "fd00:7::101");
        let again = EndpointWish { ipv6: fixed.ipv6, ..wish("cache") };
        let refusal = |wish: &EndpointWish| {
            let sandbox = Sandbox::create().unwrap();
            let error = network.attach(&sandbox, wish, WayOut::BOTH).unwrap_err();
            std::error::Error::source(&error).unwrap().to_string()
        };
        assert_eq!(refusal(&again), "fd00:7::9 is in use by db");
        let four = host.network("four");
        let error = four.lease(&again).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "fd00:7::9 is no address for it: the network has no IPv6");
    });
}

#[test]
fn an_internal_network_has_no_way_out() {
    on_a_host(|host| {
        let network = host.store.create(&Wanted { internal: true, ..six("back") }).unwrap();
        let (web, _) = attach(&network, "web");
        let (db, of_db) = attach(&network, "db");
        let _listener = listen(&db, "[::]:1");
        connect(&web, (address(&of_db), 1)).unwrap();
        let error = connect(&web, (OUTSIDE_SIX, 80)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable);
        assert_eq!(network.host_address(Family::V6).unwrap(), None);
    });
}

#[test]
fn networks_are_apart_from_each_other_and_from_outside() {
    on_a_host(|host| {
        let (front, back) = (host.store.create(&six("front")).unwrap(), six("back"));
        let back = host.store.create(&back).unwrap();
        let (web, _) = attach(&front, "web");
        let (db, of_db) = attach(&back, "db");
        let _listener = listen(&db, "[::]:80");
        assert!(connect(&web, (address(&of_db), 80)).is_err());
        let mut outside = inside(&host.outside, RouteSocket::open).unwrap();
        outside.batch(&[Route::add_default(HOST_SIX.into())]).unwrap();
        assert!(connect(&host.outside, (address(&of_db), 80)).is_err());
    });
}

#[test]
fn links_of_the_host_go_on_to_listen_to_their_routers() {
    on_a_host(|host| {
        let accepts = "/proc/sys/net/ipv6/conf/eth0/accept_ra";
        std::fs::write(accepts, "1").unwrap();
        host.network("four");
        let forwards =
            || std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/forwarding").unwrap();
        assert_eq!(forwards().trim(), "0", "IPv6 that nobody asked for changes nothing");
        host.store.create(&six("six")).unwrap();
        assert_eq!(forwards().trim(), "1");
        assert_eq!(std::fs::read_to_string(accepts).unwrap().trim(), "2");
    });
}

#[test]
fn a_kernel_without_ipv6_is_told() {
    on_a_host(|host| {
        let hidden = "/proc/sys/net/ipv6";
        mount("none", hidden, "tmpfs", MountFlags::empty(), None::<&std::ffi::CStr>).unwrap();
        let error = host.store.create(&six("six")).unwrap_err();
        assert!(matches!(error, StoreError::NoIpv6 { .. }), "{error}");
        assert!(host.store.list().unwrap().is_empty());
        let (web, _) = container(&host.network("four"), "web");
        let listener = listen(&host.outside, "0.0.0.0:80");
        connect(&web, (OUTSIDE, 80)).unwrap();
        listener.accept().unwrap();
    });
}

#[test]
fn the_way_out_moves_to_another_network() {
    on_a_host(|host| {
        let front = host.store.create(&six("front")).unwrap();
        let back = host.store.create(&six("back")).unwrap();
        let sandbox = Sandbox::create().unwrap();
        let first = front.attach(&sandbox, &wish("web"), WayOut::BOTH).unwrap();
        let second = EndpointWish { interface: "eth1".parse().unwrap(), ..wish("web") };
        let second = back.attach(&sandbox, &second, WayOut::BOTH).unwrap();
        let listener = listen(&host.outside, "[::]:80");
        let gets_out = |how: &str| {
            for to in [IpAddr::from(OUTSIDE_SIX), OUTSIDE.into()] {
                connect(&sandbox, (to, 80)).unwrap_or_else(|error| panic!("{how}, {to}: {error}"));
                listener.accept().unwrap();
            }
        };
        gets_out("by the second");
        back.detach(&sandbox, &second).unwrap();
        assert!(connect(&sandbox, (OUTSIDE_SIX, 80)).is_err(), "the route went with its link");
        front.lead_out(&sandbox, &first, WayOut::BOTH).unwrap();
        gets_out("by the first");
    });
}

fn serve(network: &Network, endpoint: &Endpoint, protocol: Protocol, port: u16) -> Served {
    let target = Target::new(network, endpoint.addresses()).unwrap();
    let target = target.by_kernel(network, WayOut::BOTH).unwrap();
    let wish = publish(HostPort::Fixed(port), protocol);
    reserve(&[wish]).unwrap().remove(0).serve(Some(target)).unwrap()
}

/// Asks from `namespace` on a thread of its own; the answer is who asked, as the server sees it.
async fn ask(namespace: &OwnedFd, to: SocketAddr) -> String {
    let namespace = namespace.try_clone().unwrap();
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = connect(namespace, to).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    asked.await.unwrap()
}

fn say_who(listener: TcpListener) {
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            stream.write_all(peer.ip().to_canonical().to_string().as_bytes()).unwrap();
        }
    });
}

#[test]
fn published_ports_lead_to_either_family() {
    on_a_host(|host| {
        let home = sys::namespace::current_network().unwrap();
        let both = host.store.create(&six("both")).unwrap();
        let only = host.store.create(&only_six("six")).unwrap();
        let (web, of_web) = attach(&both, "web");
        let (db, of_db) = attach(&only, "db");
        let (old, of_old) = attach(&both, "old");
        say_who(listen(&web, "[::]:80"));
        say_who(listen(&db, "[::]:80"));
        say_who(listen(&old, "0.0.0.0:80"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let _web = serve(&both, &of_web, Protocol::Tcp, 8080);
            let db = serve(&only, &of_db, Protocol::Tcp, 8081);
            let _old = serve(&both, &of_old, Protocol::Tcp, 8082);
            let gateway = both.record().ipv6.unwrap().address().to_string();
            let table = [
                // The host itself is relayed, in the family in which it asks.
                (&home, SocketAddr::from((Ipv6Addr::LOCALHOST, 8080)), gateway),
                (&home, (HOST, 8080).into(), both.record().gateway.unwrap().to_string()),
                // Others are carried by the kernel: the container sees who asks.
                (&host.outside, (HOST_SIX, 8080).into(), OUTSIDE_SIX.to_string()),
                (&host.outside, (HOST, 8080).into(), OUTSIDE.to_string()),
                // A container without IPv4 is found by it all the same.
                (&host.outside, (HOST_SIX, 8081).into(), OUTSIDE_SIX.to_string()),
                (&home, (HOST, 8081).into(), only.record().ipv6.unwrap().address().to_string()),
                // Who listens on IPv4 only is found by both.
                (
                    &home,
                    (Ipv6Addr::LOCALHOST, 8082).into(),
                    both.record().gateway.unwrap().to_string(),
                ),
            ];
            for (from, to, seen) in table {
                assert_eq!(ask(from, to).await, seen, "{to}");
            }
            let ports = |family| HostTable::open(family).unwrap().contents().unwrap().1;
            assert_eq!((ports(Family::V4).len(), ports(Family::V6).len()), (2, 3));
            db.retarget(None);
            assert_eq!(ports(Family::V6).len(), 2);
        });
    });
}

#[test]
fn datagrams_find_their_way_back() {
    on_a_host(|host| {
        let network = host.store.create(&only_six("six")).unwrap();
        let (dns, of_dns) = attach(&network, "dns");
        let server = inside(&dns, || UdpSocket::bind("[::]:80")).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 100];
            while let Ok((length, from)) = server.recv_from(&mut buffer) {
                server.send_to(&buffer[..length], from).unwrap();
            }
        });
        let outside = inside(&host.outside, || UdpSocket::bind("[::]:0")).unwrap();
        let clients = [
            (UdpSocket::bind("127.0.0.1:0").unwrap(), IpAddr::from([127, 0, 0, 1])),
            (UdpSocket::bind("[::1]:0").unwrap(), Ipv6Addr::LOCALHOST.into()),
            (outside, HOST_SIX.into()),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let _served = serve(&network, &of_dns, Protocol::Udp, 5300);
            for (client, ip) in clients {
                client.connect((ip, 5300)).unwrap();
                client.send(b"question").unwrap();
                client.set_nonblocking(true).unwrap();
                let client = tokio::net::UdpSocket::from_std(client).unwrap();
                let mut buffer = [0; 100];
                let answer =
                    tokio::time::timeout(Duration::from_secs(5), client.recv(&mut buffer)).await;
                assert_eq!(answer.unwrap_or_else(|_| panic!("no answer by {ip}")).unwrap(), 8);
            }
        });
    });
}

#[test]
fn removal_leaves_nothing() {
    on_a_host(|host| {
        let network = host.store.create(&six("six")).unwrap();
        let name = network.name().clone();
        drop(network);
        host.store.remove(&name).unwrap();
        for family in Family::ALL {
            assert!(HostTable::open(family).unwrap().contents().unwrap().0.is_empty());
        }
        wait_until("the uplink goes", || RouteSocket::open().unwrap().links().unwrap().len() == 2);
    });
}
