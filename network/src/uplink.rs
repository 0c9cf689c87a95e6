//! The way out of a network: a pair of links between its namespace and the host, with two addresses of its own.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use crate::firewall::{HostTable, InsideTable};
use crate::name::InterfaceName;
use crate::netlink::{Address, Link, NetlinkError, Route, RouteSocket, Veth, VethEnd};
use crate::random;
use crate::subnet::{self, IpNet, Ipv4Net};
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
    pub(crate) fn choose(surroundings: &Surroundings) -> Result<Self, UplinkError> {
        let pool = subnet::UPLINKS;
        // A random place: an uplink that was removed a moment ago may still be on its way out.
        let range = pool.pick(random::number(), &surroundings.taken);
        let range = range.ok_or(UplinkError::Exhausted { range: pool.range })?;
        let end =
            |offset| range.nth(offset).and_then(|address| Ipv4Net::new(address, range.prefix()));
        let (Some(outer), Some(inner)) = (end(0), end(1)) else {
            return Err(UplinkError::Exhausted { range });
        };
        Ok(Self { host: InterfaceName::random(PREFIX), outer, inner })
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
        sysctl::set_if_there(&format!("net.ipv6.conf.{}.disable_ipv6", self.host), "1")?;
        host.batch(&[
            Address { link, address: IpNet::V4(self.outer) }.add(self.host.as_str()),
            Link::up(self.host.as_str()),
        ])?;
        inside.batch(&[
            Address { link: INNER_INDEX, address: IpNet::V4(self.inner) }.add(NAME),
            Link::up(NAME),
            Route::add_default(IpAddr::V4(self.outer.address())),
        ])?;
        inside.settle(NAME)?;
        Ok(host.settle(self.host.as_str())?)
    }

    /// Lets it out through the host. Safe to repeat.
    pub(crate) fn let_out(&self) -> Result<(), UplinkError> {
        sysctl::set_if_different("net.ipv4.ip_forward", "1")?;
        HostTable::open()?.add_uplink(&self.host)?;
        Ok(())
    }

    /// Takes back what the host knows of it. The link itself goes with the namespace.
    pub(crate) fn forget(&self) -> Result<(), UplinkError> {
        Ok(HostTable::open()?.delete_uplink(&self.host, self.inner.address())?)
    }
}

/// Makes the rules of the namespace in which the calling thread is.
pub(crate) fn create_rules() -> Result<(), NetlinkError> {
    InsideTable::open()?.create(NAME)
}

/// An index that no link of the other end's namespace has.
///
/// Where both ends of a pair happen to have the same one, the kernel takes up to a second to see the carrier
/// (`linkwatch_urgent_event` in Linux net/core/link_watch.c).
pub(crate) fn random_index() -> u32 {
    0x1000_0000 | u32::try_from(random::number() & 0x0fff_ffff).unwrap_or(0)
}
