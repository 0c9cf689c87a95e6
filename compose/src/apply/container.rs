//! Making and removing containers.

mod place;
mod record;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use images::{FindError, Image, Origin};
use runtime::launch::{Grants, Launch, Rootfs, Upper};
use runtime::{cgroup, seccomp, spec};

use super::cdi::{self, CdiError};
use super::endpoint::EndpointError;
use super::folders::{self, FolderError};
use super::foreign::{self, RuntimeError};
use super::logging::{self, LoggingError};
use super::mounts::{MountError, Mounts, Sources};
use super::removal;
use super::run::Walk;
use super::storage::{self, StorageError};
use super::wishes::{self, NoCommand};
use crate::api::RunOptions;
use crate::event::Change;
use crate::model::{
    IpcMode, Networking, PidMode, Project, Service, UtsMode, VolumesFrom, VolumesFromSource,
};
use crate::plan::{CreateContainer, PlannedJoin};
use crate::record::start::Resolver;
use crate::record::{
    ContainerPaths, ContainerRecord, ContainerState, Join, JoinKind, RECORD_VERSION, RecordError,
    StartRecord, list, names, new_id, replace_volatile_record,
};
use crate::supervisor::{AttachError, Live, Supervisor};
use place::{lease_fixed, links};

pub use place::network_start;
pub use record::{Parts, record};

