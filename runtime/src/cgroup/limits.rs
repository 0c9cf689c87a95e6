//! What a container may use, in Docker's units, before it is mapped to the files of one hierarchy.

use oci_spec::runtime::{LinuxDeviceCgroup, Spec};

/// The smallest memory limit that is accepted: below it PID 1 does not even start.
pub const MINIMUM_MEMORY: u64 = 6 * 1024 * 1024;

/// What a container may use; `None` and [`Limits::default`] leave everything to the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes of memory, at least [`MINIMUM_MEMORY`].
    pub memory: Option<u64>,
    /// Memory and swap together; twice `memory` if absent and `memory` is given.
    pub memory_swap: Option<Swap>,
    /// Bytes that are reclaimed last when the machine runs short.
    pub memory_reservation: Option<u64>,
    /// 0 to 100; version 1 only.
    pub memory_swappiness: Option<u8>,
    /// Processes wait for memory instead of being killed; version 1 only.
    pub oom_kill_disable: bool,
    /// Billionths of a processor; excludes `cpu_quota_us` and `cpu_period_us`.
    pub cpu_nanos: Option<u64>,
    /// Microseconds of processor time in each period; 0 and below mean no limit.
    pub cpu_quota_us: Option<i64>,
    /// Microseconds, 1000 to 1000000; 100000 if absent.
    pub cpu_period_us: Option<u64>,
    /// Relative weight, 2 to 262144; 0 leaves it at the kernel's 1024.
    pub cpu_shares: Option<u64>,
    /// Processors that may be used, as `0-3,7`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes that may be used, as `0,1`.
    pub cpuset_mems: Option<String>,
    /// Processes and threads; 0 and below mean no limit.
    pub pids: Option<i64>,
    /// Block input and output.
    pub blkio: Blkio,
    /// Which devices may be opened and made.
    pub devices: Devices,
}

/// The limit on memory and swap together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// Bytes of both together, at least the memory limit.
    Total(u64),
    /// As much swap as there is.
    Unlimited,
}

/// Shares and limits of block input and output.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blkio {
    /// Relative weight, 10 to 1000.
    pub weight: Option<u16>,
    /// Weights for single devices.
    pub weight_devices: Vec<DeviceRate>,
    /// Bytes read in a second.
    pub read_bps: Vec<DeviceRate>,
    /// Bytes written in a second.
    pub write_bps: Vec<DeviceRate>,
    /// Reads in a second.
    pub read_iops: Vec<DeviceRate>,
    /// Writes in a second.
    pub write_iops: Vec<DeviceRate>,
}

/// A number that applies to one block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRate {
    /// The device node on the host, such as `/dev/sda`.
    pub device: std::path::PathBuf,
    /// The weight or the rate.
    pub value: u64,
}

/// Which devices a container may open and make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Devices {
    /// No restriction.
    #[default]
    All,
    /// Only what these rules allow, the last one that matches deciding; nothing if none matches.
    Only(Vec<LinuxDeviceCgroup>),
}

impl Devices {
    /// The rules of a spec made by [`crate::spec::spec`]; a spec without rules does not restrict.
    pub fn of(spec: &Spec) -> Self {
        let rules =
            spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()?.devices().clone());
        rules.map_or(Self::All, Self::Only)
    }
}
