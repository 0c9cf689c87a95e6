//! The parts of a rule: each as the kernel's expressions, and as `nft` would write it.
//!
//! Numbers are those of linux/netfilter/nf_tables.h; all integers are in the order of the network.

use std::fmt;
use std::net::SocketAddrV4;

use super::nft::{ELEMENT, VALUE, number, padded};
use crate::netlink::{Message, octets};
use crate::subnet::{Family, IpNet};

/// `NFTA_DATA_VERDICT`.
const VERDICT: u16 = 2;
/// Registers: the verdict, and the first and second of four bytes.
const REGISTER_VERDICT: u32 = 0;
const REGISTER_1: u32 = 8;
const REGISTER_2: u32 = 9;
/// The one behind an address of IPv6 that begins at the first.
const REGISTER_5: u32 = 12;

/// Which way a packet passes an interface.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    In,
    Out,
}

/// A part of a rule.
#[derive(Debug, Clone)]
pub(super) enum Term {
    /// `iifname "lo"`
    Is(Side, &'static str),
    /// `iifname != "lo"`
    IsNot(Side, &'static str),
    /// `iifname @set`
    In(Side, &'static str),
    /// `iifname != @set`
    NotIn(Side, &'static str),
    /// `ip saddr 10.0.0.0/8`
    From(IpNet),
    /// `ip daddr 10.0.0.0/8`
    To(IpNet),
    /// `fib daddr type local`
    ToThisHost,
    /// `ct state established,related`
    Established,
    /// `ct status dnat`
    Translated,
    /// `masquerade`
    Masquerade,
    /// `dnat to meta l4proto . th dport map @map`
    TranslateBy(&'static str),
    /// `udp dport 53 dnat to 127.0.0.11:10053`
    Redirect { protocol: u8, port: u16, to: SocketAddrV4 },
    /// `accept`
    Accept,
    /// `drop`
    Drop,
}

/// A protocol as `nft` has it.
pub(super) fn protocol_name(protocol: u8) -> &'static str {
    if i32::from(protocol) == libc::IPPROTO_TCP { "tcp" } else { "udp" }
}

/// Ways of comparing.
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

impl Term {
    /// Adds the expressions that mean it, in a table of `family`.
    pub(super) fn encode(&self, rule: &mut Message, family: Family) {
        match self {
            Self::Is(side, name) => {
                side.load(rule);
                compare(rule, EQUAL, &padded(name));
            }
            Self::IsNot(side, name) => {
                side.load(rule);
                compare(rule, NOT_EQUAL, &padded(name));
            }
            Self::In(side, set) => {
                side.load(rule);
                look_up(rule, set, 0);
            }
            Self::NotIn(side, set) => {
                side.load(rule);
                look_up(rule, set, 1);
            }
            Self::From(net) => within(rule, Direction::Source, *net),
            Self::To(net) => within(rule, Direction::Destination, *net),
            Self::ToThisHost => {
                // The type of the route to the destination, into the first register: the same for both families.
                expression(rule, "fib", |data| {
                    data.be32(1, REGISTER_1).be32(2, 3).be32(3, 2);
                });
                compare(rule, EQUAL, &u32::from(libc::RTN_LOCAL).to_ne_bytes());
            }
            // Key 0 is the state: established 2, related 4. Key 2 is the status: translated destination 32.
            Self::Established => tracked(rule, 0, 2 | 4),
            Self::Translated => tracked(rule, 2, 32),
            Self::Masquerade => expression(rule, "masq", |_| {}),
            Self::TranslateBy(map) => {
                meta(rule, META_PROTOCOL, REGISTER_1);
                payload(rule, TRANSPORT, 2, 2, REGISTER_2);
                expression(rule, "lookup", |data| {
                    data.text(1, map).be32(2, REGISTER_1).be32(3, REGISTER_1);
                });
                translate(rule, family);
            }
            Self::Redirect { protocol, port, to } => {
                meta(rule, META_PROTOCOL, REGISTER_1);
                compare(rule, EQUAL, &[*protocol]);
                payload(rule, TRANSPORT, 2, 2, REGISTER_1);
                compare(rule, EQUAL, &port.to_be_bytes());
                immediate(rule, REGISTER_1, &to.ip().octets());
                immediate(rule, REGISTER_2, &to.port().to_be_bytes());
                translate(rule, Family::V4);
            }
            Self::Accept => verdict(rule, libc::NF_ACCEPT),
            Self::Drop => verdict(rule, libc::NF_DROP),
        }
    }
}

const META_IN_NAME: u32 = 6;
const META_OUT_NAME: u32 = 7;
const META_PROTOCOL: u32 = 16;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

impl Side {
    fn load(self, rule: &mut Message) {
        let key = match self {
            Self::In => META_IN_NAME,
            Self::Out => META_OUT_NAME,
        };
        meta(rule, key, REGISTER_1);
    }
}

fn expression(rule: &mut Message, name: &str, fill: impl FnOnce(&mut Message)) {
    rule.nest(ELEMENT, |element| {
        element.text(1, name).nest(2, fill);
    });
}

fn meta(rule: &mut Message, key: u32, register: u32) {
    expression(rule, "meta", |data| {
        data.be32(1, register).be32(2, key);
    });
}

fn payload(rule: &mut Message, base: u32, offset: u32, length: u32, register: u32) {
    expression(rule, "payload", |data| {
        data.be32(1, register).be32(2, base).be32(3, offset).be32(4, length);
    });
}

fn compare(rule: &mut Message, how: u32, with: &[u8]) {
    expression(rule, "cmp", |data| {
        data.be32(1, REGISTER_1).be32(2, how).nest(3, |value| {
            value.bytes(VALUE, with);
        });
    });
}

fn mask(rule: &mut Message, mask: &[u8]) {
    let length = u32::try_from(mask.len()).expect("as long as an address at most");
    expression(rule, "bitwise", |data| {
        data.be32(1, REGISTER_1).be32(2, REGISTER_1).be32(3, length);
        for (attribute, bytes) in [(4, mask), (5, &vec![0; mask.len()])] {
            data.nest(attribute, |value| {
                value.bytes(VALUE, bytes);
            });
        }
    });
}

fn look_up(rule: &mut Message, set: &str, inverted: u32) {
    expression(rule, "lookup", |data| {
        data.text(1, set).be32(2, REGISTER_1).be32(5, inverted);
    });
}

/// Which address of a packet.
#[derive(Debug, Clone, Copy)]
enum Direction {
    Source,
    Destination,
}

fn within(rule: &mut Message, direction: Direction, net: IpNet) {
    // RFC 791, section 3.1; RFC 8200, section 3.
    let offset = match (net.family(), direction) {
        (Family::V4, Direction::Source) => 12,
        (Family::V4, Direction::Destination) => 16,
        (Family::V6, Direction::Source) => 8,
        (Family::V6, Direction::Destination) => 24,
    };
    let mask_bytes = net.mask();
    let length = u32::try_from(mask_bytes.len()).expect("as long as an address");
    payload(rule, NETWORK, offset, length, REGISTER_1);
    mask(rule, &mask_bytes);
    compare(rule, EQUAL, &octets(net.network().address()));
}

/// Whether connection tracking has one of `bits` under `key`.
fn tracked(rule: &mut Message, key: u32, bits: u32) {
    expression(rule, "ct", |data| {
        data.be32(1, REGISTER_1).be32(2, key);
    });
    mask(rule, &bits.to_ne_bytes());
    compare(rule, NOT_EQUAL, &[0; 4]);
}

fn immediate(rule: &mut Message, register: u32, bytes: &[u8]) {
    expression(rule, "immediate", |data| {
        data.be32(1, register).nest(2, |value| {
            value.bytes(VALUE, bytes);
        });
    });
}

/// Sends the packet to the address that begins in the first register and the port behind it.
fn translate(rule: &mut Message, family: Family) {
    let port = match family {
        Family::V4 => REGISTER_2,
        Family::V6 => REGISTER_5,
    };
    expression(rule, "nat", |data| {
        data.be32(1, 1).be32(2, u32::from(number(family))).be32(3, REGISTER_1).be32(5, port);
    });
}

fn verdict(rule: &mut Message, code: i32) {
    expression(rule, "immediate", |data| {
        data.be32(1, REGISTER_VERDICT).nest(2, |value| {
            value.nest(VERDICT, |verdict| {
                verdict.be32(1, code.cast_unsigned());
            });
        });
    });
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "iifname",
            Self::Out => "oifname",
        })
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(side, name) => write!(f, "{side} \"{name}\""),
            Self::IsNot(side, name) => write!(f, "{side} != \"{name}\""),
            Self::In(side, set) => write!(f, "{side} @{set}"),
            Self::NotIn(side, set) => write!(f, "{side} != @{set}"),
            Self::From(net @ IpNet::V4(_)) => write!(f, "ip saddr {net}"),
            Self::From(net @ IpNet::V6(_)) => write!(f, "ip6 saddr {net}"),
            Self::To(net @ IpNet::V4(_)) => write!(f, "ip daddr {net}"),
            Self::To(net @ IpNet::V6(_)) => write!(f, "ip6 daddr {net}"),
            Self::ToThisHost => f.write_str("fib daddr type local"),
            Self::Established => f.write_str("ct state established,related"),
            Self::Translated => f.write_str("ct status dnat"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::TranslateBy(map) => write!(f, "dnat to meta l4proto . th dport map @{map}"),
            Self::Redirect { protocol, port, to } => {
                write!(f, "{} dport {port} dnat to {to}", protocol_name(*protocol))
            }
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
        }
    }
}
