//! Starting containers in the order of their dependencies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::hooks::PlannedHook;
use super::{
    Action, Cause, Condition, Instance, Named, Need, OnFailure, Plan, Rollout, Step, StepId, Target,
};
use crate::graph::Graph;
use crate::model::{DependencyCondition, ServiceName};
use crate::record::{Container, HealthStatus, Phase};

/// A container that is to be started.
#[derive(Debug)]
pub(super) struct Start {
    pub instance: Instance,
    pub target: Target,
    pub because: Cause,
    /// What must have succeeded, beside what its service depends on.
    pub after: BTreeSet<StepId>,
    /// What runs to its end before.
    pub hooks: Vec<PlannedHook>,
    /// It takes over from another one.
    pub hand_over: Option<HandOver>,
}

/// How a container takes over from another one.
#[derive(Debug)]
pub(super) struct HandOver {
    pub from: Option<String>,
    pub grace: Duration,
    pub rollout: Rollout,
    /// How many containers of the service do so at the same time; 0 means all.
    pub at_once: u64,
}

impl Start {
    /// The step that is left when everything before it is laid out.
    fn action(self) -> (Action, Cause) {
        let Self { instance, target, because, hand_over, .. } = self;
        let action = match hand_over {
            None => Action::StartContainer { instance, target },
            Some(HandOver { from, grace, rollout, at_once: _ }) => {
                Action::HandOver { instance, target, from, grace, rollout }
            }
        };
        (action, because)
    }
}

/// Adds starts to a plan, and the waits between them.
#[derive(Debug)]
pub(super) struct Starter<'a> {
    graph: &'a Graph<'a>,
    /// Containers that stay as they are, of the services that may be waited for.
    present: BTreeMap<&'a ServiceName, Vec<&'a Container>>,
    started: BTreeMap<&'a ServiceName, BTreeSet<StepId>>,
    /// The steps in which a replica takes over.
    pub handed: BTreeMap<(ServiceName, u32), StepId>,
    waits: BTreeMap<(&'a ServiceName, Condition, Need), StepId>,
}

impl<'a> Starter<'a> {
    pub fn new(
        graph: &'a Graph<'a>,
        present: BTreeMap<&'a ServiceName, Vec<&'a Container>>,
    ) -> Self {
        let (started, handed, waits) = Default::default();
        Self { graph, present, started, handed, waits }
    }

    /// Starts the containers in `queue`, dependencies first.
    pub fn start_all(&mut self, plan: &mut Plan, mut queue: BTreeMap<&ServiceName, Vec<Start>>) {
        let graph = self.graph;
        for service in graph.start_order() {
            let Some(starts) = queue.remove(*service).filter(|starts| !starts.is_empty()) else {
                continue;
            };
            let mut ready = self.dependencies(plan, service);
            let mut handed: Vec<StepId> = Vec::new();
            let count = starts.iter().filter(|start| start.hand_over.is_some()).count();
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            for mut start in starts {
                let mut after = &start.after | &ready;
                let mut after_end = BTreeSet::new();
                if let Some(HandOver { at_once, rollout, .. }) = &mut start.hand_over {
                    let before = usize::try_from(*at_once).ok().filter(|count| *count > 0);
                    let before = before.and_then(|count| handed.len().checked_sub(count));
                    let one_may_fail = rollout.on_failure == OnFailure::Continue
                        || !rollout.tolerance.is_exceeded(1, count);
                    match before.map(|index| handed[index]) {
                        // The first ones wait for nobody.
                        None => rollout.delay = Duration::ZERO,
                        Some(step) if one_may_fail => after_end.extend([step]),
                        Some(step) => after.extend([step]),
                    }
                }
                for PlannedHook { index, create, once } in std::mem::take(&mut start.hooks) {
                    let target = start.target.clone();
                    let action = Action::RunHook { index, create, target };
                    let (because, after_end) = (start.because.clone(), after_end.clone());
                    let step =
                        plan.push_step(Step { action, because, after: after.clone(), after_end });
                    after.insert(step);
                    if once {
                        ready.insert(step);
                    }
                }
                let place = (start.instance.service.clone(), start.instance.number);
                let hands_over = start.hand_over.is_some();
                let (action, because) = start.action();
                let step = plan.push_step(Step { action, because, after, after_end });
                if hands_over {
                    handed.push(step);
                    self.handed.insert(place, step);
                }
                self.started.entry(service).or_default().insert(step);
            }
        }
        // Containers of services that the file does not have wait for nothing.
        for mut start in queue.into_values().flatten() {
            let after = std::mem::take(&mut start.after);
            let (action, because) = start.action();
            plan.push(action, because, after);
        }
    }

    /// Waits for what `service` depends on. The steps after which it may start.
    pub fn dependencies(&mut self, plan: &mut Plan, service: &ServiceName) -> BTreeSet<StepId> {
        let mut ready = BTreeSet::new();
        let mut dependencies: Vec<_> = self.graph.dependencies(service).collect();
        dependencies.sort_by_key(|(name, _)| *name);
        for (name, dependency) in dependencies {
            let need = if dependency.required { Need::Required } else { Need::Optional };
            let condition = Condition::from(dependency.condition);
            let cause = Cause::NeededBy(Named::new(service));
            ready.extend(self.wait(plan, name, condition, need, cause));
        }
        ready
    }

    /// Waits until `service` is as `condition` says; the steps after which it
    /// is. None if it is already, or if nothing of it is there to wait for.
    pub fn wait(
        &mut self,
        plan: &mut Plan,
        service: &'a ServiceName,
        condition: Condition,
        need: Need,
        because: Cause,
    ) -> BTreeSet<StepId> {
        let starts = self.started.get(service).cloned().unwrap_or_default();
        let present = self.present.get(service).map_or(&[][..], Vec::as_slice);
        if starts.is_empty() && present.iter().all(|container| is(container, condition)) {
            return BTreeSet::new();
        }
        if condition == Condition::Started && need == Need::Required {
            return starts;
        }
        let step = *self.waits.entry((service, condition, need)).or_insert_with(|| {
            let action = Action::Await { service: service.clone(), condition, need };
            match need {
                Need::Required => plan.push(action, because, starts),
                Need::Optional => plan.push_after_end(action, because, starts),
            }
        });
        BTreeSet::from([step])
    }
}

impl From<DependencyCondition> for Condition {
    fn from(condition: DependencyCondition) -> Self {
        match condition {
            DependencyCondition::Started => Self::Started,
            DependencyCondition::Healthy => Self::Healthy,
            DependencyCondition::CompletedSuccessfully => Self::Completed,
        }
    }
}

/// Whether a container is as `condition` says.
fn is(container: &Container, condition: Condition) -> bool {
    let state = &container.state;
    let healthy =
        state.health.as_ref().is_some_and(|health| health.status == HealthStatus::Healthy);
    match condition {
        Condition::Started => state.started.is_some(),
        Condition::Healthy => state.phase == Phase::Running && healthy,
        Condition::Completed => {
            state.phase == Phase::Exited && state.exit.is_some_and(|exit| exit.success())
        }
        // A one-shot that has done its work is as ready as it will ever be.
        Condition::Ready if state.phase == Phase::Exited => {
            state.exit.is_some_and(|exit| exit.success())
        }
        Condition::Ready => {
            state.phase == Phase::Running && (container.record.healthcheck.is_none() || healthy)
        }
    }
}
