//! Taking up what a supervisor that was killed has left: the records say what there is, the keeper has the descriptors.

use std::collections::BTreeMap;
use std::rc::Rc;

use runtime::launch::NamespaceKind;

use super::keeper::Held;
use super::live::{Descriptors, Live};
use super::{
    Supervisor, SupervisorError, bound, exit, forward, hand_over, names, output, probe, publish,
    transition,
};
use crate::record::{
    Container, ContainerState, Phase, ProcessName, RecordError, Roots, StartRecord, list,
};

impl Supervisor {
    /// Takes up every container of the project, in whatever moment of its life it was left.
    pub(super) async fn take_up(self: &Rc<Self>) -> Result<(), SupervisorError> {
        let mut held: BTreeMap<String, Held> =
            self.keeper.list().await?.into_iter().map(|held| (held.key.clone(), held)).collect();
        let mut listing = list::to_take_up(&self.roots, &self.project)?;
        stand_aside(&self.roots, &mut listing.containers)?;
        for container in listing.containers {
            let paths = container.record.paths(&self.roots);
            let Some(start) = StartRecord::read(&paths)? else { continue };
            let phase = container.state.phase;
            // As the last supervisor has left it; the listing has corrected what is not true any more.
            let before = ContainerState::read(&paths)?;
            let live = self.add(Live::new(&self.roots, container.record, start, container.state));
            match held.remove(&live.record().id) {
                Some(held) if held.running.is_some() => self.take_up_running(&live, held),
                held if matches!(phase, Phase::Running | Phase::Paused) && held.is_none() => {
                    self.adopt(&live, &before).await?;
                }
                held => self.take_up_lost(&live, &before, held).await,
            }
        }
        for key in held.into_keys() {
            self.keeper.release(&key);
        }
        for live in self.all() {
            names::announce(self, &live);
        }
        self.volumes.tidy();
        Ok(())
    }

    fn take_up_running(self: &Rc<Self>, live: &Rc<Live>, held: Held) {
        let Held { running, descriptors, .. } = held;
        let Some(running) = running else { return };
        let mut descriptors = descriptors.into_iter();
        *live.pidfd.borrow_mut() = descriptors.next();
        match Descriptors::from_held(descriptors.collect(), live.shape()) {
            Some(found) => *live.descriptors.borrow_mut() = found,
            None => tracing::error!(
                container = live.record().name,
                "its descriptors are not what they should be"
            ),
        }
        let process = ProcessName {
            pid: running.pid,
            started_ticks: running.pid_started,
            boot_id: self.boot.clone(),
        };
        // A predecessor may have been killed between the start and its record.
        let unknown = live.state().process.as_ref() != Some(&process);
        if unknown {
            names::recall(self, live);
            let health = probe::initial(live);
            let written = live.change(|state| {
                state.phase = Phase::Running;
                state.process = Some(process);
                state.started = Some(running.started);
                state.exit = None;
                state.finished = None;
                state.health = health;
            });
            if let Err(error) = written {
                tracing::warn!(%error, "state");
            }
            live.life.set(transition::Life::of(&live.state()));
        }
        output::take_terminal(self, live);
        output::begin(live);
        forward::begin(live);
        names::take_up(self, live);
        publish::take_up(self, live);
        probe::begin(self, live);
        bound::begin(self, live);
    }

    /// Takes up a container that runs although neither keeper nor supervisor had survived.
    async fn adopt(
        self: &Rc<Self>,
        live: &Rc<Live>,
        before: &ContainerState,
    ) -> Result<(), SupervisorError> {
        let process = live.state().process.clone();
        let pidfd = process
            .and_then(|process| sys::pidfd::open_same(process.pid, process.started_ticks).ok());
        let Some(pidfd) = pidfd else {
            self.take_up_lost(live, before, None).await;
            return Ok(());
        };
        tracing::warn!(container = live.record().name, "adopted without its output");
        *live.pidfd.borrow_mut() = Some(pidfd);
        if live.shape().sandbox {
            let sandbox = self.namespace_of(&live.record().id, NamespaceKind::Network).ok();
            live.descriptors.borrow_mut().sandbox = sandbox;
        }
        hand_over(self, live)?;
        names::take_up(self, live);
        publish::take_up(self, live);
        probe::begin(self, live);
        bound::begin(self, live);
        Ok(())
    }

    /// Sees to a container without a process that the keeper knows: it ended while nobody looked, it waits to be started
    /// again, or its start was cut off at some step. What it had said last is still in its pipes, which the keeper holds.
    async fn take_up_lost(
        self: &Rc<Self>,
        live: &Rc<Live>,
        before: &ContainerState,
        held: Option<Held>,
    ) {
        // One that was started unseen by a keeper that is gone, and that no record knows.
        exit::kill(live);
        if let Some(held) = held {
            let found = Descriptors::from_held(held.descriptors, live.shape());
            *live.descriptors.borrow_mut() = found.unwrap_or_default();
        }
        if matches!(before.phase, Phase::Running | Phase::Paused) {
            output::take_terminal(self, live);
            output::begin(live);
            forward::begin(live);
            let pumps = std::mem::take(&mut live.tasks.borrow_mut().pumps);
            for pump in pumps {
                let _ = pump.await;
            }
            forward::finish(live).await;
        }
        match (live.life.get().phase, before.phase) {
            (transition::Phase::Waiting { until }, _) => {
                exit::remove_cgroup(live);
                exit::forget(live).await;
                exit::obey(self, live, transition::Effect::WakeAt(until));
            }
            (_, Phase::Running | Phase::Paused | Phase::Restarting) => {
                exit::ended_unseen(self, live, before).await;
            }
            (_, Phase::Created | Phase::Exited | Phase::Dead) => {
                exit::remove_cgroup(live);
                exit::forget(live).await;
                exit::settle(self, live, false).await;
            }
        }
    }
}

/// A predecessor may have been killed after a container had taken over and before the one that it took over from stood
/// aside.
fn stand_aside(roots: &Roots, containers: &mut [Container]) -> Result<(), RecordError> {
    let place = |one: &Container| (one.record.service.clone(), one.record.number);
    let in_place: Vec<_> = containers
        .iter()
        .filter(|one| !one.record.oneoff && !one.state.aside && one.state.phase.is_up())
        .map(|one| (place(one), one.record.created))
        .collect();
    for container in containers.iter_mut().filter(|one| !one.record.oneoff && !one.state.aside) {
        let (own, created) = (place(container), container.record.created);
        if in_place.iter().any(|(place, newer)| *place == own && *newer > created) {
            container.state.aside = true;
            let paths = container.record.paths(roots);
            let before = ContainerState::read(&paths)?;
            ContainerState { aside: true, ..before }.write(&paths)?;
        }
    }
    Ok(())
}
