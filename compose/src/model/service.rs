//! A service: one key under `services`, fully resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Build, Capability, CgroupMode, ConfigKey, Dependency, Deploy, Device, DeviceRequest, Expose,
    ExternalLink, ExtraHost, Grant, Healthcheck, Hook, IpcMode, Kept, Limits, Link, MacAddress,
    Mount, MountKind, Networking, PidMode, Place, Places, Port, PreStart, ProjectName, PullPolicy,
    RestartPolicy, SecretKey, Security, ServiceName, Signal, Tmpfs, Ulimit, UsernsMode, UtsMode,
    VolumesFrom, WatchRule,
};

/// How long a container may take to stop where the file does not say.
pub const DEFAULT_STOP_GRACE: Duration = Duration::from_secs(10);

/// A service, with nothing left to look up: `extends`, `env_file` and defaults are in it.
///
/// `None` means that the file says nothing and the image or the runtime decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its key.
    pub name: ServiceName,
    /// Where the key was written.
    pub place: Option<Place>,
    /// Where its attributes were written.
    pub places: Places,

    /// The image.
    pub image: Option<String>,
    /// How to build the image.
    pub build: Option<Build>,
    /// When to fetch the image.
    pub pull_policy: Option<PullPolicy>,
    /// `os[/arch[/variant]]`.
    pub platform: Option<String>,
    /// A program that stands in for containers.
    pub provider: Option<Provider>,
    /// The profiles that switch it on; none means always on.
    pub profiles: BTreeSet<String>,
    /// How many containers: `scale` or `deploy.replicas`, else 1.
    pub replicas: u32,
    /// The name of its only container, instead of `PROJECT-SERVICE-N`.
    pub container_name: Option<String>,

    /// Arguments, instead of the image's; an empty list clears those.
    pub command: Option<Vec<String>>,
    /// Program, instead of the image's; an empty list clears it. Also drops the image's arguments.
    pub entrypoint: Option<Vec<String>>,
    /// On top of the image's; `None` takes a variable away. `env_file` is in it.
    pub environment: BTreeMap<String, Option<String>>,
    /// `USER[:GROUP]` by name or number, looked up in the container.
    pub user: Option<String>,
    /// Further groups by name or number, looked up in the container.
    pub group_add: Vec<String>,
    /// Where it runs.
    pub working_dir: Option<PathBuf>,
    /// Gets a terminal.
    pub tty: bool,
    /// Keeps standard input open.
    pub stdin_open: bool,
    /// Runs below an own reaper as PID 1.
    pub init: bool,
    /// `up` shows its log lines.
    pub attach: bool,
    /// What to send first when it is to stop.
    pub stop_signal: Option<Signal>,
    /// How long it may take to stop before it is killed (10 s by default).
    pub stop_grace_period: Option<Duration>,
    /// When it is started again: `restart` or `deploy.restart_policy`.
    pub restart: RestartPolicy,
    /// How to find out whether it is healthy.
    pub healthcheck: Option<Healthcheck>,
    /// Containers that run before it.
    pub pre_start: Vec<PreStart>,
    /// Commands that run in it right after its start.
    pub post_start: Vec<Hook>,
    /// Commands that run in it before it is stopped.
    pub pre_stop: Vec<Hook>,

    /// What must be there before it starts, those implied by other keys included.
    pub depends_on: BTreeMap<ServiceName, Dependency>,
    /// Further names for other services.
    pub links: Vec<Link>,
    /// Further names for containers outside of the project.
    pub external_links: Vec<ExternalLink>,

    /// How it reaches the network.
    pub networking: Networking,
    /// Hardware address on the network of the highest priority.
    pub mac_address: Option<MacAddress>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// Ports for other containers only.
    pub expose: Vec<Expose>,
    /// Host name inside.
    pub hostname: Option<String>,
    /// Domain name inside.
    pub domainname: Option<String>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Options of `/etc/resolv.conf`.
    pub dns_opt: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Further lines of `/etc/hosts`.
    pub extra_hosts: Vec<ExtraHost>,

    /// Mounts, in the order of the file.
    pub mounts: Vec<Mount>,
    /// Memory file systems.
    pub tmpfs: Vec<Tmpfs>,
    /// Mounts of other containers.
    pub volumes_from: Vec<VolumesFrom>,
    /// Secrets it may read.
    pub secrets: Vec<Grant<SecretKey>>,
    /// Configs it may read.
    pub configs: Vec<Grant<ConfigKey>>,
    /// The root file system is read-only.
    pub read_only: bool,
    /// Size of `/dev/shm`.
    pub shm_size_bytes: Option<u64>,
    /// Options of the root file system.
    pub storage_opt: BTreeMap<String, String>,

    /// Limits of memory, CPU, processes and block devices.
    pub limits: Limits,
    /// Limits of each process, by name without `RLIMIT_`, in lower case.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Kernel parameters of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// The out-of-memory killer spares it.
    pub oom_kill_disable: bool,
    /// Its rank for the out-of-memory killer, -1000 to 1000.
    pub oom_score_adj: Option<i32>,

    /// Has all rights.
    pub privileged: bool,
    /// Capabilities on top of the default ones.
    pub cap_add: Vec<Capability>,
    /// Capabilities taken away.
    pub cap_drop: Vec<Capability>,
    /// `security_opt`.
    pub security: Security,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// Rules for devices as the kernel spells them (`c 1:3 mr`).
    pub device_cgroup_rules: Vec<String>,
    /// Requested GPUs.
    pub gpus: Vec<DeviceRequest>,
    /// Which processes it sees.
    pub pid: PidMode,
    /// Whose inter-process communication it uses.
    pub ipc: IpcMode,
    /// Whose host name it has.
    pub uts: UtsMode,
    /// Which part of the cgroup tree it sees.
    pub cgroup: CgroupMode,
    /// How users inside map to users outside.
    pub userns: UsernsMode,
    /// The parent of its cgroup.
    pub cgroup_parent: Option<String>,
    /// Another OCI runtime.
    pub runtime: Option<String>,

    /// Labels of the container; `label_file` is in it.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the OCI specification.
    pub annotations: BTreeMap<String, String>,
    /// Where log lines go.
    pub logging: Option<Logging>,
    /// The rest of `deploy`.
    pub deploy: Option<Deploy>,
    /// What to do when files change.
    pub watch: Vec<WatchRule>,
    /// Everything else, by attribute.
    pub kept: BTreeMap<String, Kept>,
}

