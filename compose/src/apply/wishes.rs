//! From a service and its image to what the runtime is asked for.
//!
//! Pure: everything that had to be looked up (mounts, the host name, whose namespaces are shared)
//! arrives as a value.

use std::path::PathBuf;

use oci_spec::image::Config as ImageConfig;
use runtime::cgroup::{self, Blkio, Swap};
use runtime::spec::{DeviceWish, MountWish, NamespaceWish, SeccompChoice, SharedMemory, Wishes};

use crate::model::{
    BlockIo, Ceiling, CgroupMode, Device, DevicePermissions, DeviceRate, DeviceWeight, IpcMode,
    Limits, Networking, PidMode, Seccomp, Service, Ulimit, UtsMode,
};

/// The search path of a container whose image does not set one (Docker's default).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Neither the service nor its image says what to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no command is given, neither by the service nor by its image")]
pub struct NoCommand;

/// What the container of `service` is to be.
///
/// # Errors
///
/// [`NoCommand`] if there is nothing to run.
pub fn wishes(
    service: &Service,
    image: &ImageConfig,
    hostname: &str,
    mounts: Vec<MountWish>,
) -> Result<Wishes, NoCommand> {
    let terminal = service.tty;
    Ok(Wishes {
        args: command(service, image)?,
        env: environment(service, image, hostname),
        cwd: working_dir(service, image),
        terminal,
        hostname: (service.uts == UtsMode::Private).then(|| hostname.to_owned()),
        domainname: service.domainname.clone(),
        read_only: service.read_only,
        privileged: service.privileged,
        cap_add: service.cap_add.iter().map(|cap| cap.as_str().to_owned()).collect(),
        cap_drop: service.cap_drop.iter().map(|cap| cap.as_str().to_owned()).collect(),
        no_new_privileges: service.security.no_new_privileges,
        seccomp: match &service.security.seccomp {
            Seccomp::Default => SeccompChoice::Default,
            Seccomp::Unconfined => SeccompChoice::Unconfined,
            Seccomp::Profile(path) => SeccompChoice::Profile(path.clone()),
        },
        unmasked: service.security.unmasked,
        mounts,
        devices: service.devices.iter().filter_map(device).collect(),
        device_rules: service.device_cgroup_rules.clone(),
        ulimits: service
            .ulimits
            .iter()
            .map(|(name, limit)| (name.clone(), ulimit(*limit)))
            .collect(),
        sysctls: service.sysctls.clone(),
        shm_bytes: service.shm_size_bytes,
        shm: match &service.ipc {
            IpcMode::None => SharedMemory::Absent,
            _ => SharedMemory::Mounted,
        },
        oom_score_adj: service.oom_score_adj,
        apparmor: service.security.apparmor.clone().filter(|profile| profile != "unconfined"),
        annotations: service.annotations.clone(),
        network: match &service.networking {
            Networking::Host => NamespaceWish::Host,
            _ => NamespaceWish::Joined,
        },
        pid: match &service.pid {
            PidMode::Private => NamespaceWish::Private,
            PidMode::Host => NamespaceWish::Host,
            PidMode::Service(_) | PidMode::Container(_) => NamespaceWish::Joined,
        },
        ipc: match &service.ipc {
            IpcMode::Shareable | IpcMode::Private | IpcMode::None => NamespaceWish::Private,
            IpcMode::Host => NamespaceWish::Host,
            IpcMode::Service(_) | IpcMode::Container(_) => NamespaceWish::Joined,
        },
        uts: match &service.uts {
            UtsMode::Private => NamespaceWish::Private,
            UtsMode::Host => NamespaceWish::Host,
            UtsMode::Service(_) | UtsMode::Container(_) => NamespaceWish::Joined,
        },
        cgroup: match service.cgroup {
            CgroupMode::Private => NamespaceWish::Private,
            CgroupMode::Host => NamespaceWish::Host,
        },
    })
}

/// Entrypoint and arguments. An entrypoint of the service drops the image's arguments (A065).
pub fn command(service: &Service, image: &ImageConfig) -> Result<Vec<String>, NoCommand> {
    let own = service.command.clone();
    let mut words = match &service.entrypoint {
        Some(entrypoint) => [entrypoint.clone(), own.unwrap_or_default()].concat(),
        None => {
            let entrypoint = image.entrypoint().clone().unwrap_or_default();
            [entrypoint, own.or_else(|| image.cmd().clone()).unwrap_or_default()].concat()
        }
    };
    words.shrink_to_fit();
    if words.is_empty() { Err(NoCommand) } else { Ok(words) }
}

/// The image's variables, then the service's; a service variable without a value takes one away.
fn environment(service: &Service, image: &ImageConfig, hostname: &str) -> Vec<(String, String)> {
    let mut variables = vec![
        ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
        ("HOSTNAME".to_owned(), hostname.to_owned()),
    ];
    if service.tty {
        variables.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    for entry in image.env().iter().flatten() {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        set(&mut variables, name, value);
    }
    for (name, value) in &service.environment {
        match value {
            Some(value) => set(&mut variables, name, value),
            None => variables.retain(|(known, _)| known != name),
        }
    }
    variables
}

fn set(variables: &mut Vec<(String, String)>, name: &str, value: &str) {
    match variables.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => variables.push((name.to_owned(), value.to_owned())),
    }
}

