//! The way out of a network: a pair of links between its namespace and the host, with two addresses of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use crate::firewall::{HostTable, InsideTable};
use crate::name::InterfaceName;
use crate::netlink::{Address, Link, Message, NetlinkError, Route, RouteSocket, Veth, VethEnd};
use crate::random;
use crate::record::Record;
use crate::subnet::{self, Family, IpNet, Ipv4Net, Ipv6Net};
use crate::sysctl::{self, SettingError};

/// The name of the inner end in every network.
pub(crate) const NAME: &str = "uplink";
/// The index of the inner end: the bridge is 2.
const INNER_INDEX: u32 = 3;
/// How the names of the outer ends begin.
const PREFIX: &str = "cu-";

/// The uplink of a network that is up. Written down under the run root, and gone after a reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Uplink {
    /// The outer end.
    pub(crate) host: InterfaceName,
    /// The address of the outer end.
    pub(crate) outer: Ipv4Net,
    /// The address of the inner end: where the host finds the network.
    pub(crate) inner: Ipv4Net,
    /// The addresses of both ends in IPv6, where the network has it.
    #[serde(default)]
    pub(crate) ipv6: Option<Ipv6Ends>,
    /// Ranges to which the host has a route by it.
    #[serde(default)]
    pub(crate) routed: Vec<IpNet>,
}

/// Addresses of an uplink in IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ipv6Ends {
    pub(crate) outer: Ipv6Net,
    pub(crate) inner: Ipv6Net,
}

/// An uplink could not be made.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// A request to the kernel failed.
    #[error("uplink of the network")]
    Netlink(#[from] NetlinkError),
    /// A setting was refused.
    #[error("settings of the host for the uplink")]
    Setting(#[from] SettingError),
    /// The host itself uses all of the range for uplinks.
    #[error("no free pair of addresses in {range}: routes or addresses of this host cover it")]
    Exhausted {
        /// The range for uplinks.
        range: Ipv4Net,
    },
}

/// What the host says about its own network.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// Ranges that are in use.
    pub(crate) taken: Vec<Ipv4Net>,
    /// Bytes in a packet on the link of the default route.
    pub(crate) mtu: u32,
}

impl Surroundings {
    /// Asks the kernel, once per network that is made.
    pub(crate) fn observe(host: &mut RouteSocket) -> Result<Self, NetlinkError> {
        let routes = host.routes()?;
        let out = routes.iter().find(|route| route.to.prefix() == 0).and_then(|route| route.link);
        let links = host.links()?;
        let mtu = links.iter().find(|link| Some(link.index) == out).map_or(1500, |link| link.mtu);
        let mut taken: Vec<Ipv4Net> = routes.iter().map(|route| route.to).collect();
        taken.extend(host.addresses()?);
        Ok(Self { taken, mtu })
    }
}

impl Uplink {
    /// Chooses names and addresses that nothing on the host has.
    pub(crate) fn choose(
        surroundings: &Surroundings,
        record: &Record,
    ) -> Result<Self, UplinkError> {
        let pool = subnet::UPLINKS;
        // A random place: an uplink that was removed a moment ago may still be on its way out.
        let range = pool.pick(random::number(), &surroundings.taken);
        let range = range.ok_or(UplinkError::Exhausted { range: pool.range })?;
        let end =
            |offset| range.nth(offset).and_then(|address| Ipv4Net::new(address, range.prefix()));
        let (Some(outer), Some(inner)) = (end(0), end(1)) else {
            return Err(UplinkError::Exhausted { range });
        };
        let ipv6 = record
            .has(Family::V6)
            .then(|| Ipv6Ends { outer: beside(outer.address()), inner: beside(inner.address()) });
        let bridge = record.wanted.driver.bridge();
        let named = bridge.and_then(|bridge| bridge.host_name.clone());
        let routed = match bridge.is_some_and(|bridge| bridge.exposes) {
            true => record.gateways().map(IpNet::network).collect(),
            false => Vec::new(),
        };
        let host = named.unwrap_or_else(|| InterfaceName::random(PREFIX));
        Ok(Self { host, outer, inner, ipv6, routed })
    }

    /// The addresses of the outer end.
    fn outer(&self) -> impl Iterator<Item = IpNet> + use<> {
        let ipv6 = self.ipv6.map(|ends| IpNet::V6(ends.outer));
        std::iter::once(IpNet::V4(self.outer)).chain(ipv6)
    }

    /// The addresses of the inner end.
    fn inner(&self) -> impl Iterator<Item = IpNet> + use<> {
        let ipv6 = self.ipv6.map(|ends| IpNet::V6(ends.inner));
        std::iter::once(IpNet::V4(self.inner)).chain(ipv6)
    }

    /// Where a container finds the host, in `family`.
    pub(crate) fn outer_address(&self, family: Family) -> Option<IpAddr> {
        self.outer().map(IpNet::address).find(|address| Family::of(*address) == family)
    }

    /// Where the host finds the network, in `family`.
    pub(crate) fn inner_address(&self, family: Family) -> Option<IpAddr> {
        self.inner().map(IpNet::address).find(|address| Family::of(*address) == family)
    }

