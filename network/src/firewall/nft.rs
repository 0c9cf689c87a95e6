//! Our own nfnetlink encoder: tables, chains, rules, sets; and each of them as `nft` would write it.
//!
//! Numbers are those of linux/netfilter/nf_tables.h; all integers are in the order of the network.

use std::fmt;

use crate::name::InterfaceName;
use crate::netlink::flag::{APPEND, CREATE, EXCLUSIVE};
use crate::netlink::{Frame, Message, NetlinkError, Socket, attributes};
use crate::subnet::Ipv4Net;

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const FAMILY_IPV4: u8 = 2;

/// The kinds of message.
#[derive(Debug, Clone, Copy)]
enum Kind {
    NewTable = 0,
    GetTable = 1,
    DeleteTable = 2,
    NewChain = 3,
    NewRule = 6,
    NewSet = 9,
    NewElement = 12,
    GetElement = 13,
    DeleteElement = 14,
}

/// `NFTA_LIST_ELEM`, `NFTA_DATA_VALUE`, `NFTA_DATA_VERDICT`: the same everywhere.
const ELEMENT: u16 = 1;
const VALUE: u16 = 1;
const VERDICT: u16 = 2;
/// Registers: the verdict, and the first and second of four bytes.
const REGISTER_VERDICT: u32 = 0;
const REGISTER_1: u32 = 8;
const REGISTER_2: u32 = 9;

/// A table of IPv4 rules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table(pub(super) &'static str);

/// Where packets enter a base chain.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hook {
    /// `type nat hook prerouting priority dstnat`
    NatPrerouting,
    /// `type nat hook output priority -100`
    NatOutput,
    /// `type filter hook forward priority filter`
    Forward,
    /// `type nat hook postrouting priority srcnat`
    NatPostrouting,
}

/// What a set holds, or a map leads from and to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holds {
    /// Names of interfaces.
    Interfaces,
    /// From protocol and port to address and port.
    Ports,
}

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
    From(Ipv4Net),
    /// `ip daddr 10.0.0.0/8`
    To(Ipv4Net),
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
    Redirect { protocol: u8, port: u16, to: std::net::SocketAddrV4 },
    /// `accept`
    Accept,
    /// `drop`
    Drop,
}

/// An nfnetlink socket of the namespace in which it was opened.
#[derive(Debug)]
pub(super) struct NftSocket(Socket);

impl NftSocket {
    /// Opens a socket in the namespace of the calling thread; it stays there.
    pub(super) fn open() -> Result<Self, NetlinkError> {
        Socket::open(Some(rustix::net::netlink::NETFILTER)).map(Self)
    }

    /// Carries out all of `messages`, or none.
    pub(super) fn transaction(&mut self, messages: &[Message]) -> Result<(), NetlinkError> {
        let frame = |kind| {
            let mut message = Message::new(kind, 0, "nft batch".to_owned());
            let [high, low] = SUBSYSTEM.to_be_bytes();
            message.raw(&[0, 0, high, low]);
            message
        };
        let frame = Frame { begin: frame(BATCH_BEGIN), end: frame(BATCH_END) };
        self.0.batch(messages, Some(&frame))
    }

    /// Whether the namespace has `table`.
    pub(super) fn has(&mut self, table: Table) -> Result<bool, NetlinkError> {
        let message = request(Kind::GetTable, 0, "nft list tables ip".to_owned());
        let names = self.0.dump(&message, |_, payload| {
            let (_, name) = attributes(payload.get(4..)?).find(|(kind, _)| *kind == 1)?;
            Some(name == [table.0.as_bytes(), b"\0"].concat())
        })?;
        Ok(names.contains(&true))
    }

    /// The elements of a set or a map: key and data as bytes.
    pub(super) fn elements(
        &mut self,
        table: Table,
        set: &str,
    ) -> Result<Vec<Element>, NetlinkError> {
        let text = format!("nft list set ip {} {set}", table.0);
        let mut message = request(Kind::GetElement, 0, text);
        message.text(1, table.0).text(2, set);
        let lists = self.0.dump(&message, |_, payload| {
            let (_, list) = attributes(payload.get(4..)?).find(|(kind, _)| *kind == 3)?;
            Some(attributes(list).map(|(_, element)| Element::read(element)).collect::<Vec<_>>())
        })?;
        Ok(lists.concat())
    }
}

/// An element of a set or a map.
#[derive(Debug, Clone, Default)]
pub(super) struct Element {
    pub(super) key: Vec<u8>,
    /// Of a map: to what the key leads.
    pub(super) data: Vec<u8>,
}

impl Element {
    fn read(element: &[u8]) -> Self {
        let value = |wanted| {
            let (_, part) = attributes(element).find(|(kind, _)| *kind == wanted)?;
            let (_, value) = attributes(part).find(|(kind, _)| *kind == VALUE)?;
            Some(value.to_vec())
        };
        Self { key: value(1).unwrap_or_default(), data: value(2).unwrap_or_default() }
    }

