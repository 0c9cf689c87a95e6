//! The inside of a network: its bridge, and the settings of its namespace.

use crate::endpoint::Mac;
use crate::netlink::{Address, Link, NetlinkError, RouteSocket};
use crate::record::Record;
use crate::subnet::{Family, IpNet};
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
    let gateways: Vec<IpNet> = record.gateways().collect();
    let first = gateways.first().map_or(Mac([2, 0x42, 0, 0, 0, 1]), |net| Mac::of(net.address()));
    let mut requests = vec![Link::up("lo"), Link::add_bridge(NAME, INDEX, first, mtu)];
    let add = |address: &IpNet| Address { link: INDEX, address: *address }.add(NAME);
    requests.extend(gateways.iter().map(add));
    inside.batch(&requests)
}

/// Makes the namespace of the calling thread one that forwards, and that speaks IPv6 only if the network does.
pub(crate) fn set_up_namespace(record: &Record) -> Result<(), SettingError> {
    sysctl::set("net.ipv4.ip_forward", "1")?;
    if record.has(Family::V6) {
        sysctl::set("net.ipv6.conf.all.forwarding", "1")?;
        sysctl::set("net.ipv6.conf.default.disable_ipv6", "0")?;
        // Our addresses are ours by lease: nobody has to be asked whether he has them.
        sysctl::set("net.ipv6.conf.default.accept_dad", "0")?;
        return sysctl::set("net.ipv6.conf.default.accept_ra", "0");
    }
    quieten_links()?;
    sysctl::set_if_there("net.ipv6.conf.default.accept_ra", "0")
}

/// Keeps the links that come later, the members' ends of the pairs, from having addresses of their own.
pub(crate) fn quieten_links() -> Result<(), SettingError> {
    sysctl::set_if_there("net.ipv6.conf.default.disable_ipv6", "1")
}
