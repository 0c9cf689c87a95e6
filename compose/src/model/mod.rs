//! What a compose file means: typed, canonical and immutable.
//!
//! [`crate::file`] makes a [`Project`] out of files; everything behind it (graph, plan, apply, the
//! supervisor, to which it travels as JSON) reads the project and never sees text with a prefix,
//! a unit or a short form again.

mod build;
mod deploy;
mod develop;
mod device;
mod grant;
mod health;
mod hook;
mod host;
mod mount;
mod name;
mod namespace;
mod network;
mod networking;
mod place;
mod port;
mod project;
mod pull;
mod reference;
mod resources;
mod restart;
mod security;
mod service;
mod signal;
mod unsupported;
mod volume;

pub use build::Build;
pub use deploy::{Deploy, DeployRestart, FailureAction, RolloutConfig, RolloutOrder};
pub use develop::{WatchAction, WatchRule};
pub use device::{Device, DevicePermissions, DeviceRequest, DeviceRequestCount};
pub use grant::{Config, FileSource, Grant, Secret};
pub use health::{HealthTest, Healthcheck};
pub use hook::{Hook, PreStart};
pub use host::{ExtraHost, HostAddress};
pub use mount::{
    Mount, MountKind, Propagation, Recursive, Relabel, Tmpfs, TmpfsOptions, VolumeSource,
    VolumesFrom, VolumesFromSource,
};
pub use name::{ConfigKey, NameError, NetworkKey, ProjectName, SecretKey, ServiceName, VolumeKey};
pub use namespace::{CgroupMode, IpcMode, PidMode, UsernsMode, UtsMode};
pub use network::{Ipam, IpamPool, Network, Predefined, network_option};
pub use networking::{Attachment, MacAddress, MacAddressError, Networking};
pub use place::{Place, Places};
pub use port::{Expose, Port, PortMode, PortRange, Protocol, Published};
pub use project::Project;
pub use pull::PullPolicy;
pub use reference::{Dependency, DependencyCondition, ExternalLink, Link};
pub use resources::{BlockIo, Ceiling, DeviceRate, DeviceWeight, Limits, Ulimit};
pub use restart::RestartPolicy;
pub use security::{Capability, CapabilityError, Seccomp, Security};
pub use service::{DEFAULT_STOP_GRACE, Logging, Provider, Service};
pub use signal::{Signal, SignalError};
pub use unsupported::{MODEL_RUNNER, unsupported};
pub use volume::Volume;

/// An attribute that is valid and checked, but has no typed field: its value in the long form.
///
/// What `up` does about each of them is decided in one table, `model/unsupported.rs`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Kept {
    /// The value in its canonical long form.
    pub value: serde_json::Value,
    /// Where it was written.
    pub place: Option<Place>,
}