    /// Whether it is the one for the interface called `name`.
    pub(super) fn is_interface(&self, name: &InterfaceName) -> bool {
        self.key == padded(name.as_str())
    }
}

fn request(kind: Kind, flags: u16, text: String) -> Message {
    let mut message = Message::new(SUBSYSTEM << 8 | kind as u16, flags, text);
    message.raw(&[FAMILY_IPV4, 0, 0, 0]);
    message
}

impl Table {
    /// The request that makes the table; one that is there already stays.
    pub(super) fn add(self) -> Message {
        let mut message = request(Kind::NewTable, CREATE, format!("nft add table ip {}", self.0));
        message.text(1, self.0).be32(2, 0);
        message
    }

    /// The request that deletes the table with all that is in it.
    pub(super) fn delete(self) -> Message {
        let mut message = request(Kind::DeleteTable, 0, format!("nft delete table ip {}", self.0));
        message.text(1, self.0);
        message
    }

    /// The request that makes a base chain which lets pass what its rules do not name.
    pub(super) fn chain(self, name: &str, hook: Hook) -> Message {
        let text = format!("nft add chain ip {} {name} {{ {hook}; policy accept; }}", self.0);
        let mut message = request(Kind::NewChain, CREATE, text);
        let (kind, number, priority) = hook.numbers();
        message.text(1, self.0).text(3, name).nest(4, |hook| {
            hook.be32(1, number).be32(2, priority.cast_unsigned());
        });
        message.be32(5, libc::NF_ACCEPT.cast_unsigned()).text(7, kind);
        message
    }

    /// The request that adds a rule to the end of a chain.
    pub(super) fn rule(self, chain: &str, terms: &[Term]) -> Message {
        let words = terms.iter().map(Term::to_string).collect::<Vec<_>>().join(" ");
        let text = format!("nft add rule ip {} {chain} {words}", self.0);
        let mut message = request(Kind::NewRule, CREATE | APPEND, text);
        message.text(1, self.0).text(2, chain).nest(4, |expressions| {
            for term in terms {
                term.encode(expressions);
            }
        });
        message
    }

    /// The request that makes a set or a map; `id` tells it from others of the same transaction.
    pub(super) fn set(self, name: &str, holds: Holds, id: u32) -> Message {
        let text = format!("nft add {holds} ip {} {name}", self.0);
        let mut message = request(Kind::NewSet, CREATE, text);
        message.text(1, self.0).text(2, name);
        match holds {
            Holds::Interfaces => message.be32(3, 0).be32(4, TYPE_INTERFACE).be32(5, 16),
            Holds::Ports => message
                .be32(3, SET_MAP)
                .be32(4, TYPE_PROTOCOL << 6 | TYPE_PORT)
                .be32(5, 8)
                .be32(6, TYPE_ADDRESS << 6 | TYPE_PORT)
                .be32(7, 8),
        };
        message.be32(10, id);
        message
    }

    /// The request that adds an interface to a set; one that is there already stays.
    pub(super) fn add_interface(self, set: &str, name: &InterfaceName) -> Message {
        let text = format!("nft add element ip {} {set} {{ \"{name}\" }}", self.0);
        self.element(Kind::NewElement, CREATE, text, set, &padded(name.as_str()), None)
    }

    /// The request that takes an interface out of a set.
    pub(super) fn delete_interface(self, set: &str, name: &InterfaceName) -> Message {
        let text = format!("nft delete element ip {} {set} {{ \"{name}\" }}", self.0);
        self.element(Kind::DeleteElement, 0, text, set, &padded(name.as_str()), None)
    }

    /// The request that adds a way from a port to an address; one that is there already is an error.
    pub(super) fn add_port(self, map: &str, port: Port, to: std::net::SocketAddrV4) -> Message {
        let text = format!(
            "nft add element ip {} {map} {{ {port} : {} . {} }}",
            self.0,
            to.ip(),
            to.port()
        );
        let mut data = to.ip().octets().to_vec();
        data.extend(to.port().to_be_bytes());
        data.extend([0; 2]);
        self.element(Kind::NewElement, CREATE | EXCLUSIVE, text, map, &port.key(), Some(&data))
    }

    /// The request that takes a port out of a map.
    pub(super) fn delete_port(self, map: &str, port: Port) -> Message {
        let text = format!("nft delete element ip {} {map} {{ {port} }}", self.0);
        self.element(Kind::DeleteElement, 0, text, map, &port.key(), None)
    }

    fn element(
        self,
        kind: Kind,
        flags: u16,
        text: String,
        set: &str,
        key: &[u8],
        data: Option<&[u8]>,
    ) -> Message {
        let mut message = request(kind, flags, text);
        message.text(1, self.0).text(2, set).nest(3, |list| {
            list.nest(ELEMENT, |element| {
                element.nest(1, |value| {
                    value.bytes(VALUE, key);
                });
                if let Some(data) = data {
                    element.nest(2, |value| {
                        value.bytes(VALUE, data);
                    });
                }
            });
        });
        message
    }
}

