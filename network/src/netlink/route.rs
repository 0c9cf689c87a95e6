//! Routes of a namespace.

use std::net::{IpAddr, Ipv4Addr};

use super::address::octets;
use super::message::{Message, attributes, flag, u32_at};
use super::socket::{NetlinkError, RouteSocket};
use crate::subnet::{Family, IpNet, Ipv4Net};

const NEW: u16 = flag::CREATE | flag::EXCLUSIVE;

/// A route as the kernel lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) to: Ipv4Net,
    /// The link it leaves by, where it has one.
    pub(crate) link: Option<u32>,
}

/// `struct rtmsg`.
fn header(family: i32, table: u8, protocol: u8, kind: u8) -> [u8; 12] {
    [u8::try_from(family).unwrap_or(0), 0, 0, 0, table, protocol, 0, kind, 0, 0, 0, 0]
}

impl Route {
    /// The request that adds the default route by way of `gateway`.
    pub(crate) fn add_default(gateway: IpAddr) -> Message {
        Self::default("add", NEW, gateway)
    }

    /// The request that makes the default route, of the family of `gateway`, go that way, wherever it went before.
    pub(crate) fn replace_default(gateway: IpAddr) -> Message {
        Self::default("replace", flag::CREATE | flag::REPLACE, gateway)
    }

    /// The request that makes the default route of `family` leave by a link, with no router.
    pub(crate) fn replace_default_by(family: Family, link: u32, name: &str) -> Message {
        let request = format!("ip route replace default dev {name}");
        let mut message = Message::new(libc::RTM_NEWROUTE, flag::CREATE | flag::REPLACE, request);
        let family = match family {
            Family::V4 => libc::AF_INET,
            Family::V6 => libc::AF_INET6,
        };
        message.raw(&header(family, libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, libc::RTN_UNICAST));
        message.u32(libc::RTA_OIF, link);
        message
    }

    /// The request that adds a route to a range by way of `gateway`.
    pub(crate) fn add(to: IpNet, gateway: IpAddr) -> Message {
        let to = to.network();
        let family = if gateway.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let mut message =
            Message::new(libc::RTM_NEWROUTE, NEW, format!("ip route add {to} via {gateway}"));
        let mut header =
            header(family, libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, libc::RTN_UNICAST);
        header[1] = to.prefix();
        message.raw(&header);
        message.bytes(libc::RTA_DST, &octets(to.address()));
        message.bytes(libc::RTA_GATEWAY, &octets(gateway));
        message
    }

    fn default(verb: &str, flags: u16, gateway: IpAddr) -> Message {
        let family = if gateway.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let request = format!("ip route {verb} default via {gateway}");
        let mut message = Message::new(libc::RTM_NEWROUTE, flags, request);
        message.raw(&header(family, libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, libc::RTN_UNICAST));
        message.bytes(libc::RTA_GATEWAY, &octets(gateway));
        message
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let (prefix, table) = (*payload.get(1)?, *payload.get(4)?);
        let mut route = Self { to: Ipv4Net::new(Ipv4Addr::UNSPECIFIED, prefix)?, link: None };
        for (kind, value) in attributes(payload.get(12..)?) {
            match kind {
                libc::RTA_DST => {
                    let octets: [u8; 4] = value.try_into().ok()?;
                    route.to = Ipv4Net::new(octets.into(), prefix)?;
                }
                libc::RTA_OIF => route.link = u32_at(value, 0),
                _ => {}
            }
        }
        // The local table repeats the addresses of the links.
        (table != libc::RT_TABLE_LOCAL).then_some(route)
    }
}

impl RouteSocket {
    /// All IPv4 routes of the namespace, in all tables but the local one.
    pub(crate) fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        let mut message =
            Message::new(libc::RTM_GETROUTE, 0, "ip -4 route show table all".to_owned());
        message.raw(&header(libc::AF_INET, 0, 0, 0));
        let read = |kind, payload: &[u8]| {
            (kind == libc::RTM_NEWROUTE).then(|| Route::read(payload)).flatten()
        };
        self.0.dump(&message, read)
    }
}
