//! `volumes`, `tmpfs` and `volumes_from` of a service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ServiceName, VolumeKey};

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The path inside the container, clean and absolute.
    pub target: PathBuf,
    /// The container may not write.
    pub read_only: bool,
    /// What is mounted.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// The absolute path on the host.
        source: PathBuf,
        /// A missing source is made, as a directory.
        create_host_path: bool,
        /// How mounts below travel between host and container.
        propagation: Option<Propagation>,
        /// What happens to mounts below the source.
        recursive: Recursive,
        /// Relabelling for SELinux.
        selinux: Option<Relabel>,
    },
    /// A volume.
    Volume {
        /// Which one.
        source: VolumeSource,
        /// Content of the image is not copied into a new volume.
        nocopy: bool,
        /// A directory below the volume instead of all of it.
        subpath: Option<PathBuf>,
        /// Labels, for a volume that is made for this mount.
        labels: BTreeMap<String, String>,
    },
    /// Memory.
    Tmpfs(TmpfsOptions),
    /// The content of an image, read-only.
    Image {
        /// The image.
        image: String,
        /// A directory below it instead of all of it.
        subpath: Option<PathBuf>,
    },
    /// A named pipe of Windows.
    NamedPipe {
        /// Its path.
        source: String,
    },
    /// A volume of a cluster.
    Cluster {
        /// Its name.
        source: String,
    },
}

/// Which volume is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// A top-level volume.
    Named(VolumeKey),
    /// One that belongs to the container alone.
    Anonymous,
}

/// How mounts below a bind travel; `mount_namespaces(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// Not at all, this mount only.
    Private,
    /// Not at all, with all mounts below.
    Rprivate,
    /// Both ways, this mount only.
    Shared,
    /// Both ways, with all mounts below.
    Rshared,
    /// From host to container, this mount only.
    Slave,
    /// From host to container, with all mounts below.
    Rslave,
}

/// What happens to mounts below the source of a bind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recursive {
    /// They come along, read-only where the kernel can if the bind is read-only.
    #[default]
    Enabled,
    /// They stay out.
    Disabled,
    /// They come along and stay writable.
    Writable,
    /// They come along and must be read-only.
    Readonly,
}

/// Relabelling for SELinux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Relabel {
    /// `z`: shared between containers.
    Shared,
    /// `Z`: for one container.
    Private,
}

/// One entry of `tmpfs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// The path inside the container, absolute.
    pub target: PathBuf,
    /// Its options.
    pub options: TmpfsOptions,
}

/// Options of a tmpfs; tmpfs(5).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsOptions {
    /// The most it may hold; the kernel's default is half of the memory.
    pub size_bytes: Option<u64>,
    /// Permissions of its root.
    pub mode: Option<u32>,
    /// Owner of its root.
    pub uid: Option<u32>,
    /// Group of its root.
    pub gid: Option<u32>,
    /// Everything else, as mount(8) spells it (`ro`, `exec`, `nr_inodes=1k`).
    pub other: Vec<String>,
}

/// One entry of `volumes_from`: all mounts of another container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// Whose.
    pub source: VolumesFromSource,
    /// The container may not write.
    pub read_only: bool,
}

/// Whose mounts are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumesFromSource {
    /// Those of the first container of a service.
    Service(ServiceName),
    /// Those of a container, by its name or id.
    Container(String),
}
