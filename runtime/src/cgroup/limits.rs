//! What a container may use, in Docker's units, before it is mapped to the files of one hierarchy.

use std::fmt::Display;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, Spec};

use super::CgroupError;

/// The smallest memory limit that is accepted: with less, PID 1 does not even start.
pub const MINIMUM_MEMORY: u64 = 6 * 1024 * 1024;

/// The period against which a quota counts if none is given, in microseconds.
const DEFAULT_PERIOD_US: u64 = 100_000;

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
    /// Weights for single devices, 10 to 1000.
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
    pub device: PathBuf,
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
    /// The rules of a spec made by [`crate::spec::spec`]; a spec without rules, or whose last one allows all, does not restrict.
    pub fn of(spec: &Spec) -> Self {
        let rules =
            spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()?.devices().clone());
        match rules {
            Some(rules) if !rules.last().is_some_and(allows_all) => Self::Only(rules),
            _ => Self::All,
        }
    }
}

fn allows_all(rule: &LinuxDeviceCgroup) -> bool {
    let access = rule.access().as_deref().unwrap_or("rwm");
    let every = matches!(rule.typ(), None | Some(LinuxDeviceType::A))
        && rule.major().is_none()
        && rule.minor().is_none();
    rule.allow() && every && ['r', 'w', 'm'].iter().all(|letter| access.contains(*letter))
}

impl Blkio {
    /// Whether anything is asked for.
    pub(super) fn is_set(&self) -> bool {
        *self != Self::default()
    }
}

/// Processor time in each period, both in microseconds; no quota means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bandwidth {
    pub(super) quota_us: Option<u64>,
    pub(super) period_us: u64,
}

impl Limits {
    /// Finds what the kernel would refuse, or take in another sense, before anything is made.
    ///
    /// # Errors
    /// [`CgroupError::Limit`] with the first contradiction.
    pub fn check(&self) -> Result<(), CgroupError> {
        self.check_memory()?;
        self.check_cpu()?;
        for (limit, list) in [("cpuset", &self.cpuset_cpus), ("cpuset_mems", &self.cpuset_mems)] {
            if let Some(text) = list {
                parse_list(text).ok_or_else(|| refused(limit, text, "must read like `0-3,7`"))?;
            }
        }
        self.check_blkio()
    }

    /// The limits that a hierarchy of version 2 has no file for, by their names in a compose file; they are dropped, as Docker drops them.
    pub fn without_effect_on_v2(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        if self.memory_swappiness.is_some() {
            names.push("mem_swappiness");
        }
        if self.oom_kill_disable {
            names.push("oom_kill_disable");
        }
        names
    }

    fn check_memory(&self) -> Result<(), CgroupError> {
        for (limit, bytes) in
            [("mem_limit", self.memory), ("mem_reservation", self.memory_reservation)]
        {
            if let Some(bytes) = bytes.filter(|bytes| *bytes < MINIMUM_MEMORY) {
                return Err(refused(limit, bytes, "the smallest allowed is 6291456 (6 MiB)"));
            }
        }
        match (self.memory_swap, self.memory) {
            (Some(Swap::Total(total)), None) => {
                Err(refused("memswap_limit", total, "needs a mem_limit"))
            }
            (Some(Swap::Total(total)), Some(memory)) if total < memory => Err(refused(
                "memswap_limit",
                total,
                "counts memory and swap together, so it must be at least mem_limit",
            )),
            _ => Ok(()),
        }?;
        if let (Some(reserved), Some(memory)) = (self.memory_reservation, self.memory)
            && reserved > memory
        {
            return Err(refused("mem_reservation", reserved, "must not exceed mem_limit"));
        }
        match self.memory_swappiness {
            Some(value) if value > 100 => Err(refused("mem_swappiness", value, "must be 0 to 100")),
            _ => Ok(()),
        }
    }

    fn check_cpu(&self) -> Result<(), CgroupError> {
        if let Some(nanos) = self.cpu_nanos.filter(|nanos| *nanos > 0) {
            let cpus =
                format!("{}.{:02}", nanos / 1_000_000_000, nanos % 1_000_000_000 / 10_000_000);
            if self.cpu_quota_us.is_some() || self.cpu_period_us.is_some() {
                return Err(refused(
                    "cpus",
                    cpus,
                    "cannot be combined with cpu_quota or cpu_period",
                ));
            }
            let available = online_processors();
            if nanos < 10_000_000 || nanos > available * 1_000_000_000 {
                return Err(refused(
                    "cpus",
                    cpus,
                    format!("must be 0.01 to {available}.00, as there are {available} processors"),
                ));
            }
        }
        if let Some(period) =
            self.cpu_period_us.filter(|period| *period != 0 && !(1000..=1_000_000).contains(period))
        {
            return Err(refused("cpu_period", period, "must be 1000 to 1000000 microseconds"));
        }
        if let Some(quota) = self.cpu_quota_us.filter(|quota| (1..1000).contains(quota)) {
            return Err(refused("cpu_quota", quota, "must be at least 1000 microseconds"));
        }
        match self.cpu_shares {
            Some(shares) if shares != 0 && !(2..=262_144).contains(&shares) => {
                Err(refused("cpu_shares", shares, "must be 2 to 262144, or 0 for the default"))
            }
            _ => Ok(()),
        }
    }

    fn check_blkio(&self) -> Result<(), CgroupError> {
        let single = self.blkio.weight.map(u64::from);
        let weights =
            single.into_iter().chain(self.blkio.weight_devices.iter().map(|rate| rate.value));
        match weights.into_iter().find(|weight| !(10..=1000).contains(weight)) {
            Some(weight) => Err(refused("blkio_config weight", weight, "must be 10 to 1000")),
            None => Ok(()),
        }
    }

