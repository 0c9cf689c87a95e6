//! Where the containers are on their networks, and by which names they find each other.

mod directory;
mod etc;
mod ways_out;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use network::dns::{Door, Outside, Server, Upstreams, Zone, beside};
use network::{Endpoint, EndpointWish, Member, Sandbox, WayOut};
use tokio::sync::watch;
use tokio::task::spawn_local;

use super::Supervisor;
use super::live::Live;
use crate::model::MacAddress;
use crate::record::EndpointState;
use crate::record::start::{NetworkStart, Place};
pub use directory::{Directory, follow_others, network};
use directory::{Joined, View};
pub use etc::{hosts, resolv_conf};
pub use ways_out::WaysOut;

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