/// A port of a protocol, as key of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Port {
    /// `IPPROTO_TCP` or `IPPROTO_UDP`.
    pub(crate) protocol: u8,
    pub(crate) port: u16,
}

impl Port {
    /// The port of a key.
    pub(super) fn of_key(key: &[u8]) -> Option<Self> {
        let [protocol, _, _, _, high, low, ..] = *key else { return None };
        Some(Self { protocol, port: u16::from_be_bytes([high, low]) })
    }

    /// Each part of a joined key is filled up to four bytes.
    fn key(self) -> [u8; 8] {
        let [high, low] = self.port.to_be_bytes();
        [self.protocol, 0, 0, 0, high, low, 0, 0]
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} . {}", protocol_name(self.protocol), self.port)
    }
}

fn protocol_name(protocol: u8) -> &'static str {
    if i32::from(protocol) == libc::IPPROTO_TCP { "tcp" } else { "udp" }
}

/// Types of data as nft(8) knows them; the kernel only keeps them for it.
const TYPE_ADDRESS: u32 = 7;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_PORT: u32 = 13;
const TYPE_INTERFACE: u32 = 41;
const SET_MAP: u32 = 8;

/// The name of an interface as the kernel compares it: 16 bytes, zeroes behind.
fn padded(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let length = name.len().min(bytes.len());
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

impl Hook {
    /// Type of the chain, number of the hook, priority.
    const fn numbers(self) -> (&'static str, u32, i32) {
        match self {
            Self::NatPrerouting => ("nat", 0, -100),
            Self::Forward => ("filter", 2, 0),
            Self::NatOutput => ("nat", 3, -100),
            Self::NatPostrouting => ("nat", 4, 100),
        }
    }
}

/// Ways of comparing.
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

impl Term {
    fn encode(&self, rule: &mut Message) {
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
            Self::From(net) => within(rule, 12, *net),
            Self::To(net) => within(rule, 16, *net),
            Self::ToThisHost => {
                // The type of the route to the destination, into the first register.
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
                translate(rule);
            }
            Self::Redirect { protocol, port, to } => {
                meta(rule, META_PROTOCOL, REGISTER_1);
                compare(rule, EQUAL, &[*protocol]);
                payload(rule, TRANSPORT, 2, 2, REGISTER_1);
                compare(rule, EQUAL, &port.to_be_bytes());
                immediate(rule, REGISTER_1, &to.ip().octets());
                immediate(rule, REGISTER_2, &to.port().to_be_bytes());
                translate(rule);
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

fn mask(rule: &mut Message, mask: [u8; 4]) {
    expression(rule, "bitwise", |data| {
        data.be32(1, REGISTER_1).be32(2, REGISTER_1).be32(3, 4);
        for (attribute, bytes) in [(4, mask), (5, [0; 4])] {
            data.nest(attribute, |value| {
                value.bytes(VALUE, &bytes);
            });
        }
    });
}

fn look_up(rule: &mut Message, set: &str, inverted: u32) {
    expression(rule, "lookup", |data| {
        data.text(1, set).be32(2, REGISTER_1).be32(5, inverted);
    });
}

fn within(rule: &mut Message, offset: u32, net: Ipv4Net) {
    payload(rule, NETWORK, offset, 4, REGISTER_1);
    mask(rule, net.mask().to_be_bytes());
    compare(rule, EQUAL, &net.network().address().octets());
}

/// Whether connection tracking has one of `bits` under `key`.
fn tracked(rule: &mut Message, key: u32, bits: u32) {
    expression(rule, "ct", |data| {
        data.be32(1, REGISTER_1).be32(2, key);
    });
    mask(rule, bits.to_ne_bytes());
    compare(rule, NOT_EQUAL, &[0; 4]);
}

fn immediate(rule: &mut Message, register: u32, bytes: &[u8]) {
    expression(rule, "immediate", |data| {
        data.be32(1, register).nest(2, |value| {
            value.bytes(VALUE, bytes);
        });
    });
}

/// Sends the packet to the address in the first register and the port in the second.
fn translate(rule: &mut Message) {
    expression(rule, "nat", |data| {
        data.be32(1, 1).be32(2, u32::from(FAMILY_IPV4)).be32(3, REGISTER_1).be32(5, REGISTER_2);
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

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NatPrerouting => "type nat hook prerouting priority dstnat",
            Self::NatOutput => "type nat hook output priority -100",
            Self::Forward => "type filter hook forward priority filter",
            Self::NatPostrouting => "type nat hook postrouting priority srcnat",
        })
    }
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interfaces => "set",
            Self::Ports => "map",
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
            Self::From(net) => write!(f, "ip saddr {net}"),
            Self::To(net) => write!(f, "ip daddr {net}"),
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
