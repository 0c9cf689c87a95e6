//! The steps of `up`, laid out in an order in which nothing refers to a later step.

mod claims;
mod resources;
mod take_over;

use std::collections::{BTreeMap, BTreeSet};

use super::hooks::{Likeness, before};
use super::service::{Fate, Replica, Wish};
use super::starting::{Start, Starter};
use super::stopping::{self, Anonymous, Stop, Stopped, Then, grace};
use super::up::{Decided, OneOff};
use super::{
    Action, Cause, Condition, CreateContainer, Need, Plan, PlannedJoin, StepId, Target,
    UpdateContainer,
};
use crate::model::{DependencyCondition, ServiceName};
use crate::record::Container;
pub(super) use resources::is_on;

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
}
