//! A network that is up: members come, are listed, and go.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::bridge;
use crate::child;
use crate::driver::{ChildKind, Driver};
use crate::endpoint::{Endpoint, EndpointWish, INTERFACE, Mac, Member, WayOut};
use crate::file::{self, FileError};
use crate::lease::{LeaseError, Leases};
use crate::name::{InterfaceName, NetworkName};
use crate::netlink::{
    Address, Link, Message, NetlinkError, Peer, Route, RouteSocket, Veth, VethEnd,
};
use crate::record::Record;
use crate::sandbox::Sandbox;
use crate::subnet::{Family, IpNet, Ipv6Net};
use crate::sysctl::{self, SettingError};
use crate::uplink::{Uplink, random_index};

/// A network that is up.
///
/// Holds a descriptor of its namespace: while one of these is alive, a removed network is not quite gone.
#[derive(Debug)]
pub struct Network {
    record: Record,
    namespace: OwnedFd,
    /// `DATA/NAME`
    data: PathBuf,
    /// `RUN/NAME.endpoints`
    endpoints: PathBuf,
    /// `RUN/NAME.uplink`
    uplink: PathBuf,
    route: RefCell<Option<RouteSocket>>,
    mtu: OnceCell<u32>,
}

/// The members of a network could not be listed or changed.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// A record could not be read or written.
    #[error("records of the endpoints")]
    File(#[from] FileError),
    /// The namespace could not be entered.
    #[error("setns(CLONE_NEWNET)")]
    Enter(#[source] io::Error),
    /// A request over netlink failed.
    #[error("links of the network")]
    Netlink(#[from] NetlinkError),
}

/// A container could not be attached. Nothing of the attempt is left but perhaps the lease.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The container has an id that cannot be the name of a file.
    #[error("{container:?} is not the id of a container")]
    Container {
        /// The id.
        container: String,
    },
    /// There is no address for it.
    #[error("address on network {network}")]
    Lease {
        /// The network.
        network: NetworkName,
        /// Why not.
        source: LeaseError,
    },
    /// The link could not be made.
    #[error("attach to network {network}")]
    Link {
        /// The network.
        network: NetworkName,
        /// Why not.
        source: NetlinkError,
    },
    /// A setting of the interface was refused.
    #[error("settings of the interface")]
    Setting(#[from] SettingError),
    /// A namespace could not be entered.
    #[error("setns(CLONE_NEWNET)")]
    Enter(#[source] io::Error),
    /// A record could not be read or written.
    #[error("records of the network")]
    File(#[from] FileError),
    /// The other members could not be listed.
    #[error("members of the network")]
    Members(#[from] MemberError),
}

impl Network {
    pub(crate) fn new(record: Record, namespace: OwnedFd, data: &Path, run: &Path) -> Self {
        let data = data.join(record.name().as_str());
        let endpoints = run.join(format!("{}.endpoints", record.name()));
        let uplink = run.join(format!("{}.uplink", record.name()));
        Self {
            record,
            namespace,
            data,
            endpoints,
            uplink,
            route: RefCell::default(),
            mtu: OnceCell::new(),
        }
    }

    /// The name.
    pub fn name(&self) -> &NetworkName {
        self.record.name()
    }

    /// What is written down about it.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The namespace: where relays to the members are opened.
    pub fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// The folder with a file for each member, which changes when one comes or goes, of whichever project.
    pub fn endpoints(&self) -> &Path {
        &self.endpoints
    }

    /// Where the host finds the network, in `family`: the inner end of its uplink, if it has one.
    pub(crate) fn inner_address(&self, family: Family) -> Result<Option<IpAddr>, FileError> {
        let uplink: Option<Uplink> = file::read(&self.uplink)?;
        Ok(uplink.and_then(|uplink| uplink.inner_address(family)))
    }

    /// Where a container finds the host, in `family`: the outer end of the uplink, for `host-gateway`; `None` without
    /// uplink, and for a family in which members have no addresses.
    ///
    /// Another one each time that the network is brought up.
    ///
    /// # Errors
    ///
    /// When the record of the uplink cannot be read.
    pub fn host_address(&self, family: Family) -> Result<Option<IpAddr>, FileError> {
        let uplink: Option<Uplink> = file::read(&self.uplink)?;
        let address = uplink.and_then(|uplink| uplink.outer_address(family));
        Ok(address.filter(|_| self.record.has(family)))
    }

    /// Attaches a container: addresses, and a pair of links between its sandbox and the bridge. Its default routes go
    /// out here as far as `way_out` says, in place of those that it has.
    ///
    /// The pair is made in one request, its far end in the sandbox from the start; address, link and route follow
    /// in a second one.
    ///
    /// # Errors
    ///
    /// [`AttachError`], by step.
    pub fn attach(
        &self,
        sandbox: &Sandbox,
        wish: &EndpointWish,
        way_out: WayOut,
    ) -> Result<Endpoint, AttachError> {
        if wish.container.is_empty()
            || wish.container.starts_with('.')
            || wish.container.contains('/')
        {
            return Err(AttachError::Container { container: wish.container.clone() });
        }
        let _lock = file::lock(&self.data)?;
        let leased = self.lease_addresses(&wish.lease_key, wish.fixed())?;
        let mut endpoint = self.endpoint(wish, &leased);
        self.add_link(sandbox, &mut endpoint).map_err(|error| self.link_error(error))?;
        if let Err(error) = self.set_up(sandbox, &endpoint, wish, way_out) {
            // Best effort: the link dies with the sandbox at the latest.
            let _ = self.delete_link(sandbox.as_fd(), &endpoint);
            return Err(error);
        }
        fs::create_dir_all(&self.endpoints)
            .map_err(|source| FileError::new("mkdir", &self.endpoints, source))?;
        let member = Member { endpoint: endpoint.clone(), names: wish.names.clone() };
        file::replace(&self.member_file(&wish.container), &member)?;
        Ok(endpoint)
    }

    /// Detaches a container whose sandbox lives on; the address stays leased.
    ///
    /// Waits some 16 ms for the kernel. Where the sandbox is dropped anyway, [`Network::forget`] is enough.
    ///
    /// # Errors
    ///
    /// [`MemberError`]; an endpoint that is not there is none.
    pub fn detach(&self, sandbox: impl AsFd, endpoint: &Endpoint) -> Result<(), MemberError> {
        self.forget(&endpoint.container)?;
        match self.delete_link(sandbox.as_fd(), endpoint) {
            Err(MemberError::Netlink(error)) if error.is_missing() => Ok(()),
            outcome => outcome,
        }
    }

    fn delete_link(&self, sandbox: BorrowedFd<'_>, endpoint: &Endpoint) -> Result<(), MemberError> {
        if let Some(near) = &endpoint.near {
            return self.with_route(|route| route.batch(&[Link::delete(near.as_str())]));
        }
        let interface = endpoint.interface.as_str();
        let delete = || RouteSocket::open()?.batch(&[Link::delete(interface)]);
        let deleted = sys::namespace::within(sandbox, delete);
        Ok(deleted.map_err(MemberError::Enter)??)
    }

    /// Clears away what an attachment that was cut off has left: the record of `container`, and the link called
    /// `interface` in its sandbox.
    ///
    /// # Errors
    ///
    /// [`MemberError`]; nothing to clear away is none.
    pub fn clear(
        &self,
        sandbox: &Sandbox,
        container: &str,
        interface: &InterfaceName,
    ) -> Result<(), MemberError> {
        self.forget(container)?;
        let delete = || RouteSocket::open()?.batch(&[Link::delete(interface.as_str())]);
        match sys::namespace::within(sandbox.as_fd(), delete).map_err(MemberError::Enter)? {
            Err(error) if error.is_missing() => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    /// Lets the other members, of whichever project, find a container by `names` and by no others; gives the member as
    /// it is from then on, and `None` if it is not attached.
    ///
    /// # Errors
    ///
    /// [`MemberError::File`].
    pub fn rename(&self, container: &str, names: &[String]) -> Result<Option<Member>, MemberError> {
        let path = self.member_file(container);
        let Some(member) = file::read::<Member>(&path)? else { return Ok(None) };
        let member = Member { names: names.to_vec(), ..member };
        file::replace(&path, &member)?;
        Ok(Some(member))
    }

    /// Forgets the endpoint of a container whose sandbox is gone or about to go; the address stays leased.
    ///
    /// # Errors
    ///
    /// [`MemberError::File`]; a container that is not known is none.
    pub fn forget(&self, container: &str) -> Result<(), MemberError> {
        Ok(file::remove(&self.member_file(container))?)
    }

    /// Everybody who is attached, of whichever project, by container id.
    ///
    /// A record whose link is gone is of a container that died unseen: it is no member.
    ///
    /// # Errors
    ///
    /// [`MemberError`], by step.
    pub fn members(&self) -> Result<Vec<Member>, MemberError> {
        let mut members = Vec::new();
        for entry in fs::read_dir(&self.endpoints).into_iter().flatten().flatten() {
            if is_record(&entry.file_name()) {
                members.extend(file::read::<Member>(&entry.path())?);
            }
        }
        if members.is_empty() {
            return Ok(members);
        }
        if matches!(self.record.wanted.driver, Driver::Child { .. }) {
            let alive = self.with_route(RouteSocket::peers)?;
            members.retain(|member| member.endpoint.peer.is_some_and(|peer| alive.contains(&peer)));
        } else {
            let links = self.with_route(RouteSocket::links)?;
            let links: BTreeSet<&str> = links.iter().map(|link| link.name.as_str()).collect();
            members.retain(|member| {
                member.endpoint.near.as_ref().is_some_and(|near| links.contains(near.as_str()))
            });
        }
        members.sort_by(|one, other| one.endpoint.container.cmp(&other.endpoint.container));
        Ok(members)
    }

    /// Lets the default routes of a container go out by `endpoint`, as far as `way_out` says, in place of those that
    /// it has.
    ///
    /// # Errors
    ///
    /// [`AttachError::Link`] and [`AttachError::Enter`].
    pub fn lead_out(
        &self,
        sandbox: &Sandbox,
        endpoint: &Endpoint,
        way_out: WayOut,
    ) -> Result<(), AttachError> {
        let visit = || {
            let mut route = RouteSocket::open()?;
            let link = route.link(endpoint.interface.as_str())?.index;
            route.batch(&self.default_routes(endpoint, link, way_out))
        };
        let routed = sys::namespace::within(sandbox.as_fd(), visit).map_err(AttachError::Enter)?;
        routed.map_err(|error| self.link_error(error.into()))
    }

    /// Reserves the addresses of `wish`, the fixed ones if there are any: what a later attach will get.
    ///
    /// Fixed addresses should be leased before others attach, who might get them from the pool.
    ///
    /// # Errors
    ///
    /// [`AttachError::Lease`] when there is no address for it.
    pub fn lease(&self, wish: &EndpointWish) -> Result<(), AttachError> {
        let _lock = file::lock(&self.data)?;
        self.lease_addresses(&wish.lease_key, wish.fixed()).map(drop)
    }

    /// Gives the addresses of `lease_key` back; one that has none is no error.
    ///
    /// # Errors
    ///
    /// [`MemberError::File`].
    pub fn release(&self, lease_key: &str) -> Result<(), MemberError> {
        let _lock = file::lock(&self.data)?;
        let path = self.data.join("leases.json");
        let mut leases: Leases = file::read(&path)?.unwrap_or_default();
        if leases.release(lease_key) {
            file::replace(&path, &leases)?;
        }
        Ok(())
    }

    /// An address of each family that the network has.
    fn lease_addresses(
        &self,
        key: &str,
        fixed: impl Iterator<Item = IpAddr> + Clone,
    ) -> Result<Vec<IpNet>, AttachError> {
        let path = self.data.join("leases.json");
        let mut leases: Leases = file::read(&path)?.unwrap_or_default();
        let before = leases.clone();
        let members = OnceCell::new();
        let live = |holder: &str| {
            // Looked up in the rare case that an address is contended; who cannot be seen counts as present.
            let members = members.get_or_init(|| self.members().ok());
            members.as_ref().is_none_or(|members: &Vec<Member>| {
                members.iter().any(|member| member.endpoint.lease_key == holder)
            })
        };
        let refused = |source| AttachError::Lease { network: self.name().clone(), source };
        let lacking = |address: &IpAddr| !self.record.has(Family::of(*address));
        if let Some(address) = fixed.clone().find(lacking) {
            let family = Family::of(address);
            return Err(refused(LeaseError::NoFamily { address, family }));
        }
        let mut leased = Vec::new();
        for range in self.record.ranges() {
            let family = range.subnet.family();
            let wanted = fixed.clone().find(|address| Family::of(*address) == family);
            let address = leases.lease(key, wanted, &range, live).map_err(refused)?;
            leased.extend(IpNet::new(address, range.subnet.prefix()));
        }
        if leases != before {
            file::replace(&path, &leases)?;
        }
        Ok(leased)
    }

    fn endpoint(&self, wish: &EndpointWish, leased: &[IpNet]) -> Endpoint {
        let leads_out = Family::ALL.iter().any(|family| self.record.leads_out(*family));
        let mac = match &self.record.wanted.driver {
            Driver::Bridge(_) => leased.first().map(|net| Mac::of(net.address())),
            // The link of the container that was here before has its own until the kernel has cleaned up.
            Driver::Child { .. } => Some(Mac::random()),
        };
        Endpoint {
            network: self.name().clone(),
            container: wish.container.clone(),
            lease_key: wish.lease_key.clone(),
            interface: wish.interface.clone(),
            near: None,
            peer: None,
            address: leased.iter().find_map(|net| net.ipv4()),
            gateway: self.record.gateway.filter(|_| leads_out),
            ipv6: leased.iter().find_map(|net| net.ipv6()),
            ipv6_gateway: self.record.ipv6.filter(|_| leads_out).map(Ipv6Net::address),
            mac: wish.mac.or(mac).unwrap_or(Mac([2, 0x42, 0, 0, 0, 2])),
        }
    }

    /// Makes the link inside: one end of a pair whose other is on the bridge and up, or a link on another one.
    fn add_link(&self, sandbox: &Sandbox, endpoint: &mut Endpoint) -> Result<(), MemberError> {
        let isolates = match &self.record.wanted.driver {
            Driver::Bridge(bridge) => bridge.isolates,
            Driver::Child { parent, kind } => {
                endpoint.peer = Some(self.know(sandbox)?);
                return self.add_child(sandbox, endpoint, parent.as_ref(), *kind);
            }
        };
        let mtu = self.mtu()?;
        let near_name = InterfaceName::random("ve");
        let near = VethEnd { name: &near_name, index: random_index(), mac: None };
        let far = VethEnd { name: &endpoint.interface, index: 0, mac: Some(endpoint.mac) };
        let bridge = Some(bridge::INDEX);
        let pair = Veth { near, bridge, far, into: sandbox.as_fd(), mtu, near_up: true }.add();
        let isolate = isolates.then(|| Link::isolate(near_name.as_str()));
        let requests: Vec<Message> = std::iter::once(pair).chain(isolate).collect();
        self.with_route(|route| route.batch(&requests))?;
        endpoint.near = Some(near_name);
        Ok(())
    }

    fn add_child(
        &self,
        sandbox: &Sandbox,
        endpoint: &Endpoint,
        parent: Option<&InterfaceName>,
        kind: ChildKind,
    ) -> Result<(), MemberError> {
        let what = (&endpoint.interface, endpoint.mac, self.record.wanted.mtu);
        match parent {
            Some(parent) => {
                let mut host = RouteSocket::open()?;
                Ok(child::add(&mut host, parent.as_str(), kind, sandbox, what)?)
            }
            None => {
                self.with_route(|route| child::add(route, child::OWN_PARENT, kind, sandbox, what))
            }
        }
    }

    /// The number by which the namespace of the network knows that of a member.
    fn know(&self, sandbox: &Sandbox) -> Result<u32, MemberError> {
        self.with_route(|route| {
            if let Some(known) = route.peer(sandbox.as_fd())? {
                return Ok(known);
            }
            // At random: the number of a member that has just gone is not that of another.
            let id = random_index();
            route.batch(&[Peer::add(id, sandbox.as_fd())])?;
            Ok(id)
        })
    }

    /// Address, link and route inside. The address comes first: the link announces it when it comes up.
    fn set_up(
        &self,
        sandbox: &Sandbox,
        endpoint: &Endpoint,
        wish: &EndpointWish,
        way_out: WayOut,
    ) -> Result<(), AttachError> {
        let name = endpoint.interface.as_str();
        let nets: Vec<IpNet> = endpoint.nets().chain(wish.link_local()).collect();
        let visit = || {
            let mut route = RouteSocket::open()
                .map_err(|error| self.link_error(MemberError::Netlink(error)))?;
            let link = route.link(name).map_err(|error| self.link_error(error.into()))?.index;
            let in_settings = name.replace('.', "/");
            if nets.iter().any(|net| net.family() == Family::V6) {
                sysctl::set(&format!("net.ipv6.conf.{in_settings}.disable_ipv6"), "0")?;
            }
            for (setting, value) in &wish.settings {
                sysctl::set(&setting.replace(INTERFACE, &in_settings), value)?;
            }
            let add = |address: &IpNet| Address { link, address: *address }.add(name);
            let mut requests: Vec<Message> = nets.iter().map(add).collect();
            requests.push(Link::up(name));
            requests.extend(self.default_routes(endpoint, link, way_out));
            let done = route.batch(&requests).and_then(|()| route.settle(name));
            done.map_err(|error| self.link_error(error.into()))
        };
        sys::namespace::within(sandbox.as_fd(), visit).map_err(AttachError::Enter)??;
        let Some(near) = &endpoint.near else { return Ok(()) };
        let settled = self.with_route(|route| {
            route.settle(near.as_str())?;
            route.settle(bridge::NAME)
        });
        settled.map_err(|error| self.link_error(error))
    }

    /// The requests that lead out by `endpoint`, whose link has the number `link`.
    fn default_routes(&self, endpoint: &Endpoint, link: u32, way_out: WayOut) -> Vec<Message> {
        let gateways = endpoint.gateways().filter(|gateway| way_out.has(Family::of(*gateway)));
        if self.record.wanted.driver.routes_by_link() {
            let name = endpoint.interface.as_str();
            let by_link = |gateway| Route::replace_default_by(Family::of(gateway), link, name);
            return gateways.map(by_link).collect();
        }
        gateways.map(Route::replace_default).collect()
    }

    fn link_error(&self, error: MemberError) -> AttachError {
        match error {
            MemberError::Netlink(source) => {
                AttachError::Link { network: self.name().clone(), source }
            }
            other => AttachError::Members(other),
        }
    }

    /// Bytes in a packet, as the bridge has it.
    fn mtu(&self) -> Result<u32, MemberError> {
        if let Some(mtu) = self.mtu.get() {
            return Ok(*mtu);
        }
        let bridge = self.with_route(|route| route.link(bridge::NAME))?;
        Ok(*self.mtu.get_or_init(|| bridge.mtu))
    }

    /// Calls `with` with a socket in the namespace, opened once.
    fn with_route<T>(
        &self,
        with: impl FnOnce(&mut RouteSocket) -> Result<T, NetlinkError>,
    ) -> Result<T, MemberError> {
        let mut slot = self.route.borrow_mut();
        let route = match slot.as_mut() {
            Some(route) => route,
            None => {
                let opened = sys::namespace::within(self.namespace(), RouteSocket::open);
                slot.insert(opened.map_err(MemberError::Enter)??)
            }
        };
        Ok(with(route)?)
    }

    fn member_file(&self, container: &str) -> PathBuf {
        self.endpoints.join(format!("{container}.json"))
    }
}

/// Whether a file is a member's record: what a killed process has left of its next version is hidden, and no record.
fn is_record(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.ends_with(b".json") && !name.starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_written_members_are_none() {
        assert!(is_record(OsStr::new("4f1c.json")));
        assert!(!is_record(OsStr::new(".4f1c.json")), "left by a killed process");
        assert!(!is_record(OsStr::new("4f1c.lock")));
    }
}
