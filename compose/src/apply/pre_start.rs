//! `pre_start`: a container that runs to its end before another one starts.

use std::rc::Rc;

use runtime::log::Reader;
use tokio::sync::watch;

use super::container::{self, CreateError};
use super::removal::{self, RemoveError};
use super::run::Walk;
use crate::model::{
    HealthTest, Healthcheck, MountKind, Networking, PreStart, Project, RestartPolicy, Service,
    VolumesFrom, VolumesFromSource,
};
use crate::plan::CreateContainer;
use crate::record::{ContainerPaths, Phase, labels};
use crate::supervisor::start::StartError;
use crate::supervisor::{Live, pause};

/// How many lines of a hook that failed are shown, and how many bytes of them.
const LAST_LINES: usize = 10;
const LAST_BYTES: usize = 2048;

/// Why a `pre_start` hook failed.
#[derive(Debug, thiserror::Error)]
pub enum PreStartError {
    /// Its container could not be made.
    #[error("pre_start hook {number} could not be made")]
    Create {
        /// Which one, from 1.
        number: usize,
        /// Why.
        source: CreateError,
    },
    /// Its container could not be started.
    #[error("pre_start hook {number} could not be started")]
    Start {
        /// Which one, from 1.
        number: usize,
        /// Why.
        source: StartError,
    },
    /// It ran and said no.
    #[error("pre_start hook {number} exited with status {code}{}", after_colon(output))]
    Failed {
        /// Which one, from 1.
        number: usize,
        /// Its exit code.
        code: i32,
        /// The end of what it said.
        output: String,
    },
    /// Its container could not be removed.
    #[error("pre_start hook {number} has ended well and could not be removed")]
    Remove {
        /// Which one, from 1.
        number: usize,
        /// Why.
        source: RemoveError,
    },
    /// Another request has taken over.
    #[error("pre_start hook {number} was interrupted by another command")]
    Interrupted {
        /// Which one, from 1.
        number: usize,
    },
}

fn after_colon(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(": {output}") }
}

/// Runs the hook `index` of a service to its end, for the container with the id `beside`. One that ends well leaves
/// nothing; another one stays, to be looked at.
///
/// # Errors
///
/// [`PreStartError`]
pub async fn run(
    walk: &Rc<Walk>,
    index: usize,
    create: &CreateContainer,
    beside: &str,
    mut interrupts: watch::Receiver<u64>,
) -> Result<(), PreStartError> {
    let number = index + 1;
    let project = walk.job.project.as_ref().expect("hooks are run for a project");
    let project = Rc::new(of_hook(project, create, index, beside));
    let id = container::create_from(walk, &project, create)
        .await
        .map_err(|source| PreStartError::Create { number, source })?;
    let live = walk.supervisor.container(&id).expect("it was made");
    pause::start(&walk.supervisor, &live)
        .await
        .map_err(|source| PreStartError::Start { number, source })?;
    let code = tokio::select! {
        code = ended(&live) => code,
        Ok(()) = interrupts.changed() => return Err(PreStartError::Interrupted { number }),
    };
    if code != 0 {
        let output = last_words(&live.paths);
        return Err(PreStartError::Failed { number, code, output });
    }
    let volumes: Vec<String> =
        live.record().anonymous_volumes().map(|(_, name)| name.to_owned()).collect();
    removal::remove(&walk.supervisor, &id, &volumes)
        .await
        .map_err(|source| PreStartError::Remove { number, source })
}

/// The project in which the service of a hook is what its container is made from.
fn of_hook(project: &Project, create: &CreateContainer, index: usize, beside: &str) -> Project {
    let name = &create.instance.service;
    let mut project = project.clone();
    if let Some(service) = project.services.get_mut(name)
        && let Some(hook) = service.pre_start.get(index).cloned()
    {
        *service = service_of(service, hook, beside);
    }
    project
}

