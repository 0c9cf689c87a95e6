//! Updates one container after the other, as `deploy.update_config` says, and without a gap if it says `start-first`: the
//! new container starts before the old one stops.
//!
//! That cannot be where only one of the two can have something; then the service is updated as any other, and the
//! user is told why.

use std::collections::BTreeMap;
use std::fmt;

use super::live::Surroundings;
use super::service::{Fate, Replica, Wish};
use super::up::Decided;
use super::{OnFailure, Rollback, Rollout, Tolerance, Warning};
use crate::model::{FailureAction, Networking, RolloutConfig, RolloutOrder, Service, ServiceName};
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

impl Obstacle {
    /// Whether it is one only where both are to run.
    const fn is_of_both(self) -> bool {
        matches!(self, Self::Address | Self::Network | Self::Port)
    }
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

fn config(service: &Service) -> Option<&RolloutConfig> {
    service.deploy.as_ref()?.update.as_ref()
}

/// The order that a service asks for; none if it may be made anew as a whole.
fn asks(service: &Service) -> Option<RolloutOrder> {
    let RolloutConfig { parallelism, delay, failure_action, monitor, order, max_failure_ratio } =
        config(service)?;
    let in_turn = parallelism.is_some_and(|count| count > 0)
        || delay.is_some()
        || failure_action.is_some()
        || monitor.is_some()
        || max_failure_ratio.is_some();
    match order {
        Some(RolloutOrder::StartFirst) => Some(RolloutOrder::StartFirst),
        _ => in_turn.then_some(RolloutOrder::StopFirst),
    }
}

/// How many containers of `service` take the place of others at the same time; 0 means all.
pub(super) fn at_once(service: &Service) -> u64 {
    config(service).and_then(|config| config.parallelism).unwrap_or(1)
}

/// How the containers of `service` take the place of others that run beside them.
pub(super) fn of(service: &Service) -> Rollout {
    let config = config(service);
    Rollout {
        order: RolloutOrder::StartFirst,
        delay: config.and_then(|config| config.delay).unwrap_or_default(),
        monitor: config.and_then(|config| config.monitor),
        tolerance: tolerance(config),
        on_failure: match config.and_then(|config| config.failure_action) {
            None | Some(FailureAction::Pause) => OnFailure::Pause,
            Some(FailureAction::Continue) => OnFailure::Continue,
            Some(FailureAction::Rollback) => OnFailure::Rollback(rollback(service)),
        },
    }
}

fn rollback(service: &Service) -> Rollback {
    let config = service.deploy.as_ref().and_then(|deploy| deploy.rollback.as_ref());
    Rollback {
        order: config.and_then(|config| config.order).unwrap_or(RolloutOrder::StopFirst),
        at_once: config.and_then(|config| config.parallelism).unwrap_or(1),
        delay: config.and_then(|config| config.delay).unwrap_or_default(),
        monitor: config.and_then(|config| config.monitor),
        tolerance: tolerance(config),
        goes_on: config.and_then(|config| config.failure_action) == Some(FailureAction::Continue),
    }
}

fn tolerance(config: Option<&RolloutConfig>) -> Tolerance {
    let ratio = config.and_then(|config| config.max_failure_ratio);
    ratio.filter(|ratio| ratio.is_finite()).map(Tolerance).unwrap_or_default()
}

impl Rollout {
    /// Whether the old and the new container run at the same time, be it on the way back.
    pub(super) fn runs_both(&self) -> bool {
        let back = match &self.on_failure {
            OnFailure::Rollback(back) => back.order,
            OnFailure::Pause | OnFailure::Continue => RolloutOrder::StopFirst,
        };
        [self.order, back].contains(&RolloutOrder::StartFirst)
    }

    /// The same for containers of which only one of two can run.
    fn one_by_one(self) -> Self {
        let order = RolloutOrder::StopFirst;
        let on_failure = match self.on_failure {
            OnFailure::Rollback(back) => OnFailure::Rollback(Rollback { order, ..back }),
            other => other,
        };
        Self { order, on_failure, ..self }
    }
}

/// Decides about each replica that is made anew and whose service asks for an order.
pub(super) fn decide<'a>(
    decided: &Decided<'a>,
) -> BTreeMap<(&'a ServiceName, u32), Result<Rollout, Obstacle>> {
    let mut rollouts = BTreeMap::new();
    for (name, outcome) in &decided.outcomes {
        let wish = &decided.wishes[*name];
        let Some(order) = asks(wish.service) else { continue };
        if !decided.options.start || !decided.scope.contains(name) {
            continue;
        }
        for replica in &outcome.replicas {
            let Fate::Replace(old, _) = &replica.fate else { continue };
            let wanted = Rollout { order, ..of(wish.service) };
            let way = match obstacle(decided, wish, replica, old) {
                None => Ok(wanted),
                Some(way) if order == RolloutOrder::StopFirst && way.is_of_both() => {
                    Ok(wanted.one_by_one())
                }
                Some(way) => Err(way),
            };
            rollouts.insert((*name, replica.instance.number), way);
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
    let mut networks_of_others = false;
    let places = match &service.networking {
        Networking::Attached(places) => places.values().collect(),
        Networking::Bridge | Networking::Named(_) => Vec::new(),
        Networking::None | Networking::Host | Networking::Service(_) | Networking::Container(_) => {
            networks_of_others = true;
            Vec::new()
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
    } else if !around.networks_stay(&old.record, wish) {
        Some(Obstacle::NetworkReplaced)
    } else if decided.replaced_volume(&old.record).is_some()
        || decided.waits_for_a_volume(&service.name)
    {
        Some(Obstacle::VolumeReplaced)
    } else if joined() {
        Some(Obstacle::Shared)
    } else if networks_of_others {
        Some(Obstacle::Network)
    } else if is_fixed {
        Some(Obstacle::Address)
    } else if service.ports.iter().any(|port| moved(&port)) {
        Some(Obstacle::Port)
    } else {
        None
    }
}

/// What the user should know: where there is a gap although none was asked for.
pub(super) fn warnings(decided: &Decided<'_>) -> Vec<Warning> {
    let mut told: BTreeMap<&ServiceName, Obstacle> = BTreeMap::new();
    for ((service, _), way) in &decided.rollouts {
        match way {
            Ok(_) | Err(Obstacle::Down) => {}
            Err(_) if asks(decided.wishes[*service].service) != Some(RolloutOrder::StartFirst) => {}
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