fn working_dir(service: &Service, image: &ImageConfig) -> PathBuf {
    let image = || image.working_dir().as_deref().filter(|dir| !dir.is_empty()).map(PathBuf::from);
    service.working_dir.clone().or_else(image).unwrap_or_else(|| PathBuf::from("/"))
}

fn device(device: &Device) -> Option<DeviceWish> {
    match device {
        Device::Host { source, target, permissions } => Some(DeviceWish {
            source: source.clone(),
            target: target.clone(),
            permissions: letters(*permissions),
        }),
        Device::Cdi(_) => None,
    }
}

fn letters(permissions: DevicePermissions) -> String {
    let DevicePermissions { read, write, mknod } = permissions;
    [(read, 'r'), (write, 'w'), (mknod, 'm')]
        .into_iter()
        .filter_map(|(allowed, letter)| allowed.then_some(letter))
        .collect()
}

pub(crate) fn ulimit(limit: Ulimit) -> runtime::spec::Ulimit {
    let value = |ceiling| match ceiling {
        Ceiling::At(value) => i64::try_from(value).unwrap_or(i64::MAX),
        Ceiling::Unlimited => -1,
    };
    runtime::spec::Ulimit { soft: value(limit.soft), hard: value(limit.hard) }
}

/// The limits of a service in the words of the runtime; `devices` are filled in from the spec.
pub fn limits(limits: &Limits, oom_kill_disable: bool) -> cgroup::Limits {
    cgroup::Limits {
        memory: limits.memory_bytes,
        memory_swap: limits.memory_swap_bytes.map(|ceiling| match ceiling {
            Ceiling::At(bytes) => Swap::Total(bytes),
            Ceiling::Unlimited => Swap::Unlimited,
        }),
        memory_reservation: limits.memory_reservation_bytes,
        memory_swappiness: limits.memory_swappiness.and_then(|value| u8::try_from(value).ok()),
        oom_kill_disable,
        cpu_nanos: limits.nano_cpus,
        cpu_quota_us: limits.cpu_quota_us,
        cpu_period_us: limits.cpu_period_us,
        cpu_shares: limits.cpu_shares,
        cpuset_cpus: limits.cpuset.clone(),
        cpuset_mems: None,
        pids: limits.pids.map(|ceiling| match ceiling {
            Ceiling::At(count) => i64::try_from(count).unwrap_or(i64::MAX),
            Ceiling::Unlimited => -1,
        }),
        blkio: limits.block_io.as_ref().map(block_io).unwrap_or_default(),
        devices: cgroup::Devices::All,
    }
}

fn block_io(block_io: &BlockIo) -> Blkio {
    let rates = |rates: &[DeviceRate]| {
        rates
            .iter()
            .map(|DeviceRate { path, rate }| cgroup::DeviceRate {
                device: path.into(),
                value: *rate,
            })
            .collect()
    };
    Blkio {
        weight: block_io.weight,
        weight_devices: block_io
            .weight_device
            .iter()
            .map(|DeviceWeight { path, weight }| cgroup::DeviceRate {
                device: path.into(),
                value: u64::from(*weight),
            })
            .collect(),
        read_bps: rates(&block_io.device_read_bps),
        write_bps: rates(&block_io.device_write_bps),
        read_iops: rates(&block_io.device_read_iops),
        write_iops: rates(&block_io.device_write_iops),
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::image::ConfigBuilder;

    use super::*;

    fn service() -> Service {
        Service::new("web".parse().unwrap())
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn entrypoint_and_command() {
        let image = ConfigBuilder::default().entrypoint(words("/init")).cmd(words("serve")).build();
        let image = image.unwrap();
        #[rustfmt::skip]
        let table = [
            (None, None, Ok("/init serve")),
            (None, Some("other"), Ok("/init other")),
            (None, Some(""), Ok("/init")),
            (Some("sh -c"), None, Ok("sh -c")),
            (Some("sh -c"), Some("true"), Ok("sh -c true")),
            (Some(""), Some("true"), Ok("true")),
            (Some(""), None, Err(NoCommand)),
        ];
        for (entrypoint, arguments, expected) in table {
            let service = Service {
                entrypoint: entrypoint.map(words),
                command: arguments.map(words),
                ..service()
            };
            assert_eq!(
                command(&service, &image),
                expected.map(words),
                "{entrypoint:?} {arguments:?}"
            );
        }
    }

    #[test]
    fn the_service_has_the_last_word_on_variables() {
        let image =
            ConfigBuilder::default().env(words("A=image B=image PATH=/opt/bin")).build().unwrap();
        let environment_of_service = [("A", Some("service")), ("B", None), ("C", Some(""))];
        let service = Service {
            environment: environment_of_service
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.map(str::to_owned)))
                .collect(),
            ..service()
        };
        let variables = environment(&service, &image, "host");
        let expected = [("PATH", "/opt/bin"), ("HOSTNAME", "host"), ("A", "service"), ("C", "")];
        assert_eq!(variables, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
