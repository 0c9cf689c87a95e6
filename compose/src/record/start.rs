//! What it takes to start a container once more: written once, beside `launch.json`.
//!
//! `launch.json` is what the container's own side needs; this is the rest, for the supervisor: its places on
//! networks, its limits, the files that are made anew at each start.

use std::collections::BTreeMap;
use std::net::IpAddr;

use network::EndpointWish;
use runtime::cgroup;
use runtime::foreign::ForeignRuntime;
use serde::{Deserialize, Serialize};

use super::logging::LogTarget;
use super::replace::{RecordError, read_record, replace_volatile_record};
use super::{ContainerPaths, RECORD_VERSION, check_version};
use crate::model::{ExtraHost, Hook, Limits};

/// What the supervisor needs to start a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartRecord {
    /// Version of this record's layout.
    pub version: u32,
    /// Host name inside.
    pub hostname: String,
    /// How it reaches the network.
    pub network: NetworkStart,
    /// What it may use.
    pub limits: Limits,
    /// The control group below which its own is made.
    #[serde(default)]
    pub cgroup_parent: Option<String>,
    /// The out-of-memory killer spares it.
    pub oom_kill_disable: bool,
    /// Further lines of `/etc/hosts`.
    pub extra_hosts: Vec<ExtraHost>,
    /// Names that only it has for others (`links`, `external_links`).
    pub links: BTreeMap<String, String>,
    /// It may listen on port 53 of all its addresses itself (`expose: [53]`).
    pub uses_dns_port: bool,
    /// What its `/etc/resolv.conf` says beyond the default.
    pub resolver: Resolver,
    /// How much of its output is kept.
    pub log: LogLimit,
    /// Where its output goes beside that.
    #[serde(default)]
    pub log_target: LogTarget,
    /// Commands that run in it right after its start.
    pub post_start: Vec<Hook>,
    /// Commands that run in it before it is stopped.
    pub pre_stop: Vec<Hook>,
    /// Another runtime that makes it.
    #[serde(default)]
    pub foreign: Option<ForeignRuntime>,
    /// It is removed, with its anonymous volumes, when it has ended (`run --rm`).
    pub remove: bool,
}

/// How a container reaches the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkStart {
    /// A namespace of its own, with these endpoints; without any, only loopback.
    Own(Vec<Place>),
    /// The namespace of another container, by its id.
    Shared(String),
    /// The namespace of the host.
    Host,
}

impl NetworkStart {
    /// Whether the container has a network namespace of its own.
    #[must_use]
    pub const fn has_sandbox(&self) -> bool {
        matches!(self, Self::Own(_))
    }
}

/// A place on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The network's real name.
    pub network: String,
    /// What is asked of it.
    pub wish: EndpointWish,
    /// Names that only this container has for others on it.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
}

/// `dns`, `dns_opt` and `dns_search`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    /// Name servers to forward to instead of the host's.
    pub servers: Vec<IpAddr>,
    /// Options.
    pub options: Vec<String>,
    /// Search domains.
    pub search: Vec<String>,
}

/// How much output is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimit {
    /// Bytes after which a new segment begins (`max-size`); none: never.
    pub segment_bytes: Option<u64>,
    /// How many segments are kept (`max-file`); none: all.
    pub segments: Option<u32>,
}

impl StartRecord {
    /// Whether its processes are none of the host's kernel.
    #[must_use]
    pub fn is_sandbox(&self) -> bool {
        self.foreign.as_ref().is_some_and(|runtime| runtime.kind().is_sandbox())
    }

    /// Reads the record of the container at `paths`; `None` if it has none.
    ///
    /// # Errors
    ///
    /// When the record is damaged, newer than this binary, or unreadable.
    pub fn read(paths: &ContainerPaths) -> Result<Option<Self>, RecordError> {
        let path = paths.start();
        let record: Option<Self> = read_record(&path)?;
        if let Some(record) = &record {
            check_version(&path, record.version)?;
        }
        Ok(record)
    }

    /// The name of the control groups of the container `id` at `paths`, for who does not have its record.
    #[must_use]
    pub fn cgroup_name(paths: &ContainerPaths, project: &str, id: &str) -> String {
        let parent = Self::read(paths).ok().flatten().and_then(|start| start.cgroup_parent);
        cgroup::name(parent.as_deref(), project, id)
    }

    /// Writes the record.
    ///
    /// # Errors
    ///
    /// When the file cannot be replaced.
    pub fn write(&self, paths: &ContainerPaths) -> Result<(), RecordError> {
        debug_assert_eq!(self.version, RECORD_VERSION);
        replace_volatile_record(&paths.start(), self)
    }
}
