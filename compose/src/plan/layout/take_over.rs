//! A container that takes the place of another one within its start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Layout;
use crate::model::{RolloutOrder, ServiceName};
use crate::plan::service::{Fate, Replica};
use crate::plan::starting::HandOver;
use crate::plan::stopping::{self, Anonymous, Stop, Stopped, Then, grace};
use crate::plan::{Instance, OnFailure, Rollout, Step, StepId, rollout};
use crate::record::Container;

impl Layout<'_, '_> {
    /// Whether the container in the place of `replica` serves until the new one takes over.
    pub(super) fn starts_first(&self, replica: &Replica<'_>) -> bool {
        self.order(replica) == Some(RolloutOrder::StartFirst)
    }

    /// Whether it ever does while the other one runs, also on the way back.
    pub(super) fn runs_beside(&self, replica: &Replica<'_>) -> bool {
        self.rolls_out(replica).is_some_and(Rollout::runs_both)
    }

    /// In which order a new container takes the place of the old one, if that is one step.
    fn order(&self, replica: &Replica<'_>) -> Option<RolloutOrder> {
        self.rolls_out(replica).map(|rollout| rollout.order)
    }

    /// How a new container takes the place of the old one, if that is one step.
    pub(super) fn rolls_out<'s>(&'s self, replica: &'s Replica<'_>) -> Option<&'s Rollout> {
        let Instance { service, number, .. } = &replica.instance;
        self.decided.rollouts.get(&(service, *number))?.as_ref().ok()
    }

    /// Stops and removes those that have handed over. Where failures may take the whole update back, all of them are kept
    /// until the last one has.
    pub(super) fn retire(&mut self, handed: &BTreeMap<(ServiceName, u32), StepId>) {
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
    pub(super) fn hand_over(&self, replica: &Replica<'_>) -> Option<HandOver> {
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
}
