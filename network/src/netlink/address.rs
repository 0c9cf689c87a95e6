//! Addresses of links.

use std::net::{IpAddr, Ipv4Addr};

use super::message::{Message, attributes, flag, u32_at};
use super::socket::{NetlinkError, RouteSocket};
use crate::subnet::{IpNet, Ipv4Net};

const NEW: u16 = flag::CREATE | flag::EXCLUSIVE;
/// No duplicate address detection: an address that is ours by lease is of use at once.
const NO_DAD: u8 = 0x02;

/// An address on a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    pub(crate) link: u32,
    pub(crate) address: IpNet,
}

/// `struct ifaddrmsg`.
fn header(family: i32, prefix: u8, flags: u8, link: u32) -> [u8; 8] {
    let [a, b, c, d] = link.to_ne_bytes();
    [u8::try_from(family).unwrap_or(0), prefix, flags, 0, a, b, c, d]
}

impl Address {
    /// The request that adds it; `name` is the link as people call it.
    pub(crate) fn add(self, name: &str) -> Message {
        let request = format!("ip addr add {} dev {name}", self.address);
        let mut message = Message::new(libc::RTM_NEWADDR, NEW, request);
        match self.address {
            IpNet::V4(net) => {
                let octets = net.address().octets();
                message.raw(&header(libc::AF_INET, net.prefix(), 0, self.link));
                message.bytes(libc::IFA_LOCAL, &octets).bytes(libc::IFA_ADDRESS, &octets);
                if net.prefix() < 31 {
                    message.bytes(libc::IFA_BROADCAST, &net.last().octets());
                }
            }
            IpNet::V6(net) => {
                message.raw(&header(libc::AF_INET6, net.prefix(), NO_DAD, self.link));
                message.bytes(libc::IFA_ADDRESS, &net.address().octets());
            }
        }
        message
    }
}

impl RouteSocket {
    /// All IPv4 addresses of the namespace.
    pub(crate) fn addresses(&mut self) -> Result<Vec<Ipv4Net>, NetlinkError> {
        let mut message = Message::new(libc::RTM_GETADDR, 0, "ip -4 addr show".to_owned());
        message.raw(&header(libc::AF_INET, 0, 0, 0));
        let each =
            |kind, payload: &[u8]| (kind == libc::RTM_NEWADDR).then(|| read(payload)).flatten();
        self.0.dump(&message, each)
    }
}

fn read(payload: &[u8]) -> Option<Ipv4Net> {
    let prefix = *payload.get(1)?;
    u32_at(payload, 4)?;
    let find =
        |wanted| attributes(payload.get(8..).unwrap_or_default()).find(|(kind, _)| *kind == wanted);
    let (_, value) = find(libc::IFA_LOCAL).or_else(|| find(libc::IFA_ADDRESS))?;
    let octets: [u8; 4] = value.try_into().ok()?;
    Ipv4Net::new(Ipv4Addr::from(octets), prefix)
}

/// The bytes of an address of either family.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
