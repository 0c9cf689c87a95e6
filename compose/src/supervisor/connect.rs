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
    let places = places(&live)?;
    if places.iter().any(|place| place.network == request.network) {
        let (name, network) = (live.record().name.clone(), request.network.clone());
        return Err(ConnectError::Already { name, network });
    }
    let wish = wish(supervisor, &live, &places, request)?;
    let (network, links) = (request.network.clone(), request.links.clone());
    put_on(supervisor, &live, Place { network, wish, links })?;
    write_down(supervisor, &live)
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
    if !places(&live)?.iter().any(|place| place.network == request.network) {
        let (name, network) = (live.record().name.clone(), request.network.clone());
        return Err(ConnectError::Not { name, network });
    }
    take_off(supervisor, &live, &request.network)?;
    write_down(supervisor, &live)
}

/// Puts a container whose gate the caller holds on one more network; it is not written down that it is there at each start.
///
/// # Errors
///
/// [`ConnectError`]; nothing has changed then.
pub fn put_on(
    supervisor: &Rc<Supervisor>,
    live: &Rc<Live>,
    place: Place,
) -> Result<(), ConnectError> {
    let mut places = places(live)?;
    places.push(place);
    // Whoever begins to answer names looks here.
    let before = live.network.replace(NetworkStart::Own(places.clone()));
    if is_wired(live) {
        let joined = names::join(supervisor, live, &places);
        let endpoint = joined.inspect_err(|_| *live.network.borrow_mut() = before)?;
        live.change(|state| state.endpoints.push(endpoint))?;
        publish::redirect(supervisor, live);
    }
    Ok(())
}

/// Takes a container whose gate the caller holds off a network; it is not written down that it is not there at each start.
///
/// # Errors
///
/// [`ConnectError`].
pub fn take_off(
    supervisor: &Rc<Supervisor>,
    live: &Rc<Live>,
    network: &str,
) -> Result<(), ConnectError> {
    let mut places = places(live)?;
    places.retain(|place| place.network != network);
    if is_wired(live) {
        names::leave(supervisor, live, network, &places)?;
        live.change(|state| state.endpoints.retain(|one| one.network != network))?;
    }
    *live.network.borrow_mut() = NetworkStart::Own(places);
    if is_wired(live) {
        publish::redirect(supervisor, live);
    }
    Ok(())
}

/// Whether it has its namespace: it runs, or waits to be started again.
fn is_wired(live: &Live) -> bool {
    live.is_running() || live.descriptors.borrow().sandbox.is_some()
}

fn container(supervisor: &Supervisor, id: &str) -> Result<Rc<Live>, ConnectError> {
    supervisor.container(id).ok_or_else(|| ConnectError::Container { id: id.to_owned() })
}

/// Its places on networks.
///
/// # Errors
///
/// [`ConnectError::Shared`].
pub fn places(live: &Live) -> Result<Vec<Place>, ConnectError> {
    match &*live.network.borrow() {
        NetworkStart::Own(places) => Ok(places.clone()),
        NetworkStart::Shared(_) | NetworkStart::Host => {
            Err(ConnectError::Shared { name: live.record().name.clone() })
        }
    }
}

fn wish(
    supervisor: &Supervisor,
    live: &Live,
    places: &[Place],
    request: &ConnectRequest,
) -> Result<EndpointWish, ConnectError> {
    let record = &live.record();
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

fn write_down(supervisor: &Supervisor, live: &Live) -> Result<(), ConnectError> {
    let places = places(live)?;
    let record = live.record();
    let networks = places.iter().map(|place| {
        let known = record.networks.iter().find(|known| known.network == place.network);
        known.cloned().unwrap_or_else(|| EndpointRecord {
            network: place.network.clone(),
            aliases: place.wish.names.clone(),
            lease_key: place.wish.lease_key.clone(),
            ipv4: place.wish.ipv4,
            ipv6: place.wish.ipv6,
            mac: None,
            connected: true,
        })
    });
    let record = ContainerRecord { networks: networks.collect(), ..(*record).clone() };
    let start = StartRecord { network: NetworkStart::Own(places), ..(*live.start()).clone() };
    Ok(live.renew(&supervisor.roots, record, start)?)
}
