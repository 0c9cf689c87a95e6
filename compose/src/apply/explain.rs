//! What a failure has to do with the file, and what to do about it: a row for each cause.
//!
//! The libraries say what happened; here it becomes the attribute of the service that is shown, and the advice.

use std::error::Error;
use std::io;
use std::path::Path;

use ::network::{LiveError, StoreError, WantedError};
use images::build::BuildError;
use runtime::cgroup::CgroupError;
use runtime::failure::Failure as InitFailure;
use runtime::quota::{FileSystem, QuotaError};
use runtime::seccomp::SeccompError;
use runtime::spec::SpecError;
use rustix::io::Errno;
use volumes::bind::BindError;

use super::cdi::CdiError;
use super::container::CreateError;
use super::driver::DriverError;
use super::endpoint::EndpointError;
use super::foreign::RuntimeError;
use super::image::FetchError;
use super::logging::LoggingError;
use super::mounts::MountError;
use super::network::NetworkError;
use super::storage::StorageError;
use crate::build::RecipeError;
use crate::event::{FailedBuild, Failure};
use crate::model::{Device, Network, Place, Service, ServiceName};
use crate::registry;
use crate::supervisor::AttachError;
use crate::supervisor::keeper::KeeperError;
use crate::supervisor::publish;
use crate::supervisor::start::StartError;

/// Where a failure lies, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Advice {
    /// The attribute of the service; empty for the service as a whole.
    pub attribute: String,
    /// What to do.
    pub help: Option<String>,
}

impl Advice {
    fn new(attribute: impl Into<String>, help: impl Into<String>) -> Self {
        Self { attribute: attribute.into(), help: Some(help.into()) }
    }

    fn at(attribute: impl Into<String>) -> Self {
        Self { attribute: attribute.into(), help: None }
    }