    fn route(&self, to: IpNet) -> Option<Message> {
        Some(Route::add(to, self.inner_address(to.family())?))
    }

    /// The families that it carries.
    fn families(&self) -> impl Iterator<Item = Family> + use<> {
        self.outer().map(IpNet::family)
    }

    /// Makes the pair, and gives both ends their addresses.
    ///
    /// The pair lives in `namespace` and dies with it, its outer end too.
    pub(crate) fn create(
        &self,
        host: &mut RouteSocket,
        inside: &mut RouteSocket,
        namespace: BorrowedFd<'_>,
        mtu: u32,
    ) -> Result<(), UplinkError> {
        let inner_name = InterfaceName::known(NAME);
        let near = VethEnd { name: &self.host, index: random_index(), mac: None };
        let far = VethEnd { name: &inner_name, index: INNER_INDEX, mac: None };
        let link = near.index;
        host.batch(
            &[Veth { near, bridge: None, far, into: namespace, mtu, near_up: false }.add()],
        )?;
        // Before it is up, or the kernel sends router solicitations from it.
        let setting = |name: &str| format!("net.ipv6.conf.{}.{name}", self.host);
        if self.ipv6.is_some() {
            for (name, value) in [("accept_ra", "0"), ("accept_dad", "0"), ("disable_ipv6", "0")] {
                sysctl::set(&setting(name), value)?;
            }
        } else {
            sysctl::set_if_there(&setting("disable_ipv6"), "1")?;
        }
        let add = |link, name: &str, address| Address { link, address }.add(name);
        let host_name = self.host.as_str();
        let mut outside: Vec<_> = self.outer().map(|net| add(link, host_name, net)).collect();
        outside.push(Link::up(host_name));
        host.batch(&outside)?;
        let mut within: Vec<_> = self.inner().map(|net| add(INNER_INDEX, NAME, net)).collect();
        within.push(Link::up(NAME));
        within.extend(self.outer().map(|net| Route::add_default(net.address())));
        inside.batch(&within)?;
        let routes: Vec<_> = self.routed.iter().filter_map(|net| self.route(*net)).collect();
        host.batch(&routes)?;
        inside.settle(NAME)?;
        Ok(host.settle(self.host.as_str())?)
    }

    /// Lets it out through the host. Safe to repeat.
    pub(crate) fn let_out(&self) -> Result<(), UplinkError> {
        for family in self.families() {
            match family {
                Family::V4 => sysctl::set_if_different("net.ipv4.ip_forward", "1")?,
                Family::V6 => forward_ipv6()?,
            }
            HostTable::open(family)?.add_uplink(&self.host)?;
        }
        Ok(())
    }

    /// Takes back what the host knows of it. The link itself goes with the namespace.
    pub(crate) fn forget(&self) -> Result<(), UplinkError> {
        for inner in self.inner().map(IpNet::address) {
            HostTable::open(Family::of(inner))?.delete_uplink(&self.host, inner)?;
        }
        if !self.host.as_str().starts_with(PREFIX) {
            // Its name may be wanted again before the namespace is gone.
            match RouteSocket::open()?.batch(&[Link::delete(self.host.as_str())]) {
                Err(error) if error.is_missing() => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }
}

/// The IPv6 address of an end that has `address` in IPv4.
fn beside(address: Ipv4Addr) -> Ipv6Net {
    let range = subnet::UPLINKS_IPV6;
    let address = range.nth(address.to_bits()).unwrap_or(range.address());
    Ipv6Net::new(address, 127).unwrap_or(range)
}

/// Lets the host forward IPv6.
///
/// A host that forwards takes no more addresses and routes from its routers, unless it is told to (`accept_ra`, Linux
/// Documentation/networking/ip-sysctl.rst): its own links that have listened go on to do so.
fn forward_ipv6() -> Result<(), SettingError> {
    const FORWARDING: &str = "net.ipv6.conf.all.forwarding";
    if sysctl::is(FORWARDING, "1") {
        return Ok(());
    }
    for link in sysctl::children("net.ipv6.conf") {
        let setting = format!("net.ipv6.conf.{link}.accept_ra");
        if sysctl::is(&setting, "1") {
            sysctl::set(&setting, "2")?;
        }
    }
    sysctl::set(FORWARDING, "1")
}

/// Makes the rules of the namespace in which the calling thread is, for the families of `record`.
pub(crate) fn create_rules(record: &Record) -> Result<(), NetlinkError> {
    let exposed = record.wanted.driver.bridge().is_some_and(|bridge| bridge.exposes);
    for gateway in record.gateways() {
        InsideTable::open(gateway.family())?.create(NAME, exposed)?;
    }
    Ok(())
}

/// An index that no link of the other end's namespace has.
///
/// Where both ends of a pair happen to have the same one, the kernel takes up to a second to see the carrier
/// (`linkwatch_urgent_event` in Linux net/core/link_watch.c).
pub(crate) fn random_index() -> u32 {
    0x1000_0000 | u32::try_from(random::number() & 0x0fff_ffff).unwrap_or(0)
}