/// The service as a hook sees it: the same networks, secrets and rights, the volumes of the container `beside`, and
/// nothing that only a service has.
fn service_of(service: &Service, hook: PreStart, beside: &str) -> Service {
    let PreStart { image, command, user, privileged, working_dir, environment, per_replica: _ } =
        hook;
    let own_image = image.is_none() || image == service.image;
    let mut made = Service {
        image: image.or_else(|| service.image.clone()),
        // Without a command of its own it is the image's to say what runs; the service's would not end.
        command,
        entrypoint: service.entrypoint.clone().filter(|_| own_image),
        user: user.or_else(|| service.user.clone().filter(|_| own_image)),
        privileged: privileged || service.privileged,
        working_dir: working_dir.or_else(|| service.working_dir.clone()),
        replicas: 1,
        container_name: None,
        hostname: None,
        tty: false,
        stdin_open: false,
        restart: RestartPolicy::No,
        healthcheck: Some(Healthcheck {
            test: Some(HealthTest::Disabled),
            ..Healthcheck::default()
        }),
        ports: Vec::new(),
        mac_address: None,
        pre_start: Vec::new(),
        post_start: Vec::new(),
        pre_stop: Vec::new(),
        ..service.clone()
    };
    made.environment.extend(environment);
    made.labels.insert(labels::HOOK.to_owned(), "pre_start".to_owned());
    made.mounts.retain(|mount| matches!(mount.kind, MountKind::Tmpfs(_)));
    let source = VolumesFromSource::Container(beside.to_owned());
    made.volumes_from.insert(0, VolumesFrom { source, read_only: false });
    // Fixed addresses are the service's, which has them already.
    if let Networking::Attached(attachments) = &mut made.networking {
        for attachment in attachments.values_mut() {
            attachment.ipv4 = None;
            attachment.ipv6 = None;
            attachment.link_local_ips.clear();
            attachment.mac = None;
        }
    }
    made
}

/// Waits until a container has ended; its exit code.
async fn ended(live: &Live) -> i32 {
    let mut changes = live.watch();
    loop {
        {
            let state = live.state();
            if matches!(state.phase, Phase::Exited | Phase::Dead) {
                return state.exit.map_or(255, |status| status.shell_code());
            }
        }
        if changes.changed().await.is_err() {
            return 255;
        }
    }
}

/// The end of what a container said.
fn last_words(paths: &ContainerPaths) -> String {
    let read = || -> std::io::Result<String> {
        let mut reader = Reader::open(&paths.log())?;
        reader.tail(LAST_LINES)?;
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line()? {
            lines.push(String::from_utf8_lossy(&line.bytes).into_owned());
        }
        Ok(lines.join("\n"))
    };
    let said = read().unwrap_or_default();
    let said = said.trim_end();
    let cut = said.len().saturating_sub(LAST_BYTES);
    let start = (cut..=said.len()).find(|index| said.is_char_boundary(*index)).unwrap_or(cut);
    said[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attachment, Mount, VolumeSource};

    #[test]
    fn a_hook_is_the_service_without_what_only_a_service_has() {
        let mut service = Service::new("web".parse().unwrap());
        service.image = Some("web:1".to_owned());
        service.entrypoint = Some(vec!["/init".to_owned()]);
        service.command = Some(vec!["serve".to_owned()]);
        service.user = Some("web".to_owned());
        service.environment.insert("A".to_owned(), Some("service".to_owned()));
        service.container_name = Some("web".to_owned());
        service.restart = RestartPolicy::Always;
        let kind = MountKind::Volume {
            source: VolumeSource::Anonymous,
            nocopy: false,
            subpath: None,
            labels: std::collections::BTreeMap::new(),
        };
        service.mounts.push(Mount { target: "/data".into(), read_only: false, kind });
        let attachment = Attachment { ipv4: Some([10, 0, 0, 2].into()), ..Attachment::default() };
        service.networking =
            Networking::Attached([("default".parse().unwrap(), attachment)].into());
        let hook = PreStart {
            image: None,
            command: Some(vec!["prepare".to_owned()]),
            user: None,
            privileged: true,
            working_dir: None,
            environment: [("A".to_owned(), Some("hook".to_owned()))].into(),
            per_replica: false,
        };
        let made = service_of(&service, hook.clone(), "abc");
        assert_eq!(made.entrypoint, service.entrypoint);
        assert_eq!(made.command, hook.command);
        assert_eq!((made.user.as_deref(), made.privileged), (Some("web"), true));
        assert_eq!(made.environment["A"].as_deref(), Some("hook"));
        assert_eq!((made.container_name, made.restart), (None, RestartPolicy::No));
        assert!(made.mounts.is_empty());
        let VolumesFromSource::Container(from) = &made.volumes_from[0].source else { panic!() };
        assert_eq!(from, "abc");
        let Networking::Attached(attachments) = &made.networking else { panic!() };
        assert!(attachments.values().all(|attachment| attachment.ipv4.is_none()));

        let other = PreStart { image: Some("other:1".to_owned()), command: None, ..hook };
        let made = service_of(&service, other, "abc");
        assert_eq!((made.entrypoint, made.command, made.user), (None, None, None));
    }
}
