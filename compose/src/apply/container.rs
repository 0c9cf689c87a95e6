//! Making and removing containers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use images::{FindError, Image, Origin};
use jiff::Timestamp;
use network::{EndpointWish, InterfaceName, Mac};
use runtime::launch::{Grants, Launch, Rootfs, Upper};
use runtime::{cgroup, seccomp, spec};

use super::cdi::{self, CdiError};
use super::endpoint::{self, EndpointError};
use super::folders::{self, FolderError};
use super::logging::{self, LoggingError};
use super::mounts::{MountError, Mounts, Sources};
use super::removal;
use super::run::Walk;
use super::wishes::{self, NoCommand};
use crate::api::RunOptions;
use crate::event::Change;
use crate::model::{
    Attachment, DEFAULT_STOP_GRACE, HealthTest, Healthcheck, IpcMode, MacAddress, Networking,
    PidMode, Project, RestartPolicy, Service, Signal, UtsMode, VolumesFrom, VolumesFromSource,
    network_option,
};
use crate::plan::{CreateContainer, PlannedJoin};
use crate::record::start::{NetworkStart, Place, Resolver};
use crate::record::{
    ContainerPaths, ContainerRecord, ContainerState, EndpointRecord, Join, JoinKind, MountRecord,
    ProjectRecord, RECORD_VERSION, RecordError, StartRecord, list, names, new_id,
    replace_volatile_record,
};
use crate::supervisor::{AttachError, Live, Supervisor};

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
    folders::make(paths)?;
    let unfinished = paths.unfinished();
    fs::write(&unfinished, "")
        .map_err(|source| FolderError { path: unfinished.clone(), source })?;
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
    let bundle = devices.has_hooks().then(|| folders::bundle(paths, &spec)).transpose()?;
    let launch = Launch {
        id: id.to_owned(),
        spec,
        rootfs: rootfs(supervisor, &image, paths),
        user: service.user.clone().or_else(|| execution.user().clone()).unwrap_or_default(),
        groups: service.group_add.iter().cloned().chain(devices.groups()).collect(),
        init: service.init,
        filter: seccomp::filter(&wishes, &supervisor.roots.cache())?,
        cgroup: None,
        grants: Grants { staging: paths.grants(), files: granted },
        images,
        bundle,
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
fn rootfs(supervisor: &Supervisor, image: &Image, paths: &ContainerPaths) -> Rootfs {
    let holds_our_data = image.origin == Origin::Directory
        && image.layers.iter().any(|layer| contains(layer, &supervisor.roots.data));
    let upper = if holds_our_data {
        Upper::Memory
    } else {
        Upper::Directory { upper: paths.upper(), work: paths.work() }
    };
    Rootfs::Overlay { lower: image.layers.clone(), upper }
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

/// By which names a container is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aliases {
    /// Those of its service too.
    OfService,
    /// Its own only: a one-off.
    OwnOnly,
}

/// How the container called `id` that `create` describes is to reach the network.
///
/// # Errors
///
/// [`CreateError`] when an interface cannot be as it is wanted.
pub fn network_start(
    walk: &Walk,
    project: &Project,
    create: &CreateContainer,
    id: &str,
    joins: &[Join],
) -> Result<NetworkStart, CreateError> {
    if let Some(join) = joins.iter().find(|join| join.kind == JoinKind::Network) {
        return Ok(NetworkStart::Shared(join.container.clone()));
    }
    let service = &project.services[&create.instance.service];
    let of_service = !create.oneoff || run_of(walk, create).is_some_and(|run| run.use_aliases);
    let aliases = if of_service { Aliases::OfService } else { Aliases::OwnOnly };
    let mut attachments: Vec<(String, Attachment)> = match &service.networking {
        Networking::Host => return Ok(NetworkStart::Host),
        Networking::Attached(attached) => attached
            .iter()
            .map(|(key, attachment)| (project.networks[key].name.clone(), attachment.clone()))
            .collect(),
        Networking::Bridge => vec![("bridge".to_owned(), Attachment::default())],
        Networking::Named(name) => vec![(name.clone(), Attachment::default())],
        Networking::None | Networking::Service(_) | Networking::Container(_) => Vec::new(),
    };
    // Interfaces are numbered by priority, the highest first; the sort is stable, so names decide among equals.
    attachments.sort_by_key(|(_, attachment)| std::cmp::Reverse(attachment.priority));
    let asked = |attachment: &Attachment| -> Result<_, EndpointError> {
        let named = attachment.interface_name.as_deref().map(str::parse).transpose()?;
        let options = endpoint::Options::read(&attachment.driver_opts)?;
        Ok((named.or(options.interface), options.settings))
    };
    let asked = attachments.iter().map(|(_, attachment)| asked(attachment));
    let asked: Vec<(Option<InterfaceName>, _)> = asked.collect::<Result<_, _>>()?;
    let mut interfaces = endpoint::Names::used(asked.iter().filter_map(|(name, _)| name.clone()));
    let mut places = Vec::new();
    for (index, ((network, attachment), (name, settings))) in
        attachments.into_iter().zip(asked).enumerate()
    {
        let prefix = option(walk, project, &network, network_option::INTERFACE_PREFIX);
        let interface = interfaces.next(name, prefix.as_deref()).map_err(EndpointError::from)?;
        let mac = attachment.mac.or(service.mac_address.filter(|_| index == 0));
        let wish = EndpointWish {
            names: names_on_network(service, create, id, &attachment, aliases),
            mac: mac.map(|mac| Mac(mac.0)),
            ipv4: attachment.ipv4,
            ipv6: attachment.ipv6,
            gateway_priority: attachment.gateway_priority,
            link_local: endpoint::link_local(&attachment.link_local_ips)?,
            settings,
            ..EndpointWish::new(id, &lease_key(walk, project, create, &network), interface)
        };
        places.push(Place { network, wish, links: BTreeMap::new() });
    }
    Ok(NetworkStart::Own(places))
}

/// An option of the network called `name`: of the file, or of whoever made one that is external.
fn option(walk: &Walk, project: &Project, name: &str, option: &str) -> Option<String> {
    let own = project.networks.values().find(|network| network.name == name && !network.external);
    match own {
        Some(network) => network.driver_opts.get(option).cloned(),
        None => {
            let record = walk.supervisor.networks.record(&name.parse().ok()?).ok()??;
            record.wanted.options.get(option).cloned()
        }
    }
}

/// Takes the fixed addresses before anybody else gets them from the pool.
fn lease_fixed(supervisor: &Supervisor, network: &NetworkStart) -> Result<(), CreateError> {
    let NetworkStart::Own(places) = network else { return Ok(()) };
    for Place { network: name, wish, links: _ } in places {
        if wish.ipv4.is_none() && wish.ipv6.is_none() {
            continue;
        }
        supervisor.network(name)?.lease(wish).map_err(AttachError::Attach)?;
    }
    Ok(())
}

/// Who keeps an address: the replica, through all containers that it will be. Two of them that run side by side have
/// an address each.
fn lease_key(walk: &Walk, project: &Project, create: &CreateContainer, network: &str) -> String {
    let instance = &create.instance;
    if create.oneoff {
        return format!("{}/{}", project.name, instance.name);
    }
    let own = format!("{}/{}/{}", project.name, instance.service, instance.number);
    let before = create.replaces.as_ref().and_then(|id| walk.supervisor.container(id));
    let before = before.and_then(|live| {
        let record = live.record();
        let place = record.networks.iter().find(|place| place.network == network)?;
        Some(place.lease_key.clone())
    });
    match (before, create.aside) {
        (Some(key), true) if key == own => format!("{own}/beside"),
        (Some(key), false) => key,
        (Some(_), true) | (None, _) => own,
    }
}

/// The names by which the others find it: service, container, short id and aliases. A one-off answers to its own
/// name only, unless it was given those of the service (S44).
fn names_on_network(
    service: &Service,
    create: &CreateContainer,
    id: &str,
    attachment: &Attachment,
    aliases: Aliases,
) -> Vec<String> {
    let mut names = vec![create.instance.name.clone(), id[..12].to_owned()];
    if aliases == Aliases::OfService {
        names.push(service.name.to_string());
        names.extend(attachment.aliases.iter().cloned());
    }
    names.extend(service.hostname.clone());
    // The first name is the one that an address is looked up to.
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// Aliases by which only this container finds others.
fn links(service: &Service) -> BTreeMap<String, String> {
    let of_project = service
        .links
        .iter()
        .filter_map(|link| Some((link.alias.clone()?, link.service.to_string())));
    let external = service
        .external_links
        .iter()
        .filter_map(|link| Some((link.alias.clone()?, link.container.clone())));
    of_project.chain(external).collect()
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

/// What the record of a container is put together from.
pub struct Parts<'a> {
    pub project: &'a Project,
    pub service: &'a Service,
    pub image: &'a Image,
    pub create: &'a CreateContainer,
    pub id: &'a str,
    pub command: Vec<String>,
    pub mounts: Vec<MountRecord>,
    pub joins: Vec<Join>,
    pub network: &'a NetworkStart,
}

/// The record of a container that is made now.
pub fn record(parts: Parts<'_>) -> ContainerRecord {
    let Parts { project, service, image, create, id, command, mounts, joins, network } = parts;
    let places = match network {
        NetworkStart::Own(places) => places.as_slice(),
        NetworkStart::Shared(_) | NetworkStart::Host => &[],
    };
    let stop_signal = service.stop_signal.or_else(|| {
        image.execution().stop_signal().as_ref().and_then(|signal| signal.parse().ok())
    });
    let mut record = ContainerRecord {
        version: RECORD_VERSION,
        id: id.to_owned(),
        name: create.instance.name.clone(),
        project: project.name.to_string(),
        service: service.name.clone(),
        number: create.instance.number,
        oneoff: create.oneoff,
        image: create.image.clone(),
        image_id: image.id.to_string(),
        config_hash: create.config_hash.clone(),
        definition: crate::hash::service(project, service),
        depends_on: service.depends_on.clone(),
        created: Timestamp::now(),
        labels: service.labels.clone(),
        command,
        tty: service.tty,
        stdin_open: service.stdin_open,
        stop_signal: stop_signal.unwrap_or(Signal::TERM),
        stop_grace: service.stop_grace_period.unwrap_or(DEFAULT_STOP_GRACE),
        restart: if create.oneoff { RestartPolicy::No } else { service.restart },
        restart_details: service
            .deploy
            .as_ref()
            .and_then(|deploy| deploy.restart)
            .filter(|_| !create.oneoff)
            .unwrap_or_default(),
        healthcheck: healthcheck(service.healthcheck.as_ref(), image.health_check.as_ref()),
        networks: places.iter().map(endpoint_record).collect(),
        ports: service.ports.clone(),
        mounts,
        joins,
    };
    let of_project = ProjectRecord::new(
        project.name.to_string(),
        project.working_dir.clone(),
        project.files.clone(),
    );
    record.labels.extend(record.compose_labels(&of_project));
    record
}

fn endpoint_record(place: &Place) -> EndpointRecord {
    let Place { network, wish, links: _ } = place;
    EndpointRecord {
        network: network.clone(),
        aliases: wish.names.clone(),
        lease_key: wish.lease_key.clone(),
        ipv4: wish.ipv4,
        ipv6: wish.ipv6,
        mac: wish.mac.map(|mac| MacAddress(mac.0)),
        connected: false,
    }
}

/// The health check of the service over that of its image, field by field (A084).
fn healthcheck(
    own: Option<&Healthcheck>,
    of_image: Option<&images::HealthCheck>,
) -> Option<Healthcheck> {
    let base = of_image.map(|check| Healthcheck {
        test: health_test(&check.test),
        interval: check.interval,
        timeout: check.timeout,
        retries: check.retries,
        start_period: check.start_period,
        start_interval: check.start_interval,
    });
    let (own, base) = match (own, base) {
        (None, base) => return base.filter(runs),
        (Some(own), base) => (own, base.unwrap_or_default()),
    };
    let merged = Healthcheck {
        test: own.test.clone().or(base.test),
        interval: own.interval.or(base.interval),
        timeout: own.timeout.or(base.timeout),
        retries: own.retries.or(base.retries),
        start_period: own.start_period.or(base.start_period),
        start_interval: own.start_interval.or(base.start_interval),
    };
    Some(merged).filter(runs)
}

fn runs(check: &Healthcheck) -> bool {
    matches!(check.test, Some(HealthTest::Exec(_) | HealthTest::Shell(_)))
}

fn health_test(words: &[String]) -> Option<HealthTest> {
    match words {
        [] => None,
        [none] if none == "NONE" => Some(HealthTest::Disabled),
        [shell, line] if shell == "CMD-SHELL" => Some(HealthTest::Shell(line.clone())),
        [cmd, args @ ..] if cmd == "CMD" => Some(HealthTest::Exec(args.to_vec())),
        words => Some(HealthTest::Exec(words.to_vec())),
    }
}
