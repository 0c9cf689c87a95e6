//! The files of version 1, where each controller has a tree of its own.

use super::limits::{DeviceRate, Limits, Swap};
use super::setting::{Purpose, Setting, device_number, or_reset};
use super::{CgroupError, Hierarchy};

/// The version 1 controllers that this crate knows.
pub(super) const CONTROLLERS: [&str; 8] =
    ["memory", "cpu", "cpuacct", "cpuset", "pids", "devices", "blkio", "freezer"];

/// The controllers in which a container with these limits gets a directory.
///
/// A directory costs some 60 µs over its life, so `blkio` is for those who ask, and `freezer` for machines without
/// a version 2 tree, which freezes and kills better. `cpuset` is there for its readers: Java takes no notice of any
/// limit where it is missing.
pub(super) fn controllers(limits: &Limits, hierarchy: Hierarchy) -> Vec<&'static str> {
    let mut wanted = vec!["memory", "cpu", "cpuacct", "cpuset", "pids", "devices"];
    if limits.blkio.is_set() {
        wanted.push("blkio");
    }
    if hierarchy == Hierarchy::Legacy {
        wanted.push("freezer");
    }
    wanted
}

/// The limits as files and values, in the order in which the kernel takes them.
///
/// `current_total` is the limit on memory and swap in force: the kernel refuses a moment in which memory exceeds it.
pub(super) fn settings(
    limits: &Limits,
    purpose: Purpose,
    current_total: Option<u64>,
) -> Result<Vec<Setting>, CgroupError> {
    let mut settings = memory(limits, purpose, current_total);
    settings.extend(cpu(limits, purpose));
    if let Some(cpus) = &limits.cpuset_cpus {
        settings.push(Setting::new("cpuset", "cpuset.cpus", cpus));
    }
    if let Some(mems) = &limits.cpuset_mems {
        settings.push(Setting::new("cpuset", "cpuset.mems", mems));
    }
    let pids =
        limits.pids.map(|count| if count > 0 { count.to_string() } else { "max".to_owned() });
    settings.extend(
        or_reset(pids, "max", purpose).map(|value| Setting::new("pids", "pids.max", value)),
    );
    settings.extend(blkio(limits)?);
    Ok(settings)
}

fn memory(limits: &Limits, purpose: Purpose, current_total: Option<u64>) -> Vec<Setting> {
    let limit = or_reset(limits.memory, "-1", purpose);
    let total = match limits.swap() {
        Some(Swap::Total(bytes)) => Some(bytes.to_string()),
        Some(Swap::Unlimited) if purpose == Purpose::Fresh => None,
        _ => or_reset(None::<u64>, "-1", purpose),
    };
    let grows_beyond_total =
        current_total.is_some_and(|total| limits.memory.unwrap_or(u64::MAX) > total);
    let mut settings = Vec::new();
    settings.extend(limit.map(|value| Setting::new("memory", "memory.limit_in_bytes", value)));
    settings.extend(
        total.map(|value| Setting::new("memory", "memory.memsw.limit_in_bytes", value).optional()),
    );
    if grows_beyond_total {
        settings.reverse();
    }
    let soft = or_reset(limits.memory_reservation, "-1", purpose);
    settings.extend(soft.map(|value| Setting::new("memory", "memory.soft_limit_in_bytes", value)));
    if let Some(value) = limits.memory_swappiness {
        settings.push(Setting::new("memory", "memory.swappiness", value));
    }
    if limits.oom_kill_disable {
        settings.push(Setting::new("memory", "memory.oom_control", 1));
    }
    settings
}

fn cpu(limits: &Limits, purpose: Purpose) -> Vec<Setting> {
    let mut settings = Vec::new();
    let shares = or_reset(limits.shares(), "1024", purpose);
    settings.extend(shares.map(|value| Setting::new("cpu", "cpu.shares", value)));
    let bandwidth = limits.bandwidth();
    // The kernel checks each of the two against the other as it is: without a quota any period is fine.
    if purpose == Purpose::Update {
        settings.push(Setting::new("cpu", "cpu.cfs_quota_us", -1).optional());
    }
    if let Some(bandwidth) = bandwidth {
        settings.push(Setting::new("cpu", "cpu.cfs_period_us", bandwidth.period_us));
        settings
            .extend(bandwidth.quota_us.map(|quota| Setting::new("cpu", "cpu.cfs_quota_us", quota)));
    }
    settings
}

