//! What a process needs to become PID 1 of a container, as one value that travels as JSON in a sealed memfd.
//!
//! The supervisor writes it, the keeper hands it on unread, and the child of clone3 reads it in its own copy of the
//! memory, so that the keeper never grows. The same value lies in the container's folder, where `exec` finds it.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use serde::{Deserialize, Serialize};

use crate::cgroup::Place;
use crate::foreign::ForeignRuntime;

/// Everything about one container that its PID 1 has to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Launch {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The OCI runtime spec: process, mounts, namespaces, masked and read-only paths, limits, sysctls, names, devices.
    pub spec: Spec,
    /// What the root is made of; `root.path` of the spec is not read.
    pub rootfs: Rootfs,
    /// `""`, `"name"`, `"uid"`, `"name:group"` or `"uid:gid"`, resolved in the container's own user database.
    pub user: String,
    /// Further groups, names or numbers, resolved in the same way.
    pub groups: Vec<String>,
    /// Our own reaper is PID 1 and the command its child.
    pub init: bool,
    /// A compiled seccomp program (an array of `struct sock_filter`); empty means unconfined.
    #[serde(with = "crate::launch::hex")]
    pub filter: Vec<u8>,
    /// The control groups that the process joins before anything else.
    pub cgroup: Option<Place>,
    /// Files that the container gets a copy of, in memory, instead of the file that the spec mounts.
    #[serde(default)]
    pub grants: Grants,
    /// Images whose content is mounted instead of what the spec mounts.
    #[serde(default)]
    pub images: Vec<MountedImage>,
    /// The folder that hooks of the spec find the container by: it has `config.json`, and an empty `rootfs`.
    #[serde(default)]
    pub bundle: Option<PathBuf>,
    /// Another runtime, which is given the bundle.
    #[serde(default)]
    pub foreign: Option<ForeignRuntime>,
}

/// An image whose content is mounted read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountedImage {
    /// The destination of the bind mount of the spec in whose place it comes.
    pub target: PathBuf,
    /// The layers, topmost first.
    pub layers: Vec<PathBuf>,
    /// A file or directory of it instead of all of it.
    pub subpath: Option<PathBuf>,
}

/// Files that a container gets a copy of: secrets and configs, with an owner and permissions of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// A directory of the host under which copies are made, and images opened: what lies there is hidden from the container's first
    /// process alone, and only while it is built.
    pub staging: PathBuf,
    /// The files.
    pub files: Vec<GrantedFile>,
}

/// A file that a container gets a copy of, made anew at each start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedFile {
    /// The destination of the bind mount of the spec whose source is copied.
    pub target: PathBuf,
    /// Its owner; nothing means the user of the container.
    pub uid: Option<u32>,
    /// Its group; nothing means that of the user of the container.
    pub gid: Option<u32>,
    /// Its permissions.
    pub mode: u32,
}

/// What the root of a container is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rootfs {
    /// Read-only layers under a place for changes.
    Overlay {
        /// The layers, topmost first.
        lower: Vec<PathBuf>,
        /// Where changes go.
        upper: Upper,
    },
    /// A directory as it is: changes stay in it.
    Directory(PathBuf),
}

/// Where the changes of an overlay go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upper {
    /// To these directories, which are on one file system and outside of every layer.
    Directory {
        /// Holds the changes.
        upper: PathBuf,
        /// Overlay's own scratch space, empty.
        work: PathBuf,
    },
    /// To a tmpfs: for layers that contain our own data root, such as `/`, where overlay refuses an upper directory.
    Memory,
    /// Nowhere: the root is read-only.
    ReadOnly,
}

/// A namespace that a container shares with another one; its descriptor is sent beside the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceKind {
    /// Links, addresses, routes, ports.
    Network,
    /// Process numbers.
    Pid,
    /// System V and POSIX queues, semaphores, shared memory.
    Ipc,
    /// Host and domain name.
    Uts,
    /// The mounts of the container whose ipc namespace is shared: its `/dev/shm` is as well, and nothing else.
    Mount,
}

impl NamespaceKind {
    /// The name of its file in `/proc/PID/ns`: namespaces(7).
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Network => "net",
            Self::Pid => "pid",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Mount => "mnt",
        }
    }

    /// The same thing in the words of the OCI spec.
    pub fn oci(self) -> LinuxNamespaceType {
        match self {
            Self::Network => LinuxNamespaceType::Network,
            Self::Pid => LinuxNamespaceType::Pid,
            Self::Ipc => LinuxNamespaceType::Ipc,
            Self::Uts => LinuxNamespaceType::Uts,
            Self::Mount => LinuxNamespaceType::Mount,
        }
    }
}

/// Bytes as hexadecimal digits: a filter of 1.5 KB stays one short string in the JSON.
pub(crate) mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes two digits for each byte.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&text)
    }

    /// Reads what [`serialize`] wrote.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.as_bytes();
        if digits.len() % 2 != 0 {
            return Err(D::Error::custom("an odd number of hexadecimal digits"));
        }
        let byte = |pair: &[u8]| {
            let text = std::str::from_utf8(pair).map_err(D::Error::custom)?;
            u8::from_str_radix(text, 16).map_err(D::Error::custom)
        };
        digits.chunks_exact(2).map(byte).collect()
    }
}
