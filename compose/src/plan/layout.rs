//! The steps of `up`, laid out in an order in which nothing refers to a later step.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::hooks::{Likeness, before};
use super::resource::Need as ResourceNeed;
use super::rollout;
use super::service::{Fate, Replica, Wish};
use super::starting::{HandOver, Start, Starter};
use super::stopping::{self, Anonymous, Stop, Stopped, Then, grace};
use super::up::{Decided, OneOff};
use super::{
    Action, Cause, Condition, CreateContainer, Instance, Need, OnFailure, Plan, PlannedJoin,
    Rollout, Step, StepId, Target, UpdateContainer,
};
use crate::model::{DependencyCondition, Networking, Port, RolloutOrder, ServiceName};
use crate::record::{Container, ContainerRecord};

/// The plan so far.
pub(super) struct Layout<'d, 'a> {
    decided: &'d Decided<'a>,
    plan: Plan,
    /// The creations, by service and number.
    created: BTreeMap<(&'d ServiceName, u32), StepId>,
    /// The steps after which containers may be made: remains are gone, volumes are there.
    ground: BTreeSet<StepId>,
    /// The steps after which a network is there, by real name.
    networks: BTreeMap<&'a str, StepId>,
    stopped: Stopped<'d>,
    /// The steps that change containers as they are, by id of the container.
    updates: BTreeMap<&'d str, StepId>,
}

/// Lays out what was decided, and a one-off container if there is to be one.
pub(super) fn lay_out(decided: &Decided<'_>, one_off: Option<&OneOff>) -> Plan {
    let mut layout = Layout {
        decided,
        plan: Plan { warnings: decided.warnings(), steps: Vec::new() },
        created: BTreeMap::new(),
        ground: BTreeSet::new(),
        networks: BTreeMap::new(),
        stopped: Stopped::default(),
        updates: BTreeMap::new(),
    };
    let late = layout.late();
    layout.clear_remains();
    layout.make_resources();
    layout.create(|service| !late.contains(service));
    layout.stop();
    layout.replace_networks();
    layout.replace_volumes();
    layout.create(|service| late.contains(service));
    layout.update();
    layout.start(one_off);
    layout.remove_stale_networks();
    layout.plan
}

impl<'d, 'a> Layout<'d, 'a> {
    fn clear_remains(&mut self) {
        for garbage in &self.decided.observed.garbage {
            let action = Action::RemoveGarbage { id: garbage.id.clone() };
            let step = self.plan.push(action, Cause::CutOff, BTreeSet::new());
            // Which name it holds is not known any more.
            self.ground.insert(step);
        }
    }

    fn make_resources(&mut self) {
        let resources = &self.decided.resources;
        for (name, (key, need)) in &resources.volumes {
            if let ResourceNeed::Create(cause) = need {
                let action = Action::CreateVolume { key: (*key).clone(), name: (*name).to_owned() };
                let step = self.plan.push(action, cause.clone(), BTreeSet::new());
                self.ground.insert(step);
            }
        }
        for (name, (key, need)) in &resources.networks {
            if let ResourceNeed::Create(cause) = need {
                let action =
                    Action::CreateNetwork { key: (*key).clone(), name: (*name).to_owned() };
                let step = self.plan.push(action, cause.clone(), BTreeSet::new());
                self.networks.insert(name, step);
            }
        }
    }

    /// Services whose new containers can be made only when others are gone,
    /// because those have their names, volumes or networks, and services that share with such.
    fn late(&self) -> BTreeSet<&'d ServiceName> {
        let decided = self.decided;
        let mut late: BTreeSet<&ServiceName> = BTreeSet::new();
        for service in decided.graph.start_order() {
            let mut made = decided.made(service);
            let waits = made.any(|replica| {
                let name = &replica.instance.name;
                decided.going().any(|one| {
                    one.record.name == *name && one.record.service != replica.instance.service
                })
            });
            let shares =
                decided.wishes[*service].joins.iter().any(|(_, partner)| late.contains(*partner));
            let resource =
                decided.waits_for_a_volume(service) || decided.waits_for_a_network(service);
            if waits || shares || resource {
                late.insert(service);
            }
        }
        late
    }

