//! From the bytes of a question to the bytes of an answer, without a socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::{A, AAAA, OPT, PTR, RData};
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

use super::zone::{Known, Zone};
use crate::random;

/// Seconds for which an answer may be kept: little, since containers come and go; not nothing, since some
/// programs ask for every connection.
const TTL: u32 = 2;
/// The longest answer over UDP to somebody who does not say how much he takes (RFC 1035, section 4.2.1).
const SHORT: usize = 512;
/// The longest answer over UDP at all. Everything happens on a loopback interface: nothing is fragmented.
const LONG: u16 = 4096;
/// Bytes of a message's header.
const HEADER: usize = 12;

/// What to do about a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// Send this.
    Answer(Vec<u8>),
    /// Ask somebody else.
    Forward,
    /// Nothing: it is not a question.
    Silence,
}

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// Long answers are cut, and asked for again over TCP.
    Udp,
    /// Answers have room.
    Tcp,
}

/// Answers a question from `zone`, or says who should.
pub(super) fn reply(query: &[u8], zone: &Zone, transport: Transport) -> Reply {
    let Ok(packet) = Packet::parse(query) else { return malformed(query) };
    if packet.has_flags(PacketFlag::RESPONSE) {
        return Reply::Silence;
    }
    let [question] = packet.questions.as_slice() else {
        return failure(&packet, RCODE::FormatError);
    };
    if packet.opcode() != OPCODE::StandardQuery {
        return failure(&packet, RCODE::NotImplemented);
    }
    let name = question.qname.to_string();
    if question.qtype == QTYPE::TYPE(TYPE::PTR) {
        if let Some(found) = reversed(&name).and_then(|address| zone.find_address(address)) {
            return name_answer(&packet, &found, transport);
        }
        return elsewhere(&packet, zone.unknown());
    }
    match zone.find(&name) {
        Known::Here(mut addresses) => {
            random::shuffle(&mut addresses);
            let records = addresses.into_iter().filter_map(|address| data(address, question.qtype));
            finish(&packet, records.collect(), transport)
        }
        other => elsewhere(&packet, other),
    }
}

/// The answer that nobody could be asked, to a question that was to be forwarded.
pub(super) fn server_failure(query: &[u8]) -> Option<Vec<u8>> {
    let packet = Packet::parse(query).ok()?;
    match failure(&packet, RCODE::ServerFailure) {
        Reply::Answer(bytes) => Some(bytes),
        Reply::Forward | Reply::Silence => None,
    }
}

fn elsewhere(packet: &Packet<'_>, known: Known) -> Reply {
    match known {
        Known::Elsewhere => Reply::Forward,
        Known::Nowhere | Known::Here(_) => failure(packet, RCODE::NameError),
    }
}

/// The record for an address, if that is what was asked for. A known name without is NOERROR and empty: not
/// NXDOMAIN, on which a resolver would give up on the other family too.
fn data(address: IpAddr, asked: QTYPE) -> Option<RData<'static>> {
    match (address, asked) {
        (IpAddr::V4(address), QTYPE::TYPE(TYPE::A) | QTYPE::ANY) => {
            Some(RData::A(A { address: address.to_bits() }))
        }
        (IpAddr::V6(address), QTYPE::TYPE(TYPE::AAAA) | QTYPE::ANY) => {
            Some(RData::AAAA(AAAA { address: address.to_bits() }))
        }
        _ => None,
    }
}

fn name_answer(packet: &Packet<'_>, name: &str, transport: Transport) -> Reply {
    match Name::new(name) {
        Ok(name) => finish(packet, vec![RData::PTR(PTR(name))], transport),
        // A name that is too long for DNS is found by nobody.
        Err(_) => failure(packet, RCODE::NameError),
    }
}

fn skeleton<'a>(packet: &Packet<'a>) -> Packet<'a> {
    let mut reply = Packet::new_reply(packet.id());
    *reply.opcode_mut() = packet.opcode();
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if packet.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    // The question goes back as it came: letters of mixed case are a token of the one who asks.
    reply.questions.clone_from(&packet.questions);
    if packet.opt().is_some() {
        *reply.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: LONG, version: 0 });
    }
    reply
}

