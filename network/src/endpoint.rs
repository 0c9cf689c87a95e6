//! A container's place on a network: a pair of links, an address, a record.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::{InterfaceName, NetworkName};
use crate::subnet::{Family, IpNet, Ipv4Net, Ipv6Net};

/// A hardware address: `02:42:0a:01:02:03`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

/// A text that is not a hardware address.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a hardware address such as 02:42:0a:01:02:03")]
pub struct MacError {
    text: String,
}

impl Mac {
    /// One that nobody else has.
    pub(crate) fn random() -> Self {
        let [a, b, c, d, ..] = crate::random::number().to_ne_bytes();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// The address that belongs to `address`: a container that is replaced keeps both, and no neighbour has to
    /// forget anything.
    pub const fn of(address: IpAddr) -> Self {
        let [a, b, c, d] = match address {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(address) => {
                let [.., a, b, c, d] = address.octets();
                [a, b, c, d]
            }
        };
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let parse = || {
            let mut bytes = [0; 6];
            let mut parts = text.split([':', '-']);
            for byte in &mut bytes {
                let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+'))?;
                *byte = u8::from_str_radix(part, 16).ok()?;
            }
            parts.next().is_none().then_some(Self(bytes))
        };
        parse().ok_or_else(|| MacError { text: text.to_owned() })
    }
}

impl TryFrom<String> for Mac {
    type Error = MacError;

    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A place on a network as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointWish {
    /// Id of the container.
    pub container: String,
    /// Who keeps the address when the container is replaced: `PROJECT/SERVICE/N`.
    pub lease_key: String,
    /// Name of the interface inside.
    pub interface: InterfaceName,
    /// The names by which the other members find it.
    pub names: Vec<String>,
    /// Hardware address; one that belongs to the first address where not given.
    pub mac: Option<Mac>,
    /// A fixed address.
    pub ipv4: Option<Ipv4Addr>,
    /// A fixed IPv6 address.
    #[serde(default)]
    pub ipv6: Option<Ipv6Addr>,
    /// The default route of each family goes out where this is highest, among the networks that have a way out.
    #[serde(default)]
    pub gateway_priority: i64,
    /// Further addresses, which mean something on the link only: 169.254.0.0/16 and fe80::/10.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// Settings of the interface, whose name in them is [`INTERFACE`]: `net.ipv4.conf.IFNAME.log_martians`, and a value.
    #[serde(default)]
    pub settings: Vec<(String, String)>,
}

/// What stands for the name of the interface in [`EndpointWish::settings`].
pub const INTERFACE: &str = "IFNAME";

/// The families whose default route goes out by an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WayOut {
    /// That of IPv4 does.
    pub ipv4: bool,
    /// That of IPv6 does.
    pub ipv6: bool,
}

impl WayOut {
    /// Both.
    pub const BOTH: Self = Self { ipv4: true, ipv6: true };
    /// Neither.
    pub const NONE: Self = Self { ipv4: false, ipv6: false };

    /// Whether that of `family` does.
    pub const fn has(self, family: Family) -> bool {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        }
    }
}

impl EndpointWish {
    /// A place with addresses from the pools.
    pub fn new(container: &str, lease_key: &str, interface: InterfaceName) -> Self {
        Self {
            container: container.to_owned(),
            lease_key: lease_key.to_owned(),
            interface,
            names: Vec::new(),
            mac: None,
            ipv4: None,
            ipv6: None,
            gateway_priority: 0,
            link_local: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// The addresses for the link only, with the length of their prefix (RFC 3927, RFC 4291).
    pub(crate) fn link_local(&self) -> impl Iterator<Item = IpNet> {
        let prefix = |address: &IpAddr| if address.is_ipv4() { 16 } else { 64 };
        self.link_local.iter().filter_map(move |address| IpNet::new(*address, prefix(address)))
    }

    /// The fixed addresses.
    pub(crate) fn fixed(&self) -> impl Iterator<Item = IpAddr> + Clone + use<> {
        self.ipv4.map(IpAddr::V4).into_iter().chain(self.ipv6.map(IpAddr::V6))
    }
}

/// A container's place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network.
    pub network: NetworkName,
    /// Id of the container.
    pub container: String,
    /// Who keeps the address when the container is replaced.
    pub lease_key: String,
    /// Name of the interface inside.
    pub interface: InterfaceName,
    /// Name of the other end of the pair, in the namespace of the network; none where there is no pair.
    pub near: Option<InterfaceName>,
    /// The number by which the network's namespace knows that of the container, where there is no pair.
    #[serde(default)]
    pub peer: Option<u32>,
    /// The IPv4 address inside, where the network has them.
    pub address: Option<Ipv4Net>,
    /// The address of the bridge; `None` on an internal network.
    pub gateway: Option<Ipv4Addr>,
    /// The IPv6 address inside, where the network has them.
    pub ipv6: Option<Ipv6Net>,
    /// The IPv6 address of the bridge; `None` on an internal network.
    #[serde(default)]
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// Hardware address inside.
    pub mac: Mac,
}

impl Endpoint {
    /// Its addresses with the length of their prefix, that of IPv4 first.
    pub fn nets(&self) -> impl Iterator<Item = IpNet> + use<> {
        self.address.map(IpNet::V4).into_iter().chain(self.ipv6.map(IpNet::V6))
    }

    /// Its addresses, that of IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.nets().map(IpNet::address)
    }

    /// The addresses of the bridge that are of use as a way out.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.gateway.map(IpAddr::V4).into_iter().chain(self.ipv6_gateway.map(IpAddr::V6))
    }
}

/// An endpoint as the other members, of whichever project, see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The place.
    pub endpoint: Endpoint,
    /// The names by which the other members find it.
    pub names: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_reads_back() {
        let mac = Mac::of([10, 1, 2, 3].into());
        assert_eq!(mac.to_string(), "02:42:0a:01:02:03");
        assert_eq!("02-42-0A-01-02-03".parse::<Mac>().unwrap(), mac);
        for bad in ["", "02:42", "02:42:0a:01:02:03:04", "2:42:0a:01:02:03", "+2:42:0a:01:02:03"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }
}
