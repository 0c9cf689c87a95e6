//! Names, asked for from inside a container.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::thread;

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Name, Packet, QCLASS, Question, RCODE, ResourceRecord, TYPE};
use tokio::sync::watch;

use super::*;
use crate::dns::{Door, Names, Outside, SERVER, Server, Upstreams, Zone};

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut packet = Packet::new_query(id);
    let name = Name::new_unchecked(name);
    packet.questions.push(Question::new(name, TYPE::A.into(), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().unwrap()
}

/// Code and addresses of an answer.
fn read(answer: &[u8]) -> (RCODE, Vec<Ipv4Addr>) {
    let packet = Packet::parse(answer).unwrap();
    let addresses = packet.answers.iter().filter_map(|record| match record.rdata {
        RData::A(A { address }) => Some(Ipv4Addr::from_bits(address)),
        _ => None,
    });
    (packet.rcode(), addresses.collect())
}

fn ask_udp(sandbox: &Sandbox, name: &str) -> (RCODE, Vec<Ipv4Addr>) {
    let socket = inside(sandbox, || UdpSocket::bind("0.0.0.0:0")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.connect((SERVER, 53)).unwrap();
    socket.send(&question(7, name)).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    read(&buffer[..length])
}

fn ask_tcp(sandbox: &Sandbox, name: &str) -> (RCODE, Vec<Ipv4Addr>) {
    use std::io::{Read as _, Write as _};
    let mut stream = connect(sandbox, (SERVER, 53)).unwrap();
    let question = question(7, name);
    stream
        .write_all(&[&u16::try_from(question.len()).unwrap().to_be_bytes(), &question[..]].concat())
        .unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).unwrap();
    read(&answer)
}

/// A server that knows `example.org` as 203.0.113.1 and fails for everything else.
fn upstream(socket: UdpSocket) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let query = Packet::parse(&buffer[..length]).unwrap();
            let name = query.questions[0].qname.clone();
            let mut answer = query.clone().into_reply();
            if name.to_string() == "example.org" {
                let address = A { address: Ipv4Addr::new(203, 0, 113, 1).to_bits() };
                answer.answers.push(ResourceRecord::new(name, CLASS::IN, 60, RData::A(address)));
            } else {
                *answer.rcode_mut() = RCODE::NameError;
            }
            socket.send_to(&answer.build_bytes_vec().unwrap(), from).unwrap();
        }
    });
}

fn zone(network: &Network, outside: Outside) -> Zone {
    let names = Names::new(network.name().as_str(), &network.members().unwrap());
    Zone::new(vec![Arc::new(names)], BTreeMap::new(), outside)
}

/// Runs `questions` on a thread of its own while the server of `sandbox` answers.
fn serving(
    server: Server,
    zone: Zone,
    upstreams: Vec<SocketAddr>,
    questions: impl FnOnce(watch::Sender<Zone>) + Send + 'static,
) {
    let (sender, receiver) = watch::channel(zone);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let running = tokio::spawn(server.run(receiver, Arc::new(Upstreams::fixed(upstreams))));
        tokio::task::spawn_blocking(|| questions(sender)).await.unwrap();
        // Without a sender of zones the server ends by itself.
        running.await.unwrap().unwrap();
    });
}

#[test]
fn a_container_finds_the_others_and_the_world() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let (web, _) = container(&network, "web");
        let (_db, db_address) = container(&network, "db");
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let knowing = UdpSocket::bind("127.0.0.1:0").unwrap();
        let servers = [&silent, &knowing].map(|socket| socket.local_addr().unwrap());
        upstream(knowing);
        let server = Server::bind(&web, Door::Direct).unwrap();
        let (before, name) = (zone(&network, Outside::Asked), network.name().to_string());
        let (cache, cache_address) = container(&network, "cache");
        let after = zone(&network, Outside::Asked);
        serving(server, before, servers.to_vec(), move |zones| {
            assert_eq!(ask_udp(&web, "DB"), (RCODE::NoError, vec![db_address]));
            assert_eq!(ask_tcp(&web, &format!("db.{name}")), (RCODE::NoError, vec![db_address]));
            // By way of the second server, since the first says nothing.
            let world = vec![Ipv4Addr::new(203, 0, 113, 1)];
            assert_eq!(ask_udp(&web, "example.org"), (RCODE::NoError, world));
            zones.send_replace(after);
            assert_eq!(ask_udp(&web, "cache"), (RCODE::NoError, vec![cache_address]));
            let start = Instant::now();
            for _ in 0..1000 {
                ask_udp(&web, "db");
            }
            println!("a name: {:?}", start.elapsed() / 1000);
            drop((zones, cache));
        });
    });
}

#[test]
fn nobody_to_ask_is_a_failure_and_internal_is_unknown() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let (web, _) = container(&network, "web");
        let server = Server::bind(&web, Door::Direct).unwrap();
        let (outside, internal) =
            (zone(&network, Outside::Asked), zone(&network, Outside::Unknown));
        let closed = SocketAddr::from((IpAddr::from([127, 0, 0, 1]), 9));
        serving(server, outside, vec![closed], move |zones| {
            assert_eq!(ask_udp(&web, "example.org").0, RCODE::ServerFailure);
            assert_eq!(ask_tcp(&web, "example.org").0, RCODE::ServerFailure);
            zones.send_replace(internal);
            assert_eq!(ask_udp(&web, "example.org").0, RCODE::NameError);
        });
    });
}

#[test]
fn a_container_may_have_port_53_for_itself() {
    on_a_host(|host| {
        let network = host.network("shop_default");
        let (dns, address) = container(&network, "dns");
        // Twice, as after a supervisor that was killed.
        drop(Server::bind(&dns, Door::Redirected).unwrap());
        let server = Server::bind(&dns, Door::Redirected).unwrap();
        let own = inside(&dns, || UdpSocket::bind("0.0.0.0:53")).unwrap();
        let _own_too = listen(&dns, "0.0.0.0:53");
        upstream(own);
        serving(server, zone(&network, Outside::Asked), vec![], move |_zones| {
            assert_eq!(ask_udp(&dns, "dns"), (RCODE::NoError, vec![address]));
            assert_eq!(ask_tcp(&dns, "dns"), (RCODE::NoError, vec![address]));
        });
    });
}

#[test]
fn a_rude_asker_disturbs_nobody() {
    use std::io::Write as _;
    on_a_host(|host| {
        let network = host.network("shop_default");
        let (web, address) = container(&network, "web");
        let server = Server::bind(&web, Door::Direct).unwrap();
        serving(server, zone(&network, Outside::Asked), vec![], move |_zones| {
            let mut rude: Vec<_> = (0..20).map(|_| connect(&web, (SERVER, 53)).unwrap()).collect();
            for (number, stream) in rude.iter_mut().enumerate() {
                // Half a length, a length without a message, a message that is none.
                let words: [&[u8]; 3] = [b"\0", b"\x10\0half", b"\0\x05words"];
                stream.write_all(words[number % 3]).unwrap();
            }
            let noise = inside(&web, || UdpSocket::bind("0.0.0.0:0")).unwrap();
            noise.connect((SERVER, 53)).unwrap();
            for length in 0..100 {
                noise.send(&vec![0xc0; length]).unwrap();
            }
            assert_eq!(ask_tcp(&web, "web"), (RCODE::NoError, vec![address]));
            assert_eq!(ask_udp(&web, "web"), (RCODE::NoError, vec![address]));
        });
    });
}
