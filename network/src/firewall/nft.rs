//! Our own nfnetlink encoder: tables, chains, sets and their elements; and each of them as `nft` would write it.
//!
//! Numbers are those of linux/netfilter/nf_tables.h; all integers are in the order of the network.

use std::fmt;
use std::net::SocketAddr;

use super::term::{Term, protocol_name};
use crate::name::InterfaceName;
use crate::netlink::flag::{APPEND, CREATE, EXCLUSIVE};
use crate::netlink::{Frame, Message, NetlinkError, Socket, attributes, octets};
use crate::subnet::Family;

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

/// The kinds of message.
#[derive(Debug, Clone, Copy)]
enum Kind {
    NewTable = 0,
    GetTable = 1,
    DeleteTable = 2,
    NewChain = 3,
    GetChain = 4,
    NewRule = 6,
    NewSet = 9,
    NewElement = 12,
    GetElement = 13,
    DeleteElement = 14,
}

/// `NFTA_LIST_ELEM`, `NFTA_DATA_VALUE`: the same everywhere.
pub(super) const ELEMENT: u16 = 1;
pub(super) const VALUE: u16 = 1;

/// `NF_INET_FORWARD`.
const FORWARD: u32 = 2;

/// A table of rules for one family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    pub(super) family: Family,
    pub(super) name: &'static str,
}

/// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
pub(super) const fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

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
        let message = table.request(Kind::GetTable, 0, format!("nft list tables {}", table.word()));
        let names = self.0.dump(&message, |_, payload| {
            let (_, name) = attributes(payload.get(4..)?).find(|(kind, _)| *kind == 1)?;
            Some(name == [table.name.as_bytes(), b"\0"].concat())
        })?;
        Ok(names.contains(&true))
    }

    /// The base chains, whoever's they are, through which forwarded packets of `family` pass and which drop what their
    /// rules do not name.
    pub(super) fn dropping_forward_chains(
        &mut self,
        family: Family,
    ) -> Result<Vec<Chain>, NetlinkError> {
        let mut message =
            Message::new(SUBSYSTEM << 8 | Kind::GetChain as u16, 0, "nft list chains".to_owned());
        message.raw(&[0; 4]);
        let read = |_, payload: &[u8]| Chain::read(payload, family).filter(|chain| chain.drops);
        self.0.dump(&message, read)
    }

    /// The elements of a set or a map: key and data as bytes.
    pub(super) fn elements(
        &mut self,
        table: Table,
        set: &str,
    ) -> Result<Vec<Element>, NetlinkError> {
        let text = format!("nft list set {table} {set}");
        let mut message = table.request(Kind::GetElement, 0, text);
        message.text(1, table.name).text(2, set);
        let lists = self.0.dump(&message, |_, payload| {
            let (_, list) = attributes(payload.get(4..)?).find(|(kind, _)| *kind == 3)?;
            Some(attributes(list).map(|(_, element)| Element::read(element)).collect::<Vec<_>>())
        })?;
        Ok(lists.concat())
    }
}

/// A base chain on the way of forwarded packets.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) family: &'static str,
    pub(super) table: String,
    pub(super) name: String,
    drops: bool,
}

impl Chain {
    fn read(payload: &[u8], of: Family) -> Option<Self> {
        let family = match *payload.first()? {
            1 => "inet",
            other if other == number(of) => word(of),
            // Bridges and the other family are not our way.
            _ => return None,
        };
        let find = |wanted| {
            attributes(payload.get(4..)?).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
        };
        let (_, hook) = attributes(find(4)?).find(|(kind, _)| *kind == 1)?;
        let text = |value: &[u8]| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
        let drops = find(5)? == libc::NF_DROP.to_be_bytes();
        let chain = Self { family, table: text(find(1)?), name: text(find(3)?), drops };
        (hook == FORWARD.to_be_bytes()).then_some(chain)
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

/// As nft(8) has it.
const fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.word(), self.name)
    }
}