impl Service {
    /// The image of its containers: the one that the file names, else the one that is built for it,
    /// `PROJECT-SERVICE`.
    pub fn image_reference(&self, project: &ProjectName) -> String {
        self.image.clone().unwrap_or_else(|| format!("{project}-{}", self.name))
    }

    /// The images whose content it mounts, as the file names them.
    pub fn mounted_images(&self) -> impl Iterator<Item = &str> {
        self.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Image { image, .. } => Some(image.as_str()),
            _ => None,
        })
    }

    /// A service of which the file says nothing but its name.
    pub fn new(name: ServiceName) -> Self {
        Self {
            name,
            place: None,
            places: Places::default(),
            image: None,
            build: None,
            pull_policy: None,
            platform: None,
            provider: None,
            profiles: BTreeSet::new(),
            replicas: 1,
            container_name: None,
            command: None,
            entrypoint: None,
            environment: BTreeMap::new(),
            user: None,
            group_add: Vec::new(),
            working_dir: None,
            tty: false,
            stdin_open: false,
            init: false,
            attach: true,
            stop_signal: None,
            stop_grace_period: None,
            restart: RestartPolicy::No,
            healthcheck: None,
            pre_start: Vec::new(),
            post_start: Vec::new(),
            pre_stop: Vec::new(),
            depends_on: BTreeMap::new(),
            links: Vec::new(),
            external_links: Vec::new(),
            networking: Networking::default(),
            mac_address: None,
            ports: Vec::new(),
            expose: Vec::new(),
            hostname: None,
            domainname: None,
            dns: Vec::new(),
            dns_opt: Vec::new(),
            dns_search: Vec::new(),
            extra_hosts: Vec::new(),
            mounts: Vec::new(),
            tmpfs: Vec::new(),
            volumes_from: Vec::new(),
            secrets: Vec::new(),
            configs: Vec::new(),
            read_only: false,
            shm_size_bytes: None,
            storage_opt: BTreeMap::new(),
            limits: Limits::default(),
            ulimits: BTreeMap::new(),
            sysctls: BTreeMap::new(),
            oom_kill_disable: false,
            oom_score_adj: None,
            privileged: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            security: Security::default(),
            devices: Vec::new(),
            device_cgroup_rules: Vec::new(),
            gpus: Vec::new(),
            pid: PidMode::default(),
            ipc: IpcMode::default(),
            uts: UtsMode::default(),
            cgroup: CgroupMode::default(),
            userns: UsernsMode::default(),
            cgroup_parent: None,
            runtime: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            logging: None,
            deploy: None,
            watch: Vec::new(),
            kept: BTreeMap::new(),
        }
    }
}

/// `logging`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    /// Who keeps the log.
    pub driver: Option<String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// `provider`: a program that stands in for containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// The program.
    pub program: String,
    /// Its options; each may be given several times.
    pub options: BTreeMap<String, Vec<String>>,
}
