//! Containers that wait for nothing but the start of others are brought up to their programs ahead of their turn: in a chain
//! of dependencies what takes time then happens side by side.

use std::collections::BTreeSet;
use std::rc::Rc;

use tokio::task::JoinSet;

use super::run::{Ledger, Walk};
use crate::plan::{Action, StepId};
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
    ///
    /// One that waits for another's health or end, or for a command of it, is not: what it mounts may be made by that one.
    pub fn prepare(&mut self, walk: &Rc<Walk>, ledger: &Ledger, waiting: &[StepId]) {
        for &id in waiting {
            let step = &walk.job.plan.steps[id.index()];
            let Action::StartContainer { target, .. } = &step.action else { continue };
            let is_near = |after: &StepId| {
                let comes = ledger.begun.contains(after) || self.near.contains(after);
                ledger.succeeded.contains(after) || comes && starts_at_once(walk, *after)
            };
            let is_over = |after: &StepId| ledger.is_over(*after);
            if self.near.contains(&id)
                || !step.after.iter().all(is_near)
                || !step.after_end.iter().all(is_over)
            {
                continue;
            }
            self.near.insert(id);
            let container = walk.id_of(target).and_then(|id| walk.supervisor.container(&id));
            let Some(live) = container else { continue };
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

/// Whether a step is a start after which nothing else is waited for.
fn starts_at_once(walk: &Walk, id: StepId) -> bool {
    let Action::StartContainer { target, .. } = &walk.job.plan.steps[id.index()].action else {
        return false;
    };
    let container = walk.id_of(target).and_then(|id| walk.supervisor.container(&id));
    container.is_some_and(|live| live.start().post_start.is_empty())
}