fn finish(packet: &Packet<'_>, records: Vec<RData<'_>>, transport: Transport) -> Reply {
    let mut reply = skeleton(packet);
    if let Some(question) = packet.questions.first() {
        let record = |data| ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, data);
        reply.answers = records.into_iter().map(record).collect();
    }
    let room = match (transport, packet.opt()) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => SHORT,
        (Transport::Udp, Some(opt)) => usize::from(opt.udp_packet_size.min(LONG)).max(SHORT),
    };
    match reply.build_bytes_vec_compressed() {
        Ok(bytes) if bytes.len() <= room => Reply::Answer(bytes),
        Ok(_) => {
            reply.set_flags(PacketFlag::TRUNCATION);
            reply.answers.clear();
            bytes(&reply)
        }
        Err(_) => failure(packet, RCODE::ServerFailure),
    }
}

fn failure(packet: &Packet<'_>, code: RCODE) -> Reply {
    let mut reply = skeleton(packet);
    *reply.rcode_mut() = code;
    bytes(&reply)
}

fn bytes(reply: &Packet<'_>) -> Reply {
    reply.build_bytes_vec_compressed().map_or(Reply::Silence, Reply::Answer)
}

/// A question that does not parse is told so, if at least its header is whole and it is a question.
fn malformed(query: &[u8]) -> Reply {
    let is_question = query.get(2).is_some_and(|flags| flags & 0x80 == 0);
    if query.len() < HEADER || !is_question {
        return Reply::Silence;
    }
    let mut answer = vec![0; HEADER];
    answer[..2].copy_from_slice(&query[..2]);
    answer[2] = query[2] | 0x80;
    answer[3] = 0x81;
    Reply::Answer(answer)
}

