//! `start`, `stop`, `restart`, `kill`, `pause`, `unpause` and `rm`: commands on containers that exist.

use std::collections::{BTreeMap, BTreeSet};

use super::hooks::{Likeness, PlannedHook, before, missing_image};
use super::starting::{Start, Starter};
use super::stopping::{Anonymous, Stop, Then, grace, instance, stop_all};
use super::{
    Action, Cause, Condition, Named, Need, Plan, PlanError, PlannedJoin, Refusal, StepId, Target,
};
use crate::api::{
    KillOptions, Orphans, PauseOptions, RestartOptions, RmOptions, StartOptions, StopOptions,
    UnpauseOptions,
};
use crate::graph::Graph;
use crate::model::{Dependency, Project, ServiceName};
use crate::observe::Observed;
use crate::record::{Container, JoinKind, Phase};

/// Which service depends on which: as the file says, and for services that it
/// does not have as their containers were made.
#[derive(Debug)]
pub(super) struct Topology {
    services: BTreeMap<ServiceName, BTreeMap<ServiceName, Dependency>>,
}

impl Topology {
    pub fn new(project: Option<&Project>, observed: &Observed) -> Self {
        let recorded = observed.containers.iter().filter(|container| !container.record.oneoff);
        let recorded = recorded.map(|container| &container.record);
        let mut services: BTreeMap<_, _> =
            recorded.map(|record| (record.service.clone(), record.depends_on.clone())).collect();
        for service in project.into_iter().flat_map(|project| project.services.values()) {
            services.insert(service.name.clone(), service.depends_on.clone());
        }
        if Graph::of(services.iter()).is_err() {
            // Files of different times can contradict each other; then no order is right.
            services.values_mut().for_each(BTreeMap::clear);
        }
        Self { services }
    }

    pub fn graph(&self) -> Graph<'_> {
        Graph::of(self.services.iter()).expect("`new` leaves no cycle")
    }
}

/// Plans a `start`: containers that exist and do not run, with what they depend on.
///
/// # Errors
///
/// [`Refusal::NoContainer`] for each service without one.
pub fn start(
    project: Option<&Project>,
    observed: &Observed,
    options: &StartOptions,
) -> Result<Plan, PlanError> {
    let topology = Topology::new(project, observed);
    let graph = topology.graph();
    let meant: BTreeSet<&ServiceName> = match options.services.is_empty() {
        true => graph.start_order().iter().copied().filter(|name| has(project, name)).collect(),
        false => graph.with_dependencies(&options.services),
    };
    let mut containers = by_service(observed, &meant);
    narrow(&mut containers, &options.services, &options.only);
    let unknown = options.services.iter().filter(|name| !topology.services.contains_key(*name));
    let empty = meant.iter().copied().filter(|name| {
        let wanted = project.and_then(|project| project.services.get(*name));
        !containers.contains_key(*name) && wanted.is_none_or(|service| service.replicas > 0)
    });
    let refusals: Vec<Refusal> = unknown
        .chain(empty)
        .map(|service| Refusal::NoContainer { service: service.clone() })
        .collect();
    if !refusals.is_empty() {
        return Err(PlanError { refusals });
    }

    let at_rest = |container: &&&Container| {
        !matches!(container.state.phase, Phase::Running | Phase::Restarting)
    };
    let mut refusals = Vec::new();
    let queue = containers.iter().map(|(service, all)| {
        let starts = all.iter().filter(at_rest);
        let starts = starts.map(|one| start_of(one, Cause::Requested, BTreeSet::new()));
        let mut starts: Vec<Start> = starts.collect();
        if let Some(project) = project
            && let Some(wanted) = project.services.get(*service)
            && !starts.is_empty()
        {
            refusals.extend(missing_image(project, observed, wanted));
            let mut first = starts.len() == all.len();
            for (start, container) in starts.iter_mut().zip(all.iter().filter(at_rest)) {
                start.hooks = hooks_of(project, observed, start, container, first);
                first = false;
            }
        }
        (*service, starts)
    });
    let queue = queue.collect();
    if !refusals.is_empty() {
        return Err(PlanError { refusals });
    }
    let mut plan = Plan::default();
    let mut starter = Starter::new(&graph, containers.clone());
    starter.start_all(&mut plan, queue);
    if options.wait.is_some() {
        for service in graph.start_order().iter().filter(|name| meant.contains(*name)) {
            let cause = Cause::Requested;
            starter.wait(&mut plan, service, Condition::Ready, Need::Required, cause);
        }
    }
    Ok(plan)
}

/// The hooks that run before `start`: with what its container, which exists, shares with others.
fn hooks_of(
    project: &Project,
    observed: &Observed,
    start: &Start,
    container: &Container,
    first: bool,
) -> Vec<PlannedHook> {
    let joins = container.record.joins.iter().map(|join| PlannedJoin {
        kind: join.kind,
        target: Target::Existing(join.container.clone()),
    });
    let joins: Vec<PlannedJoin> = joins.collect();
    let like = Likeness { config_hash: &container.record.config_hash, joins: &joins };
    before(project, observed, &start.instance, &like, first)
}