impl Table {
    const fn word(self) -> &'static str {
        word(self.family)
    }

    fn request(self, kind: Kind, flags: u16, text: String) -> Message {
        let mut message = Message::new(SUBSYSTEM << 8 | kind as u16, flags, text);
        message.raw(&[number(self.family), 0, 0, 0]);
        message
    }

    /// The request that makes the table; one that is there already stays.
    pub(super) fn add(self) -> Message {
        let mut message = self.request(Kind::NewTable, CREATE, format!("nft add table {self}"));
        message.text(1, self.name).be32(2, 0);
        message
    }

    /// The request that deletes the table with all that is in it.
    pub(super) fn delete(self) -> Message {
        let mut message = self.request(Kind::DeleteTable, 0, format!("nft delete table {self}"));
        message.text(1, self.name);
        message
    }

    /// The request that makes a base chain which lets pass what its rules do not name.
    pub(super) fn chain(self, name: &str, hook: Hook) -> Message {
        let text = format!("nft add chain {self} {name} {{ {hook}; policy accept; }}");
        let mut message = self.request(Kind::NewChain, CREATE, text);
        let (kind, number, priority) = hook.numbers();
        message.text(1, self.name).text(3, name).nest(4, |hook| {
            hook.be32(1, number).be32(2, priority.cast_unsigned());
        });
        message.be32(5, libc::NF_ACCEPT.cast_unsigned()).text(7, kind);
        message
    }

    /// The request that adds a rule to the end of a chain.
    pub(super) fn rule(self, chain: &str, terms: &[Term]) -> Message {
        let words = terms.iter().map(Term::to_string).collect::<Vec<_>>().join(" ");
        let text = format!("nft add rule {self} {chain} {words}");
        let mut message = self.request(Kind::NewRule, CREATE | APPEND, text);
        message.text(1, self.name).text(2, chain).nest(4, |expressions| {
            for term in terms {
                term.encode(expressions, self.family);
            }
        });
        message
    }

    /// From what to what a map of ports leads.
    const fn ways(self) -> &'static str {
        match self.family {
            Family::V4 => "inet_proto . inet_service : ipv4_addr . inet_service",
            Family::V6 => "inet_proto . inet_service : ipv6_addr . inet_service",
        }
    }

    /// The request that makes a set or a map; `id` tells it from others of the same transaction.
    pub(super) fn set(self, name: &str, holds: Holds, id: u32) -> Message {
        let (kind, of) = match holds {
            Holds::Interfaces => ("set", "ifname"),
            Holds::Ports => ("map", self.ways()),
        };
        let text = format!("nft add {kind} {self} {name} {{ type {of}; }}");
        let mut message = self.request(Kind::NewSet, CREATE, text);
        message.text(1, self.name).text(2, name);
        let (address, length) = match self.family {
            Family::V4 => (TYPE_IPV4, 4),
            Family::V6 => (TYPE_IPV6, 16),
        };
        match holds {
            Holds::Interfaces => message.be32(3, 0).be32(4, TYPE_INTERFACE).be32(5, 16),
            Holds::Ports => message
                .be32(3, SET_MAP)
                .be32(4, TYPE_PROTOCOL << 6 | TYPE_PORT)
                .be32(5, 8)
                .be32(6, address << 6 | TYPE_PORT)
                .be32(7, length + 4),
        };
        message.be32(10, id);
        message
    }

    /// The request that adds an interface to a set; one that is there already stays.
    pub(super) fn add_interface(self, set: &str, name: &InterfaceName) -> Message {
        let text = format!("nft add element {self} {set} {{ \"{name}\" }}");
        self.element(Kind::NewElement, CREATE, text, set, &padded(name.as_str()), None)
    }

    /// The request that takes an interface out of a set.
    pub(super) fn delete_interface(self, set: &str, name: &InterfaceName) -> Message {
        let text = format!("nft delete element {self} {set} {{ \"{name}\" }}");
        self.element(Kind::DeleteElement, 0, text, set, &padded(name.as_str()), None)
    }

    /// The request that adds a way from a port to an address; one that is there already is an error.
    pub(super) fn add_port(self, map: &str, port: Port, to: SocketAddr) -> Message {
        let text =
            format!("nft add element {self} {map} {{ {port} : {} . {} }}", to.ip(), to.port());
        let mut data = octets(to.ip());
        data.extend(to.port().to_be_bytes());
        data.extend([0; 2]);
        self.element(Kind::NewElement, CREATE | EXCLUSIVE, text, map, &port.key(), Some(&data))
    }

    /// The request that takes a port out of a map.
    pub(super) fn delete_port(self, map: &str, port: Port) -> Message {
        let text = format!("nft delete element {self} {map} {{ {port} }}");
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
        let mut message = self.request(kind, flags, text);
        message.text(1, self.name).text(2, set).nest(3, |list| {
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

/// Types of data as nft(8) knows them; the kernel only keeps them for it.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_PORT: u32 = 13;
const TYPE_INTERFACE: u32 = 41;
const SET_MAP: u32 = 8;

/// The name of an interface as the kernel compares it: 16 bytes, zeroes behind.
pub(super) fn padded(name: &str) -> [u8; 16] {
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
            Self::Forward => ("filter", FORWARD, 0),
            Self::NatOutput => ("nat", 3, -100),
            Self::NatPostrouting => ("nat", 4, 100),
        }
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
