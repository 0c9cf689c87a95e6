//! `deploy`: what of it holds on one host is also in the fields of the service.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::DeviceRequest;

/// The part of `deploy` that has no field of its own in the service.
///
/// Replicas, limits and the restart condition are in [`super::Service`], where they are the same as
/// `scale`, `mem_limit` and `restart`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// Labels of the service itself, not of its containers.
    pub labels: BTreeMap<String, String>,
    /// How a changed service is rolled out.
    pub update: Option<RolloutConfig>,
    /// How a failed update is taken back.
    pub rollback: Option<RolloutConfig>,
    /// The details of the restart policy.
    pub restart: Option<DeployRestart>,
    /// Reserved CPUs, in thousand millionths.
    pub reserved_nano_cpus: Option<u64>,
    /// Devices that the service needs.
    pub devices: Vec<DeviceRequest>,
}

/// `update_config` and `rollback_config`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutConfig {
    /// Containers at once; 0 means all.
    pub parallelism: Option<u64>,
    /// Pause between groups.
    pub delay: Option<Duration>,
    /// What to do when it fails.
    pub failure_action: Option<FailureAction>,
    /// How long a new container is watched for failure.
    pub monitor: Option<Duration>,
    /// The share of failures that is tolerated.
    pub max_failure_ratio: Option<f64>,
    /// Which goes first, the old or the new container.
    pub order: Option<RolloutOrder>,
}

impl Eq for RolloutConfig {}

/// What to do when an update fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureAction {
    /// Go on.
    Continue,
    /// Stop where it is.
    Pause,
    /// Go back.
    Rollback,
}

/// Which goes first in an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutOrder {
    /// The new container starts before the old one stops.
    StartFirst,
    /// The old container stops before the new one starts.
    StopFirst,
}

/// The details of `deploy.restart_policy`; its condition is [`super::Service::restart`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeployRestart {
    /// Wait between attempts; nothing means a wait that doubles.
    pub delay: Option<Duration>,
    /// Give up after this many attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// A run of this length is a success: attempts are counted anew. Without it every attempt counts.
    pub window: Option<Duration>,
}
