//! Containers that wait for nothing but the start of others are brought up to their programs ahead of their turn: in a chain
//! of dependencies what takes time then happens side by side.

use std::collections::BTreeSet;
use std::rc::Rc;

use tokio::task::JoinSet;

use super::run::{Ledger, Walk};
use crate::plan::{Action, Plan, StepId, Target};
use crate::supervisor::{Live, Supervisor, start};

/// What has been prepared in a walk.
#[derive(Debug, Default)]
pub struct Ahead {
    near: BTreeSet<StepId>,
    tasks: JoinSet<()>,
    prepared: Vec<Rc<Live>>,
}

impl Ahead {
    /// Prepares the containers of those starts in `waiting` whose turn is near.
    pub fn prepare(&mut self, walk: &Rc<Walk>, ledger: &Ledger, waiting: &[StepId]) {
        let container =
            |target: &Target| walk.id_of(target).and_then(|id| walk.supervisor.container(&id));
        let has_hooks = |target: &Target| {
            container(target).is_none_or(|live| !live.start().post_start.is_empty())
        };
        let plan = &walk.job.plan;
        for &id in waiting {
            let Action::StartContainer { target, .. } = &plan.steps[id.index()].action else {
                continue;
            };
            if self.near.contains(&id) || !is_near(plan, ledger, &self.near, id, has_hooks) {
                continue;
            }
            self.near.insert(id);
            let Some(live) = container(target) else { continue };
            self.prepared.push(Rc::clone(&live));
            let supervisor = Rc::clone(&walk.supervisor);
            self.tasks.spawn_local(async move { start::prepare(&supervisor, &live).await });
        }
    }

    /// Takes back what was prepared and not started.
    pub async fn give_up(mut self, supervisor: &Rc<Supervisor>) {
        while self.tasks.join_next().await.is_some() {}
        for live in self.prepared {
            start::unprepare(supervisor, &live).await;
        }
    }
}

/// Whether step `id` waits only for starts that have begun or are `near` themselves.
///
/// One that waits for another's health or end, or for a command in it, does not: what it mounts may be made by that.
fn is_near(
    plan: &Plan,
    ledger: &Ledger,
    near: &BTreeSet<StepId>,
    id: StepId,
    has_hooks: impl Fn(&Target) -> bool,
) -> bool {
    let is_near = |after: &StepId| {
        ledger.succeeded.contains(after)
            || (ledger.begun.contains(after) || near.contains(after))
                && matches!(&plan.steps[after.index()].action, Action::StartContainer { target, .. } if !has_hooks(target))
    };
    let step = &plan.steps[id.index()];
    step.after.iter().all(is_near) && step.after_end.iter().all(|id| ledger.is_over(*id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Cause, Condition, Instance, Need, Step};

    #[test]
    fn only_what_waits_for_plain_starts_is_near() {
        let named = |name: &str| Instance {
            service: name.parse().unwrap(),
            number: 1,
            name: name.to_owned(),
        };
        let start = |name: &str| Action::StartContainer {
            instance: named(name),
            target: Target::Existing(name.to_owned()),
        };
        let mut plan = Plan::default();
        let mut push = |action, after: &[StepId]| {
            let after = after.iter().copied().collect();
            let step =
                Step { action, because: Cause::Requested, after, after_end: BTreeSet::new() };
            plan.steps.push(step);
            plan.numbered().last().expect("the step").0
        };
        let made =
            push(Action::CreateNetwork { key: "n".parse().unwrap(), name: "n".to_owned() }, &[]);
        let first = push(start("first"), &[made]);
        let second = push(start("second"), &[first]);
        let third = push(start("third"), &[second]);
        let service = "third".parse().unwrap();
        let healthy = push(
            Action::Await { service, condition: Condition::Healthy, need: Need::Required },
            &[third],
        );
        let last = push(start("last"), &[healthy]);
        let mut ledger = Ledger::default();
        let mut near = BTreeSet::new();
        let none = |_: &Target| false;
        assert!(!is_near(&plan, &ledger, &near, first, none), "the network is not there");
        assert!(!is_near(&plan, &ledger, &near, second, none));
        ledger.succeeded.insert(made);
        ledger.begun.insert(first);
        assert!(is_near(&plan, &ledger, &near, second, none));
        assert!(
            !is_near(&plan, &ledger, &near, third, none),
            "nobody knows when the second one's turn is"
        );
        near.insert(second);
        assert!(is_near(&plan, &ledger, &near, third, none));
        let hooks = |target: &Target| matches!(target, Target::Existing(id) if id == "second");
        assert!(!is_near(&plan, &ledger, &near, third, hooks));
        ledger.succeeded.extend([first, second]);
        assert!(is_near(&plan, &ledger, &near, third, hooks));
        ledger.succeeded.insert(third);
        ledger.begun.insert(healthy);
        assert!(!is_near(&plan, &ledger, &near, last, none), "what it mounts may not be made yet");
        ledger.succeeded.insert(healthy);
        assert!(is_near(&plan, &ledger, &near, last, none));
    }
}
