//! Handing over from one container to another that runs beside it, without a gap.
//!
//! The new one is started, found by nobody and with no port, and waited for. Then everything changes in one step of
//! the event loop: the record of the new one says that it is in place, names and ports lead to it, and the old one
//! stands aside. Connections that the old one has end by themselves, in the time that it has for a stop.
//!
//! A supervisor that is killed on the way leaves both, and the record says which of them is in place: the next plan
//! goes on from there.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::ready::{NotReady, Verdict, last_words, look};
use super::removal::{self, RemoveError};
use super::run::Walk;
use crate::event::{Kind, Status};
use crate::plan::Condition;
use crate::record::{Phase, RecordError};
use crate::supervisor::start::StartError;
use crate::supervisor::{Live, exit, hook, names, pause, publish};

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
    /// How long its connections may take to end.
    pub grace: Duration,
}

/// Starts `live`, waits until it is ready, and `monitor` beyond that, and has it take over from `before`.
///
/// # Errors
///
/// [`HandOverError`]; `live` is gone then, and the other one serves as it did.
pub async fn hand_over(
    walk: &Rc<Walk>,
    live: &Rc<Live>,
    before: Predecessor,
    monitor: Option<Duration>,
    interrupts: watch::Receiver<u64>,
) -> Result<(), HandOverError> {
    let supervisor = &walk.supervisor;
    let Predecessor { live: from, grace } = before;
    let mut prepared = prepare(walk, live, monitor, interrupts).await;
    if prepared.is_ok() {
        let bound = publish::prepare_hand_over(supervisor, from.as_ref(), live);
        prepared = bound.map_err(HandOverError::from);
    }
    if prepared.is_ok() {
        // From here on it is in place, whatever happens.
        prepared = live.change(|state| state.aside = false).map_err(HandOverError::from);
    }
    if let Err(error) = prepared {
        take_back(walk, live, from.as_deref()).await?;
        return Err(error);
    }
    names::announce(supervisor, live);
    if let Some(from) = &from {
        if let Err(error) = from.change(|state| state.aside = true) {
            tracing::warn!(container = from.record().name, %error, "state");
        }
        names::announce(supervisor, from);
    }
    let former = publish::hand_over(supervisor, from.as_ref(), live);
    let drained = async {
        for connections in former {
            connections.ended().await;
        }
    };
    // What takes longer is cut off by the stop that follows, as any stop does.
    let _ = timeout(grace, drained).await;
    Ok(())
}

async fn prepare(
    walk: &Rc<Walk>,
    live: &Rc<Live>,
    monitor: Option<Duration>,
    mut interrupts: watch::Receiver<u64>,
) -> Result<(), HandOverError> {
    pause::start(&walk.supervisor, live).await?;
    hook::post_start(&walk.supervisor, live).await?;
    walk.report(Kind::Container, &live.record().name, Status::Waiting);
    let ready = async {
        until_ready(live).await?;
        match monitor {
            None => Ok(()),
            Some(monitor) => timeout(monitor, until_failed(live)).await.map_or(Ok(()), Err),
        }
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
async fn take_back(walk: &Walk, live: &Rc<Live>, from: Option<&Live>) -> Result<(), HandOverError> {
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