fn blkio(limits: &Limits) -> Result<Vec<Setting>, CgroupError> {
    let blkio = &limits.blkio;
    let mut settings = Vec::new();
    if let Some(weight) = blkio.weight {
        settings.push(Setting::new("blkio", "blkio.bfq.weight", weight).or("blkio.weight", weight));
    }
    for rate in &blkio.weight_devices {
        let value = format!("{} {}", device_number(rate)?, rate.value);
        settings.push(
            Setting::new("blkio", "blkio.bfq.weight_device", &value)
                .or("blkio.weight_device", &value),
        );
    }
    let tables: [(&[DeviceRate], &'static str); 4] = [
        (&blkio.read_bps, "blkio.throttle.read_bps_device"),
        (&blkio.write_bps, "blkio.throttle.write_bps_device"),
        (&blkio.read_iops, "blkio.throttle.read_iops_device"),
        (&blkio.write_iops, "blkio.throttle.write_iops_device"),
    ];
    for (rates, file) in tables {
        for rate in rates {
            settings.push(Setting::new(
                "blkio",
                file,
                format!("{} {}", device_number(rate)?, rate.value),
            ));
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::setting::print;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn limits_become_files() {
        let base = Limits::default();
        #[rustfmt::skip]
        let table = [
            (base.clone(), ""),
            (Limits { memory: Some(64 * MIB), ..base.clone() },
                "memory.limit_in_bytes = 67108864\nmemory.memsw.limit_in_bytes = 134217728\n"),
            (Limits { memory: Some(64 * MIB), memory_swap: Some(Swap::Unlimited), ..base.clone() },
                "memory.limit_in_bytes = 67108864\n"),
            (Limits { memory: Some(64 * MIB), memory_swap: Some(Swap::Total(64 * MIB)), memory_reservation: Some(32 * MIB), ..base.clone() },
                "memory.limit_in_bytes = 67108864\nmemory.memsw.limit_in_bytes = 67108864\nmemory.soft_limit_in_bytes = 33554432\n"),
            (Limits { cpu_nanos: Some(1_500_000_000), cpu_shares: Some(512), ..base.clone() },
                "cpu.shares = 512\ncpu.cfs_period_us = 100000\ncpu.cfs_quota_us = 150000\n"),
            (Limits { cpuset_cpus: Some("0".into()), pids: Some(100), ..base.clone() }, "cpuset.cpus = 0\npids.max = 100\n"),
            (Limits { pids: Some(-1), memory_swappiness: Some(0), oom_kill_disable: true, ..base },
                "memory.swappiness = 0\nmemory.oom_control = 1\npids.max = max\n"),
        ];
        for (limits, expected) in table {
            assert_eq!(print(&settings(&limits, Purpose::Fresh, None).unwrap()), expected);
        }
    }

    #[test]
    fn memory_never_exceeds_the_total_in_between() {
        let limits = Limits { memory: Some(64 * MIB), ..Limits::default() };
        let order = |current| print(&memory(&limits, Purpose::Update, Some(current)));
        assert!(
            order(32 * MIB).starts_with("memory.memsw.limit_in_bytes = 134217728\nmemory.limit")
        );
        assert!(order(128 * MIB).starts_with("memory.limit_in_bytes = 67108864\nmemory.memsw"));
        let none = print(&memory(&Limits::default(), Purpose::Update, Some(32 * MIB)));
        assert_eq!(
            none,
            "memory.memsw.limit_in_bytes = -1\nmemory.limit_in_bytes = -1\nmemory.soft_limit_in_bytes = -1\n"
        );
    }
}
