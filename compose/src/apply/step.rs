//! One step: which room carries it out, what is told meanwhile, what a failure means to the user.

use std::error::Error;
use std::rc::Rc;

use tokio::sync::watch;

use super::hand_over::{self, HandOverError};
use super::pre_start::{self, PreStartError};
use super::run::{StepFailure, Walk};
use super::{build, container, explain, image, network, ready, removal, update, volume};
use crate::event::{Failure, Kind, Status, Subject};
use crate::model::{Place, RolloutOrder, Service, ServiceName};
use crate::plan::{Action, Instance, OnFailure, StepId};
use crate::supervisor::{exit, hook, pause};

/// Carries out `action`, which is step `id` of the walk.
pub async fn carry_out(
    walk: &Rc<Walk>,
    id: StepId,
    action: &Action,
    interrupts: watch::Receiver<u64>,
) -> Result<(), StepFailure> {
    match action {
        Action::PullImage { service, image: name, platform, need } => {
            image::pull(walk, service, name, platform.as_deref(), *need).await
        }
        Action::BuildImage { service, image, unless } => {
            build::build(walk, service, image, unless).await
        }
        Action::CreateNetwork { key, name } => {
            told(walk, Kind::Network, name, [Status::Creating, Status::Created], async {
                network::create(walk, key).map_err(|error| {
                    let wanted = walk.job.project.as_ref().and_then(|all| all.networks.get(key));
                    StepFailure { failure: explain::network(&error, wanted), code: 1 }
                })
            })
            .await
        }
        Action::RemoveNetwork { name } => {
            told(walk, Kind::Network, name, [Status::Removing, Status::Removed], async {
                network::remove(walk, name).map_err(|error| failed(&error, 1))
            })
            .await
        }
        Action::CreateVolume { key, name } => {
            told(walk, Kind::Volume, name, [Status::Creating, Status::Created], async {
                volume::create(walk, key).map_err(|error| failed(&error, 1))
            })
            .await
        }
        Action::RemoveVolume { name } => {
            told(walk, Kind::Volume, name, [Status::Removing, Status::Removed], async {
                volume::remove(walk, name).map_err(|error| failed(&error, 1))
            })
            .await
        }
        Action::CreateContainer(create) => {
            let words = match create.replaces {
                Some(_) => [Status::Recreate, Status::Recreated],
                None => [Status::Creating, Status::Created],
            };
            let name = &create.instance.name;
            told(walk, Kind::Container, name, words, async {
                let made = container::create(walk, create).await;
                let container_id = made.map_err(|error| {
                    let explained = |service: &Service| explain::creation(&error, service);
                    of_service(walk, &create.instance, &error, explained, 1)
                })?;
                walk.created.borrow_mut().insert(id, container_id);
                Ok(())
            })
            .await
        }
        Action::UpdateContainer(change) => {
            let instance = &change.instance;
            let Some(live) = walk.supervisor.container(&change.id) else {
                return Err(vanished(instance));
            };
            let words = [Status::Updating, Status::Updated];
            told(walk, Kind::Container, &instance.name, words, async {
                update::update(walk, &live, change).await.map_err(|error| {
                    let key = change.keys.first().map_or("", String::as_str);
                    let help = "it runs on as it was; `compose up --force-recreate` makes a new one instead";
                    failed(&error, 1).at(place_of(walk, &instance.service, key)).with_help(help)
                })
            })
            .await
        }
        Action::RunHook { index, create, target } => {
            let instance = &create.instance;
            let Some(beside) = walk.id_of(target) else { return Err(vanished(instance)) };
            let words = [Status::Starting, Status::Exited];
            told(walk, Kind::Container, &instance.name, words, async {
                let run = pre_start::run(walk, *index, create, &beside, interrupts).await;
                run.map_err(|error| {
                    let place = place_of(walk, &instance.service, "pre_start");
                    let code = if matches!(error, PreStartError::Interrupted { .. }) { 130 } else { 1 };
                    let help = "its container stays until the next `up` or `down`; correct the command, then `compose up`";
                    failed(&error, code).at(place).with_help(help)
                })
            })
            .await
        }
        Action::StartContainer { instance, target } => {
            let container = walk.id_of(target).and_then(|id| walk.supervisor.container(&id));
            let Some(live) = container else { return Err(vanished(instance)) };
            let words = [Status::Starting, Status::Started];
            told(walk, Kind::Container, &instance.name, words, async {
                let started = pause::start(&walk.supervisor, &live).await;
                started.map_err(|error| {
                    let explained = |service: &Service| explain::start(&error, service);
                    of_service(walk, instance, &error, explained, error.shell_code())
                })?;
                hook::post_start(&walk.supervisor, &live).await.map_err(|error| {
                    let help = "the container runs; correct the command, then `compose up --force-recreate`";
                    failed(&error, 1)
                        .at(place_of(walk, &instance.service, "post_start"))
                        .with_help(help)
                })
            })
            .await
        }
        Action::HandOver { instance, target, from, grace, rollout } => {
            let container = walk.id_of(target).and_then(|id| walk.supervisor.container(&id));
            let Some(live) = container else {
                return Err(match walk.updates.is_halted(&instance.service) {
                    // It has gone with the rest of the update.
                    true => failed(&HandOverError::Halted, 1),
                    false => vanished(instance),
                });
            };
            let from = from.as_ref().and_then(|id| walk.supervisor.container(id));
            let before = hand_over::Predecessor { live: from, grace: *grace };
            let words = [Status::Starting, Status::Started];
            told(walk, Kind::Container, &instance.name, words, async {
                let handed = hand_over::hand_over(walk, &live, before, rollout, interrupts).await;
                handed.map_err(|error| {
                    let help = match (&rollout.on_failure, rollout.order) {
                        (OnFailure::Rollback(_), _) if walk.updates.is_halted(&instance.service) => {
                            "the containers that were there before are in place; correct it, then `compose up`"
                        }
                        (_, RolloutOrder::StartFirst) => {
                            "the old container serves on, and the new one is gone; correct it, then `compose up`"
                        }
                        (OnFailure::Pause, RolloutOrder::StopFirst) => {
                            "the containers that come after it are as they were; correct it, then `compose up`"
                        }
                        (OnFailure::Continue | OnFailure::Rollback(_), RolloutOrder::StopFirst) => {
                            "correct it, then `compose up`"
                        }
                    };
                    let code = if matches!(error, HandOverError::Interrupted) { 130 } else { 1 };
                    failed(&error, code)
                        .at(place_of(walk, &instance.service, "healthcheck"))
                        .with_help(help)
                })
            })
            .await
        }
        Action::Await { service, condition, need } => {
            ready::wait(walk, service, *condition, *need, interrupts).await
        }
        // The way back of a failed update.
        Action::StopContainer { id, .. } | Action::RemoveContainer { id, .. }
            if walk.updates.keeps(id) =>
        {
            Ok(())
        }
        Action::StopContainer { instance, id, signal, grace } => {
            let Some(live) = walk.supervisor.container(id) else { return Ok(()) };
            let words = [Status::Stopping, Status::Stopped];
            told(walk, Kind::Container, &instance.name, words, async {
                live.comes_back.set(walk.job.plan.starts(id));
                let stopped = exit::stop(&walk.supervisor, &live, *signal, *grace).await;
                live.comes_back.set(false);
                stopped.map_err(|error| failed(&error, 1))
            })
            .await
        }
        Action::SignalContainer { instance, id, signal } => {
            let Some(live) = walk.supervisor.container(id) else { return Ok(()) };
            let words = [Status::Killing, Status::Killed];
            told(walk, Kind::Container, &instance.name, words, async {
                exit::signal(&walk.supervisor, &live, *signal)
                    .await
                    .map_err(|error| failed(&error, 1))
            })
            .await
        }
        Action::PauseContainer { instance, id } => {
            let Some(live) = walk.supervisor.container(id) else { return Err(vanished(instance)) };
            let words = [Status::Pausing, Status::Paused];
            told(walk, Kind::Container, &instance.name, words, async {
                let paused = pause::pause(&walk.supervisor, &live).await;
                paused.map_err(|error| failed(&error, 1))
            })
            .await
        }
        Action::UnpauseContainer { instance, id } => {
            let Some(live) = walk.supervisor.container(id) else { return Err(vanished(instance)) };
            let words = [Status::Unpausing, Status::Unpaused];
            told(walk, Kind::Container, &instance.name, words, async {
                let unpaused = pause::unpause(&walk.supervisor, &live).await;
                unpaused.map_err(|error| failed(&error, 1))
            })
            .await
        }
        Action::RemoveContainer { instance, id, volumes } => {
            let words = [Status::Removing, Status::Removed];
            told(walk, Kind::Container, &instance.name, words, async {
                removal::remove(&walk.supervisor, id, volumes)
                    .await
                    .map_err(|error| failed(&error, 1))
            })
            .await
        }
        Action::RemoveGarbage { id } => {
            removal::remove_cut_off(&walk.supervisor, id).await.map_err(|error| failed(&error, 1))
        }
        Action::RemoveImage { reference } => {
            told(walk, Kind::Image, reference, [Status::Removing, Status::Removed], async {
                removal::remove_image(walk, reference).map_err(|error| failed(&error, 1))
            })
            .await
        }
    }
}

