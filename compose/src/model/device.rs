//! Devices of the host inside a container.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One entry of `devices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Device {
    /// A device node of the host, or a directory of them.
    Host {
        /// The path on the host.
        source: PathBuf,
        /// The path inside the container.
        target: PathBuf,
        /// What the container may do with it.
        permissions: DevicePermissions,
    },
    /// A device by its name in the Container Device Interface, `VENDOR/CLASS=NAME`.
    Cdi(String),
}

/// What a container may do with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DevicePermissions {
    /// `r`.
    pub read: bool,
    /// `w`.
    pub write: bool,
    /// `m`: make the device node.
    pub mknod: bool,
}

/// A request for devices by ability: `gpus` and `deploy.resources.reservations.devices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// All of these must be met (`gpu`).
    pub capabilities: Vec<String>,
    /// Who provides the devices.
    pub driver: Option<String>,
    /// Which, or how many.
    pub count: DeviceRequestCount,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// Which, or how many, devices are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceRequestCount {
    /// All there are.
    All,
    /// This many.
    Count(u64),
    /// These.
    Ids(Vec<String>),
}
