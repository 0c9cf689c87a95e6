//! How the containers of a service reach the network.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{NetworkKey, ServiceName};

/// How the containers of a service reach the network.
///
/// The file has two keys for this, `network_mode` and `networks`, and the Compose specification
/// forbids using both. After loading there is one field and the forbidden state has no spelling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Networking {
    /// One endpoint on each of these networks of the project.
    Attached(BTreeMap<NetworkKey, Attachment>),
    /// `network_mode: none`: loopback only.
    None,
    /// `network_mode: host`: the namespace of the host, no sandbox of our own.
    Host,
    /// `network_mode: bridge`: the network that belongs to no project.
    Bridge,
    /// `network_mode: service:NAME`: the sandbox of another service.
    Service(ServiceName),
    /// `network_mode: container:NAME`: the sandbox of a container, by its name or id.
    Container(String),
    /// `network_mode: NAME`: a network by its real name.
    Named(String),
}

impl Default for Networking {
    fn default() -> Self {
        Self::Attached(BTreeMap::new())
    }
}

/// The place of a service on one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Further DNS names on this network.
    pub aliases: Vec<String>,
    /// A fixed IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// A fixed IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Further link-local addresses.
    pub link_local_ips: Vec<IpAddr>,
    /// A fixed hardware address.
    pub mac: Option<MacAddress>,
    /// The name of the interface inside the container, instead of `ethN`.
    pub interface_name: Option<String>,
    /// The order in which networks are attached: the highest first, then by name.
    pub priority: i64,
    /// The network with the highest one gives the default route.
    pub gateway_priority: i64,
    /// Options of the driver for this endpoint.
    pub driver_opts: BTreeMap<String, String>,
}

impl Attachment {
    /// The fixed addresses of both families.
    pub fn fixed_addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.ipv4.map(IpAddr::V4).into_iter().chain(self.ipv6.map(IpAddr::V6))
    }
}

/// A hardware (Ethernet) address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

/// Text that is not a hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address like 02:42:ac:11:00:02")]
pub struct MacAddressError(String);

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<Self, MacAddressError> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            *byte = parts
                .next()
                .filter(|part| part.len() == 2 && !part.starts_with('+'))
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| MacAddressError(text.to_owned()))?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(MacAddressError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for MacAddress {
    type Error = MacAddressError;

    fn try_from(text: String) -> Result<Self, MacAddressError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses() {
        assert_eq!(
            "02:42:AC:11:00:02".parse::<MacAddress>().unwrap().to_string(),
            "02:42:ac:11:00:02"
        );
        for bad in ["", "02:42", "02:42:ac:11:00:02:03", "02:42:ac:11:00:0g", "+2:42:ac:11:00:02"] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
    }
}