/// Tells the two words of a step around it, or that it failed.
async fn told(
    walk: &Walk,
    kind: Kind,
    name: &str,
    [working, done]: [Status; 2],
    work: impl Future<Output = Result<(), StepFailure>>,
) -> Result<(), StepFailure> {
    walk.report(kind, name, working);
    let result = work.await;
    walk.report(kind, name, if result.is_ok() { done } else { Status::Error });
    result.map_err(|mut failed| {
        let subject = Subject { kind, name: name.to_owned() };
        // The libraries name what they are about as well: once is enough.
        let said = std::mem::take(&mut failed.failure.message);
        let own = format!("{}: ", subject.to_string().to_lowercase());
        failed.failure.message = format!("{subject}: {}", said.strip_prefix(&own).unwrap_or(&said));
        failed
    })
}

/// A failure with its causes and the exit code that stands for it.
pub fn failed(error: &(dyn Error + 'static), code: i32) -> StepFailure {
    StepFailure { failure: explain::other(error), code }
}

/// A failure of a container with what its service in the file has to do with it.
fn of_service(
    walk: &Walk,
    instance: &Instance,
    error: &(dyn Error + 'static),
    explain: impl Fn(&Service) -> Failure,
    code: i32,
) -> StepFailure {
    let project = walk.job.project.as_ref();
    let service = project.and_then(|project| project.services.get(&instance.service));
    StepFailure { failure: service.map_or_else(|| explain::other(error), explain), code }
}

impl StepFailure {
    /// The same failure with the place in the file.
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.failure.place = place.map(Into::into);
        self
    }

    /// The same failure with advice, if it has none.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.failure.help.get_or_insert(help.into());
        self
    }
}

fn vanished(instance: &Instance) -> StepFailure {
    let message = format!("Container {instance}: it was removed by somebody else");
    StepFailure { failure: Failure { message, ..Failure::default() }, code: 1 }
}

/// Where `attribute` of a service is written, or the service itself.
pub fn place_of(walk: &Walk, service: &ServiceName, attribute: &str) -> Option<Place> {
    let service = walk.job.project.as_ref()?.declared(service)?;
    service.places.of(attribute).or(service.place.as_ref()).cloned()
}