    fn create(&mut self, chosen: impl Fn(&ServiceName) -> bool) {
        let decided = self.decided;
        for service in decided.graph.start_order().iter().filter(|name| chosen(name)) {
            let wish = &decided.wishes[*service];
            for replica in decided.made(service) {
                let Some(image_id) = wish.image_id else { continue };
                let joins = self.joins(wish);
                let mut after = &self.ground | &self.freed(&replica.instance.name);
                after.extend(joins.iter().filter_map(|join| match join.target {
                    Target::Created(step) => Some(step),
                    Target::Existing(_) => None,
                }));
                if decided.waits_for_a_network(service) {
                    after.extend(wish.networks.iter().filter_map(|name| self.networks.get(name)));
                }
                let predecessor = replica.predecessor();
                let action = Action::CreateContainer(CreateContainer {
                    instance: replica.instance.clone(),
                    oneoff: false,
                    image: wish.image.clone(),
                    image_id: image_id.to_owned(),
                    config_hash: wish.hash.clone(),
                    replaces: predecessor.map(|container| container.record.id.clone()),
                    aside: self.starts_first(replica),
                    beside: self.runs_beside(replica),
                    inherits: predecessor.map(|one| self.inherits(one)).unwrap_or_default(),
                    joins,
                });
                let step = self.plan.push(action, replica.cause(), after);
                self.created.insert((service, replica.instance.number), step);
            }
        }
    }

    fn inherits(&self, predecessor: &Container) -> BTreeMap<std::path::PathBuf, String> {
        if self.decided.options.renew_anonymous_volumes {
            return BTreeMap::new();
        }
        let volumes = predecessor.record.anonymous_volumes();
        volumes.map(|(target, name)| (target.to_owned(), name.to_owned())).collect()
    }

    /// The containers that one of `wish` shares with.
    fn joins(&self, wish: &Wish<'_>) -> Vec<PlannedJoin> {
        let target = |partner: &ServiceName| {
            let first = self.decided.outcomes.get(partner)?.replicas.first()?;
            match first.kept() {
                Some(container) => Some(Target::Existing(container.record.id.clone())),
                None => {
                    let number = first.instance.number;
                    self.created.get(&(partner, number)).copied().map(Target::Created)
                }
            }
        };
        let joins = wish.joins.iter();
        joins
            .filter_map(|(kind, partner)| {
                Some(PlannedJoin { kind: *kind, target: target(partner)? })
            })
            .collect()
    }

    /// The removals, of those laid out so far, after which `name` is free.
    fn freed(&self, name: &str) -> BTreeSet<StepId> {
        let holders = self.decided.going().filter(|one| one.record.name == name);
        holders
            .filter_map(|one| self.stopped.removals.get(one.record.id.as_str()).copied())
            .collect()
    }

    fn stop(&mut self) {
        let decided = self.decided;
        let mut queue = Vec::new();
        for (container, because) in decided.surplus() {
            let then = Then::Remove(Anonymous::Keep);
            let (after, after_end) = Default::default();
            queue.push(Stop { container, because, after, after_end, then });
        }
        let anonymous = match decided.options.renew_anonymous_volumes {
            true => Anonymous::Remove,
            false => Anonymous::Keep,
        };
        for (service, outcome) in &decided.outcomes {
            for replica in &outcome.replicas {
                if let Fate::Replace(container, because) = &replica.fate
                    && self.rolls_out(replica).is_none()
                {
                    let successor = self.created.get(&(*service, replica.instance.number));
                    queue.push(Stop {
                        container,
                        because: because.clone(),
                        after: successor.copied().into_iter().collect(),
                        after_end: BTreeSet::new(),
                        then: Then::Remove(anonymous),
                    });
                }
            }
        }
        for container in &decided.observed.containers {
            if let Some(because) = decided.restarts.get(container.record.id.as_str()) {
                let (because, then) = (because.clone(), Then::Stay);
                let (after, after_end) = Default::default();
                queue.push(Stop { container, because, after, after_end, then });
            }
        }
        let grace = |container: &Container| {
            grace(Some(decided.project), decided.options.timeout_seconds, container)
        };
        self.stopped = stopping::stop_all(&mut self.plan, decided.graph, queue, grace);
    }

