//! The inside of a network: its bridge, and the settings of its namespace.

use crate::endpoint::Mac;
use crate::netlink::{Address, Link, NetlinkError, RouteSocket};
use crate::record::Record;
use crate::subnet::{IpNet, Ipv4Net};
use crate::sysctl::{self, SettingError};

/// The name of the bridge in every network.
pub(crate) const NAME: &str = "br0";
/// Its index: it is the first link that is made there.
pub(crate) const INDEX: u32 = 2;

/// Makes the bridge, with the gateway's address, in the namespace of `inside`.
///
/// Its hardware address is that of the gateway by our rule, so it is the same after a reboot.
pub(crate) fn create(
    inside: &mut RouteSocket,
    record: &Record,
    mtu: u32,
) -> Result<(), NetlinkError> {
    let address = Ipv4Net::new(record.gateway, record.subnet.prefix()).unwrap_or(record.subnet);
    let mut requests = vec![
        Link::up("lo"),
        Link::add_bridge(NAME, INDEX, Mac::of(record.gateway), mtu),
        Address { link: INDEX, address: IpNet::V4(address) }.add(NAME),
    ];
    if let Some(ipv6) = record.ipv6 {
        requests.push(Address { link: INDEX, address: IpNet::V6(ipv6) }.add(NAME));
    }
    inside.batch(&requests)
}

/// Makes the namespace of the calling thread one that forwards, and that speaks IPv6 only if the network does.
pub(crate) fn set_up_namespace(record: &Record) -> Result<(), SettingError> {
    let ipv6_off = if record.ipv6.is_some() { "0" } else { "1" };
    sysctl::set_if_there("net.ipv6.conf.default.disable_ipv6", ipv6_off)?;
    sysctl::set_if_there("net.ipv6.conf.default.accept_ra", "0")?;
    sysctl::set("net.ipv4.ip_forward", "1")
}
