//! Handing over from one container to another: beside it and without a gap, or when it has stopped.
//!
//! Without a gap: the new one is started, found by nobody and with no port, and waited for. Then everything changes in one step of
//! the event loop: the record of the new one says that it is in place, names and ports lead to it, and the old one
//! stands aside. Connections that the old one has end by themselves, in the time that it has for a stop.
//!
//! A supervisor that is killed on the way leaves both, and the record says which of them is in place: the next plan
//! goes on from there.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::ready::{NotReady, Verdict, last_words, look};
use super::removal::{self, RemoveError};
use super::roll_back::{self, Pair};
use super::run::Walk;
use crate::event::{Kind, Status};
use crate::model::{RolloutOrder, ServiceName};
use crate::plan::{Action, Condition, OnFailure, Rollout, Step};
use crate::record::{Phase, RecordError};
use crate::supervisor::start::StartError;
use crate::supervisor::{Live, exit, hook, names, pause, publish};

/// How long a new container without a health check is watched for failure: the default of docker's `--update-monitor`.
const MONITOR: Duration = Duration::from_secs(5);

/// A container did not take over.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// It could not be started.
    #[error("the new container could not be started")]
    Start(#[from] StartError),
    /// A command after its start.
    #[error("the new container")]
    Hook(#[from] hook::HookError),
    /// Its health check fails.
    #[error("the new container did not get ready: its health check fails{}", last_words(.output))]
    Unhealthy {
        /// What the last probe said.
        output: String,
    },
    /// It ended before it was ready.
    #[error("the new container ended with {code} before it was ready")]
    Ended {
        /// Its exit code.
        code: i32,
    },
    /// The old one does not stop.
    #[error("the old container does not stop")]
    Stop(#[from] exit::StopError),
    /// The update of the service has ended before it, or is taken back.
    #[error("others of its service have failed")]
    Halted,
    /// A port that it has and the old one has not.
    #[error(transparent)]
    Publish(#[from] network::publish::PublishError),
    /// It cannot be written down.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Another request has taken over.
    #[error("interrupted by another command")]
    Interrupted,
    /// It cannot be taken away.
    #[error("the new container does not go")]
    TakeBack(#[from] RemoveError),
}

/// A container that serves and is to have a successor.
#[derive(Debug)]
pub struct Predecessor {
    /// It, unless it is gone.
    pub live: Option<Rc<Live>>,
    /// How long its connections may take to end, and it may take to stop.
    pub grace: Duration,
}

/// Has `live` take over from `before` in the way that `rollout` says: starts it, and waits until it is ready, and beyond
/// that as long as it is to be watched.
///
/// # Errors
///
/// [`HandOverError`]. If `live` was to start first it is gone then, and the other one serves as it did. If failures are
/// taken back and too many have failed, the other one serves as well, and so do those from which others of the service have
/// taken over before.
pub async fn hand_over(
    walk: &Rc<Walk>,
    live: &Rc<Live>,
    before: Predecessor,
    rollout: &Rollout,
    interrupts: watch::Receiver<u64>,
) -> Result<(), HandOverError> {
    let service = live.record().service.clone();
    let from = before.live.clone();
    let turn = turn(walk, live, rollout, interrupts.clone()).await;
    let own = Turn { walk, live, before, rollout, interrupts: interrupts.clone() };
    let handed = match (turn, rollout.order) {
        (Ok(()), RolloutOrder::StartFirst) => own.start_first().await,
        (Ok(()), RolloutOrder::StopFirst) => own.stop_first().await,
        (Err(error), RolloutOrder::StartFirst) => {
            take_back(walk, live, from.as_deref()).await?;
            Err(error)
        }
        (Err(error), RolloutOrder::StopFirst) => Err(error),
    };
    if matches!(handed, Err(HandOverError::Interrupted | HandOverError::Halted)) {
        return handed;
    }
    let is_in_place = handed.is_ok() || rollout.order == RolloutOrder::StopFirst;
    let pair = from.filter(|_| is_in_place).map(|from| Pair { live: Rc::clone(live), from });
    if walk.updates.is_halted(&service) {
        // While this one was on its way.
        let (OnFailure::Rollback(way), Some(pair)) = (&rollout.on_failure, pair) else {
            return handed;
        };
        walk.updates.keep(&service, &pair);
        roll_back::hand_back(walk, &pair, way, interrupts).await?;
        return handed.and(Err(HandOverError::Halted));
    }
    walk.updates.replaced(&service, pair);
    if handed.is_err()
        && rollout.on_failure != OnFailure::Continue
        && walk.updates.fail(&service, rollout.tolerance, count(walk, &service))
    {
        if let OnFailure::Rollback(way) = &rollout.on_failure {
            roll_back::roll_back(walk, &service, way, interrupts).await;
        }
        discard(walk, &service).await;
    }
    handed
}

/// Waits for the turn of one container among those of its service.
async fn turn(
    walk: &Walk,
    live: &Live,
    rollout: &Rollout,
    mut interrupts: watch::Receiver<u64>,
) -> Result<(), HandOverError> {
    tokio::select! {
        () = sleep(rollout.delay) => {}
        Ok(()) = interrupts.changed() => return Err(HandOverError::Interrupted),
    }
    match walk.updates.begin(&live.record()) {
        true => Ok(()),
        false => Err(HandOverError::Halted),
    }
}

/// How many containers of `service` take over from others.
fn count(walk: &Walk, service: &ServiceName) -> u32 {
    let of_it = |step: &&Step| matches!(&step.action, Action::HandOver { instance, .. } if instance.service == *service);
    u32::try_from(walk.job.plan.steps.iter().filter(of_it).count()).unwrap_or(u32::MAX)
}

/// Removes the containers of `service` that were made for the rest of an update that has ended.
async fn discard(walk: &Walk, service: &ServiceName) {
    let supervisor = &walk.supervisor;
    let made: Vec<String> = walk.created.borrow().values().cloned().collect();
    for live in made.iter().filter_map(|id| supervisor.container(id)) {
        let record = live.record();
        if record.service != *service || record.oneoff || walk.updates.has_begun(&record) {
            continue;
        }
        let before = supervisor.all().into_iter().find(|one| {
            one.record().service == *service
                && one.record().number == record.number
                && one.record().id != record.id
        });
        if let Err(error) = take_back(walk, &live, before.as_deref()).await {
            tracing::warn!(container = record.name, %error, "remove");
        }
    }
}

/// One container on its way to take over from another one.
struct Turn<'w> {
    walk: &'w Rc<Walk>,
    live: &'w Rc<Live>,
    before: Predecessor,
    rollout: &'w Rollout,
    interrupts: watch::Receiver<u64>,
}

impl Turn<'_> {
    async fn start_first(self) -> Result<(), HandOverError> {
        let Self { walk, live, before: Predecessor { live: from, grace }, rollout, interrupts } =
            self;
        let mut prepared = prepare(walk, live, rollout.monitor, interrupts).await;
        let is_taken_back = matches!(rollout.on_failure, OnFailure::Rollback(_))
            && walk.updates.is_halted(&live.record().service);
        if prepared.is_ok() && is_taken_back {
            prepared = Err(HandOverError::Halted);
        }
        if prepared.is_ok() {
            prepared = switch(walk, from.as_ref(), live, grace).await;
        }
        if prepared.is_err() {
            take_back(walk, live, from.as_deref()).await?;
        }
        prepared
    }

    async fn stop_first(self) -> Result<(), HandOverError> {
        let Self { walk, live, before: Predecessor { live: from, grace }, rollout, interrupts } =
            self;
        if let Some(from) = &from {
            exit::stop(&walk.supervisor, from, from.record().stop_signal, grace).await?;
        }
        prepare(walk, live, rollout.monitor, interrupts).await
    }
}

/// Has names and ports lead to `live` instead of `from`, and waits until connections to that one have ended.
///
/// # Errors
///
/// [`HandOverError`]; everything leads to `from` then.
pub(super) async fn switch(
    walk: &Walk,
    from: Option<&Rc<Live>>,
    live: &Rc<Live>,
    grace: Duration,
) -> Result<(), HandOverError> {
    let supervisor = &walk.supervisor;
    publish::prepare_hand_over(supervisor, from, live)?;
    // From here on it is in place, whatever happens.
    live.change(|state| state.aside = false)?;
    names::announce(supervisor, live);
    if let Some(from) = from {
        if let Err(error) = from.change(|state| state.aside = true) {
            tracing::warn!(container = from.record().name, %error, "state");
        }
        names::announce(supervisor, from);
    }
    let former = publish::hand_over(supervisor, from, live);
    let drained = async {
        for connections in former {
            connections.ended().await;
        }
    };
    // What takes longer is cut off by the stop that follows, as any stop does.
    let _ = timeout(grace, drained).await;
    Ok(())
}

/// Starts `live`, waits until it is ready, and watches it for `monitor`. Its health check says when it is ready; one without
/// is watched for as long as docker watches all ([`MONITOR`]).
pub(super) async fn prepare(
    walk: &Rc<Walk>,
    live: &Rc<Live>,
    monitor: Option<Duration>,
    mut interrupts: watch::Receiver<u64>,
) -> Result<(), HandOverError> {
    let default = if live.record().healthcheck.is_some() { Duration::ZERO } else { MONITOR };
    let monitor = monitor.unwrap_or(default);
    pause::start(&walk.supervisor, live).await?;
    hook::post_start(&walk.supervisor, live).await?;
    walk.report(Kind::Container, &live.record().name, Status::Waiting);
    let ready = async {
        until_ready(live).await?;
        timeout(monitor, until_failed(live)).await.map_or(Ok(()), Err)
    };
    tokio::select! {
        ready = ready => ready,
        Ok(()) = interrupts.changed() => Err(HandOverError::Interrupted),
    }
}

async fn until_ready(live: &Live) -> Result<(), HandOverError> {
    let mut changes = live.watch();
    loop {
        match state(live) {
            Verdict::Ready => return Ok(()),
            Verdict::Never(never) => return Err(failure(never)),
            Verdict::Wait => {}
        }
        if changes.changed().await.is_err() {
            return Ok(());
        }
    }
}

async fn until_failed(live: &Live) -> HandOverError {
    let mut changes = live.watch();
    loop {
        if let Verdict::Never(never) = state(live) {
            return failure(never);
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// As for `--wait`, but one that has ended has failed, whether it is started again or not.
fn state(live: &Live) -> Verdict {
    let (phase, restarts, exit) = {
        let state = live.state();
        (state.phase, state.restarts, state.exit)
    };
    if matches!(phase, Phase::Exited | Phase::Dead | Phase::Restarting) || restarts > 0 {
        let code = exit.map_or(255, |status| status.shell_code());
        return Verdict::Never(NotReady::Exited { name: live.record().name.clone(), code });
    }
    look(live, Condition::Ready)
}

fn failure(never: NotReady) -> HandOverError {
    match never {
        NotReady::Exited { code, .. } | NotReady::Incomplete { code, .. } => {
            HandOverError::Ended { code }
        }
        NotReady::Unhealthy { output, .. } => HandOverError::Unhealthy { output },
        // Nobody waits for more than the health check that there is.
        NotReady::NoHealthcheck { .. } | NotReady::Interrupted { .. } => HandOverError::Interrupted,
    }
}

/// Takes a container away that did not get ready, with what it does not share with the one that serves.
pub(super) async fn take_back(
    walk: &Walk,
    live: &Rc<Live>,
    from: Option<&Live>,
) -> Result<(), HandOverError> {
    let supervisor = &walk.supervisor;
    let record = live.record();
    let stopped = exit::stop(supervisor, live, record.stop_signal, record.stop_grace).await;
    if let Err(error) = stopped {
        tracing::warn!(container = record.name, %error, "stop");
        exit::kill(live);
    }
    let inherited = from.map(Live::record);
    let is_shared = |volume: &str| {
        let mut shared = inherited.iter().flat_map(|record| record.anonymous_volumes());
        shared.any(|(_, name)| name == volume)
    };
    let volumes = record.anonymous_volumes().map(|(_, name)| name.to_owned());
    let volumes: Vec<String> = volumes.filter(|name| !is_shared(name)).collect();
    Ok(removal::remove(supervisor, &record.id, &volumes).await?)
}
