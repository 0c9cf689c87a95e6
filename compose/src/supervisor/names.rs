//! Where the containers are on their networks, and by which names they find each other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use network::dns::{self, Door, Names, Outside, Resolver, Server, Upstreams, Zone, beside};
use network::{
    Endpoint, EndpointWish, Family, Member, Network, NetworkName, Sandbox, Wanted, WayOut,
};
use rustix::fs::inotify;
use tokio::sync::watch;
use tokio::task::spawn_local;

use super::Supervisor;
use super::live::Live;
use super::readiness::{self, Descriptor};
use crate::model::{HostAddress, MacAddress};
use crate::record::EndpointState;
use crate::record::start::{NetworkStart, Place};

/// The network for `network_mode: bridge`, which belongs to no project.
const BRIDGE: &str = "bridge";

/// Where name servers listen.
const DNS_PORT: u16 = 53;

/// A container could not be attached to its networks.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Its own namespace.
    #[error("cannot make its network namespace")]
    Sandbox(#[from] network::SandboxError),
    /// A name that no network can have.
    #[error(transparent)]
    Name(#[from] network::NameError),
    /// The network is not there.
    #[error("network {name} does not exist")]
    Missing {
        /// Its real name.
        name: String,
    },
    /// The network cannot be used.
    #[error(transparent)]
    Store(#[from] network::StoreError),
    /// Its place on the network.
    #[error(transparent)]
    Attach(#[from] network::AttachError),
    /// Its place on a network, which it is to leave.
    #[error("cannot leave network {name}")]
    Leave {
        /// Its real name.
        name: String,
        /// Why not.
        source: network::MemberError,
    },
    /// Its server for names.
    #[error("cannot answer names at 127.0.0.11")]
    Names(#[from] network::dns::BindError),
    /// The container has a kernel of its own.
    #[error("its runtime has taken its networks over at its start")]
    Closed,
    /// A descriptor.
    #[error("cannot duplicate a descriptor")]
    Host(#[source] std::io::Error),
}

/// The networks that are in use, who is on them, and what each container may look up.
#[derive(Debug)]
pub struct Directory {
    networks: RefCell<BTreeMap<String, Joined>>,
    views: RefCell<BTreeMap<String, View>>,
    watcher: Option<Descriptor>,
    upstreams: Arc<Upstreams>,
}

/// A network that is in use.
#[derive(Debug)]
struct Joined {
    network: Rc<Network>,
    members: BTreeMap<String, Member>,
    names: Arc<Names>,
}

/// What one container may look up.
#[derive(Debug)]
struct View {
    networks: Vec<String>,
    links: BTreeMap<String, String>,
    outside: Outside,
    zone: watch::Sender<Zone>,
}

impl Default for Directory {
    fn default() -> Self {
        let watcher = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK);
        Self {
            networks: RefCell::default(),
            views: RefCell::default(),
            watcher: watcher.ok().and_then(|watcher| readiness::register(watcher).ok()),
            upstreams: Arc::new(Upstreams::of_file("/etc/resolv.conf")),
        }
    }
}

impl Directory {
    /// Lets go of a network that is to be removed.
    pub fn forget(&self, name: &str) {
        self.networks.borrow_mut().remove(name);
    }

    fn joined(&self, name: &str, member: Member) {
        if let Some(joined) = self.networks.borrow_mut().get_mut(name) {
            joined.members.insert(member.endpoint.container.clone(), member);
            joined.names = Arc::new(Names::new(name, joined.members.values()));
        }
        self.publish(name);
    }

    fn left(&self, name: &str, container: &str) {
        if let Some(joined) = self.networks.borrow_mut().get_mut(name)
            && joined.members.remove(container).is_some()
        {
            joined.names = Arc::new(Names::new(name, joined.members.values()));
        }
        self.publish(name);
    }

    /// Lets every container on the network see its names as they are.
    fn publish(&self, network: &str) {
        for view in self.views.borrow().values() {
            if view.networks.iter().any(|name| name == network) {
                view.zone.send_replace(self.zone(view));
            }
        }
    }

    fn zone(&self, view: &View) -> Zone {
        let networks = self.networks.borrow();
        let names = view.networks.iter().filter_map(|name| networks.get(name));
        let names = names.map(|joined| Arc::clone(&joined.names)).collect();
        Zone::new(names, view.links.clone(), view.outside)
    }

    /// Waits until somebody, of whichever project, joins or leaves one of the networks that are in use.
    async fn changed(&self) {
        let Some(watcher) = &self.watcher else { return std::future::pending().await };
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        loop {
            let Ok(mut ready) = watcher.readable().await else { return };
            let mut reader = inotify::Reader::new(&watcher.get_ref().0, &mut buffer);
            let mut seen = false;
            while reader.next().is_ok() {
                seen = true;
            }
            ready.clear_ready();
            if seen {
                return;
            }
        }
    }
}

/// Keeps the names of containers of other projects on shared networks up to date.
pub async fn follow_others(supervisor: Rc<Supervisor>) {
    loop {
        supervisor.names.changed().await;
        let networks: Vec<(String, Rc<Network>)> = {
            let networks = supervisor.names.networks.borrow();
            networks
                .iter()
                .map(|(name, joined)| (name.clone(), Rc::clone(&joined.network)))
                .collect()
        };
        for (name, network) in networks {
            if refresh(&supervisor, &name, &network) {
                supervisor.names.publish(&name);
            }
        }
    }
}

/// Reads anew who of other projects is on a network, and says whether that has changed. Our own are known.
fn refresh(supervisor: &Supervisor, name: &str, network: &Network) -> bool {
    let is_ours = |id: &str| supervisor.container(id).is_some();
    let mut networks = supervisor.names.networks.borrow_mut();
    let Some(joined) = networks.get_mut(name) else { return false };
    let seen = foreign_members(network, is_ours);
    let known = joined.members.keys().filter(|id| !is_ours(id)).count();
    let is_known = |member: &Member| joined.members.get(&member.endpoint.container) == Some(member);
    if known == seen.len() && seen.iter().all(is_known) {
        return false;
    }
    joined.members.retain(|id, _| is_ours(id));
    joined
        .members
        .extend(seen.into_iter().map(|member| (member.endpoint.container.clone(), member)));
    joined.names = Arc::new(Names::new(name, joined.members.values()));
    true
}

fn foreign_members(network: &Network, is_ours: impl Fn(&str) -> bool) -> Vec<Member> {
    let mut members = network.members().unwrap_or_default();
    members.retain(|member| !is_ours(&member.endpoint.container));
    members
}

/// The network with this real name, brought up if a reboot has left only its record.
///
/// # Errors
///
/// [`AttachError::Missing`] and [`AttachError::Store`].
pub fn network(supervisor: &Supervisor, name: &str) -> Result<Rc<Network>, AttachError> {
    if let Some(known) = supervisor.names.networks.borrow().get(name) {
        return Ok(Rc::clone(&known.network));
    }
    let wanted: NetworkName = name.parse()?;
    let found = if name == BRIDGE {
        Some(supervisor.networks.create(&Wanted::new(wanted))?)
    } else {
        supervisor.networks.find(&wanted)?
    };
    let network = Rc::new(found.ok_or_else(|| AttachError::Missing { name: name.to_owned() })?);
    let members: BTreeMap<String, Member> = network
        .members()
        .unwrap_or_default()
        .into_iter()
        .map(|member| (member.endpoint.container.clone(), member))
        .collect();
    if let Some(watcher) = &supervisor.names.watcher {
        let _ = fs::create_dir_all(network.endpoints());
        let events = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE;
        if let Err(error) = inotify::add_watch(&watcher.get_ref().0, network.endpoints(), events) {
            tracing::warn!(network = name, %error, "names of other projects will not be seen");
        }
    }
    let names = Arc::new(Names::new(name, members.values()));
    let joined = Joined { network: Rc::clone(&network), members, names };
    supervisor.names.networks.borrow_mut().insert(name.to_owned(), joined);
    Ok(network)
}

/// Gives `live` its network namespace with its endpoints, unless it still has it from its last run, and begins to
/// answer names in it.
///
/// # Errors
///
/// [`AttachError`]; nothing is attached then.
pub fn attach(supervisor: &Rc<Supervisor>, live: &Rc<Live>) -> Result<(), AttachError> {
    let start = live.network.borrow();
    let NetworkStart::Own(places) = &*start else { return Ok(()) };
    // A sandbox has taken its links over, and they are gone with it.
    if live.start().is_sandbox() && live.descriptors.borrow().sandbox.is_some() {
        detach_from(supervisor, live, places);
        live.descriptors.borrow_mut().sandbox = None;
    }
    if live.descriptors.borrow().sandbox.is_none() {
        let sandbox = Sandbox::create()?;
        let endpoints = match attach_all(supervisor, live, &sandbox, places) {
            Ok(endpoints) => endpoints,
            Err(error) => {
                detach(supervisor, live);
                return Err(error);
            }
        };
        live.descriptors.borrow_mut().sandbox = Some(OwnedFd::from(sandbox));
        live.remember_endpoints(endpoints);
    }
    serve(supervisor, live)
}

/// The names by which the others find a container at `place`: none but its id while another one is in its place.
fn names_at(live: &Live, place: &Place) -> Vec<String> {
    match live.state().aside {
        true => vec![live.record().short_id().to_owned()],
        false => place.wish.names.clone(),
    }
}

fn attach_all(
    supervisor: &Supervisor,
    live: &Live,
    sandbox: &Sandbox,
    places: &[Place],
) -> Result<Vec<EndpointState>, AttachError> {
    let mut endpoints = Vec::new();
    let ways_out = WaysOut::of(supervisor, places)?;
    for (index, place) in places.iter().enumerate() {
        let network = network(supervisor, &place.network)?;
        let names = names_at(live, place);
        let wish = EndpointWish { names: names.clone(), ..place.wish.clone() };
        let endpoint = network.attach(sandbox, &wish, ways_out.at(index))?;
        endpoints.push(endpoint_state(&endpoint));
        supervisor.names.joined(&place.network, Member { endpoint, names });
    }
    Ok(endpoints)
}

/// By which of its places the default routes of a container go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WaysOut {
    ipv4: Option<usize>,
    ipv6: Option<usize>,
}

impl WaysOut {
    /// For each family the place with the highest `gw_priority`, the first of equals, among those on networks that
    /// lead out.
    ///
    /// # Errors
    ///
    /// When one of the networks is not there.
    pub fn of(supervisor: &Supervisor, places: &[Place]) -> Result<Self, AttachError> {
        let mut ways_out = Self::default();
        let mut best = [None; 2];
        for (index, place) in places.iter().enumerate() {
            let network = network(supervisor, &place.network)?;
            let priority = place.wish.gateway_priority;
            let ways = [&mut ways_out.ipv4, &mut ways_out.ipv6];
            for ((family, way), best) in Family::ALL.into_iter().zip(ways).zip(&mut best) {
                if network.record().leads_out(family) && best.is_none_or(|best| priority > best) {
                    (*way, *best) = (Some(index), Some(priority));
                }
            }
        }
        Ok(ways_out)
    }

    /// The families that go out by the place with this index.
    pub fn at(self, index: usize) -> WayOut {
        WayOut { ipv4: self.ipv4 == Some(index), ipv6: self.ipv6 == Some(index) }
    }

    /// The place by which `family` goes out.
    pub const fn by(self, family: Family) -> Option<usize> {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        }
    }

    /// The place by which most goes out: that of IPv4, where there is one.
    pub fn main(self) -> Option<usize> {
        self.ipv4.or(self.ipv6)
    }
}

/// Answers names in the namespace of `live`, for as long as it runs.
fn serve(supervisor: &Rc<Supervisor>, live: &Rc<Live>) -> Result<(), AttachError> {
    let start = live.network.borrow();
    let NetworkStart::Own(places) = &*start else { return Ok(()) };
    if places.is_empty() {
        return Ok(());
    }
    let sandbox = live.descriptors.borrow().sandbox.as_ref().map(OwnedFd::try_clone);
    let Some(sandbox) = sandbox.transpose().map_err(AttachError::Host)? else { return Ok(()) };
    let wants_port =
        live.record().ports.iter().any(|port| port.target == 53) || live.start().uses_dns_port;
    let door = match wants_port {
        _ if live.start().is_sandbox() => Door::Beside,
        true => Door::Redirected,
        false => Door::Direct,
    };
    let server = Server::bind(&Sandbox::from(sandbox), door)?;
    let networks = places.iter().map(|place| place.network.clone()).collect();
    let outside = outside(supervisor, places)?;
    let zone = watch::Sender::new(Zone::default());
    let receiver = zone.subscribe();
    let view = View { networks, links: links(live, places), outside, zone };
    view.zone.send_replace(supervisor.names.zone(&view));
    supervisor.names.views.borrow_mut().insert(live.record().id.clone(), view);
    let upstreams = match live.start().resolver.servers.as_slice() {
        [] => Arc::clone(&supervisor.names.upstreams),
        servers => {
            let servers = servers.iter().map(|ip| SocketAddr::new(*ip, DNS_PORT)).collect();
            Arc::new(Upstreams::fixed(servers))
        }
    };
    let name = live.record().name.clone();
    live.tasks.borrow_mut().services.push(spawn_local(async move {
        if let Err(error) = server.run(receiver, upstreams).await {
            tracing::error!(container = name, %error, "names");
        }
    }));
    Ok(())
}

/// The names that only this container has for others: those of its service, and those of its places.
fn links(live: &Live, places: &[Place]) -> BTreeMap<String, String> {
    let of_places = places.iter().flat_map(|place| place.links.clone());
    live.start().links.clone().into_iter().chain(of_places).collect()
}

/// Whether a container at `places` may ask for names that no network has: one of them leads out.
fn outside(supervisor: &Supervisor, places: &[Place]) -> Result<Outside, AttachError> {
    let leads_out = WaysOut::of(supervisor, places)?.main().is_some();
    Ok(if leads_out { Outside::Asked } else { Outside::Unknown })
}

fn endpoint_state(endpoint: &Endpoint) -> EndpointState {
    EndpointState {
        network: endpoint.network.to_string(),
        interface: endpoint.interface.to_string(),
        address: endpoint.address.map(|net| net.address()),
        prefix: endpoint.address.map_or(0, |net| net.prefix()),
        gateway: endpoint.gateway,
        ipv6: endpoint.ipv6.map(|net| net.address()),
        ipv6_prefix: endpoint.ipv6.map_or(0, |net| net.prefix()),
        ipv6_gateway: endpoint.ipv6_gateway,
        mac: MacAddress(endpoint.mac.0),
    }
}

/// Takes `live` off its networks: its namespace goes with the last descriptor of it, and its links with that.
pub fn detach(supervisor: &Supervisor, live: &Live) {
    let start = live.network.borrow();
    let NetworkStart::Own(places) = &*start else { return };
    detach_from(supervisor, live, places);
}

fn detach_from(supervisor: &Supervisor, live: &Live, places: &[Place]) {
    supervisor.names.views.borrow_mut().remove(&live.record().id);
    for Place { network: name, .. } in places {
        let Ok(network) = network(supervisor, name) else { continue };
        if let Err(error) = network.forget(&live.record().id) {
            tracing::warn!(container = live.record().name, network = name, %error, "detach");
        }
        supervisor.names.left(name, &live.record().id);
    }
    live.remember_endpoints(Vec::new());
}

/// Puts a container that runs on one more network: the last of `places`, which are all that it is to have.
///
/// # Errors
///
/// [`AttachError`]; nothing has changed then.
pub fn join(
    supervisor: &Rc<Supervisor>,
    live: &Rc<Live>,
    places: &[Place],
) -> Result<EndpointState, AttachError> {
    let place = places.last().expect("the caller has added one");
    let sandbox = sandbox(live, &place.network)?;
    let network = network(supervisor, &place.network)?;
    let way_out = WaysOut::of(supervisor, places)?.at(places.len() - 1);
    // A predecessor may have been killed before it wrote down that it had done this.
    let cleared = network.clear(&sandbox, &place.wish.container, &place.wish.interface);
    cleared.map_err(network::AttachError::from)?;
    let names = names_at(live, place);
    let wish = EndpointWish { names: names.clone(), ..place.wish.clone() };
    let endpoint = network.attach(&sandbox, &wish, way_out)?;
    let state = endpoint_state(&endpoint);
    let outside = outside(supervisor, places)?;
    let known = {
        let mut views = supervisor.names.views.borrow_mut();
        let view = views.get_mut(&live.record().id);
        view.map(|view| {
            view.networks.push(place.network.clone());
            view.outside = outside;
            view.links = links(live, places);
        })
        .is_some()
    };
    supervisor.names.joined(&place.network, Member { endpoint, names });
    // On no network it has had nobody to answer names.
    if !known && let Err(error) = serve(supervisor, live) {
        tracing::warn!(container = live.record().name, %error, "names");
    }
    Ok(state)
}

/// Lets a container that is on the network of `place` be found by the names of that, and by no others.
///
/// # Errors
///
/// [`AttachError`]; the names are as they were then.
pub fn rename(supervisor: &Supervisor, live: &Live, place: &Place) -> Result<(), AttachError> {
    let network = network(supervisor, &place.network)?;
    let renamed = network.rename(&live.record().id, &names_at(live, place));
    if let Some(member) = renamed.map_err(network::AttachError::from)? {
        supervisor.names.joined(&place.network, member);
    }
    Ok(())
}

/// Lets a container be found by the names that it has now: its own, or none while it stands aside.
pub fn announce(supervisor: &Supervisor, live: &Live) {
    let NetworkStart::Own(places) = &*live.network.borrow() else { return };
    let id = &live.record().id;
    for place in places {
        let is_known = |joined: &Joined| {
            joined.members.get(id).is_none_or(|member| member.names == names_at(live, place))
        };
        if supervisor.names.networks.borrow().get(&place.network).is_none_or(is_known) {
            continue;
        }
        if let Err(error) = rename(supervisor, live, place) {
            tracing::error!(container = live.record().name, %error, "names");
        }
    }
}

/// The namespace of a container that runs.
fn sandbox(live: &Live, network: &str) -> Result<Sandbox, AttachError> {
    if live.start().is_sandbox() {
        return Err(AttachError::Closed);
    }
    let sandbox = live.descriptors.borrow().sandbox.as_ref().map(OwnedFd::try_clone);
    let sandbox = sandbox.transpose().map_err(AttachError::Host)?;
    sandbox.map(Sandbox::from).ok_or_else(|| AttachError::Missing { name: network.to_owned() })
}

/// Takes a container that runs off one network; its default routes go out by those of `places`, which it keeps.
///
/// # Errors
///
/// [`AttachError`]; it is still on it then, or, when a route is refused, without it.
pub fn leave(
    supervisor: &Supervisor,
    live: &Live,
    name: &str,
    places: &[Place],
) -> Result<(), AttachError> {
    let network = network(supervisor, name)?;
    let failed =
        |source: network::MemberError| AttachError::Leave { name: name.to_owned(), source };
    let members = network.members().map_err(failed)?;
    if let Some(own) = members.iter().find(|one| one.endpoint.container == live.record().id) {
        network.detach(&sandbox(live, name)?, &own.endpoint).map_err(failed)?;
    }
    if let Some(view) = supervisor.names.views.borrow_mut().get_mut(&live.record().id) {
        view.networks.retain(|known| known != name);
        view.outside = outside(supervisor, places)?;
        view.links = links(live, places);
        view.zone.send_replace(supervisor.names.zone(view));
    }
    supervisor.names.left(name, &live.record().id);
    lead_out(supervisor, live, places)
}

/// Lets the default routes of a container that runs go out where they should.
fn lead_out(supervisor: &Supervisor, live: &Live, places: &[Place]) -> Result<(), AttachError> {
    let ways_out = WaysOut::of(supervisor, places)?;
    for (index, place) in places.iter().enumerate() {
        let way_out = ways_out.at(index);
        if way_out == WayOut::NONE {
            continue;
        }
        let network = network(supervisor, &place.network)?;
        let failed = |source| AttachError::Leave { name: place.network.clone(), source };
        let members = network.members().map_err(failed)?;
        if let Some(own) = members.iter().find(|one| one.endpoint.container == live.record().id) {
            network.lead_out(&sandbox(live, &place.network)?, &own.endpoint, way_out)?;
        }
    }
    Ok(())
}

/// Finds the endpoints of a container again that a predecessor attached and did not live to write down.
pub fn recall(supervisor: &Supervisor, live: &Live) {
    let start = live.network.borrow();
    let NetworkStart::Own(places) = &*start else { return };
    let endpoint = |place: &Place| {
        let members = network(supervisor, &place.network).ok()?.members().ok()?;
        let own = |member: &Member| member.endpoint.container == live.record().id;
        members.into_iter().find(own).map(|member| endpoint_state(&member.endpoint))
    };
    live.remember_endpoints(places.iter().filter_map(endpoint).collect());
}

/// Answers names again for a container that runs already.
pub fn take_up(supervisor: &Rc<Supervisor>, live: &Rc<Live>) {
    let taken = serve(supervisor, live).and_then(|()| open(live));
    if let Err(error) = taken {
        tracing::error!(container = live.record().name, %error, "names");
    }
}

/// Lets a sandbox that runs ask for names.
///
/// # Errors
///
/// [`AttachError::Names`].
pub fn open(live: &Live) -> Result<(), AttachError> {
    let has_places =
        matches!(&*live.network.borrow(), NetworkStart::Own(places) if !places.is_empty());
    if !has_places || !live.start().is_sandbox() {
        return Ok(());
    }
    let sandbox = live.descriptors.borrow().sandbox.as_ref().map(OwnedFd::try_clone);
    let sandbox = sandbox.transpose().map_err(AttachError::Host)?;
    Ok(sandbox.map_or(Ok(()), |sandbox| beside::open(&Sandbox::from(sandbox)))?)
}

/// `/etc/hosts` of a container.
pub fn hosts(supervisor: &Supervisor, live: &Live) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    for extra in &live.start().extra_hosts {
        let addresses = match extra.address {
            HostAddress::Ip(address) => vec![address],
            HostAddress::HostGateway => host_gateways(supervisor, live),
        };
        for address in addresses {
            let _ = writeln!(text, "{address}\t{}", extra.host);
        }
    }
    let state = live.state();
    if state.endpoints.is_empty() {
        let _ = writeln!(text, "127.0.1.1\t{}", live.start().hostname);
    }
    for address in state.endpoints.iter().flat_map(EndpointState::addresses) {
        let _ = writeln!(text, "{address}\t{}", live.start().hostname);
    }
    text
}

/// The addresses at which a container reaches the host: the host's ends of the uplinks of its ways out.
fn host_gateways(supervisor: &Supervisor, live: &Live) -> Vec<IpAddr> {
    let start = live.network.borrow();
    let NetworkStart::Own(places) = &*start else { return vec![Ipv4Addr::LOCALHOST.into()] };
    let ways_out = WaysOut::of(supervisor, places).unwrap_or_default();
    let address = |family| {
        let place = &places[ways_out.by(family)?];
        network(supervisor, &place.network).ok()?.host_address(family).ok()?
    };
    Family::ALL.into_iter().filter_map(address).collect()
}

/// `/etc/resolv.conf` of a container.
pub fn resolv_conf(live: &Live) -> String {
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let wanted = &live.start().resolver;
    let has_server =
        matches!(&*live.network.borrow(), NetworkStart::Own(places) if !places.is_empty());
    if !has_server && *wanted == crate::record::start::Resolver::default() {
        return host;
    }
    let mut resolver = Resolver::parse(&host);
    if !wanted.search.is_empty() {
        // A single dot means none at all (resolv.conf(5)).
        resolver.search = wanted.search.iter().filter(|domain| *domain != ".").cloned().collect();
    }
    if !wanted.options.is_empty() {
        resolver.options.clone_from(&wanted.options);
    }
    if has_server {
        let server = if live.start().is_sandbox() { beside::SERVER } else { dns::SERVER };
        return resolver.for_container(server).to_string();
    }
    if !wanted.servers.is_empty() {
        resolver.servers = wanted.servers.iter().map(|ip| SocketAddr::new(*ip, DNS_PORT)).collect();
    }
    resolver.to_string()
}