    /// The processor time asked for, whichever way it was spelled.
    pub(super) fn bandwidth(&self) -> Option<Bandwidth> {
        if let Some(nanos) = self.cpu_nanos.filter(|nanos| *nanos > 0) {
            return Some(Bandwidth {
                quota_us: Some(nanos / 10_000),
                period_us: DEFAULT_PERIOD_US,
            });
        }
        let period_us = self.cpu_period_us.filter(|period| *period != 0);
        if self.cpu_quota_us.is_none() && period_us.is_none() {
            return None;
        }
        let quota_us = self
            .cpu_quota_us
            .and_then(|quota| u64::try_from(quota).ok())
            .filter(|quota| *quota > 0);
        Some(Bandwidth { quota_us, period_us: period_us.unwrap_or(DEFAULT_PERIOD_US) })
    }

    /// The weight asked for.
    pub(super) fn shares(&self) -> Option<u64> {
        self.cpu_shares.filter(|shares| *shares != 0)
    }

    /// The limit on memory and swap together: Docker doubles the memory limit if nothing is said.
    pub(super) fn swap(&self) -> Option<Swap> {
        self.memory_swap.or_else(|| Some(Swap::Total(self.memory?.saturating_mul(2))))
    }

    /// Whether a processor or memory node set is asked for.
    pub(super) fn has_cpuset(&self) -> bool {
        self.cpuset_cpus.is_some() || self.cpuset_mems.is_some()
    }
}

/// A limit error in one line.
pub(super) fn refused(
    limit: &'static str,
    value: impl Display,
    problem: impl Into<String>,
) -> CgroupError {
    CgroupError::Limit { limit, value: value.to_string(), problem: problem.into() }
}

/// The numbers in a list such as `0-3,7`; `None` if it is not one. See cpuset(7), "List format".
pub(super) fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last > 65_535 {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// How many processors the machine has; not how many this process may use.
fn online_processors() -> u64 {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").ok();
    let listed = online.and_then(|text| parse_list(text.trim())).map(|numbers| numbers.len());
    let count =
        listed.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_found_before_anything_is_made() {
        let mib = 1024 * 1024;
        let base = Limits::default();
        #[rustfmt::skip]
        let table = [
            (Limits { memory: Some(mib), ..base.clone() }, "mem_limit 1048576: the smallest allowed is 6291456 (6 MiB)"),
            (Limits { memory_swap: Some(Swap::Total(mib)), ..base.clone() }, "memswap_limit 1048576: needs a mem_limit"),
            (Limits { memory: Some(9 * mib), memory_swap: Some(Swap::Total(8 * mib)), ..base.clone() },
                "memswap_limit 8388608: counts memory and swap together, so it must be at least mem_limit"),
            (Limits { memory: Some(9 * mib), memory_reservation: Some(10 * mib), ..base.clone() },
                "mem_reservation 10485760: must not exceed mem_limit"),
            (Limits { cpu_nanos: Some(500_000_000), cpu_quota_us: Some(5000), ..base.clone() },
                "cpus 0.50: cannot be combined with cpu_quota or cpu_period"),
            (Limits { cpu_period_us: Some(10), ..base.clone() }, "cpu_period 10: must be 1000 to 1000000 microseconds"),
            (Limits { cpu_quota_us: Some(10), ..base.clone() }, "cpu_quota 10: must be at least 1000 microseconds"),
            (Limits { cpu_shares: Some(1), ..base.clone() }, "cpu_shares 1: must be 2 to 262144, or 0 for the default"),
            (Limits { cpuset_cpus: Some("0-".into()), ..base.clone() }, "cpuset 0-: must read like `0-3,7`"),
            (Limits { memory_swappiness: Some(101), ..base.clone() }, "mem_swappiness 101: must be 0 to 100"),
            (Limits { blkio: Blkio { weight: Some(5), ..Blkio::default() }, ..base }, "blkio_config weight 5: must be 10 to 1000"),
        ];
        for (limits, message) in table {
            assert_eq!(limits.check().unwrap_err().to_string(), message);
        }
        let too_many = Limits { cpu_nanos: Some(100_000 * 1_000_000_000), ..Limits::default() };
        assert!(
            too_many
                .check()
                .unwrap_err()
                .to_string()
                .starts_with("cpus 100000.00: must be 0.01 to ")
        );
    }

    #[test]
    fn lists_are_read_as_the_kernel_reads_them() {
        assert_eq!(parse_list("0-2,5"), Some(vec![0, 1, 2, 5]));
        for bad in ["", "a", "2-1", "1,", "0-99999999"] {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
    }

    #[test]
    fn processor_time_has_two_spellings() {
        let half = Limits { cpu_nanos: Some(500_000_000), ..Limits::default() };
        assert_eq!(
            half.bandwidth(),
            Some(Bandwidth { quota_us: Some(50_000), period_us: 100_000 })
        );
        let quota =
            Limits { cpu_quota_us: Some(-1), cpu_period_us: Some(20_000), ..Limits::default() };
        assert_eq!(quota.bandwidth(), Some(Bandwidth { quota_us: None, period_us: 20_000 }));
        assert_eq!(Limits::default().bandwidth(), None);
    }

    #[test]
    fn only_privilege_opens_all_devices() {
        use crate::spec::{Wishes, spec};
        let plain = Wishes { args: vec!["true".into()], ..Wishes::default() };
        assert!(
            matches!(Devices::of(&spec(&plain).unwrap()), Devices::Only(rules) if rules.len() == 13)
        );
        let privileged = Wishes { privileged: true, ..plain };
        assert_eq!(Devices::of(&spec(&privileged).unwrap()), Devices::All);
    }
}
