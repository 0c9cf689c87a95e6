//! What the updates of one walk have done to their services so far, and putting the old containers into their places again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::hand_over::{HandOverError, prepare, switch, take_back};
use super::run::Walk;
use crate::event::Failure;
use crate::model::{RolloutOrder, ServiceName};
use crate::plan::{Rollback, Tolerance};
use crate::record::ContainerRecord;
use crate::supervisor::{Live, exit};

/// A container and the one in whose place it is.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub live: Rc<Live>,
    pub from: Rc<Live>,
}

/// The updates of a walk.
#[derive(Debug, Default)]
pub struct Updates(RefCell<BTreeMap<ServiceName, Update>>);

/// The update of one service.
#[derive(Debug, Default)]
struct Update {
    /// Ids of the new ones whose turn has come.
    begun: BTreeSet<String>,
    replaced: Vec<Pair>,
    failed: u32,
    /// More have failed than may.
    halted: bool,
    /// Ids of those that are put into their places again.
    kept: BTreeSet<String>,
}

impl Updates {
    /// Whether more containers of `service` have failed than may.
    pub fn is_halted(&self, service: &ServiceName) -> bool {
        self.0.borrow().get(service).is_some_and(|update| update.halted)
    }

    /// Whether the container with this id was to go, and does not.
    pub fn keeps(&self, id: &str) -> bool {
        self.0.borrow().values().any(|update| update.kept.contains(id))
    }

    /// Has the turn of a new container come. Returns whether it may begin.
    pub(super) fn begin(&self, record: &ContainerRecord) -> bool {
        let mut updates = self.0.borrow_mut();
        let update = updates.entry(record.service.clone()).or_default();
        !update.halted && update.begun.insert(record.id.clone())
    }

    /// Whether the turn of a new container has come.
    pub(super) fn has_begun(&self, record: &ContainerRecord) -> bool {
        let updates = self.0.borrow();
        updates.get(&record.service).is_some_and(|update| update.begun.contains(&record.id))
    }

    pub(super) fn keep(&self, service: &ServiceName, pair: &Pair) {
        let mut updates = self.0.borrow_mut();
        updates.entry(service.clone()).or_default().kept.insert(pair.from.record().id.clone());
    }

    pub(super) fn replaced(&self, service: &ServiceName, pair: Option<Pair>) {
        self.0.borrow_mut().entry(service.clone()).or_default().replaced.extend(pair);
    }

    /// Counts a failure. Returns whether it is the one that is too much.
    pub(super) fn fail(&self, service: &ServiceName, tolerance: Tolerance, all: u32) -> bool {
        let mut updates = self.0.borrow_mut();
        let update = updates.entry(service.clone()).or_default();
        update.failed += 1;
        update.halted = tolerance.is_exceeded(update.failed, all);
        update.halted
    }
}

/// Puts the containers of `service` that were there before into their places again, the last one first.
pub(super) async fn roll_back(
    walk: &Rc<Walk>,
    service: &ServiceName,
    way: &Rollback,
    mut interrupts: watch::Receiver<u64>,
) {
    let pairs: Vec<Pair> = {
        let mut updates = walk.updates.0.borrow_mut();
        let update = updates.entry(service.clone()).or_default();
        update.kept.extend(update.replaced.iter().map(|pair| pair.from.record().id.clone()));
        std::mem::take(&mut update.replaced).into_iter().rev().collect()
    };
    let all = u32::try_from(pairs.len()).unwrap_or(u32::MAX);
    let at_once = usize::try_from(way.at_once).unwrap_or_default();
    let at_once = if at_once == 0 { pairs.len().max(1) } else { at_once };
    let mut failed = 0;
    for (turn, group) in pairs.chunks(at_once).enumerate() {
        if turn > 0 {
            tokio::select! {
                () = sleep(way.delay) => {}
                Ok(()) = interrupts.changed() => return,
            }
        }
        let mut tasks = JoinSet::new();
        for pair in group {
            let (walk, pair, way) = (Rc::clone(walk), pair.clone(), way.clone());
            let interrupts = interrupts.clone();
            tasks.spawn_local(async move {
                let done = hand_back(&walk, &pair, &way, interrupts).await;
                done.map_err(|error| (pair.from.record().name.clone(), Failure::new(&error)))
            });
        }
        while let Some(done) = tasks.join_next().await {
            let Ok(Err((name, failure))) = done else { continue };
            failed += 1;
            walk.warn(format!(
                "the container {name} from before does not get back into its place: {}",
                failure.message
            ));
        }
        if !way.goes_on && way.tolerance.is_exceeded(failed, all) {
            let left = pairs.len().saturating_sub((turn + 1) * at_once);
            if left > 0 {
                walk.warn(format!(
                    "{left} more of the service {service} stay as the update has left them"
                ));
            }
            return;
        }
    }
}

/// Puts one container into its place again. One that runs still takes over at once; of one that has stopped, `way` says
/// which goes first.
///
/// # Errors
///
/// [`HandOverError`]. Where the one that comes back was to start first the other one serves on; else it is gone.
pub(super) async fn hand_back(
    walk: &Rc<Walk>,
    Pair { live, from }: &Pair,
    way: &Rollback,
    interrupts: watch::Receiver<u64>,
) -> Result<(), HandOverError> {
    if way.order == RolloutOrder::StartFirst && !from.is_running() {
        from.change(|state| state.aside = true)?;
        if let Err(error) = prepare(walk, from, way.monitor, interrupts.clone()).await {
            let record = from.record();
            exit::stop(&walk.supervisor, from, record.stop_signal, record.stop_grace).await?;
            return Err(error);
        }
    }
    if from.is_running() {
        switch(walk, Some(live), from, live.record().stop_grace).await?;
        return take_back(walk, live, Some(from)).await;
    }
    take_back(walk, live, Some(from)).await?;
    prepare(walk, from, way.monitor, interrupts).await
}
