//! The walk over the steps of a plan.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use images::{FindError, Image};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ahead::Ahead;
use super::build::Building;
use super::image::Fetching;
use super::roll_back::Updates;
use super::step;
use crate::api::RunOptions;
use crate::event::{Change, Event, Failure, Kind, Status};
use crate::model::Project;
use crate::plan::{Plan, StepId, Target};
use crate::supervisor::{Live, Supervisor};

/// What a plan is carried out for.
#[derive(Debug)]
pub struct Job {
    /// The project as the request has it; absent when nothing is made, as in `down` without a file.
    pub project: Option<Rc<Project>>,
    /// The steps.
    pub plan: Plan,
    /// What `run` wants of its one-off container, if this is a `run`.
    pub run: Option<RunOptions>,
    /// Steps side by side at most; none: as many as there are.
    pub parallel: Option<usize>,
    /// How images are fetched, if any are.
    pub fetching: Option<Fetching>,
    /// What builds share, if any are made.
    pub building: Option<Arc<Building>>,
}

/// A step that failed.
#[derive(Debug, Clone)]
pub struct StepFailure {
    /// What and why, ready to be shown.
    pub failure: Failure,
    /// The exit code that stands for it.
    pub code: i32,
}

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Applied {
    /// The steps that failed, in the order in which they did.
    pub failures: Vec<StepFailure>,
    /// Ids of the containers that were made, by step.
    pub created: BTreeMap<StepId, String>,
    /// The rest of the plan was given up because another request came in between.
    pub interrupted: bool,
}

/// What the steps of one walk share.
pub struct Walk {
    /// Whose world is changed.
    pub supervisor: Rc<Supervisor>,
    /// What it is changed for.
    pub job: Job,
    /// Ids of the containers that were made.
    pub created: RefCell<BTreeMap<StepId, String>>,
    /// How far services are updated whose containers take over from others.
    pub updates: Updates,
    images: RefCell<BTreeMap<String, Rc<Image>>>,
    report: Box<dyn Fn(Event)>,
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").field("job", &self.job).finish_non_exhaustive()
    }
}

impl Walk {
    /// Tells of progress.
    pub fn report(&self, kind: Kind, name: &str, status: Status) {
        (self.report)(Event::step(kind, name, status));
    }

    /// Tells what somebody else has put into words.
    pub fn report_event(&self, event: Event) {
        (self.report)(event);
    }

    /// Tells what happened to a container, also those who wait for this plan only.
    pub fn tell(&self, live: &Live, change: Change) {
        (self.report)(self.supervisor.tell(live, change));
    }

    /// Tells of something the user should know.
    pub fn warn(&self, message: String) {
        (self.report)(Event::Warning { message });
    }

    /// The image called `name`, looked up once in a walk: many containers have the same one.
    ///
    /// # Errors
    ///
    /// [`FindError`]; an image that is not there is `None`.
    pub fn image(&self, name: &str) -> Result<Option<Rc<Image>>, FindError> {
        if let Some(known) = self.images.borrow().get(name) {
            return Ok(Some(Rc::clone(known)));
        }
        let found = self.supervisor.images.find(name)?.map(Rc::new);
        self.images
            .borrow_mut()
            .extend(found.iter().map(|image| (name.to_owned(), Rc::clone(image))));
        Ok(found)
    }

    /// The id of the container that is meant.
    pub fn id_of(&self, target: &Target) -> Option<String> {
        match target {
            Target::Existing(id) => Some(id.clone()),
            Target::Created(step) => self.created.borrow().get(step).cloned(),
        }
    }
}

/// Which steps have begun, which are over, and how.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub begun: BTreeSet<StepId>,
    pub succeeded: BTreeSet<StepId>,
    pub failed: BTreeSet<StepId>,
}

/// What may happen with a step that has not begun.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Begin,
    Wait,
    /// A step that it builds upon has failed.
    Skip,
}

impl Ledger {
    fn turn(&self, plan: &Plan, id: StepId) -> Turn {
        let step = &plan.steps[id.index()];
        if !step.after.is_disjoint(&self.failed) {
            return Turn::Skip;
        }
        let mut after_end = step.after_end.iter();
        if step.after.is_subset(&self.succeeded) && after_end.all(|id| self.is_over(*id)) {
            Turn::Begin
        } else {
            Turn::Wait
        }
    }

    /// Whether a step has succeeded or failed.
    pub fn is_over(&self, id: StepId) -> bool {
        self.succeeded.contains(&id) || self.failed.contains(&id)
    }
}

