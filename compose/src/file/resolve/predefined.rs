//! What networks mean for the services on them: those that are no networks of their own, and the address of the host
//! at which ports are published.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::{
    Attachment, Network, NetworkKey, Networking, Predefined, Project, Service, network_option,
};

/// Puts services on what their networks stand for.
pub(super) fn settle(project: &mut Project) {
    let networks = &project.networks;
    for service in project.services.values_mut().chain(project.disabled.values_mut()) {
        if let Networking::Attached(places) = &service.networking {
            if let Some(address) = binding(places, networks) {
                let open = service.ports.iter_mut().filter(|port| port.host_ip.is_none());
                open.for_each(|port| port.host_ip = Some(address));
            }
            // With others beside it there is a mistake, which is told where services are checked.
            if let [key] = places.keys().collect::<Vec<_>>().as_slice()
                && let Some(predefined) = networks.get(*key).and_then(Network::predefined)
            {
                service.networking = match predefined {
                    Predefined::Host => Networking::Host,
                    Predefined::None => Networking::None,
                };
            }
        }
    }
    let all = || project.services.values().chain(project.disabled.values());
    let attached: Vec<NetworkKey> = all().flat_map(keys).cloned().collect();
    project
        .networks
        .retain(|key, network| network.predefined().is_none() || attached.contains(key));
}

fn keys(service: &Service) -> impl Iterator<Item = &NetworkKey> {
    let places = match &service.networking {
        Networking::Attached(places) => Some(places.keys()),
        _ => None,
    };
    places.into_iter().flatten()
}

/// The address of the host that the network with the way out asks for. What is none is told where the network is made.
fn binding(
    places: &BTreeMap<NetworkKey, Attachment>,
    networks: &BTreeMap<NetworkKey, Network>,
) -> Option<IpAddr> {
    let way_out = places
        .iter()
        .filter_map(|(key, place)| Some((networks.get(key)?, place)))
        .filter(|(network, _)| !network.internal)
        .max_by(|(one, place), (other, beside)| {
            let rank = |place: &Attachment| (place.gateway_priority, place.priority);
            // Among equals the first by its name.
            rank(place).cmp(&rank(beside)).then_with(|| other.name.cmp(&one.name))
        });
    way_out?.0.driver_opts.get(network_option::HOST_BINDING)?.parse().ok()
}