    /// Whether the container in the place of `replica` serves until the new one takes over.
    fn starts_first(&self, replica: &Replica<'_>) -> bool {
        self.order(replica) == Some(RolloutOrder::StartFirst)
    }

    /// Whether it ever does while the other one runs, also on the way back.
    fn runs_beside(&self, replica: &Replica<'_>) -> bool {
        self.rolls_out(replica).is_some_and(Rollout::runs_both)
    }

    /// In which order a new container takes the place of the old one, if that is one step.
    fn order(&self, replica: &Replica<'_>) -> Option<RolloutOrder> {
        self.rolls_out(replica).map(|rollout| rollout.order)
    }

    /// How a new container takes the place of the old one, if that is one step.
    fn rolls_out<'s>(&'s self, replica: &'s Replica<'_>) -> Option<&'s Rollout> {
        let Instance { service, number, .. } = &replica.instance;
        self.decided.rollouts.get(&(service, *number))?.as_ref().ok()
    }

    /// Stops and removes those that have handed over. Where failures may take the whole update back, all of them are kept
    /// until the last one has.
    fn retire(&mut self, handed: &BTreeMap<(ServiceName, u32), StepId>) {
        let decided = self.decided;
        let mut queue = Vec::new();
        for replica in decided.outcomes.values().flat_map(|outcome| &outcome.replicas) {
            let Instance { service, number, .. } = &replica.instance;
            let (Some(container), Some(step)) =
                (replica.predecessor(), handed.get(&(service.clone(), *number)))
            else {
                continue;
            };
            let anonymous = match decided.options.renew_anonymous_volumes {
                true if matches!(replica.fate, Fate::Replace(..)) => Anonymous::Remove,
                _ => Anonymous::Keep,
            };
            let mut after_end = BTreeSet::new();
            if let OnFailure::Rollback(_) = self.rollout(replica).on_failure {
                let of_it = handed.iter().filter(|((name, _), _)| name == service);
                after_end.extend(of_it.map(|(_, other)| *other).filter(|other| other != step));
            }
            let (because, record, after) =
                (replica.cause(), &container.record, BTreeSet::from([*step]));
            if self.order(replica) == Some(RolloutOrder::StopFirst) {
                // It stops in that step.
                self.stopped.stops.insert(&record.id, *step);
                let action = stopping::removal(record, stopping::instance(record), anonymous);
                let step = self.plan.push_step(Step { action, because, after, after_end });
                self.stopped.removals.insert(&record.id, step);
                continue;
            }
            queue.push(Stop {
                container,
                because,
                after,
                after_end,
                then: Then::Remove(anonymous),
            });
        }
        let grace = |container: &Container| {
            grace(Some(decided.project), decided.options.timeout_seconds, container)
        };
        let Stopped { stops, removals } =
            stopping::stop_all(&mut self.plan, decided.graph, queue, grace);
        self.stopped.stops.extend(stops);
        self.stopped.removals.extend(removals);
    }

    /// How `replica` takes over from another one, or would.
    fn rollout(&self, replica: &Replica<'_>) -> Rollout {
        self.rolls_out(replica)
            .cloned()
            .unwrap_or_else(|| rollout::of(self.decided.wishes[&replica.instance.service].service))
    }

    /// How the container in the place of `replica` takes over from another one, if it does.
    fn hand_over(&self, replica: &Replica<'_>) -> Option<HandOver> {
        let decided = self.decided;
        let succeeds = matches!(replica.fate, Fate::Succeed(..));
        if !succeeds && self.rolls_out(replica).is_none() {
            return None;
        }
        let from = replica.predecessor();
        let seconds = decided.options.timeout_seconds;
        Some(HandOver {
            from: from.map(|one| one.record.id.clone()),
            grace: from.map_or(Duration::ZERO, |one| grace(Some(decided.project), seconds, one)),
            rollout: self.rollout(replica),
            at_once: rollout::at_once(decided.wishes[&replica.instance.service].service),
        })
    }

    fn replace_networks(&mut self) {
        let decided = self.decided;
        for (name, (key, need)) in &decided.resources.networks {
            if let ResourceNeed::Replace(cause) = need {
                let after = self.left(name);
                let action = Action::RemoveNetwork { name: (*name).to_owned() };
                let removed = self.plan.push(action, cause.clone(), after);
                let action =
                    Action::CreateNetwork { key: (*key).clone(), name: (*name).to_owned() };
                let step = self.plan.push(action, cause.clone(), BTreeSet::from([removed]));
                self.networks.insert(name, step);
            }
        }
    }

    fn replace_volumes(&mut self) {
        let decided = self.decided;
        for (name, (key, need)) in &decided.resources.volumes {
            if let ResourceNeed::Replace(cause) = need {
                let users = decided.going().map(|one| &one.record);
                let users = users.filter(|record| record.named_volumes().any(|one| one == *name));
                let after = users
                    .filter_map(|record| self.stopped.removals.get(record.id.as_str()).copied());
                let action = Action::RemoveVolume { name: (*name).to_owned() };
                let removed = self.plan.push(action, cause.clone(), after.collect());
                let action = Action::CreateVolume { key: (*key).clone(), name: (*name).to_owned() };
                let step = self.plan.push(action, cause.clone(), BTreeSet::from([removed]));
                self.ground.insert(step);
            }
        }
    }

    /// The steps after which nobody is left on `network` of those that leave it.
    fn left(&self, network: &str) -> BTreeSet<StepId> {
        let containers = self.decided.observed.containers.iter();
        let on_it = containers.filter(|container| is_on(&container.record, network));
        let ids = on_it.map(|container| container.record.id.as_str());
        ids.flat_map(|id| [self.stopped.stops.get(id), self.updates.get(id)])
            .flatten()
            .copied()
            .collect()
    }

    /// Changes what can be changed as it is.
    fn update(&mut self) {
        let decided = self.decided;
        for replica in decided.outcomes.values().flat_map(|outcome| &outcome.replicas) {
            let Fate::Update(container, update) = &replica.fate else { continue };
            let record = &container.record;
            let after = update.join.iter().filter_map(|name| self.networks.get(name.as_str()));
            let after = after.copied().collect();
            let action = Action::UpdateContainer(UpdateContainer {
                instance: stopping::instance(record),
                id: record.id.clone(),
                config_hash: decided.wishes[&record.service].hash.clone(),
                keys: update.keys.clone(),
                join: update.join.clone(),
                leave: update.leave.clone(),
            });
            let step = self.plan.push(action, update.cause.clone(), after);
            self.updates.insert(&record.id, step);
        }
    }

    fn start(&mut self, one_off: Option<&OneOff>) {
        let decided = self.decided;
        let mut queue: BTreeMap<&ServiceName, Vec<Start>> = BTreeMap::new();
        for (service, outcome) in &decided.outcomes {
            let starts = outcome.replicas.iter().filter_map(|replica| self.start_of(replica));
            let mut starts: Vec<Start> = starts.collect();
            self.add_hooks(service, &mut starts);
            queue.insert(service, starts);
        }
        for container in &decided.observed.containers {
            let record = &container.record;
            let Some(because) = decided.restarts.get(record.id.as_str()) else { continue };
            let mut after = self.ground_of(record);
            after.extend(self.stopped.stops.get(record.id.as_str()));
            queue.entry(&record.service).or_default().push(Start {
                instance: stopping::instance(record),
                target: Target::Existing(record.id.clone()),
                because: because.clone(),
                after,
                hooks: Vec::new(),
                hand_over: None,
            });
        }
        let mut starter = Starter::new(decided.graph, decided.present());
        starter.start_all(&mut self.plan, queue);
        let handed = std::mem::take(&mut starter.handed);
        self.retire(&handed);
        if let Some(one_off) = one_off {
            self.visit(&mut starter, one_off);
        }
        if decided.options.wait.is_some() {
            self.wait(&mut starter);
        }
    }

    /// Makes a one-off container when what its service depends on is ready.
    fn visit(&mut self, starter: &mut Starter<'d>, one_off: &OneOff) {
        let OneOff { instance, starts } = one_off;
        let wish = &self.decided.wishes[&instance.service];
        let Some(image_id) = wish.image_id else { return };
        let joins = self.joins(wish);
        let mut after = self.ground.clone();
        after.extend(wish.networks.iter().filter_map(|name| self.networks.get(name)));
        after.append(&mut starter.dependencies(&mut self.plan, &instance.service));
        let action = Action::CreateContainer(CreateContainer {
            instance: instance.clone(),
            oneoff: true,
            image: wish.image.clone(),
            image_id: image_id.to_owned(),
            config_hash: wish.hash.clone(),
            replaces: None,
            aside: false,
            beside: false,
            inherits: BTreeMap::new(),
            joins,
        });
        let created = self.plan.push(action, Cause::Requested, after);
        if *starts {
            let target = Target::Created(created);
            let action = Action::StartContainer { instance: instance.clone(), target };
            self.plan.push(action, Cause::Requested, BTreeSet::from([created]));
        }
    }

    /// How a replica is started that is new, or does not run and should.
    fn start_of(&self, replica: &Replica<'_>) -> Option<Start> {
        let decided = self.decided;
        let instance = replica.instance.clone();
        let service = &instance.service;
        let mut after = BTreeSet::new();
        let target = match &replica.fate {
            Fate::Keep(container) | Fate::Update(container, _) => {
                if !decided.is_to_start(service, container) {
                    return None;
                }
                after.append(&mut self.ground_of(&container.record));
                after.extend(self.updates.get(container.record.id.as_str()));
                Target::Existing(container.record.id.clone())
            }
            Fate::Succeed(container, _) => {
                if !decided.options.start {
                    return None;
                }
                after.append(&mut self.ground_of(&container.record));
                Target::Existing(container.record.id.clone())
            }
            Fate::Replace(..) | Fate::Create => {
                if !decided.options.start {
                    return None;
                }
                let (service, _) = decided.outcomes.get_key_value(service)?;
                let step = self.created.get(&(*service, instance.number)).copied()?;
                let wish = &decided.wishes[service];
                after.insert(step);
                after.extend(wish.networks.iter().filter_map(|name| self.networks.get(name)));
                Target::Created(step)
            }
        };
        after.append(&mut self.vacated(replica));
        let (because, hand_over) = (replica.cause(), self.hand_over(replica));
        Some(Start { instance, target, because, after, hooks: Vec::new(), hand_over })
    }

    /// Has the hooks of a service run before its containers start.
    fn add_hooks(&self, service: &ServiceName, starts: &mut [Start]) {
        let decided = self.decided;
        let wish = &decided.wishes[service];
        if wish.service.pre_start.is_empty() {
            return;
        }
        let joins = self.joins(wish);
        let like = Likeness { config_hash: &wish.hash, joins: &joins };
        let mut all = !decided.any_runs_on(service);
        for start in starts {
            let Start { instance, .. } = start;
            start.hooks = before(decided.project, decided.observed, instance, &like, all);
            // Those of an earlier attempt may still be there.
            let names = start.hooks.iter().map(|hook| &hook.create.instance.name);
            start.after.extend(names.flat_map(|name| self.freed(name)));
            all = false;
        }
    }

    /// The steps after which the networks of a container are there.
    fn ground_of(&self, record: &ContainerRecord) -> BTreeSet<StepId> {
        let networks = record.networks.iter().map(|endpoint| endpoint.network.as_str());
        networks.filter_map(|name| self.networks.get(name).copied()).collect()
    }

    /// The steps after which a place, its ports and its fixed addresses are free.
    fn vacated(&self, replica: &Replica<'_>) -> BTreeSet<StepId> {
        let decided = self.decided;
        let Some(wish) = decided.wishes.get(&replica.instance.service) else {
            return BTreeSet::new();
        };
        let claims = Claims::of(decided, wish);
        let yielding = decided.observed.containers.iter().flat_map(|container| {
            let id = container.record.id.as_str();
            let steps = [self.stopped.stops.get(id), self.updates.get(id)];
            steps.into_iter().flatten().map(|step| (&container.record, *step))
        });
        yielding
            .filter(|(record, _)| {
                let same_place = record.service == replica.instance.service
                    && record.number == replica.instance.number
                    && !record.oneoff;
                same_place || claims.collide(record)
            })
            .map(|(_, step)| step)
            .collect()
    }

    fn wait(&mut self, starter: &mut Starter<'d>) {
        let decided = self.decided;
        for service in decided.graph.start_order() {
            if !decided.scope.contains(service) {
                continue;
            }
            let is_job = decided.graph.dependents(service).any(|(_, dependency)| {
                dependency.condition == DependencyCondition::CompletedSuccessfully
            });
            let condition = if is_job { Condition::Completed } else { Condition::Ready };
            starter.wait(&mut self.plan, service, condition, Need::Required, Cause::Requested);
        }
    }

    /// Removes the networks of the project that the file does not have any
    /// more and that nobody is left on.
    fn remove_stale_networks(&mut self) {
        let decided = self.decided;
        if !decided.options.services.is_empty() {
            return;
        }
        let project = decided.project;
        let going: BTreeSet<&str> = decided.going().map(|one| one.record.id.as_str()).collect();
        for (name, network) in &decided.observed.networks {
            let known = project.networks.values().any(|network| network.name == *name);
            let leaving = decided.leaving(name);
            let used = decided.observed.containers.iter().any(|container| {
                let id = container.record.id.as_str();
                is_on(&container.record, name) && !going.contains(id) && !leaving.contains(id)
            });
            if network.belongs_to(project.name.as_str()) && !known && !used {
                let after = self.left(name);
                let action = Action::RemoveNetwork { name: name.clone() };
                self.plan.push(action, Cause::Orphan, after);
            }
        }
    }
}

