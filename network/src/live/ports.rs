//! Published ports, from the reservation to the last byte.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, Shutdown, UdpSocket};
use std::thread;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::networks::host_links;
use super::*;
use crate::firewall::HostTable;
use crate::publish::{HostPort, Protocol, Publish, PublishError, Reserved, Target, reserve};

pub(super) fn publish(host_port: HostPort, protocol: Protocol) -> Publish {
    Publish { host_ip: None, host_port, target: 80, protocol }
}

fn reserve_one(host_port: HostPort, protocol: Protocol) -> Reserved {
    reserve(&[publish(host_port, protocol)]).unwrap().remove(0)
}

/// The event loop of a supervisor, for a test.
fn event_loop<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_port_in_use_names_the_holder_and_nothing_stays_bound() {
    on_a_host(|_| {
        let _holder = TcpListener::bind("127.0.0.1:8081").unwrap();
        let wanted = [8080, 8081].map(|port| publish(HostPort::Fixed(port), Protocol::Tcp));
        let error = reserve(&wanted).unwrap_err();
        let pid = std::process::id();
        let message = error.to_string();
        assert!(message.starts_with("0.0.0.0:8081/tcp is already in use by "), "{message}");
        assert!(message.ends_with(&format!("(pid {pid})")), "{message}");
        TcpListener::bind("0.0.0.0:8080").unwrap();
    });
}

#[test]
fn ports_are_chosen_as_asked() {
    on_a_host(|_| {
        let _holder = UdpSocket::bind("0.0.0.0:8000").unwrap();
        let range = HostPort::Range { first: 8000, last: 8001 };
        let first = reserve_one(range, Protocol::Udp);
        assert_eq!(first.port(), 8001);
        let error = reserve(&[publish(range, Protocol::Udp)]).unwrap_err();
        assert_eq!(error.to_string(), "no port from 8000 to 8001 of 0.0.0.0 is free for udp");
        // The other protocol is another port.
        assert_eq!(reserve_one(range, Protocol::Tcp).port(), 8000);

        let any = reserve_one(HostPort::Ephemeral, Protocol::Tcp);
        let addresses = any.addresses();
        assert_eq!(addresses.len(), 2);
        assert!(addresses.iter().all(|address| address.port() == any.port() && any.port() != 0));

        let nowhere = Publish {
            host_ip: "203.0.113.7".parse().ok(),
            ..publish(HostPort::Fixed(1), Protocol::Tcp)
        };
        let error = reserve(&[nowhere]).unwrap_err();
        assert!(matches!(error, PublishError::NoSuchAddress { .. }), "{error}");
    });
}

#[test]
fn listeners_are_handed_on() {
    on_a_host(|_| {
        let first = reserve_one(HostPort::Fixed(8080), Protocol::Tcp);
        let kept: Vec<_> = first.descriptors().map(|fd| fd.try_clone_to_owned().unwrap()).collect();
        let (publish, port) = (first.publish().clone(), first.port());
        drop(first);
        assert_eq!(Reserved::adopt(publish.clone(), kept).unwrap().port(), port);
        assert!(Reserved::adopt(publish, vec![]).is_err());
        reserve_one(HostPort::Fixed(8080), Protocol::Tcp);
    });
}

/// Echoes what comes in on each connection, and says goodbye after the end.
fn echo(listener: TcpListener, connections: usize) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().unwrap();
            thread::spawn(move || {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                stream.write_all(&all).unwrap();
                stream.write_all(b"goodbye").unwrap();
            });
        }
    })
}

async fn ask(to: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = tokio::net::TcpStream::connect(to).await?;
    stream.write_all(question).await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

#[test]
fn a_connection_is_relayed_with_its_half_close() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let (web, address) = container(&network, "web");
        let _echo = echo(listen(&web, "0.0.0.0:80"), 3);
        event_loop(async {
            let reserved = reserve_one(HostPort::Fixed(8080), Protocol::Tcp);
            let served = reserved.serve(Target::new(&network, [address.into()]).ok()).unwrap();
            let large = vec![7; 3 << 20];
            for ip in [IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into(), HOST.into()] {
                let answer = ask((ip, served.port()).into(), &large).await.unwrap();
                assert_eq!(answer.len(), large.len() + 7, "{ip}");
                assert!(answer.ends_with(b"goodbye"));
            }
            drop(served);
            tokio::task::yield_now().await;
            assert!(ask((HOST, 8080).into(), b"").await.is_err());
        });
    });
}

#[test]
fn a_connection_waits_while_its_container_is_replaced() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let (old, address) = container(&network, "web");
        event_loop(async {
            let reserved = reserve_one(HostPort::Fixed(8080), Protocol::Tcp);
            let served = reserved.serve(Target::new(&network, [address.into()]).ok()).unwrap();
            // Nothing listens in the container: the client is told.
            assert!(ask((HOST, 8080).into(), b"x").await.is_err());
            served.retarget(None);
            drop(old);
            let waiting = tokio::spawn(ask((HOST, 8080).into(), b"hello "));
            tokio::task::yield_now().await;
            let (new, address) = container(&network, "web-2");
            let _echo = echo(listen(&new, "0.0.0.0:80"), 1);
            served.retarget(Target::new(&network, [address.into()]).ok());
            assert_eq!(waiting.await.unwrap().unwrap(), b"hello goodbye");
        });
    });
}

