//! Changing on which networks a container is, without making it again.

use std::rc::Rc;

use network::EndpointWish;

use super::live::Live;
use super::{Supervisor, names, publish};
use crate::api::{ConnectRequest, DisconnectRequest};
use crate::apply::endpoint::{self, EndpointError};
use crate::model::network_option;
use crate::record::start::{NetworkStart, Place};
use crate::record::{ContainerRecord, EndpointRecord, RecordError, StartRecord};

/// A container could not be put on a network, or taken off it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no such container.
    #[error("no such container: {id:.12}")]
    Container {
        /// What was asked for.
        id: String,
    },
    /// It has no network namespace of its own.
    #[error(
        "container {name} has no network of its own: it shares that of the host or of another container"
    )]
    Shared {
        /// Its name.
        name: String,
    },
    /// It is there already.
    #[error("container {name} is on network {network} already")]
    Already {
        /// Its name.
        name: String,
        /// The network.
        network: String,
    },
    /// It is not there.
    #[error("container {name} is not on network {network}")]
    Not {
        /// Its name.
        name: String,
        /// The network.
        network: String,
    },
    /// Its interface.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The network.
    #[error(transparent)]
    Network(#[from] names::AttachError),
    /// It cannot be written down.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Puts a container on a network, now and at each start.
///
/// # Errors
///
/// [`ConnectError`].
pub async fn connect(
    supervisor: &Rc<Supervisor>,
    request: &ConnectRequest,
) -> Result<(), ConnectError> {
    let live = container(supervisor, &request.container)?;
    let _gate = live.gate.lock().await;
    // Whether there is such a network is found out before anything changes.
    supervisor.network(&request.network)?;
    let mut places = places(&live)?;
    let name = || live.record.name.clone();
    if places.iter().any(|place| place.network == request.network) {
        return Err(ConnectError::Already { name: name(), network: request.network.clone() });
    }
    let wish = wish(supervisor, &live, &places, request)?;
    let (network, links) = (request.network.clone(), request.links.clone());
    let place = Place { network, wish, links };
    places.push(place);
    // Whoever begins to answer names looks here.
    let before = live.network.replace(NetworkStart::Own(places.clone()));
    if live.is_running() {
        let joined = names::join(supervisor, &live, &places);
        let endpoint = joined.inspect_err(|_| *live.network.borrow_mut() = before)?;
        live.change(|state| state.endpoints.push(endpoint))?;
        publish::redirect(supervisor, &live);
    }
    write_down(supervisor, &live, places)
}

/// Takes a container off a network, now and at each start.
///
/// # Errors
///
/// [`ConnectError`].
pub async fn disconnect(
    supervisor: &Rc<Supervisor>,
    request: &DisconnectRequest,
) -> Result<(), ConnectError> {
    let live = container(supervisor, &request.container)?;
    let _gate = live.gate.lock().await;
    let mut places = places(&live)?;
    let before = places.len();
    places.retain(|place| place.network != request.network);
    if places.len() == before {
        let (name, network) = (live.record.name.clone(), request.network.clone());
        return Err(ConnectError::Not { name, network });
    }
    if live.is_running() {
        names::leave(supervisor, &live, &request.network, &places)?;
        live.change(|state| state.endpoints.retain(|one| one.network != request.network))?;
        *live.network.borrow_mut() = NetworkStart::Own(places.clone());
        publish::redirect(supervisor, &live);
    }
    write_down(supervisor, &live, places)
}

fn container(supervisor: &Supervisor, id: &str) -> Result<Rc<Live>, ConnectError> {
    supervisor.container(id).ok_or_else(|| ConnectError::Container { id: id.to_owned() })
}

fn places(live: &Live) -> Result<Vec<Place>, ConnectError> {
    match &*live.network.borrow() {
        NetworkStart::Own(places) => Ok(places.clone()),
        NetworkStart::Shared(_) | NetworkStart::Host => {
            Err(ConnectError::Shared { name: live.record.name.clone() })
        }
    }
}

fn wish(
    supervisor: &Supervisor,
    live: &Live,
    places: &[Place],
    request: &ConnectRequest,
) -> Result<EndpointWish, ConnectError> {
    let record = &live.record;
    let options = endpoint::Options::read(&request.driver_opts)?;
    let network = supervisor.network(&request.network)?;
    let prefix = network.record().wanted.options.get(network_option::INTERFACE_PREFIX);
    let used = places.iter().map(|place| place.wish.interface.clone());
    let interface = endpoint::Names::used(used)
        .next(options.interface, prefix.map(String::as_str))
        .map_err(EndpointError::from)?;
    let lease_key = match places.first() {
        Some(place) => place.wish.lease_key.clone(),
        None => format!("{}/{}/{}", record.project, record.name, record.number),
    };
    let own = [record.name.clone(), record.short_id().to_owned()];
    Ok(EndpointWish {
        names: own.into_iter().chain(request.aliases.iter().cloned()).collect(),
        ipv4: request.ipv4,
        ipv6: request.ipv6,
        gateway_priority: request.gateway_priority,
        link_local: endpoint::link_local(&request.link_local)?,
        settings: options.settings,
        ..EndpointWish::new(&record.id, &lease_key, interface)
    })
}

fn write_down(
    supervisor: &Supervisor,
    live: &Live,
    places: Vec<Place>,
) -> Result<(), ConnectError> {
    let networks = places.iter().map(|place| EndpointRecord {
        network: place.network.clone(),
        aliases: place.wish.names.clone(),
        lease_key: place.wish.lease_key.clone(),
        ipv4: place.wish.ipv4,
        ipv6: place.wish.ipv6,
        mac: None,
    });
    let kept = |one: EndpointRecord| {
        let known = live.record.networks.iter().find(|known| known.network == one.network);
        known.cloned().unwrap_or(one)
    };
    let networks = networks.map(kept).collect();
    let network = NetworkStart::Own(places);
    StartRecord { network: network.clone(), ..live.start.clone() }.write(&live.paths)?;
    ContainerRecord { networks, ..live.record.clone() }.write(&supervisor.roots)?;
    *live.network.borrow_mut() = network;
    Ok(())
}
