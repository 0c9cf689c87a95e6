//! How a container reaches the network: its places, addresses and names.

use std::collections::{BTreeMap, BTreeSet};

use network::{EndpointWish, InterfaceName, Mac};

use super::{CreateError, run_of};
use crate::apply::endpoint::{self, EndpointError};
use crate::apply::run::Walk;
use crate::model::{Attachment, Networking, Project, Service, network_option};
use crate::plan::CreateContainer;
use crate::record::start::{NetworkStart, Place};
use crate::record::{Join, JoinKind};
use crate::supervisor::{AttachError, Supervisor};

/// By which names a container is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aliases {
    /// Those of its service too.
    OfService,
    /// Its own only: a one-off.
    OwnOnly,
}

/// How the container called `id` that `create` describes is to reach the network.
///
/// # Errors
///
/// [`CreateError`] when an interface cannot be as it is wanted.
pub fn network_start(
    walk: &Walk,
    project: &Project,
    create: &CreateContainer,
    id: &str,
    joins: &[Join],
) -> Result<NetworkStart, CreateError> {
    if let Some(join) = joins.iter().find(|join| join.kind == JoinKind::Network) {
        return Ok(NetworkStart::Shared(join.container.clone()));
    }
    let service = &project.services[&create.instance.service];
    let of_service = !create.oneoff || run_of(walk, create).is_some_and(|run| run.use_aliases);
    let aliases = if of_service { Aliases::OfService } else { Aliases::OwnOnly };
    let mut attachments: Vec<(String, Attachment)> = match &service.networking {
        Networking::Host => return Ok(NetworkStart::Host),
        Networking::Attached(attached) => attached
            .iter()
            .map(|(key, attachment)| (project.networks[key].name.clone(), attachment.clone()))
            .collect(),
        Networking::Bridge => vec![("bridge".to_owned(), Attachment::default())],
        Networking::Named(name) => vec![(name.clone(), Attachment::default())],
        Networking::None | Networking::Service(_) | Networking::Container(_) => Vec::new(),
    };
    // Interfaces are numbered by priority, the highest first; the sort is stable, so names decide among equals.
    attachments.sort_by_key(|(_, attachment)| std::cmp::Reverse(attachment.priority));
    let asked = |attachment: &Attachment| -> Result<_, EndpointError> {
        let named = attachment.interface_name.as_deref().map(str::parse).transpose()?;
        let options = endpoint::Options::read(&attachment.driver_opts)?;
        Ok((named.or(options.interface), options.settings))
    };
    let asked = attachments.iter().map(|(_, attachment)| asked(attachment));
    let asked: Vec<(Option<InterfaceName>, _)> = asked.collect::<Result<_, _>>()?;
    let mut interfaces = endpoint::Names::used(asked.iter().filter_map(|(name, _)| name.clone()));
    let mut places = Vec::new();
    for (index, ((network, attachment), (name, settings))) in
        attachments.into_iter().zip(asked).enumerate()
    {
        let prefix = option(walk, project, &network, network_option::INTERFACE_PREFIX);
        let interface = interfaces.next(name, prefix.as_deref()).map_err(EndpointError::from)?;
        let mac = attachment.mac.or(service.mac_address.filter(|_| index == 0));
        let wish = EndpointWish {
            names: names_on_network(service, create, id, &attachment, aliases),
            mac: mac.map(|mac| Mac(mac.0)),
            ipv4: attachment.ipv4,
            ipv6: attachment.ipv6,
            gateway_priority: attachment.gateway_priority,
            link_local: endpoint::link_local(&attachment.link_local_ips)?,
            settings,
            ..EndpointWish::new(id, &lease_key(walk, project, create, &network), interface)
        };
        places.push(Place { network, wish, links: BTreeMap::new() });
    }
    Ok(NetworkStart::Own(places))
}

/// An option of the network called `name`: of the file, or of whoever made one that is external.
fn option(walk: &Walk, project: &Project, name: &str, option: &str) -> Option<String> {
    let own = project.networks.values().find(|network| network.name == name && !network.external);
    match own {
        Some(network) => network.driver_opts.get(option).cloned(),
        None => {
            let record = walk.supervisor.networks.record(&name.parse().ok()?).ok()??;
            record.wanted.options.get(option).cloned()
        }
    }
}

/// Takes the fixed addresses before anybody else gets them from the pool.
pub(super) fn lease_fixed(
    supervisor: &Supervisor,
    network: &NetworkStart,
) -> Result<(), CreateError> {
    let NetworkStart::Own(places) = network else { return Ok(()) };
    for Place { network: name, wish, links: _ } in places {
        if wish.ipv4.is_none() && wish.ipv6.is_none() {
            continue;
        }
        supervisor.network(name)?.lease(wish).map_err(AttachError::Attach)?;
    }
    Ok(())
}

/// Who keeps an address: the replica, through all containers that it will be. Two of them that run side by side have
/// an address each.
fn lease_key(walk: &Walk, project: &Project, create: &CreateContainer, network: &str) -> String {
    let instance = &create.instance;
    if create.oneoff {
        return format!("{}/{}", project.name, instance.name);
    }
    let own = format!("{}/{}/{}", project.name, instance.service, instance.number);
    let before = create.replaces.as_ref().and_then(|id| walk.supervisor.container(id));
    let before = before.and_then(|live| {
        let record = live.record();
        let place = record.networks.iter().find(|place| place.network == network)?;
        Some(place.lease_key.clone())
    });
    match (before, create.beside) {
        (Some(key), true) if key == own => format!("{own}/beside"),
        (Some(key), false) => key,
        (Some(_), true) | (None, _) => own,
    }
}

/// The names by which the others find it: service, container, short id and aliases. A one-off answers to its own
/// name only, unless it was given those of the service (S44).
fn names_on_network(
    service: &Service,
    create: &CreateContainer,
    id: &str,
    attachment: &Attachment,
    aliases: Aliases,
) -> Vec<String> {
    let mut names = vec![create.instance.name.clone(), id[..12].to_owned()];
    if aliases == Aliases::OfService {
        names.push(service.name.to_string());
        names.extend(attachment.aliases.iter().cloned());
    }
    names.extend(service.hostname.clone());
    // The first name is the one that an address is looked up to.
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// Aliases by which only this container finds others.
pub(super) fn links(service: &Service) -> BTreeMap<String, String> {
    let of_project = service
        .links
        .iter()
        .filter_map(|link| Some((link.alias.clone()?, link.service.to_string())));
    let external = service
        .external_links
        .iter()
        .filter_map(|link| Some((link.alias.clone()?, link.container.clone())));
    of_project.chain(external).collect()
}
