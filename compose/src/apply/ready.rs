//! Waiting for the containers of a service to be as another one needs them.

use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::run::{StepFailure, Walk};
use super::step::{failed, place_of};
use crate::event::{Kind, Status};
use crate::model::ServiceName;
use crate::plan::{Condition, Need};
use crate::record::{HealthStatus, Phase};
use crate::supervisor::Live;

/// Before that nobody says of a container without a health check that it is ready: what is set up wrongly mostly ends at once.
/// Docker compose looks after this time for the first time.
const PROBATION: Duration = Duration::from_millis(500);

/// A container cannot get any more as it was to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It has ended.
    #[error("dependency failed to start: container {name} exited ({code})")]
    Exited {
        /// Its name.
        name: String,
        /// Its exit code.
        code: i32,
    },
    /// Its health check has failed too often.
    #[error("dependency failed to start: container {name} is unhealthy{}", last_words(.output))]
    Unhealthy {
        /// Its name.
        name: String,
        /// What its last probe said.
        output: String,
    },
    /// It is to be healthy, and nobody can tell.
    #[error("container {name} has no healthcheck configured")]
    NoHealthcheck {
        /// Its name.
        name: String,
    },
    /// It was to end well and did not.
    #[error("service \"{service}\" didn't complete successfully: exit {code}")]
    Incomplete {
        /// Its service.
        service: String,
        /// Its exit code.
        code: i32,
    },
    /// Another request has taken over.
    #[error("waiting for {service} was interrupted by another command")]
    Interrupted {
        /// The service.
        service: String,
    },
}

impl NotReady {
    /// The attribute of the service that it is about, and what to do.
    fn advice(&self) -> (&'static str, String) {
        match self {
            Self::Exited { .. } => {
                ("command", "see with `compose logs` what it said before it ended".to_owned())
            }
            Self::Unhealthy { .. } => (
                "healthcheck",
                "`compose logs` shows what the container said; a slow start needs a `start_period`, or more `retries`"
                    .to_owned(),
            ),
            Self::NoHealthcheck { .. } => (
                "",
                "add a `healthcheck`, or depend on it with `condition: service_started`".to_owned(),
            ),
            Self::Incomplete { service, .. } => {
                ("command", format!("`compose logs {service}` shows what it said"))
            }
            Self::Interrupted { .. } => ("", "ask again".to_owned()),
        }
    }
}

/// What a probe said, behind a colon.
pub(super) fn last_words(output: &str) -> String {
    match output.trim() {
        "" => String::new(),
        output => format!(": {output}"),
    }
}

/// What a look at one container says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Ready,
    Wait,
    Never(NotReady),
}

/// Waits until all containers of `service` are as `condition` says.
pub async fn wait(
    walk: &Rc<Walk>,
    service: &ServiceName,
    condition: Condition,
    need: Need,
    mut interrupts: watch::Receiver<u64>,
) -> Result<(), StepFailure> {
    let containers = walk.supervisor.of_service(service.as_str());
    let mut waits = JoinSet::new();
    for live in containers {
        let name = live.record().name.clone();
        // A word is told only if there is something to wait for.
        if condition != Condition::Started {
            walk.report(Kind::Container, &name, Status::Waiting);
        }
        waits.spawn_local(async move { (name, until(&live, condition).await) });
    }
    loop {
        let finished = tokio::select! {
            finished = waits.join_next() => finished,
            Ok(()) = interrupts.changed() => {
                let service = service.to_string();
                return Err(failed(&NotReady::Interrupted { service }, 130));
            }
        };
        match finished {
            None => return Ok(()),
            Some(Ok((name, Ok(())))) => {
                if let Some(word) = word(condition) {
                    walk.report(Kind::Container, &name, word);
                }
            }
            Some(Ok((name, Err(never)))) if need == Need::Optional => {
                walk.report(Kind::Container, &name, Status::Skipped);
                walk.warn(format!("optional dependency \"{service}\" failed to start: {never}"));
            }
            Some(Ok((name, Err(never)))) => {
                walk.report(Kind::Container, &name, Status::Error);
                let (attribute, help) = never.advice();
                let place = place_of(walk, service, attribute);
                return Err(failed(&never, 1).at(place).with_help(help));
            }
            Some(Err(error)) => tracing::error!(%error, "waiting"),
        }
    }
}

const fn word(condition: Condition) -> Option<Status> {
    match condition {
        Condition::Started => None,
        Condition::Healthy | Condition::Ready => Some(Status::Healthy),
        Condition::Completed => Some(Status::Exited),
    }
}

async fn until(live: &Live, condition: Condition) -> Result<(), NotReady> {
    let mut changes = live.watch();
    loop {
        match look(live, condition) {
            Verdict::Ready => match probation(live, condition) {
                None => return Ok(()),
                Some(rest) => {
                    let _on_its_way = timeout(rest, changes.changed()).await;
                    continue;
                }
            },
            Verdict::Never(never) => return Err(never),
            Verdict::Wait => {}
        }
        if changes.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// How long it takes until a container without a health check, which `--wait` is about, has run for long enough.
fn probation(live: &Live, condition: Condition) -> Option<Duration> {
    let state = live.state();
    if condition != Condition::Ready || state.phase != Phase::Running || state.health.is_some() {
        return None;
    }
    let ran = Timestamp::now().duration_since(state.started?).unsigned_abs();
    PROBATION.checked_sub(ran).filter(|rest| !rest.is_zero())
}

/// Whether a container is as `condition` says.
pub(super) fn look(live: &Live, condition: Condition) -> Verdict {
    let state = live.state();
    let name = || live.record().name.clone();
    let code = || state.exit.map_or(255, |status| status.shell_code());
    match (condition, state.phase) {
        (Condition::Started, Phase::Created) => Verdict::Wait,
        (Condition::Started, _) => Verdict::Ready,
        (Condition::Completed, Phase::Exited | Phase::Dead) => match code() {
            0 => Verdict::Ready,
            code => {
                let service = live.record().service.to_string();
                Verdict::Never(NotReady::Incomplete { service, code })
            }
        },
        (Condition::Completed, _) => Verdict::Wait,
        // A one-shot that has done its work is as ready as it will ever be.
        (Condition::Ready, Phase::Exited) if code() == 0 => Verdict::Ready,
        (_, Phase::Exited | Phase::Dead) => {
            Verdict::Never(NotReady::Exited { name: name(), code: code() })
        }
        (_, Phase::Created | Phase::Restarting | Phase::Paused) => Verdict::Wait,
        (_, Phase::Running) => match &state.health {
            None if condition == Condition::Ready => Verdict::Ready,
            None => Verdict::Never(NotReady::NoHealthcheck { name: name() }),
            Some(health) => match health.status {
                HealthStatus::Healthy => Verdict::Ready,
                HealthStatus::Starting => Verdict::Wait,
                HealthStatus::Unhealthy => {
                    let output = health.log.last().map(|probe| probe.output.clone());
                    let output = output.unwrap_or_default();
                    Verdict::Never(NotReady::Unhealthy { name: name(), output })
                }
            },
        },
    }
}