/// Carries out the plan of `job`, as many steps side by side as their order and its limit allow. A step that fails
/// takes with it the steps that build upon it, and no others.
pub async fn run(supervisor: Rc<Supervisor>, job: Job, report: Box<dyn Fn(Event)>) -> Applied {
    let mut interrupts = supervisor.interrupts.subscribe();
    let limit = job.parallel.unwrap_or(usize::MAX);
    let mut waiting: Vec<StepId> = job.plan.numbered().map(|(id, _)| id).collect();
    let walk = Rc::new(Walk {
        supervisor,
        job,
        created: RefCell::default(),
        updates: Updates::default(),
        images: RefCell::default(),
        report,
    });
    let mut ledger = Ledger::default();
    let mut applied = Applied::default();
    let mut tasks = JoinSet::new();
    let mut ahead = Ahead::default();
    loop {
        let mut begun = Vec::new();
        waiting.retain(|&id| match ledger.turn(&walk.job.plan, id) {
            Turn::Begin if tasks.len() < limit && !applied.interrupted => {
                begun.push(id);
                let (walk, interrupts) = (Rc::clone(&walk), walk.supervisor.interrupts.subscribe());
                tasks.spawn_local(async move { (id, carry_out(&walk, id, interrupts).await) });
                false
            }
            Turn::Begin | Turn::Wait => true,
            Turn::Skip => {
                ledger.failed.insert(id);
                false
            }
        });
        ledger.begun.extend(begun);
        if walk.job.parallel.is_none() && !applied.interrupted {
            ahead.prepare(&walk, &ledger, &waiting);
        }
        // A skipped step may let others be skipped, or begin, which stand before it in no order.
        if waiting.iter().any(|&id| ledger.turn(&walk.job.plan, id) == Turn::Skip) {
            continue;
        }
        if tasks.is_empty() {
            break;
        }
        tokio::select! {
            Some(finished) = tasks.join_next() => match finished {
                Ok((id, Ok(()))) => {
                    ledger.succeeded.insert(id);
                }
                Ok((id, Err(failure))) => {
                    ledger.failed.insert(id);
                    applied.failures.push(failure);
                }
                Err(error) => tracing::error!(%error, "a step did not end"),
            },
            Ok(()) = interrupts.changed(), if !applied.interrupted => applied.interrupted = true,
        }
    }
    ahead.give_up(&walk.supervisor).await;
    applied.created = walk.created.take();
    applied
}

async fn carry_out(
    walk: &Rc<Walk>,
    id: StepId,
    interrupts: watch::Receiver<u64>,
) -> Result<(), StepFailure> {
    let action = &walk.job.plan.steps[id.index()].action;
    step::carry_out(walk, id, action, interrupts).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Action, Cause, Step};

    /// A plan of steps that do nothing, given by what each comes after: success of, end of.
    fn plan(orders: &[(&[usize], &[usize])]) -> (Plan, Vec<StepId>) {
        let bare = Step {
            action: Action::RemoveNetwork { name: String::new() },
            because: Cause::Requested,
            after: BTreeSet::new(),
            after_end: BTreeSet::new(),
        };
        let mut plan = Plan { steps: vec![bare; orders.len()], ..Plan::default() };
        let ids: Vec<StepId> = plan.numbered().map(|(id, _)| id).collect();
        for (step, (after, after_end)) in plan.steps.iter_mut().zip(orders) {
            step.after = after.iter().map(|index| ids[*index]).collect();
            step.after_end = after_end.iter().map(|index| ids[*index]).collect();
        }
        (plan, ids)
    }

    #[test]
    fn a_failure_takes_along_what_builds_upon_it() {
        let (plan, ids) = plan(&[(&[], &[]), (&[], &[]), (&[0], &[]), (&[1], &[0]), (&[], &[2])]);
        let mut ledger = Ledger::default();
        let turns = |ledger: &Ledger| -> Vec<Turn> {
            ids[2..].iter().map(|id| ledger.turn(&plan, *id)).collect()
        };
        assert_eq!(turns(&ledger), [Turn::Wait, Turn::Wait, Turn::Wait]);
        ledger.failed.insert(ids[0]);
        assert_eq!(turns(&ledger), [Turn::Skip, Turn::Wait, Turn::Wait]);
        ledger.succeeded.insert(ids[1]);
        ledger.failed.insert(ids[2]);
        assert_eq!(turns(&ledger), [Turn::Skip, Turn::Begin, Turn::Begin]);
    }
}