/// Whether a container has a place on `network`.
pub(super) fn is_on(record: &ContainerRecord, network: &str) -> bool {
    record.networks.iter().any(|endpoint| endpoint.network == network)
}

/// What only one running container can have.
struct Claims<'a> {
    ports: &'a [Port],
    addresses: Vec<(&'a str, IpAddr)>,
}

impl<'a> Claims<'a> {
    fn of(decided: &Decided<'a>, wish: &Wish<'a>) -> Self {
        let addresses = match &wish.service.networking {
            Networking::Attached(attachments) => attachments
                .iter()
                .filter_map(|(key, attachment)| {
                    Some((decided.project.networks.get(key)?, attachment))
                })
                .flat_map(|(network, attachment)| {
                    let name = network.name.as_str();
                    attachment.fixed_addresses().map(move |address| (name, address))
                })
                .collect(),
            _ => Vec::new(),
        };
        Self { ports: &wish.service.ports, addresses }
    }

    /// Whether a running container has something of it.
    fn collide(&self, record: &ContainerRecord) -> bool {
        let ports = self.ports.iter().any(|want| record.ports.iter().any(|have| want.meets(have)));
        let addresses = self.addresses.iter().any(|(network, address)| {
            let mut endpoints = record.networks.iter();
            endpoints.any(|have| have.network == *network && have.has(*address))
        });
        ports || addresses
    }
}