/// Plans a `stop`: containers that run, dependents first. They stay.
#[must_use]
pub fn stop(project: Option<&Project>, observed: &Observed, options: &StopOptions) -> Plan {
    let topology = Topology::new(project, observed);
    let mut plan = Plan::default();
    let queue = meant(project, observed, &options.services).filter(|container| {
        let is_named = options.only.is_empty() || options.only.contains(&container.record.id);
        is_named && !container.record.oneoff
    });
    let queue = queue.map(|container| request(container, Then::Stay)).collect();
    let grace = |container: &Container| grace(project, options.timeout_seconds, container);
    stop_all(&mut plan, &topology.graph(), queue, grace);
    plan
}

/// Plans a `restart`: stops dependents first, then starts dependencies first,
/// without a look at what the file says about the containers.
///
/// Services that depend on one of these with `restart: true` are restarted
/// too unless told otherwise, and those that share namespaces with one of
/// these in any case: the old namespaces are gone.
#[must_use]
pub fn restart(project: Option<&Project>, observed: &Observed, options: &RestartOptions) -> Plan {
    let topology = Topology::new(project, observed);
    let graph = topology.graph();
    let causes = restarted(project, &graph, observed, options);
    let meant: BTreeSet<&ServiceName> = causes.keys().copied().collect();
    let mut containers = by_service(observed, &meant);
    narrow(&mut containers, &options.services, &options.only);
    restart_all(project, &graph, options, &causes, &containers)
}

/// Leaves of `services` only the containers with these ids; without any, all.
fn narrow(
    containers: &mut BTreeMap<&ServiceName, Vec<&Container>>,
    services: &[ServiceName],
    only: &[String],
) {
    if only.is_empty() {
        return;
    }
    for (service, all) in containers {
        if services.contains(service) {
            all.retain(|container| only.contains(&container.record.id));
        }
    }
}

/// Plans what follows when a container of `service` has ended by itself and runs again: those that run and depend on it
/// with `restart: true` are restarted. Who shares its namespaces has them still.
#[must_use]
pub fn recover(observed: &Observed, service: &ServiceName) -> Plan {
    let topology = Topology::new(None, observed);
    let graph = topology.graph();
    let options = RestartOptions { services: vec![service.clone()], ..RestartOptions::default() };
    let mut causes = restarted(None, &graph, observed, &options);
    causes.remove(service);
    causes.retain(|name, _| !partners(observed, name).any(|partner| partner == service));
    let meant: BTreeSet<&ServiceName> = causes.keys().copied().collect();
    let mut containers = by_service(observed, &meant);
    for all in containers.values_mut() {
        all.retain(|one| one.state.phase == Phase::Running && !one.state.aside);
    }
    restart_all(None, &graph, &options, &causes, &containers)
}

fn restart_all<'a>(
    project: Option<&Project>,
    graph: &'a Graph<'a>,
    options: &RestartOptions,
    causes: &BTreeMap<&'a ServiceName, Cause>,
    containers: &BTreeMap<&'a ServiceName, Vec<&'a Container>>,
) -> Plan {
    let mut plan = Plan::default();
    let queue = containers.iter().flat_map(|(service, all)| {
        let because = &causes[service];
        all.iter().map(move |container| Stop {
            because: because.clone(),
            ..request(container, Then::Stay)
        })
    });
    let grace = |container: &Container| grace(project, options.timeout_seconds, container);
    let stopped = stop_all(&mut plan, graph, queue.collect(), grace);
    let queue = containers.iter().map(|(service, all)| {
        let starts = all.iter().map(|container| {
            let after = stopped.stops.get(container.record.id.as_str()).copied();
            start_of(container, causes[service].clone(), after.into_iter().collect())
        });
        (*service, starts.collect())
    });
    let queue = queue.collect();
    Starter::new(graph, containers.clone()).start_all(&mut plan, queue);
    plan
}

/// Which services a restart is about, and why.
fn restarted<'g>(
    project: Option<&Project>,
    graph: &Graph<'g>,
    observed: &Observed,
    options: &RestartOptions,
) -> BTreeMap<&'g ServiceName, Cause> {
    let mut causes: BTreeMap<&ServiceName, Cause> = BTreeMap::new();
    for service in graph.start_order() {
        let named = match options.services.is_empty() {
            true => has(project, service),
            false => options.services.contains(service),
        };
        let dependency = || {
            let mut dependencies = graph.dependencies(service);
            let found = dependencies.find(|(name, dependency)| {
                options.dependents && dependency.restart && causes.contains_key(name)
            });
            found.map(|(name, _)| Cause::DependencyRestarted(Named::new(name)))
        };
        let partner = || {
            let found = partners(observed, service).find(|name| causes.contains_key(name));
            found.map(|name| Cause::PartnerRestarted(Named::new(name)))
        };
        let cause = named.then_some(Cause::Requested).or_else(dependency).or_else(partner);
        causes.extend(cause.map(|cause| (*service, cause)));
    }
    causes
}

