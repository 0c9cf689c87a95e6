//! What a service sees in its file system.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::file::node::Node;
use crate::file::units;
use crate::model::{
    Grant, Mount, MountKind, NameError, Propagation, Recursive, Relabel, Service, Tmpfs,
    TmpfsOptions, VolumeSource, VolumesFrom, VolumesFromSource,
};

use super::fields::{Fields, What};

const VOLUME: What = What {
    name: "the name of a volume",
    help: "begin a path with `/` or `./`; a name is made of letters, digits, `.`, `_` and `-`",
};
const NAME: What = What { name: "a name", help: "use letters, digits, `.`, `_` and `-`" };
const ID: What = What { name: "a numeric id", help: "write a number: names are not looked up" };

pub(super) fn mounts(fields: &mut Fields<'_, '_>, service: &mut Service) {
    service.mounts =
        fields.items("volumes").iter().filter_map(|node| mount(fields, node)).collect();
    service.tmpfs = fields.items("tmpfs").iter().filter_map(|node| tmpfs(fields, node)).collect();
    let others = fields.items("volumes_from").iter();
    service.volumes_from = others.filter_map(|node| volumes_from(fields, node)).collect();
    service.secrets = grants(fields, "secrets", "/run/secrets");
    service.configs = grants(fields, "configs", "/");
    service.read_only = fields.flag("read_only");
    service.shm_size_bytes = fields.integer("shm_size").filter(|size| *size > 0);
}

fn mount(fields: &mut Fields<'_, '_>, node: &Node) -> Option<Mount> {
    let mut mount = Fields::new(fields.report, Some(node));
    let target = mount.path("target").unwrap_or_default();
    if target.as_os_str().is_empty() && mount.report.has_error_within(node.span) {
        // It was refused.
        return None;
    }
    if !target.is_absolute() {
        let shown = target.display().to_string();
        let written = mount.get("target").map_or(node.span, |target| target.span);
        let place = mount.report.part(written, &shown);
        let finding = mount
            .report
            .error(place, format!("the target `{shown}` of a mount is not an absolute path"));
        if shown.chars().nth(1) == Some(':') {
            finding.help(
                "a single letter before a `:` is read as a drive of Windows; give the volume a \
                 longer name, or use the long form",
            );
        } else {
            finding.help("begin it with `/`");
        }
        return None;
    }
    let source = mount.text("source");
    let kind = match mount.text("type").as_deref() {
        Some("bind") => bind(&mut mount, source.unwrap_or_default().into()),
        Some("tmpfs") => {
            let mut options = mount.inner("tmpfs");
            MountKind::Tmpfs(TmpfsOptions {
                size_bytes: options.integer("size").filter(|size| *size > 0),
                mode: options.integer("mode"),
                ..TmpfsOptions::default()
            })
        }
        Some("image") => MountKind::Image {
            image: source.unwrap_or_default(),
            subpath: mount.inner("image").path("subpath"),
        },
        Some("npipe") => MountKind::NamedPipe { source: source.unwrap_or_default() },
        Some("cluster") => MountKind::Cluster { source: source.unwrap_or_default() },
        _ => volume(&mut mount, source)?,
    };
    Some(Mount { target, read_only: mount.flag("read_only"), kind })
}

fn bind(mount: &mut Fields<'_, '_>, source: PathBuf) -> MountKind {
    let bind = mount.inner("bind");
    let propagation = bind.get("propagation");
    let wanted = match propagation.and_then(Node::as_str) {
        Some("private") => Some(Propagation::Private),
        Some("rprivate") => Some(Propagation::Rprivate),
        Some("shared") => Some(Propagation::Shared),
        Some("rshared") => Some(Propagation::Rshared),
        Some("slave") => Some(Propagation::Slave),
        Some("rslave") => Some(Propagation::Rslave),
        _ => None,
    };
    let recursive = match bind.text("recursive").as_deref() {
        Some("disabled") => Recursive::Disabled,
        Some("writable") => Recursive::Writable,
        Some("readonly") => Recursive::Readonly,
        _ => Recursive::Enabled,
    };
    let selinux = match bind.text("selinux").as_deref() {
        Some("z") => Some(Relabel::Shared),
        Some("Z") => Some(Relabel::Private),
        _ => None,
    };
    let create_host_path = bind.optional_flag("create_host_path").unwrap_or(true);
    if let (None, Some(node)) = (wanted, propagation.filter(|node| node.as_str() != Some(""))) {
        let text = node.as_str().unwrap_or_default();
        bind.report
            .error(node.span, format!("`{text}` is not a propagation"))
            .help("it is `private`, `shared` or `slave`, or one of these with an `r` before it");
    }
    MountKind::Bind { source, create_host_path, propagation: wanted, recursive, selinux }
}

