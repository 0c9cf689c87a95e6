//! Services that name another runtime: whether it is here, and what it cannot do.

use std::path::Path;

use runtime::foreign::{self, ForeignRuntime, Kind};

use crate::model::{
    IpcMode, Mount, MountKind, Networking, PidMode, Project, Propagation, Seccomp, Service,
    ServiceName, UtsMode,
};
use crate::record::ProjectPaths;

/// A runtime cannot be used for a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// Its program is not there.
    #[error("the runtime `{name}` is not installed")]
    Missing {
        /// As the file names it.
        name: String,
    },
    /// The service wants something that only our own runtime does.
    #[error("`{attribute}` cannot be carried out with the runtime `{name}`")]
    Without {
        /// As the file names it.
        name: String,
        /// What the service wants.
        attribute: &'static str,
    },
    /// The service wants to share the namespaces of one that has none to share.
    #[error(
        "`{attribute}` names `{service}`, whose runtime `{name}` has a kernel of its own: there is nothing to share"
    )]
    Apart {
        /// What the service wants.
        attribute: &'static str,
        /// The other one.
        service: ServiceName,
        /// Its runtime.
        name: String,
    },
}

/// The other runtime that a service names.
///
/// # Errors
///
/// [`RuntimeError`].
pub fn named(service: &Service) -> Result<Option<std::path::PathBuf>, RuntimeError> {
    let Some(name) = name_of(service) else { return Ok(None) };
    let without = |attribute| RuntimeError::Without { name: name.to_owned(), attribute };
    if Kind::of(Path::new(name)).is_sandbox()
        && let Some((_, attribute)) = kept_from_sandboxes(service).into_iter().find(|(is, _)| *is)
    {
        return Err(without(attribute));
    }
    if service.init {
        return Err(without("init"));
    }
    if service.mounts.iter().any(is_shared) {
        return Err(without("volumes"));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let found = foreign::find(name, &path);
    found.map(Some).map_err(|_| RuntimeError::Missing { name: name.to_owned() })
}

/// Whether the containers of a service are sandboxes: what is mounted or attached later does not come to them.
pub fn is_sandbox(service: &Service) -> bool {
    name_of(service).is_some_and(|name| Kind::of(Path::new(name)).is_sandbox())
}

fn name_of(service: &Service) -> Option<&str> {
    service.runtime.as_deref().filter(|name| !name.is_empty())
}

/// Makes sure that a service shares no namespace of a sandbox.
///
/// # Errors
///
/// [`RuntimeError::Apart`].
pub fn check_partners(service: &Service, project: &Project) -> Result<(), RuntimeError> {
    let partners = [
        (
            "network_mode",
            match &service.networking {
                Networking::Service(partner) => Some(partner),
                _ => None,
            },
        ),
        (
            "pid",
            match &service.pid {
                PidMode::Service(partner) => Some(partner),
                _ => None,
            },
        ),
        (
            "ipc",
            match &service.ipc {
                IpcMode::Service(partner) => Some(partner),
                _ => None,
            },
        ),
        (
            "uts",
            match &service.uts {
                UtsMode::Service(partner) => Some(partner),
                _ => None,
            },
        ),
    ];
    for (attribute, partner) in partners {
        let partner = partner.and_then(|partner| project.services.get(partner));
        if let Some(partner) = partner.filter(|partner| is_sandbox(partner)) {
            let name = name_of(partner).unwrap_or_default().to_owned();
            return Err(RuntimeError::Apart { attribute, service: partner.name.clone(), name });
        }
    }
    Ok(())
}

/// What of a service needs the kernel of the host, with its name in the file.
fn kept_from_sandboxes(service: &Service) -> [(bool, &'static str); 9] {
    let shares_network =
        matches!(service.networking, Networking::Service(_) | Networking::Container(_));
    [
        (shares_network, "network_mode"),
        (service.pid != PidMode::Private, "pid"),
        (!matches!(service.ipc, IpcMode::Shareable | IpcMode::Private), "ipc"),
        (service.uts != UtsMode::Private, "uts"),
        (!service.sysctls.is_empty(), "sysctls"),
        (!service.devices.is_empty(), "devices"),
        (!service.gpus.is_empty(), "gpus"),
        (!service.device_cgroup_rules.is_empty(), "device_cgroup_rules"),
        (matches!(service.security.seccomp, Seccomp::Profile(_)), "security_opt"),
    ]
}

/// As [`named`], with the place for what it remembers of the container called `id`.
///
/// # Errors
///
/// [`RuntimeError`].
pub fn of_service(
    service: &Service,
    project: &ProjectPaths,
    id: &str,
) -> Result<Option<ForeignRuntime>, RuntimeError> {
    let program = named(service)?;
    Ok(program.map(|program| ForeignRuntime { program, root: project.foreign(id) }))
}

/// Whether what the container mounts is to be seen by the host.
fn is_shared(mount: &Mount) -> bool {
    let MountKind::Bind { propagation, .. } = &mount.kind else { return false };
    matches!(propagation, Some(Propagation::Shared | Propagation::Rshared))
}