/// The services whose namespaces containers of `service` share.
fn partners<'a>(
    observed: &'a Observed,
    service: &ServiceName,
) -> impl Iterator<Item = &'a ServiceName> {
    let own = observed.containers.iter().filter(move |one| one.record.service == *service);
    let joins = own.flat_map(|container| &container.record.joins);
    let joins = joins.filter(|join| join.kind != JoinKind::Volumes);
    joins.filter_map(|join| {
        let partner = observed.containers.iter().find(|one| one.record.id == join.container);
        partner.map(|container| &container.record.service)
    })
}

/// Plans a `kill`: a signal to each container that runs, one-offs included.
#[must_use]
pub fn kill(project: Option<&Project>, observed: &Observed, options: &KillOptions) -> Plan {
    let mut plan = Plan::default();
    let project = project.filter(|_| options.orphans != Orphans::Remove);
    for container in meant(project, observed, &options.services) {
        if matches!(container.state.phase, Phase::Running | Phase::Paused) {
            let action = Action::SignalContainer {
                instance: instance(&container.record),
                id: container.record.id.clone(),
                signal: options.signal,
            };
            plan.push(action, Cause::Requested, BTreeSet::new());
        }
    }
    plan
}

/// Plans a `pause` of replicas that run. One that is paused already is in the plan, and refuses.
#[must_use]
pub fn pause(project: Option<&Project>, observed: &Observed, options: &PauseOptions) -> Plan {
    let mut plan = Plan::default();
    let replicas = meant(project, observed, &options.services).filter(|one| !one.record.oneoff);
    for container in replicas {
        if matches!(container.state.phase, Phase::Running | Phase::Paused) {
            let (instance, id) = (instance(&container.record), container.record.id.clone());
            let action = Action::PauseContainer { instance, id };
            plan.push(action, Cause::Requested, BTreeSet::new());
        }
    }
    plan
}

/// Plans an `unpause`: of all that are frozen; of services that are named, one that is not frozen refuses.
#[must_use]
pub fn unpause(project: Option<&Project>, observed: &Observed, options: &UnpauseOptions) -> Plan {
    let mut plan = Plan::default();
    let replicas = meant(project, observed, &options.services).filter(|one| !one.record.oneoff);
    for container in replicas {
        let thaws = match container.state.phase {
            Phase::Paused => true,
            Phase::Running => !options.services.is_empty(),
            _ => false,
        };
        if thaws {
            let (instance, id) = (instance(&container.record), container.record.id.clone());
            let action = Action::UnpauseContainer { instance, id };
            plan.push(action, Cause::Requested, BTreeSet::new());
        }
    }
    plan
}

/// Plans an `rm`: removes containers that do not run, or stops them first.
#[must_use]
pub fn rm(project: Option<&Project>, observed: &Observed, options: &RmOptions) -> Plan {
    let topology = Topology::new(project, observed);
    let anonymous = if options.volumes { Anonymous::Remove } else { Anonymous::Keep };
    let mut plan = Plan::default();
    let queue = meant(project, observed, &options.services).filter(|container| {
        let record = &container.record;
        let goes = if options.only.is_empty() {
            !record.oneoff
        } else {
            options.only.contains(&record.id)
        };
        goes && (options.stop || !container.state.phase.is_up())
    });
    let queue = queue.map(|container| request(container, Then::Remove(anonymous))).collect();
    stop_all(&mut plan, &topology.graph(), queue, |container| grace(project, None, container));
    plan
}

/// The containers of the services that are named; without names of all services of the file, and without a file all.
fn meant<'a>(
    project: Option<&'a Project>,
    observed: &'a Observed,
    services: &'a [ServiceName],
) -> impl Iterator<Item = &'a Container> {
    observed.containers.iter().filter(move |container| {
        let service = &container.record.service;
        if services.is_empty() { has(project, service) } else { services.contains(service) }
    })
}

/// Whether the file has this service. Without a file, whatever exists belongs to the project.
fn has(project: Option<&Project>, service: &ServiceName) -> bool {
    project.is_none_or(|project| project.services.contains_key(service))
}

/// The replicas of these services, one-offs left out.
fn by_service<'g, 'o: 'g>(
    observed: &'o Observed,
    services: &BTreeSet<&'g ServiceName>,
) -> BTreeMap<&'g ServiceName, Vec<&'g Container>> {
    let mut containers: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for container in observed.containers.iter().filter(|container| !container.record.oneoff) {
        if let Some(service) = services.get(&container.record.service) {
            containers.entry(*service).or_default().push(container);
        }
    }
    containers
}

fn request(container: &Container, then: Then) -> Stop<'_> {
    let (after, after_end) = Default::default();
    Stop { container, because: Cause::Requested, after, after_end, then }
}

fn start_of(container: &Container, because: Cause, after: BTreeSet<StepId>) -> Start {
    let record = &container.record;
    Start {
        instance: instance(record),
        target: Target::Existing(record.id.clone()),
        because,
        after,
        hooks: Vec::new(),
        hand_over: None,
    }
}