/// The address in a name below `in-addr.arpa` or `ip6.arpa` (RFC 1035, section 3.5; RFC 3596, section 2.5).
fn reversed(name: &str) -> Option<IpAddr> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let octets: Vec<u8> =
            labels.split('.').map(|label| label.parse().ok()).collect::<Option<_>>()?;
        let [d, c, b, a] = octets.as_slice() else { return None };
        return Some(Ipv4Addr::new(*a, *b, *c, *d).into());
    }
    let labels = name.strip_suffix(".ip6.arpa")?;
    let mut bits = 0_u128;
    let mut count = 0;
    for label in labels.rsplit('.') {
        let digit = u128::from_str_radix(label, 16).ok().filter(|_| label.len() == 1)?;
        bits = bits << 4 | digit;
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from_bits(bits).into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;
    use simple_dns::{QCLASS, Question};

    use super::super::zone::{Names, Outside};
    use super::*;
    use crate::endpoint::{Endpoint, Mac, Member};

    fn member(number: u8, names: &[&str]) -> Member {
        let address: crate::Ipv4Net = format!("10.0.0.{number}/24").parse().unwrap();
        let endpoint = Endpoint {
            network: "shop".parse().unwrap(),
            container: number.to_string(),
            lease_key: String::new(),
            interface: "eth0".parse().unwrap(),
            near: "ve0".parse().ok(),
            peer: None,
            address: Some(address),
            gateway: None,
            ipv6: (number == 9).then(|| "fd00::9/64".parse().unwrap()),
            ipv6_gateway: None,
            mac: Mac::of(address.address().into()),
        };
        Member { endpoint, names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    fn zone(outside: Outside) -> Zone {
        let mut members = vec![member(9, &["shop-db-1", "db"])];
        members.extend((20..70).map(|number| member(number, &["web"])));
        let names = Names::new("shop", &members);
        Zone::new(vec![Arc::new(names)], BTreeMap::new(), outside)
    }

    fn query(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        let name = Name::new_unchecked(name);
        packet.questions.push(Question::new(name, kind.into(), QCLASS::CLASS(CLASS::IN), false));
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        packet.build_bytes_vec().unwrap()
    }

    /// The reply in short: code, then the data of each record.
    fn ask(name: &str, kind: TYPE, outside: Outside, transport: Transport) -> String {
        match reply(&query(name, kind), &zone(outside), transport) {
            Reply::Forward => "forward".to_owned(),
            Reply::Silence => "silence".to_owned(),
            Reply::Answer(bytes) => {
                let packet = Packet::parse(&bytes).unwrap();
                assert_eq!(packet.id(), 7);
                assert_eq!(packet.questions[0].qname.to_string(), name);
                let records = packet.answers.iter().map(|record| match &record.rdata {
                    RData::A(A { address }) => Ipv4Addr::from_bits(*address).to_string(),
                    RData::AAAA(AAAA { address }) => Ipv6Addr::from_bits(*address).to_string(),
                    RData::PTR(PTR(name)) => name.to_string(),
                    other => format!("{other:?}"),
                });
                let cut = if packet.has_flags(PacketFlag::TRUNCATION) { " cut" } else { "" };
                format!("{:?}{cut} {}", packet.rcode(), records.collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn questions_are_answered_as_docker_answers_them() {
        let table = [
            ("db", TYPE::A, "NoError 10.0.0.9"),
            ("dB.SHOP", TYPE::A, "NoError 10.0.0.9"),
            ("db", TYPE::AAAA, "NoError fd00::9"),
            ("web", TYPE::AAAA, "NoError "),
            ("db", TYPE::MX, "NoError "),
            ("web", TYPE::A, "NoError cut "),
            ("example.org", TYPE::A, "forward"),
            ("9.0.0.10.in-addr.arpa", TYPE::PTR, "NoError shop-db-1.shop"),
            ("8.0.0.10.in-addr.arpa", TYPE::PTR, "forward"),
            (
                "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
                TYPE::PTR,
                "NoError shop-db-1.shop",
            ),
        ];
        for (name, kind, expected) in table {
            assert_eq!(
                ask(name, kind, Outside::Asked, Transport::Udp),
                expected,
                "{name} {kind:?}"
            );
        }
        assert_eq!(ask("example.org", TYPE::A, Outside::Unknown, Transport::Udp), "NameError ");
        assert_eq!(
            ask("1.1.1.1.in-addr.arpa", TYPE::PTR, Outside::Unknown, Transport::Udp),
            "NameError "
        );
    }

    #[test]
    fn replicas_come_in_another_order_each_time() {
        let all = || ask("web", TYPE::A, Outside::Asked, Transport::Tcp);
        let first = all();
        assert_eq!(first.split_whitespace().count(), 51);
        assert_ne!(first, all(), "one in 50! times this is chance");
    }

    #[test]
    fn what_is_not_a_question_gets_no_answer() {
        let zone = zone(Outside::Asked);
        let mut answer = query("db", TYPE::A);
        answer[2] |= 0x80;
        assert_eq!(reply(&answer, &zone, Transport::Udp), Reply::Silence);
        assert_eq!(reply(b"short", &zone, Transport::Udp), Reply::Silence);
        let broken = [&query("db", TYPE::A)[..12], b"\xff"].concat();
        let Reply::Answer(bytes) = reply(&broken, &zone, Transport::Udp) else {
            panic!("an answer")
        };
        assert_eq!(Packet::parse(&bytes).unwrap().rcode(), RCODE::FormatError);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange_to_answer(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let zone = zone(Outside::Unknown);
            reply(&bytes, &zone, Transport::Udp);
            server_failure(&bytes);
            // As a question with one record of each kind, so that more than the header is read.
            if bytes.len() > HEADER {
                bytes[2] &= 0x07;
                bytes[4..12].copy_from_slice(&[0, 1, 0, 1, 0, 1, 0, 1]);
                prop_assert_ne!(reply(&bytes, &zone, Transport::Udp), Reply::Forward);
            }
        }
    }
}