    /// Adds place and help to `failure`; what the disk says is advice for every failure.
    fn give(self, failure: Failure, error: &(dyn Error + 'static), service: &Service) -> Failure {
        let place = service.places.of(&self.attribute).or(service.place.as_ref());
        Failure {
            help: of_disk(error).or(self.help),
            place: place.cloned().map(Into::into),
            ..failure
        }
    }
}

/// A container that could not be made, as it is told to the user.
pub fn creation(error: &CreateError, service: &Service) -> Failure {
    of_creation(error, service).give(Failure::new(error), error, service)
}

/// A container that could not be started, as it is told to the user.
pub fn start(error: &StartError, service: &Service) -> Failure {
    of_start(error, service).give(Failure::new(error), error, service)
}

/// A network that could not be made, as it is told to the user.
pub fn network(error: &NetworkError, network: Option<&Network>) -> Failure {
    let help = of_disk(error).or_else(|| of_network(error).map(str::to_owned));
    let place: Option<&Place> = network.and_then(|network| network.place.as_ref());
    Failure { help, place: place.cloned().map(Into::into), ..Failure::new(error) }
}

/// An image that could not be fetched, as it is told to the user.
#[must_use]
pub fn fetching(error: &FetchError, image: &str) -> Failure {
    let failure = Failure::new(error);
    let message = format!("cannot fetch image {image}: {}", failure.message);
    let help = of_disk(error).or_else(|| match error {
        FetchError::Pull(error) => registry::of_pull(error),
        FetchError::Platform(_) => Some("write it as in `platform: linux/arm64`".to_owned()),
        FetchError::Name(_) | FetchError::Unprepared | FetchError::Lost => None,
    });
    Failure { message, help, ..failure }
}

/// A service of which the file does not say how it could be built, as it is told to the user.
#[must_use]
pub fn recipe(error: &RecipeError, service: &ServiceName) -> Failure {
    let help = match error {
        RecipeError::Context(_) => "write a directory, a git repository or docker-image://IMAGE",
        RecipeError::Name { .. } => "write NAME[:TAG] in lower case",
        RecipeError::Platform(_) => "write OS/ARCHITECTURE, such as linux/amd64",
        RecipeError::Secret(_) => "set its variable, or give it a file",
        RecipeError::Agent { .. } => {
            "name the socket of an agent, or the file of a key without a passphrase"
        }
        RecipeError::Service(_) => "name a service of the project",
        RecipeError::Gateway(_) => "write the address of the machine",
        RecipeError::Network(_) => "change `build.network`",
        RecipeError::Cache { .. } => {
            "write type=registry,ref=IMAGE, or type=local with src= or dest=FOLDER"
        }
    };
    let failure = Failure::new(error);
    let message = format!("service {service} cannot be built: {}", failure.message);
    Failure { message, ..failure }.with_help(help)
}

/// A build that has failed, as it is told to the user.
#[must_use]
pub fn building(error: &BuildError, service: &ServiceName) -> Failure {
    let failure = Failure::new(error);
    let message = format!("the image of service {service} was not built: {}", failure.message);
    let help = match error {
        BuildError::Dockerfile(mistakes) => {
            let (service, mistakes) = (service.to_string(), mistakes.as_ref().clone());
            let build = Some(Box::new(FailedBuild { service, mistakes }));
            return Failure { message, build, ..failure };
        }
        BuildError::Target { stages, .. } if stages.is_empty() => {
            "no stage has a name: write FROM IMAGE AS NAME, or take `target` away".to_owned()
        }
        BuildError::Target { stages, .. } => format!("the stages are {}", stages.join(", ")),
        BuildError::Context(_) => "check `build.context` and `build.dockerfile`".to_owned(),
        BuildError::Store(error) => of_disk(error).unwrap_or_else(|| {
            "check that the data root can be written to and is not full".to_owned()
        }),
        BuildError::Cache { .. } => {
            "the image was not made; `ignore-error=true` in `cache_to` builds it without the cache"
                .to_owned()
        }
        BuildError::Cancelled => "run the command again".to_owned(),
    };
    Failure { message, ..failure }.with_help(help)
}

/// Something else that could not be done: what the disk says is all that is known about it.
pub fn other(error: &(dyn Error + 'static)) -> Failure {
    Failure { help: of_disk(error), ..Failure::new(error) }
}

/// What to do when it is the disk that has refused.
pub fn of_disk(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    let errno = loop {
        let error = next?;
        match error.downcast_ref::<io::Error>().and_then(Errno::from_io_error) {
            Some(errno) => break errno,
            None => next = error.source(),
        }
    };
    let help = match errno {
        Errno::NOSPC | Errno::DQUOT => {
            "free some space: `df -h` shows which disk is full; COMPOSE_DATA_ROOT puts the data on another one"
        }
        Errno::ROFS => {
            "the disk is mounted read-only: mount it for writing, or put the data elsewhere with COMPOSE_DATA_ROOT"
        }
        _ => return None,
    };
    Some(help.to_owned())
}

fn of_creation(error: &CreateError, service: &Service) -> Advice {
    match error {
        CreateError::NoImage { .. } | CreateError::Image(_) => {
            Advice::new("image", "bring it in with `compose image import` or `compose image load`")
        }
        CreateError::NoCommand(_) => {
            Advice::new("", "add `command`, such as `command: sleep infinity`")
        }
        CreateError::Mount(error) => of_mount(error, service),
        CreateError::Runtime(error) => of_runtime(error),
        CreateError::Spec(error) => of_spec(error, service),
        CreateError::Filter(error) => Advice::new("security_opt", of_filter(error)),
        CreateError::Limit(error) => of_limit(error),
        CreateError::Cdi(error) => of_cdi(error),
        CreateError::Logging(error) => of_logging(error),
        CreateError::Name(_) => {
            Advice::new("container_name", "choose another `container_name` or project name")
        }
        CreateError::Outside { .. } => Advice::new(
            "networks",
            "choose an address of the subnet, or another `subnet` below `ipam` of the network",
        ),
        CreateError::NoFamily { address, .. } if address.is_ipv6() => Advice::new(
            "networks",
            "write `enable_ipv6: true` in the network, or remove the address",
        ),
        CreateError::NoFamily { .. } => {
            Advice::new("networks", "remove `enable_ipv4: false` from the network, or the address")
        }
        CreateError::Address(error) => of_attachment(error),
        CreateError::Endpoint(EndpointError::Option { .. }) => Advice::new(
            "networks",
            "remove it; an interface has the options `com.docker.network.endpoint.sysctls` and `.ifname`",
        ),
        CreateError::Endpoint(_) => Advice::at("networks"),
        CreateError::NoPartner { container } => {
            Advice::new("", format!("start the container {container} first"))
        }
        CreateError::Storage(error) => Advice::new("storage_opt", of_storage(error)),
        CreateError::Record(_) | CreateError::Folder(_) => Advice::default(),
    }
}

fn of_mount(error: &MountError, service: &Service) -> Advice {
    let volume = |target: &Path| mount_at(target, service);
    match error {
        MountError::Bind { target, source } => {
            let granted = !service.mounts.iter().any(|mount| mount.target == *target);
            let help = match source {
                BindError::Missing { .. } if granted => "make the file, or correct its path",
                BindError::Missing { .. } => {
                    "make it, correct the path, or have it made as a folder with `create_host_path: true`"
                }
                BindError::Dangling { .. } => "correct the link, or name what it is to lead to",
                _ => "check the path and its permissions",
            };
            Advice::new(volume(target), help)
        }
        MountError::Unset { variable, .. } => {
            Advice::new("", format!("set `{variable}` in the environment of compose or in `.env`"))
        }
        MountError::NoImage { image } => {
            Advice::new("volumes", format!("fetch it: `compose image pull {image}`"))
        }
        MountError::NoVolume { name } => {
            Advice::new("volumes", format!("create it: `compose volume create {name}`"))
        }
        MountError::Impossible { target, .. } => {
            Advice::new(volume(target), "mounts can be of the types bind, volume, tmpfs and image")
        }
        _ => Advice::at("volumes"),
    }
}

/// The item of `volumes`, `secrets` or `configs` that is to appear at `target`.
fn mount_at(target: &Path, service: &Service) -> String {
    let item = |list: &str, index: Option<usize>| index.map(|index| format!("{list}[{index}]"));
    item("volumes", service.mounts.iter().position(|mount| mount.target == target))
        .or_else(|| item("secrets", service.secrets.iter().position(|one| one.target == target)))
        .or_else(|| item("configs", service.configs.iter().position(|one| one.target == target)))
        .unwrap_or_else(|| "volumes".to_owned())
}

fn of_cdi(error: &CdiError) -> Advice {
    let help = match error {
        CdiError::Unknown { .. } | CdiError::NoVendor { .. } => {
            "a device specification comes from the tools of the vendor, such as `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`"
        }
        CdiError::Ambiguous { .. } => "keep one of the two files",
        CdiError::Read { .. } | CdiError::Parse { .. } => {
            "correct the file, or have the tools of the vendor write it anew"
        }
        CdiError::Unsupported { .. } => "ask for another device, or name its nodes with `devices`",
    };
    Advice::new("", help)
}

fn of_logging(error: &LoggingError) -> Advice {
    match error {
        LoggingError::UnknownOption { .. } => {
            Advice::new("logging", "take it out, or correct its name")
        }
        LoggingError::BadValue { .. } => Advice::new("logging", "correct it"),
    }
}

fn of_storage(error: &StorageError) -> String {
    let instead = "limit where it writes: `tmpfs` with a size, or a volume of `driver_opts: {type: tmpfs, device: tmpfs, o: size=1g}`";
    let first = match error {
        StorageError::BadSize(_) => return "write a number with a unit, such as 1g".to_owned(),
        StorageError::InMemory => "name another image, or limit its memory with `mem_limit`",
        StorageError::Quota(QuotaError::Unable { file_system: FileSystem::Ext4, .. }) => {
            "`tune2fs -O project,quota DEVICE` while it is not mounted, and the option `prjquota` in /etc/fstab turn them on"
        }
        StorageError::Quota(QuotaError::Unable { file_system: FileSystem::Xfs, .. }) => {
            "the option `pquota` in /etc/fstab turns them on (of the root file system: `rootflags=pquota` for the kernel)"
        }
        StorageError::Quota(QuotaError::Unable { .. }) => {
            "put the data on btrfs, or on ext4 or xfs with project quotas, with COMPOSE_DATA_ROOT"
        }
        StorageError::Quota(QuotaError::Refused { .. }) => {
            "only root of the host may limit a folder, and project quotas need Linux 5.14"
        }
    };
    format!("{first}; or {instead}")
}

fn of_spec(error: &SpecError, service: &Service) -> Advice {
    match error {
        SpecError::NoProgram => Advice::new("", "add `command`"),
        SpecError::UnknownCapability { .. } => {
            Advice::new("cap_add", "capabilities(7) lists the names")
        }
        SpecError::CapabilityNotHeld(_) => Advice::new(
            "cap_add",
            "run compose where it has that capability itself, or take it out of the service",
        ),
        SpecError::NoAppArmor(_) => Advice::new(
            "security_opt",
            "boot with AppArmor (`apparmor=1 security=apparmor`), or take the option out",
        ),
        SpecError::UnknownUlimit { name, .. } => {
            Advice::new(format!("ulimits.{name}"), "getrlimit(2) lists the limits")
        }
        SpecError::BadUlimit { name, .. } => {
            let help = "lower the limit; for open files the kernel's own is `sysctl fs.nr_open`";
            Advice::new(format!("ulimits.{name}"), help)
        }
        SpecError::BadTarget(_) => Advice::new("volumes", "choose another target in the container"),
        SpecError::DuplicateTarget(_) => Advice::new("volumes", "keep one of the two mounts"),
        SpecError::BadTmpfs { .. } => Advice::new("tmpfs", "tmpfs(5) lists the options"),
        SpecError::Device { path, .. } | SpecError::NotADevice(path) => {
            Advice::new(device(path, service), "`ls -l /dev` shows the devices of this host")
        }
        SpecError::BadDevicePermissions(_) => Advice::new("devices", "write `rwm`, or less"),
        SpecError::BadDeviceRule(_) => {
            Advice::new("device_cgroup_rules", "write TYPE MAJOR:MINOR ACCESS")
        }
        SpecError::BadSysctl { name, .. } => Advice::new(
            format!("sysctls.{name}"),
            "a container has its own `net.*`, `fs.mqueue.*` and `kernel.{msg,sem,shm}*`; others are set on the host with sysctl(8)",
        ),
        SpecError::BadName { what, .. } => {
            Advice::new(*what, "write a name of letters, digits, `-` and `.`")
        }
        SpecError::BadOomScore { .. } => {
            Advice::new("oom_score_adj", "write a number from -1000 to 1000")
        }
        SpecError::BadPath { what, .. } => Advice::at(what.replace(' ', "_")),
        SpecError::BadString { .. } => Advice::new("", "take the zero byte or the `=` out"),
        SpecError::CannotJoin(_) => Advice::default(),
    }
}

fn device(path: &Path, service: &Service) -> String {
    let is_it = |device: &Device| matches!(device, Device::Host { source, .. } if source == path);
    let index = service.devices.iter().position(is_it);
    index.map_or_else(|| "devices".to_owned(), |index| format!("devices[{index}]"))
}

const fn of_filter(error: &SeccompError) -> &'static str {
    match error {
        SeccompError::Read { .. } => {
            "correct the path, which is relative to the compose file, or leave the option out for the default profile"
        }
        _ => "correct the profile, or leave the option out for the default one",
    }
}

fn of_start(error: &StartError, service: &Service) -> Advice {
    match error {
        StartError::Publish(error) => {
            Advice { attribute: "ports".into(), help: publish::help(error) }
        }
        StartError::Network(error) => of_attachment(error),
        StartError::Forward(_) => Advice::new(
            "logging",
            "start the receiver, or correct `syslog-address`; without `logging` the lines are kept by compose alone",
        ),
        StartError::Cgroup(error) => of_limit(error),
        StartError::NotRunning { .. } => {
            Advice::new("", "see with `compose ps -a` and `compose logs` why it does not run")
        }
        StartError::Keeper(KeeperError::Failed(failure)) => of_init(failure, service),
        StartError::Keeper(KeeperError::Unreachable(_)) => {
            Advice::new("", "ask again: the supervisor starts another keeper")
        }
        StartError::Missing { .. } | StartError::Record(_) => {
            Advice::new("", "`compose up --force-recreate` makes the container again")
        }
        StartError::Host { .. } => Advice::default(),
    }
}

/// The place of a container on a network.
fn of_attachment(error: &AttachError) -> Advice {
    match error {
        AttachError::Attach(::network::AttachError::Lease { .. }) => Advice::new(
            "networks",
            "give the network a larger `subnet` below `ipam`, or the service another address",
        ),
        _ => Advice::at("networks"),
    }
}

/// The process of the container did not reach its program.
fn of_init(failure: &InitFailure, service: &Service) -> Advice {
    let program = if service.entrypoint.is_some() { "entrypoint" } else { "command" };
    match (failure.step.as_str(), failure.shell_code()) {
        (InitFailure::EXECUTE, 127) if failure.detail.contains("interpreter") => Advice::new(
            program,
            "correct the `#!` line, or take an image with that interpreter or loader",
        ),
        (InitFailure::EXECUTE, 127) => Advice::new(
            program,
            "correct the name: the program must be in the image, as a path or in its PATH",
        ),
        (InitFailure::EXECUTE, _) => Advice::new(
            program,
            "the file is there: look at its mode (`chmod +x`), its `#!` line and its architecture",
        ),
        (InitFailure::USER, _) if failure.detail.starts_with("no group") => {
            let attribute = if service.group_add.is_empty() { "user" } else { "group_add" };
            Advice::new(attribute, "name a group of the image, or write its number")
        }
        (InitFailure::USER, _) => {
            Advice::new("user", "name a user of the image, or write numbers: `1000:1000`")
        }
        (InitFailure::DIRECTORY | "working directory", _) => {
            Advice::new("working_dir", "name a folder; one that is not there is made")
        }
        ("mounts" | "mount sources", _) => Advice::new(
            "volumes",
            "a folder is mounted over a folder and a file over a file: look at source and target",
        ),
        ("devices", _) => Advice::at("devices"),
        ("kernel parameters", _) => Advice::new(
            "sysctls",
            "`sysctl NAME` shows whether this kernel has the parameter and what it takes",
        ),
        ("resource limits", _) => Advice::at("ulimits"),
        ("host name", _) => Advice::at("hostname"),
        ("identity", _) => Advice::at("user"),
        ("root file system", _) => Advice::at("image"),
        _ => Advice::default(),
    }
}

/// Another runtime that a service names.
fn of_runtime(error: &RuntimeError) -> Advice {
    match error {
        RuntimeError::Missing { name } if name.contains('/') => Advice::new(
            "runtime",
            "name a program by its absolute path, or a runtime in PATH: `crun`, `runc`",
        ),
        RuntimeError::Missing { name } => Advice::new(
            "runtime",
            format!(
                "install it (`apt-get install {name}`), or write the absolute path of its program; without `runtime` compose runs the container itself"
            ),
        ),
        RuntimeError::Apart { attribute, service, .. } => Advice::new(
            *attribute,
            format!(
                "remove `{attribute}`: {service} is reached by its name on a network; or remove the `runtime` of {service}"
            ),
        ),
        RuntimeError::Without { attribute: "init", .. } => Advice::new(
            "init",
            "remove `runtime`; or have the image bring its own, such as tini, and name it in `entrypoint`",
        ),
        RuntimeError::Without { attribute, .. } => Advice::new(
            *attribute,
            "remove `runtime`: what compose runs itself has it; or do without",
        ),
    }
}

/// A limit, by its name in the file.
fn of_limit(error: &CgroupError) -> Advice {
    match error {
        CgroupError::Limit { limit, .. } => Advice::new(
            *limit,
            "correct the value; `nproc` and `free -h` show what the machine has",
        ),
        CgroupError::Device { .. } => {
            Advice::new("blkio_config", "`ls -l /dev` shows the devices of this host")
        }
        CgroupError::MissingController { controller, .. } => Advice::new(
            "",
            format!(
                "remove the limit, or give compose the `{controller}` controller (cgroup_enable= at boot, `Delegate=` of systemd)"
            ),
        ),
        CgroupError::NotMounted(_) => {
            Advice::new("", "mount it: `mount -t cgroup2 none /sys/fs/cgroup`")
        }
        CgroupError::Occupied { .. } => Advice::new("", "end those processes, then ask again"),
        _ => Advice::default(),
    }
}

/// What to do about a driver that is not here.
pub const DRIVERS: &str =
    "use `bridge`, `macvlan` or `ipvlan`; `overlay` is for clusters of several machines";

const fn of_network(error: &NetworkError) -> Option<&'static str> {
    match error {
        NetworkError::Driver(DriverError::Driver { .. }) => Some(DRIVERS),
        NetworkError::Driver(DriverError::Predefined { .. }) => {
            Some("`network_mode` of a service names it")
        }
        NetworkError::Driver(DriverError::Option { .. }) => Some(
            "remove the option; options are `com.docker.network.driver.mtu`, `com.docker.network.container_iface_prefix`, \
             of a bridge `com.docker.network.bridge.name`, `.enable_icc`, `.enable_ip_masquerade` and `.host_binding_ipv4`, \
             of the others `parent`, `macvlan_mode`, `ipvlan_mode` and `ipvlan_flag`",
        ),
        NetworkError::Driver(DriverError::Value { .. }) => Some("correct it below `driver_opts`"),
        NetworkError::AddressOption { .. } | NetworkError::AddressDriver { .. } => {
            Some("remove it; what is given out is said below `ipam.config`")
        }
        NetworkError::Store(StoreError::Live { source: LiveError::NoParent { .. }, .. }) => Some(
            "`ip link` lists the links; name one as `parent` below `driver_opts`, or none for a network of its own",
        ),
        NetworkError::Address { .. }
        | NetworkError::Store(StoreError::Wanted {
            source:
                WantedError::Outside { .. }
                | WantedError::TooSmall { .. }
                | WantedError::SecondSubnet { .. }
                | WantedError::FamilyOff { .. },
            ..
        }) => Some("correct it below `ipam`, or leave `ipam` out"),
        NetworkError::Store(StoreError::Wanted { source: WantedError::NoFamily, .. }) => {
            Some("write `enable_ipv6: true`, or remove `enable_ipv4: false`")
        }
        NetworkError::Store(StoreError::NoIpv6 { .. }) => {
            Some("boot without `ipv6.disable=1`, or remove `enable_ipv6`")
        }
        NetworkError::Store(StoreError::Wanted { .. }) => Some(
            "choose another `subnet` below `ipam`, or leave `ipam` out; `ip route` shows what the host uses",
        ),
        NetworkError::Store(StoreError::Differs { .. }) => {
            Some("`compose down` removes the network, and `compose up` makes it anew")
        }
        _ => None,
    }
}
