//! How much a container may use.

use serde::{Deserialize, Serialize};

/// A ceiling that may also be "none at all", which a file writes as -1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ceiling {
    /// At most this much.
    At(u64),
    /// As much as there is.
    Unlimited,
}

/// All limits of a container, from the keys of the service and from `deploy.resources`.
///
/// Where both say something they say the same; the loader has checked that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `mem_limit`, `deploy.resources.limits.memory`.
    pub memory_bytes: Option<u64>,
    /// `memswap_limit`: memory and swap together.
    pub memory_swap_bytes: Option<Ceiling>,
    /// `mem_reservation`, `deploy.resources.reservations.memory`.
    pub memory_reservation_bytes: Option<u64>,
    /// `mem_swappiness`, 0 to 100.
    pub memory_swappiness: Option<u64>,
    /// `cpus`, `deploy.resources.limits.cpus`, in thousand millionths of a CPU.
    pub nano_cpus: Option<u64>,
    /// `cpu_shares`: relative weight.
    pub cpu_shares: Option<u64>,
    /// `cpu_period`.
    pub cpu_period_us: Option<u64>,
    /// `cpu_quota`.
    pub cpu_quota_us: Option<i64>,
    /// `cpu_rt_period`.
    pub cpu_realtime_period_us: Option<u64>,
    /// `cpu_rt_runtime`.
    pub cpu_realtime_runtime_us: Option<i64>,
    /// `cpuset`: which CPUs, as `0-3,6`.
    pub cpuset: Option<String>,
    /// `pids_limit`, `deploy.resources.limits.pids`.
    pub pids: Option<Ceiling>,
    /// `blkio_config`.
    pub block_io: Option<BlockIo>,
}

/// `blkio_config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockIo {
    /// Relative weight, 10 to 1000.
    pub weight: Option<u16>,
    /// Relative weight by device.
    pub weight_device: Vec<DeviceWeight>,
    /// Bytes a second read from a device.
    pub device_read_bps: Vec<DeviceRate>,
    /// Operations a second read from a device.
    pub device_read_iops: Vec<DeviceRate>,
    /// Bytes a second written to a device.
    pub device_write_bps: Vec<DeviceRate>,
    /// Operations a second written to a device.
    pub device_write_iops: Vec<DeviceRate>,
}

/// A weight for one block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWeight {
    /// The device of the host.
    pub path: String,
    /// 10 to 1000.
    pub weight: u16,
}

/// A rate for one block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRate {
    /// The device of the host.
    pub path: String,
    /// Bytes or operations a second.
    pub rate: u64,
}

/// One entry of `ulimits`; setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ulimit {
    /// What holds.
    pub soft: Ceiling,
    /// How far the process itself may raise it.
    pub hard: Ceiling,
}
