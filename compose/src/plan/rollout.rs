//! Updates without a gap: the new container starts before the old one stops (`start-first`).
//!
//! It cannot be so where only one of the two can have something; then the service is updated as any other, and the
//! user is told why.

use std::collections::BTreeMap;
use std::fmt;

use super::Warning;
use super::live::Surroundings;
use super::service::{Fate, Replica, Wish};
use super::up::Decided;
use crate::model::{Networking, RolloutOrder, Service, ServiceName};
use crate::record::{Container, Phase};

/// What keeps a new container from running beside the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The old one does not run, so there is nothing to go on.
    Down,
    /// Another name: the old one keeps its own as long as it is there.
    Name,
    /// An address that only one can have.
    Address,
    /// The namespace of the host or of another container, in which ports are taken.
    Network,
    /// Its network is made anew.
    NetworkReplaced,
    /// A volume of it is made anew.
    VolumeReplaced,
    /// A port of the host that the old one has in another way.
    Port,
    /// Namespaces or volumes that are shared with other services.
    Shared,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "it is not running",
            Self::Name => "its container has another name",
            Self::Address => "it has a fixed address, which two containers cannot have",
            Self::Network => "it is not on networks of its own",
            Self::NetworkReplaced => "its network is made anew",
            Self::VolumeReplaced => "a volume of it is made anew",
            Self::Port => "it publishes the same port at another address",
            Self::Shared => "it shares namespaces or volumes with another service",
        })
    }
}

/// Whether a service asks for it.
fn asks(service: &Service) -> bool {
    let config = service.deploy.as_ref().and_then(|deploy| deploy.update.as_ref());
    config.and_then(|config| config.order) == Some(RolloutOrder::StartFirst)
}

/// Decides about each replica that is made anew and whose service asks to start first.
pub(super) fn decide<'a>(
    decided: &Decided<'a>,
) -> BTreeMap<(&'a ServiceName, u32), Result<(), Obstacle>> {
    let mut rollouts = BTreeMap::new();
    for (name, outcome) in &decided.outcomes {
        let wish = &decided.wishes[*name];
        if !asks(wish.service) || !decided.options.start || !decided.scope.contains(name) {
            continue;
        }
        for replica in &outcome.replicas {
            if let Fate::Replace(old, _) = &replica.fate {
                let way = obstacle(decided, wish, replica, old).map_or(Ok(()), Err);
                rollouts.insert((*name, replica.instance.number), way);
            }
        }
    }
    rollouts
}

fn obstacle(
    decided: &Decided<'_>,
    wish: &Wish<'_>,
    replica: &Replica<'_>,
    old: &Container,
) -> Option<Obstacle> {
    let service = wish.service;
    let around = Surroundings { observed: decided.observed, resources: &decided.resources };
    let places = match &service.networking {
        Networking::Attached(places) => places.values().collect(),
        Networking::Bridge | Networking::Named(_) => Vec::new(),
        Networking::None | Networking::Host | Networking::Service(_) | Networking::Container(_) => {
            return Some(Obstacle::Network);
        }
    };
    let is_fixed = service.mac_address.is_some()
        || places
            .iter()
            .any(|place| place.mac.is_some() || place.fixed_addresses().next().is_some());
    let moved = |port: &&crate::model::Port| {
        !old.record.ports.contains(port) && old.record.ports.iter().any(|before| before.meets(port))
    };
    let joined = || {
        let mut others = decided.wishes.values().flat_map(|other| &other.joins);
        !wish.joins.is_empty() || others.any(|(_, partner)| *partner == &service.name)
    };
    if old.state.phase != Phase::Running {
        Some(Obstacle::Down)
    } else if old.record.name != replica.instance.name {
        Some(Obstacle::Name)
    } else if is_fixed {
        Some(Obstacle::Address)
    } else if !around.networks_stay(&old.record, wish) {
        Some(Obstacle::NetworkReplaced)
    } else if decided.replaced_volume(&old.record).is_some()
        || decided.waits_for_a_volume(&service.name)
    {
        Some(Obstacle::VolumeReplaced)
    } else if service.ports.iter().any(|port| moved(&port)) {
        Some(Obstacle::Port)
    } else if joined() {
        Some(Obstacle::Shared)
    } else {
        None
    }
}

/// What the user should know: where there is a gap although none was asked for.
pub(super) fn warnings(decided: &Decided<'_>) -> Vec<Warning> {
    let mut told: BTreeMap<&ServiceName, Obstacle> = BTreeMap::new();
    for ((service, _), way) in &decided.rollouts {
        match way {
            Ok(()) | Err(Obstacle::Down) => {}
            Err(obstacle) => {
                told.entry(service).or_insert(*obstacle);
            }
        }
    }
    let warning = |(service, obstacle): (&ServiceName, Obstacle)| Warning::StopsFirst {
        service: service.clone(),
        obstacle: obstacle.to_string(),
        place: decided.wishes[service].service.place.clone(),
    };
    told.into_iter().map(warning).collect()
}
