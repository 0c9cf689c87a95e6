//! Stopping and removing containers, dependents first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Action, Cause, Instance, Plan, Step, StepId};
use crate::graph::Graph;
use crate::model::{Project, Service, ServiceName};
use crate::record::{Container, ContainerRecord};

/// A container that is to be stopped, and perhaps removed.
#[derive(Debug)]
pub(super) struct Stop<'a> {
    pub container: &'a Container,
    pub because: Cause,
    /// What must have succeeded first.
    pub after: BTreeSet<StepId>,
    /// What must be over first, however it has ended.
    pub after_end: BTreeSet<StepId>,
    pub then: Then,
}

/// What follows a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing: the container stays.
    Stay,
    /// The container goes.
    Remove(Anonymous),
}

/// What becomes of the anonymous volumes of a container that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anonymous {
    /// They stay.
    Keep,
    /// They go.
    Remove,
}

/// The steps that stop and remove containers, by id of the container.
#[derive(Debug, Default)]
pub(super) struct Stopped<'a> {
    pub stops: BTreeMap<&'a str, StepId>,
    pub removals: BTreeMap<&'a str, StepId>,
}

/// Adds the steps of `queue` to the plan: each container stops after those
/// that stop and depend on it, and is removed when it has stopped.
pub(super) fn stop_all<'a>(
    plan: &mut Plan,
    graph: &Graph<'_>,
    queue: Vec<Stop<'a>>,
    grace: impl Fn(&Container) -> Duration,
) -> Stopped<'a> {
    let mut stopped = Stopped::default();
    let mut frontier = Frontier::default();
    for stop in in_stop_order(graph, queue) {
        let Stop { container, because, mut after, after_end, then } = stop;
        let record = &container.record;
        let instance = instance(record);
        let mut gone = (after.clone(), after_end.clone());
        if container.state.phase.is_up() {
            after.append(&mut frontier.dependents(graph, &instance.service));
            let action = Action::StopContainer {
                instance: instance.clone(),
                id: record.id.clone(),
                signal: record.stop_signal,
                grace: grace(container),
            };
            let because = because.clone();
            let step = plan.push_step(Step { action, because, after, after_end });
            frontier.stops.entry(instance.service.clone()).or_default().insert(step);
            stopped.stops.insert(&record.id, step);
            gone = (BTreeSet::from([step]), BTreeSet::new());
        }
        if let Then::Remove(anonymous) = then {
            let (action, (after, after_end)) = (removal(record, instance, anonymous), gone);
            let step = plan.push_step(Step { action, because, after, after_end });
            stopped.removals.insert(&record.id, step);
        }
    }
    stopped
}

/// The step that removes a container.
pub(super) fn removal(
    record: &ContainerRecord,
    instance: Instance,
    anonymous: Anonymous,
) -> Action {
    let volumes = match anonymous {
        Anonymous::Keep => Vec::new(),
        Anonymous::Remove => record.anonymous_volumes().map(|(_, name)| name.to_owned()).collect(),
    };
    Action::RemoveContainer { instance, id: record.id.clone(), volumes }
}

/// Dependents first. Services that are not in the graph come before all: what
/// they depend on is not known, and it may be anything.
fn in_stop_order<'a>(graph: &Graph<'_>, mut queue: Vec<Stop<'a>>) -> Vec<Stop<'a>> {
    let rank: BTreeMap<&str, usize> =
        graph.stop_order().enumerate().map(|(rank, name)| (name.as_str(), rank + 1)).collect();
    queue.sort_by_key(|stop| rank.get(stop.container.record.service.as_str()).copied());
    queue
}

/// The stops so far, by service.
#[derive(Debug, Default)]
struct Frontier {
    stops: BTreeMap<ServiceName, BTreeSet<StepId>>,
}

impl Frontier {
    /// The stops of those that depend on `service`; of a dependent that does
    /// not stop, those of its own dependents.
    fn dependents(&self, graph: &Graph<'_>, service: &ServiceName) -> BTreeSet<StepId> {
        let mut steps = BTreeSet::new();
        for (dependent, _) in graph.dependents(service) {
            match self.stops.get(dependent) {
                Some(stops) => steps.extend(stops),
                None => steps.append(&mut self.dependents(graph, dependent)),
            }
        }
        steps
    }
}

/// The replica that a container is.
pub(super) fn instance(record: &ContainerRecord) -> Instance {
    Instance { service: record.service.clone(), number: record.number, name: record.name.clone() }
}

/// How long a container may take to stop: what the command says, else what the
/// file says, else what it said when the container was made.
pub(super) fn grace(
    project: Option<&Project>,
    command: Option<u32>,
    container: &Container,
) -> Duration {
    let service = || -> Option<&Service> {
        let project = project?;
        let name = &container.record.service;
        project.services.get(name).or_else(|| project.disabled.get(name))
    };
    command
        .map(|seconds| Duration::from_secs(seconds.into()))
        .or_else(|| service()?.stop_grace_period)
        .unwrap_or(container.record.stop_grace)
}