#[test]
fn a_connection_to_a_container_that_is_gone_does_not_hold_its_network() {
    on_a_host(|host| {
        let before = host_links();
        let network = host.network("shop_default");
        let (web, address) = container(&network, "web");
        let listener = listen(&web, "0.0.0.0:80");
        event_loop(async {
            let reserved = reserve_one(HostPort::Fixed(8080), Protocol::Tcp);
            let served = reserved.serve(Target::new(&network, [address.into()]).ok()).unwrap();
            let _client = tokio::net::TcpStream::connect((HOST, 8080)).await.unwrap();
            let accepted = tokio::task::spawn_blocking(move || listener.accept());
            let _accepted = accepted.await.unwrap().unwrap();
            // Whatever is said to it now has no answer.
            let mut link = inside(&web, RouteSocket::open).unwrap();
            link.batch(&[Link::delete("eth0")]).unwrap();
            served.close().await;
        });
        let name = network.name().clone();
        drop(network);
        host.store.remove(&name).unwrap();
        wait_until("the uplink goes", || host_links() == before);
    });
}

#[test]
fn hundreds_of_connections_are_served_side_by_side() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let (web, address) = container(&network, "web");
        let listener = listen(&web, "0.0.0.0:80");
        let count = 300;
        let _server = thread::spawn(move || {
            let streams: Vec<TcpStream> =
                (0..count).map(|_| listener.accept().unwrap().0).collect();
            // Answers once all are there, the last first: nobody waits for another.
            for mut stream in streams.into_iter().rev() {
                stream.write_all(b"hello").unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            }
        });
        event_loop(async {
            let reserved = reserve_one(HostPort::Fixed(8080), Protocol::Tcp);
            let _served = reserved.serve(Target::new(&network, [address.into()]).ok()).unwrap();
            let start = Instant::now();
            let clients: Vec<_> =
                (0..count).map(|_| tokio::spawn(ask((HOST, 8080).into(), b""))).collect();
            for client in clients {
                assert_eq!(client.await.unwrap().unwrap(), b"hello");
            }
            println!("{count} connections at once: {:?}", start.elapsed());
        });
    });
}

#[test]
fn bytes_are_relayed_fast() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let (web, address) = container(&network, "web");
        let listener = listen(&web, "0.0.0.0:80");
        let size = 256 << 20;
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let chunk = vec![0; 1 << 20];
            for _ in 0..size / chunk.len() {
                stream.write_all(&chunk).unwrap();
            }
        });
        let client = |port: u16| {
            let home = sys::namespace::current_network().unwrap();
            thread::spawn(move || {
                let mut stream = connect(home, (HOST, port)).unwrap();
                let (mut buffer, mut total) = (vec![0; 1 << 20], 0);
                loop {
                    match stream.read(&mut buffer).unwrap() {
                        0 => return total,
                        read => total += read,
                    }
                }
            })
        };
        event_loop(async {
            let reserved = reserve_one(HostPort::Fixed(8080), Protocol::Tcp);
            let served = reserved.serve(Target::new(&network, [address.into()]).ok()).unwrap();
            let start = Instant::now();
            let client = client(served.port());
            let total = tokio::task::spawn_blocking(|| client.join().unwrap()).await.unwrap();
            assert_eq!(total, size);
            let rate = size as f64 / start.elapsed().as_secs_f64() / 1e9;
            println!("relay: {rate:.2} GB/s");
        });
        server.join().unwrap();
    });
}

#[test]
fn datagrams_find_their_way_back() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let (dns, address) = container(&network, "dns");
        let server = inside(&dns, || UdpSocket::bind("0.0.0.0:80")).unwrap();
        let answers = thread::spawn(move || {
            let mut buffer = [0; 100];
            for _ in 0..4 {
                let (length, from) = server.recv_from(&mut buffer).unwrap();
                server.send_to(&buffer[..length], from).unwrap();
            }
        });
        let outside = inside(&host.outside, || UdpSocket::bind("0.0.0.0:0")).unwrap();
        let clients = [
            (UdpSocket::bind("127.0.0.1:0").unwrap(), IpAddr::from([127, 0, 0, 1])),
            // Another of the host's addresses: the answer has to come from there.
            (UdpSocket::bind("127.0.0.1:0").unwrap(), IpAddr::from([127, 0, 0, 9])),
            (UdpSocket::bind("[::1]:0").unwrap(), Ipv6Addr::LOCALHOST.into()),
            (outside, HOST.into()),
        ];
        event_loop(async {
            let reserved = reserve_one(HostPort::Fixed(5300), Protocol::Udp);
            let _served = reserved.serve(Target::new(&network, [address.into()]).ok()).unwrap();
            for (client, ip) in clients {
                client.connect((ip, 5300)).unwrap();
                client.send(b"question").unwrap();
                client.set_nonblocking(true).unwrap();
                let client = tokio::net::UdpSocket::from_std(client).unwrap();
                let mut buffer = [0; 100];
                let answer =
                    tokio::time::timeout(Duration::from_secs(2), client.recv(&mut buffer)).await;
                assert_eq!(answer.unwrap_or_else(|_| panic!("no answer by {ip}")).unwrap(), 8);
            }
        });
        answers.join().unwrap();
    });
}

