//! The identity of a container: written once, when everything else of it is there.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::replace::{RecordError, read_record, replace_volatile_record};
use super::{ContainerPaths, ProjectRecord, RECORD_VERSION, Roots, check_version, labels};
use crate::hash::Definition;
use crate::model::{
    Dependency, DeployRestart, Expose, Healthcheck, MacAddress, Port, RestartPolicy, ServiceName,
    Signal,
};

/// What a container is, from its creation to its removal.
///
/// Holds what `ps`, `inspect`, the planner and the supervisor ask; how to
/// start it stands beside it in `launch.json`, which is large and read by the
/// start alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Version of this record's layout.
    pub version: u32,
    /// 64 hexadecimal digits.
    pub id: String,
    /// `PROJECT-SERVICE-N`, or the service's own `container_name`.
    pub name: String,
    /// The project.
    pub project: String,
    /// The service.
    pub service: ServiceName,
    /// Which replica, from 1.
    pub number: u32,
    /// Made by `run`.
    pub oneoff: bool,
    /// The image as the file names it.
    pub image: String,
    /// The image that this was, by id.
    pub image_id: String,
    /// [`Definition::hash`] of `definition`, as the label has it.
    pub config_hash: String,
    /// What the file said when it was made: with it a plan can name the key that changed.
    pub definition: Definition,
    /// What it depended on when it was made; orders a `down` without a file.
    pub depends_on: BTreeMap<ServiceName, Dependency>,
    /// When it was made.
    pub created: Timestamp,
    /// All labels, those of Compose included.
    pub labels: BTreeMap<String, String>,
    /// Entrypoint and command, as executed.
    pub command: Vec<String>,
    /// Has a pseudo terminal.
    pub tty: bool,
    /// Its standard input stays open.
    pub stdin_open: bool,
    /// What asks PID 1 to stop.
    pub stop_signal: Signal,
    /// How long it may take to obey.
    pub stop_grace: Duration,
    /// What happens when it exits.
    pub restart: RestartPolicy,
    /// The details of that, from `deploy.restart_policy`.
    #[serde(default)]
    pub restart_details: DeployRestart,
    /// How its health is found out, that of the image included.
    pub healthcheck: Option<Healthcheck>,
    /// Its places on networks; none with `network_mode` none, host or service.
    pub networks: Vec<EndpointRecord>,
    /// What it publishes.
    pub ports: Vec<Port>,
    /// Where it listens for others, as its image and the file say.
    #[serde(default)]
    pub expose: Vec<Expose>,
    /// What is mounted into it.
    pub mounts: Vec<MountRecord>,
    /// Whose namespaces and volumes it shares.
    pub joins: Vec<Join>,
}

impl ContainerRecord {
    /// The first twelve digits of the id.
    #[must_use]
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// The files of this container.
    #[must_use]
    pub fn paths(&self, roots: &Roots) -> ContainerPaths {
        roots.container(&self.project, &self.id)
    }

    /// The anonymous volumes mounted into it, by target.
    pub fn anonymous_volumes(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Volume { name, anonymous: true } => {
                Some((mount.target.as_path(), name.as_str()))
            }
            _ => None,
        })
    }

    /// The named volumes mounted into it.
    pub fn named_volumes(&self) -> impl Iterator<Item = &str> {
        self.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Volume { name, anonymous: false } => Some(name.as_str()),
            _ => None,
        })
    }

    /// The ids of the images that it is made of, or has mounted.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        let mounted = self.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Image { id, .. } => Some(id.as_str()),
            _ => None,
        });
        std::iter::once(self.image_id.as_str()).chain(mounted)
    }

    /// The labels by which Compose marks a container.
    #[must_use]
    pub fn compose_labels(&self, project: &ProjectRecord) -> BTreeMap<String, String> {
        let files: Vec<_> =
            project.config_files.iter().map(|file| file.to_string_lossy()).collect();
        let oneoff = if self.oneoff { "True" } else { "False" };
        [
            (labels::PROJECT, self.project.clone()),
            (labels::SERVICE, self.service.to_string()),
            (labels::CONTAINER_NUMBER, self.number.to_string()),
            (labels::ONEOFF, oneoff.to_owned()),
            (labels::CONFIG_HASH, self.config_hash.clone()),
            (labels::IMAGE, self.image_id.clone()),
            (labels::WORKING_DIR, project.working_dir.to_string_lossy().into_owned()),
            (labels::CONFIG_FILES, files.join(",")),
            (labels::VERSION, env!("CARGO_PKG_VERSION").to_owned()),
        ]
        .map(|(label, value)| (label.to_owned(), value))
        .into()
    }

    /// Reads the record in the folder `paths`; `None` if it has none yet.
    ///
    /// # Errors
    ///
    /// When the record is damaged, newer than this binary, or unreadable.
    pub fn read(paths: &ContainerPaths) -> Result<Option<Self>, RecordError> {
        let path = paths.record();
        let record: Option<Self> = read_record(&path)?;
        if let Some(record) = &record {
            check_version(&path, record.version)?;
        }
        Ok(record)
    }

    /// Writes the record into the container's folder, which exists. The last
    /// act of a creation: from here on the container exists.
    ///
    /// # Errors
    ///
    /// When the record cannot be replaced.
    pub fn write(&self, roots: &Roots) -> Result<(), RecordError> {
        debug_assert_eq!(self.version, RECORD_VERSION);
        replace_volatile_record(&self.paths(roots).record(), self)
    }
}

/// A place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// The network's real name.
    pub network: String,
    /// Names under which others on that network find the container, the
    /// service's own included.
    pub aliases: Vec<String>,
    /// Whoever asks with the same key gets the same address.
    pub lease_key: String,
    /// The address the file asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// The IPv6 address the file asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// The hardware address the file asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// It was put there by `network connect` and not by the file.
    #[serde(default, skip_serializing_if = "is_false")]
    pub connected: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

impl EndpointRecord {
    /// Whether the file asks for this address.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.ipv4 == Some(address),
            IpAddr::V6(address) => self.ipv6 == Some(address),
        }
    }
}

/// Something mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRecord {
    /// What.
    pub source: MountSource,
    /// Where in the container.
    pub target: PathBuf,
    /// Without the right to write.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum MountSource {
    /// A file or folder of the host.
    Bind {
        /// It.
        path: PathBuf,
    },
    /// A volume.
    Volume {
        /// Its real name.
        name: String,
        /// It has no name of its own: it belongs to the container's place.
        anonymous: bool,
    },
    /// The content of an image.
    Image {
        /// Its reference.
        image: String,
        /// The image that this was, by id.
        #[serde(default)]
        id: String,
        /// A part of it.
        subpath: Option<PathBuf>,
    },
    /// Memory.
    Tmpfs,
}

/// Something that a container has from another one. A container whose partner
/// is replaced must be replaced as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// What is shared.
    pub kind: JoinKind,
    /// The id of the other container.
    pub container: String,
}

/// What a container can have from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JoinKind {
    /// `network_mode: service:X`.
    Network,
    /// `pid: service:X`.
    Pid,
    /// `ipc: service:X`.
    Ipc,
    /// `uts: service:X`.
    Uts,
    /// `volumes_from: X`.
    Volumes,
}