fn volume(mount: &mut Fields<'_, '_>, source: Option<String>) -> Option<MountKind> {
    let source = match source {
        None => VolumeSource::Anonymous,
        Some(_) => VolumeSource::Named(mount.parsed("source", VOLUME)?),
    };
    let options = mount.inner("volume");
    Some(MountKind::Volume {
        source,
        nocopy: options.flag("nocopy"),
        subpath: options.path("subpath"),
        labels: options.pairs("labels"),
    })
}

fn tmpfs(fields: &mut Fields<'_, '_>, node: &Node) -> Option<Tmpfs> {
    let text = node.as_str()?;
    let (target, list) = text.split_once(':').unwrap_or((text, ""));
    if !Path::new(target).is_absolute() {
        fields
            .report
            .error(node.span, format!("the target `{target}` of a tmpfs is not an absolute path"))
            .help("begin it with `/`");
        return None;
    }
    let mut options = TmpfsOptions::default();
    for option in list.split(',').filter(|option| !option.is_empty()) {
        if !tmpfs_option(&mut options, option) {
            fields
                .report
                .error(node.span, format!("`{option}` is not an option of a tmpfs"))
                .help("the options are size=64m, mode=1777, uid=0, gid=0, and those of mount(8)");
        }
    }
    Some(Tmpfs { target: PathBuf::from(target), options })
}

/// Takes one option in; false if its value makes no sense.
fn tmpfs_option(options: &mut TmpfsOptions, option: &str) -> bool {
    let Some((name, value)) = option.split_once('=') else {
        options.other.push(option.to_owned());
        return true;
    };
    match name {
        "size" if value.ends_with('%') => {
            options.other.push(option.to_owned());
            true
        }
        "size" => {
            options.size_bytes = units::bytes(value).and_then(|size| u64::try_from(size).ok());
            options.size_bytes.is_some()
        }
        "mode" => {
            options.mode = u32::from_str_radix(value, 8).ok();
            options.mode.is_some()
        }
        "uid" => {
            options.uid = value.parse().ok();
            options.uid.is_some()
        }
        "gid" => {
            options.gid = value.parse().ok();
            options.gid.is_some()
        }
        _ => {
            options.other.push(option.to_owned());
            true
        }
    }
}

fn volumes_from(fields: &mut Fields<'_, '_>, node: &Node) -> Option<VolumesFrom> {
    let text = node.as_str()?;
    let (container, rest) = match text.strip_prefix("container:") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (name, mode) = rest.split_once(':').unwrap_or((rest, "rw"));
    if !matches!(mode, "ro" | "rw") {
        fields
            .report
            .error(node.span, format!("`{mode}` is not an access mode"))
            .help("it is `ro` or `rw`");
        return None;
    }
    let source = if container {
        VolumesFromSource::Container(name.to_owned())
    } else {
        match name.parse() {
            Ok(service) => VolumesFromSource::Service(service),
            Err(error) => {
                let message = format!("this is not a service: {error}");
                fields.refuse(node.span, message, "write `SERVICE[:ro]` or `container:NAME[:ro]`");
                return None;
            }
        }
    };
    Some(VolumesFrom { source, read_only: mode == "ro" })
}

/// What a service is granted, as files; a relative name is one below `directory`.
pub(super) fn grants<K: FromStr<Err = NameError>>(
    fields: &mut Fields<'_, '_>,
    key: &str,
    directory: &str,
) -> Vec<Grant<K>> {
    let mut grants = Vec::new();
    for node in fields.items(key) {
        let mut grant = Fields::new(fields.report, Some(node));
        let Some(source) = grant.parsed("source", NAME) else { continue };
        let name = grant.path("target").or_else(|| grant.path("source")).unwrap_or_default();
        grants.push(Grant {
            source,
            target: Path::new(directory).join(name),
            uid: grant.parsed("uid", ID),
            gid: grant.parsed("gid", ID),
            mode: grant.integer("mode"),
        });
    }
    grants
}