/// A container could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The image is not in the store.
    #[error("image {image} does not exist here")]
    NoImage {
        /// As the file names it.
        image: String,
    },
    /// The image cannot be used.
    #[error(transparent)]
    Image(#[from] FindError),
    /// Neither the service nor the image says what to run.
    #[error(transparent)]
    NoCommand(#[from] NoCommand),
    /// A mount.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A device by name.
    #[error(transparent)]
    Cdi(#[from] CdiError),
    /// The runtime that the service names.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Something the kernel would refuse.
    #[error(transparent)]
    Spec(#[from] spec::SpecError),
    /// The system call filter.
    #[error(transparent)]
    Filter(#[from] seccomp::SeccompError),
    /// A limit that the machine does not have.
    #[error(transparent)]
    Limit(#[from] cgroup::CgroupError),
    /// An address that its network does not have.
    #[error("{address} is not in {}, the subnet of the network {network}", subnets.join(", "))]
    Outside {
        /// The network's real name.
        network: String,
        /// The address.
        address: IpAddr,
        /// The subnets of the network.
        subnets: Vec<String>,
    },
    /// An address of a family that its network does not have.
    #[error("{address} is no address for it: the network {network} has no {}", ::network::Family::of(*address))]
    NoFamily {
        /// The network's real name.
        network: String,
        /// The address.
        address: IpAddr,
    },
    /// What is said of its log.
    #[error(transparent)]
    Logging(#[from] LoggingError),
    /// Another container has the name.
    #[error(transparent)]
    Name(#[from] names::NameError),
    /// A container that it shares something with.
    #[error("there is no container {container} to share with")]
    NoPartner {
        /// Its name or id.
        container: String,
    },
    /// A fixed address.
    #[error(transparent)]
    Address(#[from] AttachError),
    /// An interface.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// How much it may write.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Its records.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// Makes the container that `create` describes, and gives its id.
///
/// # Errors
///
/// [`CreateError`]; nothing of the container is left.
pub async fn create(walk: &Rc<Walk>, create: &CreateContainer) -> Result<String, CreateError> {
    let project = Rc::clone(walk.job.project.as_ref().expect("containers are made from a project"));
    create_from(walk, &project, create).await
}

/// As [`create`], with `project` in the place of the one of the walk.
///
/// # Errors
///
/// As [`create`].
pub async fn create_from(
    walk: &Rc<Walk>,
    project: &Project,
    create: &CreateContainer,
) -> Result<String, CreateError> {
    let supervisor = &walk.supervisor;
    let id = new_id().map_err(|source| FolderError { path: "/dev/urandom".into(), source })?;
    let paths = supervisor.roots.container(&supervisor.project, &id);
    let made = make(walk, create, project, &id, &paths);
    match made {
        Ok(live) => {
            walk.tell(&live, Change::Created);
            Ok(id)
        }
        Err(error) => {
            if let Err(error) = removal::remove_cut_off(supervisor, &id).await {
                tracing::warn!(container = id, %error, "remove");
            }
            Err(error)
        }
    }
}

fn make(
    walk: &Walk,
    create: &CreateContainer,
    project: &Project,
    id: &str,
    paths: &ContainerPaths,
) -> Result<Rc<Live>, CreateError> {
    let supervisor = &walk.supervisor;
    let service = &project.services[&create.instance.service];
    let image = walk.image(&create.image)?;
    let image = image.ok_or_else(|| CreateError::NoImage { image: create.image.clone() })?;
    let name = &create.instance.name;
    folders::begin(paths)?;
    let unfinished = paths.unfinished();
    fs::write(&unfinished, "")
        .map_err(|source| FolderError { path: unfinished.clone(), source })?;
    storage::limit(service, paths)?;
    folders::make(paths)?;
    names::claim(&supervisor.roots, name, &supervisor.project, id, create.replaces.as_deref())?;

    let joins = joins(walk, create, service)?;
    let network = network_start(walk, project, create, id, &joins)?;
    lease_fixed(supervisor, &network)?;
    let partner = joins.iter().find(|join| join.kind == JoinKind::Network);
    let partner = partner.and_then(|join| supervisor.container(&join.container));
    let hostname = hostname(service, id, partner.as_deref());
    let etc = partner.as_ref().map_or_else(|| paths.etc(), |partner| partner.paths.etc());
    let others = volumes_from(supervisor, service)?;
    let sources = Sources {
        walk,
        volumes: &supervisor.volumes,
        project,
        service,
        image: &image,
        id,
        paths,
        etc: &etc,
        inherited: &create.inherits,
        others: &others,
    };
    let Mounts { wishes: mounts, records: mount_records, granted, images } = sources.resolve()?;

    let execution = image.execution();
    let mut wishes = wishes::wishes(service, &execution, &hostname, mounts)?;
    let devices = cdi::additions(service, &cdi::FOLDERS.map(PathBuf::from))?;
    devices.wish(&mut wishes);
    let mut spec = spec::spec(&wishes)?;
    devices.finish(&mut spec);
    let foreign = foreign::of_service(service, &supervisor.roots.project(&supervisor.project), id)?;
    if foreign.is_some() {
        seccomp::give(&mut spec, &wishes)?;
    }
    let bundle = (devices.has_hooks() || foreign.is_some())
        .then(|| folders::bundle(paths, &spec))
        .transpose()?;
    let launch = Launch {
        id: id.to_owned(),
        spec,
        rootfs: rootfs(supervisor, service, &image, paths)?,
        user: service.user.clone().or_else(|| execution.user().clone()).unwrap_or_default(),
        groups: service.group_add.iter().cloned().chain(devices.groups()).collect(),
        init: service.init,
        filter: seccomp::filter(&wishes, &supervisor.roots.cache())?,
        cgroup: None,
        grants: Grants { staging: paths.grants(), files: granted },
        images,
        bundle,
        foreign: foreign.clone(),
    };
    replace_volatile_record(&paths.launch(), &launch)?;

    let (log, log_target) = logging::of_service(
        service,
        &logging::Subject {
            id,
            name,
            image: &create.image,
            image_id: &image.id.to_string(),
            env: &wishes.env,
        },
    )?;
    let start = StartRecord {
        version: RECORD_VERSION,
        hostname,
        network,
        limits: service.limits.clone(),
        cgroup_parent: service.cgroup_parent.clone(),
        oom_kill_disable: service.oom_kill_disable,
        extra_hosts: service.extra_hosts.clone(),
        links: links(service),
        uses_dns_port: service.expose.iter().any(|expose| expose.has(53)),
        resolver: Resolver {
            servers: service.dns.clone(),
            options: service.dns_opt.clone(),
            search: service.dns_search.clone(),
        },
        log,
        log_target,
        post_start: service.post_start.clone(),
        pre_stop: service.pre_stop.clone(),
        foreign,
        remove: run_of(walk, create).is_some_and(|run| run.remove),
    };
    start.write(paths)?;

    let record = record(Parts {
        project,
        service,
        image: &image,
        create,
        id,
        command: wishes.args,
        mounts: mount_records,
        joins,
        network: &start.network,
    });
    let state = ContainerState { aside: create.aside, ..ContainerState::default() };
    if create.aside {
        state.write(paths)?;
    }
    record.write(&supervisor.roots)?;
    // Left behind it would be of no use: a container with a record is none that was cut off.
    let _ = fs::remove_file(unfinished);
    let live = Live::new(&supervisor.roots, record, start, state);
    Ok(supervisor.add(live))
}

/// Where the root comes from. Overlayfs refuses an upper directory that lies in one of the layers, so changes to a
/// directory that holds our own data stay in memory.
fn rootfs(
    supervisor: &Supervisor,
    service: &Service,
    image: &Image,
    paths: &ContainerPaths,
) -> Result<Rootfs, StorageError> {
    let holds_our_data = image.origin == Origin::Directory
        && image.layers.iter().any(|layer| contains(layer, &supervisor.roots.data));
    let upper = match holds_our_data {
        true if storage::size(&service.storage_opt)?.is_some() => {
            return Err(StorageError::InMemory);
        }
        true => Upper::Memory,
        false => Upper::Directory { upper: paths.upper(), work: paths.work() },
    };
    Ok(Rootfs::Overlay { lower: image.layers.clone(), upper })
}

fn contains(layer: &Path, path: &Path) -> bool {
    match (layer.canonicalize(), path.canonicalize()) {
        (Ok(layer), Ok(path)) => path.starts_with(layer),
        _ => false,
    }
}

fn hostname(service: &Service, id: &str, partner: Option<&Live>) -> String {
    if let Some(partner) = partner {
        return partner.start().hostname.clone();
    }
    let of_host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    match (&service.hostname, &service.networking, &service.uts) {
        (Some(hostname), _, _) => hostname.clone(),
        (None, Networking::Host, _) | (None, _, UtsMode::Host) => of_host(),
        (None, _, _) => id[..12].to_owned(),
    }
}

/// Whose namespaces the container shares: those of containers of the project, which the plan names, and of others,
/// which the file names.
fn joins(
    walk: &Walk,
    create: &CreateContainer,
    service: &Service,
) -> Result<Vec<Join>, CreateError> {
    let mut joins = Vec::new();
    for PlannedJoin { kind, target } in &create.joins {
        let container = walk
            .id_of(target)
            .ok_or_else(|| CreateError::NoPartner { container: format!("{target:?}") })?;
        joins.push(Join { kind: *kind, container });
    }
    let mut named = Vec::new();
    if let Networking::Container(name) = &service.networking {
        named.push((JoinKind::Network, name));
    }
    if let PidMode::Container(name) = &service.pid {
        named.push((JoinKind::Pid, name));
    }
    if let IpcMode::Container(name) = &service.ipc {
        named.push((JoinKind::Ipc, name));
    }
    if let UtsMode::Container(name) = &service.uts {
        named.push((JoinKind::Uts, name));
    }
    for (kind, name) in named {
        let found = list::find(&walk.supervisor.roots, name)
            .map_err(|_| CreateError::NoPartner { container: name.clone() })?;
        joins.push(Join { kind, container: found.record.id });
    }
    Ok(joins)
}

/// What `run` wants of this container, if it is the one that it is about.
fn run_of<'a>(walk: &'a Walk, create: &CreateContainer) -> Option<&'a RunOptions> {
    let run = walk.job.run.as_ref()?;
    (create.oneoff && create.instance.service == run.service).then_some(run)
}

fn volumes_from(
    supervisor: &Supervisor,
    service: &Service,
) -> Result<Vec<(VolumesFrom, ContainerRecord)>, CreateError> {
    let mut others = Vec::new();
    for from in &service.volumes_from {
        let record = match &from.source {
            VolumesFromSource::Service(name) => {
                let first = supervisor.of_service(name.as_str()).into_iter().next();
                first.map(|live| (*live.record()).clone())
            }
            VolumesFromSource::Container(name) => {
                list::find(&supervisor.roots, name).ok().map(|found| found.record)
            }
        };
        let missing = || CreateError::NoPartner { container: format!("{:?}", from.source) };
        others.push((from.clone(), record.ok_or_else(missing)?));
    }
    Ok(others)
}
