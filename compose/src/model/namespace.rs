//! Whose namespaces the containers of a service use.

use serde::{Deserialize, Serialize};

use super::ServiceName;

/// `pid`: which processes a container sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PidMode {
    /// Its own.
    #[default]
    Private,
    /// `host`: all of the host.
    Host,
    /// `service:NAME`: those of a container of another service.
    Service(ServiceName),
    /// `container:NAME`: those of a container, by its name or id.
    Container(String),
}

/// `ipc`: System V and POSIX inter-process communication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IpcMode {
    /// Its own, which others may join; the default and `shareable`.
    #[default]
    Shareable,
    /// `private`: its own, which nobody may join.
    Private,
    /// `none`: its own, without `/dev/shm`.
    None,
    /// `host`: that of the host.
    Host,
    /// `service:NAME`: that of a container of another service.
    Service(ServiceName),
    /// `container:NAME`: that of a container, by its name or id.
    Container(String),
}

/// `uts`: the host name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UtsMode {
    /// Its own.
    #[default]
    Private,
    /// `host`: that of the host.
    Host,
    /// `service:NAME`: that of a container of another service.
    Service(ServiceName),
    /// `container:NAME`: that of a container, by its name or id.
    Container(String),
}

/// `cgroup`: which part of the cgroup tree a container sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CgroupMode {
    /// Only its own.
    #[default]
    Private,
    /// `host`: the whole tree.
    Host,
}

/// `userns_mode`: how users inside map to users outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UsernsMode {
    /// As the runtime does by default.
    #[default]
    Default,
    /// `host`: no user namespace.
    Host,
    /// Anything else, which is up to the platform.
    Other(String),
}
