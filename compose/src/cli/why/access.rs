//! What a container needs of the host and does not get: ports that somebody has, files that are not there, and those that its
//! user may not touch.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use network::publish::{self, Holder};

use super::evidence::Answer;
use crate::cli::context::Context;
use crate::cli::inside;
use crate::model::{FileSource, MountKind, Port, Project, Protocol, Published, Service};
use crate::record::{Container, MountSource};

const READ: u32 = 4;
const WRITE: u32 = 2;
const ENTER: u32 = 1;

/// Adds who has the ports of the host that are to be published.
pub fn held_ports(ports: &[Port], answer: &mut Answer) {
    for port in ports {
        let Published::Range(range) = port.published else { continue };
        let protocol = match port.protocol {
            Protocol::Tcp => publish::Protocol::Tcp,
            Protocol::Udp => publish::Protocol::Udp,
            Protocol::Sctp => continue,
        };
        // Of several any may be taken.
        if range.first != range.last {
            continue;
        }
        let ip = port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let address = SocketAddr::new(ip, range.first);
        if let Some(holder) = Holder::find(address, protocol) {
            answer.lines.push(format!("{address}/{protocol} is in use by {holder}"));
            answer.mend = "stop that process, or publish another host port".to_owned();
        }
    }
}

/// Adds files of the host that the service needs and that nobody makes.
pub fn missing_files(project: &Project, service: &Service, answer: &mut Answer) {
    let binds = service.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Bind { source, create_host_path: false, .. } => Some((source, &mount.target)),
        _ => None,
    });
    let secrets = service.secrets.iter().filter_map(|grant| {
        Some((file(&project.secrets.get(&grant.source)?.source)?, &grant.target))
    });
    let configs = service.configs.iter().filter_map(|grant| {
        Some((file(&project.configs.get(&grant.source)?.source)?, &grant.target))
    });
    for (path, target) in binds.chain(secrets).chain(configs).filter(|(path, _)| !path.exists()) {
        answer.lines.push(is_missing(path, target));
        answer.mend = "make it, or correct its path".to_owned();
    }
}

fn file(source: &FileSource) -> Option<&PathBuf> {
    match source {
        FileSource::File(path) => Some(path),
        _ => None,
    }
}

/// That a source is not there.
pub fn is_missing(path: &Path, target: &Path) -> String {
    format!("{} is not there; it is to be mounted at {}", path.display(), target.display())
}

/// Adds what of its mounts the user of a container that went wrong may not read, or not write.
pub fn denied(container: &Container, context: &Context, answer: &mut Answer) {
    let Ok(launch) = context.launch(container) else { return };
    if launch.user.is_empty() {
        return;
    }
    let root = inside::root(container, context).ok();
    let known = root.and_then(|root| runtime::owner(&root, &launch.user).ok());
    let owner = known.or_else(|| numbers(&launch.user));
    let Some(owner) = owner.filter(|(user, _)| *user != 0) else { return };
    let volumes = volumes::Store::open(&context.roots().volumes()).and_then(|store| store.list());
    let volumes = volumes.unwrap_or_default();
    for mount in &container.record.mounts {
        let path: Option<PathBuf> = match &mount.source {
            MountSource::Bind { path } => Some(path.clone()),
            MountSource::Volume { name, .. } => {
                let found = volumes.iter().find(|volume| volume.name.to_string() == *name);
                found.map(|volume| volume.path.clone())
            }
            MountSource::Image { .. } | MountSource::Tmpfs => None,
        };
        let Some(path) = path else { continue };
        let Ok(found) = fs::metadata(&path) else { continue };
        let read = if found.is_dir() { READ | ENTER } else { READ };
        let wanted = if mount.read_only { read } else { read | WRITE };
        let has = granted(found.permissions().mode(), (found.uid(), found.gid()), owner);
        let lacks = wanted & !has;
        if lacks == 0 {
            continue;
        }
        let verb = if lacks & read == 0 { "write to" } else { "read" };
        answer.lines.push(format!(
            "{} belongs to {}:{} (mode {:o}), and its program, which is {}:{}, may not {verb} it: {} in the container",
            path.display(),
            found.uid(),
            found.gid(),
            found.permissions().mode() & 0o7777,
            owner.0,
            owner.1,
            mount.target.display(),
        ));
        answer.mend =
            format!("`chown {}:{} {}`, or another `user`", owner.0, owner.1, path.display());
    }
}

/// User and group as they are written, where there is no user database to look into; without a group that of root.
fn numbers(user: &str) -> Option<(u32, u32)> {
    let (user, group) = user.split_once(':').unwrap_or((user, "0"));
    Some((user.parse().ok()?, group.parse().ok()?))
}

/// What the bits of `mode` let a user do who is not root: those of the owner, else those of the group, else those of all.
fn granted(mode: u32, of: (u32, u32), user: (u32, u32)) -> u32 {
    let shift = match () {
        () if of.0 == user.0 => 6,
        () if of.1 == user.1 => 3,
        () => 0,
    };
    mode >> shift & 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_need_no_user_database() {
        assert_eq!(numbers("7"), Some((7, 0)));
        assert_eq!(numbers("7:8"), Some((7, 8)));
        assert_eq!(numbers("web"), None);
        assert_eq!(numbers("7:web"), None);
    }

    #[test]
    fn the_class_of_a_user_decides() {
        #[rustfmt::skip]
        let table = [
            (0o640, (7, 8), 6),
            (0o640, (1, 8), 4),
            (0o640, (1, 1), 0),
            // The owner has less than the others.
            (0o077, (7, 8), 0),
            (0o755, (1, 1), 5),
        ];
        for (mode, user, expected) in table {
            assert_eq!(granted(mode, (7, 8), user), expected, "{mode:o} {user:?}");
        }
    }
}