#[test]
fn the_kernel_carries_what_comes_from_other_machines() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let (web, address) = container(&network, "web");
        let (other, _) = container(&host.network("other"), "other");
        let listener = listen(&web, "0.0.0.0:80");
        let datagrams = inside(&web, || UdpSocket::bind("0.0.0.0:80")).unwrap();
        let peer = |listener: &TcpListener| listener.accept().unwrap().1.ip();
        let ports = || HostTable::open(Family::V4).unwrap().contents().unwrap().1;
        event_loop(async {
            let target = || {
                Target::new(&network, [address.into()])
                    .unwrap()
                    .by_kernel(&network, WayOut::BOTH)
                    .ok()
            };
            let start = Instant::now();
            let tcp = reserve_one(HostPort::Fixed(8080), Protocol::Tcp).serve(target()).unwrap();
            println!("a port with its kernel path: {:?}", start.elapsed());
            let udp = reserve_one(HostPort::Fixed(8080), Protocol::Udp).serve(target()).unwrap();

            // Nobody drives the event loop here: only the kernel can have carried these.
            connect(&host.outside, (HOST, 8080)).unwrap();
            assert_eq!(peer(&listener), OUTSIDE, "the container sees who asks");
            let asker = inside(&host.outside, || UdpSocket::bind("0.0.0.0:0")).unwrap();
            asker.connect((HOST, 8080)).unwrap();
            asker.send(b"question").unwrap();
            let mut buffer = [0; 10];
            let (length, from) = datagrams.recv_from(&mut buffer).unwrap();
            assert_eq!(from.ip(), OUTSIDE);
            datagrams.send_to(&buffer[..length], from).unwrap();
            assert_eq!(asker.recv(&mut buffer).unwrap(), 8);

            // The host itself, and a container of another network, are served by the relay.
            let gateway = IpAddr::V4(network.record().gateway.unwrap());
            for from in [&sys::namespace::current_network().unwrap(), &OwnedFd::from(other)] {
                let from = from.try_clone().unwrap();
                let client = tokio::task::spawn_blocking(|| connect(from, (HOST, 8080)).unwrap());
                let _stream = client.await.unwrap();
                listener.set_nonblocking(true).unwrap();
                let accepted = loop {
                    match listener.accept() {
                        Ok((_, peer)) => break peer.ip(),
                        Err(_) => tokio::task::yield_now().await,
                    }
                };
                assert_eq!(accepted, gateway);
                listener.set_nonblocking(false).unwrap();
            }
            assert_eq!(ports(), [8080, 8080]);
            tcp.retarget(None);
            assert_eq!(ports(), [8080]);
            tcp.retarget(target());
            assert_eq!(ports(), [8080, 8080]);
            drop(tcp);
            assert_eq!(ports(), [8080]);
            // A supervisor that was killed withdraws nothing; removing the network does.
            std::mem::forget(udp);
        });
        network.forget("web").unwrap();
        drop((network, web));
        host.store.remove(&"shop_default".parse().unwrap()).unwrap();
        assert!(ports().is_empty());
    });
}

/// Opens, reads and closes connections from `namespace`, `count` on each of four threads.
fn hammer(namespace: &OwnedFd, count: usize) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                inside(namespace, || {
                    for _ in 0..count {
                        let mut answer = Vec::new();
                        TcpStream::connect((HOST, 8080)).unwrap().read_to_end(&mut answer).unwrap();
                        assert_eq!(answer, b"hello");
                    }
                });
            });
        }
    });
}

#[test]
fn many_short_connections_are_served_either_way() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let (web, address) = container(&network, "web");
        let listener = listen(&web, "0.0.0.0:80");
        let _server = thread::spawn(move || {
            for stream in listener.incoming() {
                stream.unwrap().write_all(b"hello").unwrap();
            }
        });
        let ways = [
            ("relay", sys::namespace::current_network().unwrap()),
            ("kernel", host.outside.try_clone().unwrap()),
        ];
        event_loop(async {
            let target = Target::new(&network, [address.into()])
                .unwrap()
                .by_kernel(&network, WayOut::BOTH)
                .ok();
            let _served = reserve_one(HostPort::Fixed(8080), Protocol::Tcp).serve(target).unwrap();
            for (way, from) in ways {
                let start = Instant::now();
                tokio::task::spawn_blocking(move || hammer(&from, 250)).await.unwrap();
                println!("{way}: {:.0} connections/s", 1000.0 / start.elapsed().as_secs_f64());
            }
        });
    });
}
