//! The files of version 2, where all controllers share one tree.

use super::CgroupError;
use super::limits::{DeviceRate, Limits, Swap};
use super::setting::{Purpose, Setting, device_number, or_reset};

/// The controllers that a container's directory should have, whether it has limits or not: they also count.
pub(super) const COUNTING: [&str; 3] = ["cpu", "memory", "pids"];

/// The controllers without which these limits cannot be kept.
pub(super) fn required(limits: &Limits) -> Vec<&'static str> {
    let table = [
        ("memory", limits.memory.is_some() || limits.memory_reservation.is_some()),
        ("cpu", limits.bandwidth().is_some() || limits.shares().is_some()),
        ("cpuset", limits.has_cpuset()),
        ("pids", limits.pids.is_some_and(|count| count > 0)),
        ("io", limits.blkio.is_set()),
    ];
    table.into_iter().filter_map(|(controller, needed)| needed.then_some(controller)).collect()
}

/// The limits as files and values.
pub(super) fn settings(limits: &Limits, purpose: Purpose) -> Result<Vec<Setting>, CgroupError> {
    let mut settings = memory(limits, purpose);
    let bandwidth = limits.bandwidth().map(|bandwidth| {
        let quota = bandwidth.quota_us.map_or("max".to_owned(), |quota| quota.to_string());
        format!("{quota} {}", bandwidth.period_us)
    });
    settings.extend(
        or_reset(bandwidth, "max 100000", purpose)
            .map(|value| Setting::new("cpu", "cpu.max", value)),
    );
    let weight = limits.shares().map(cpu_weight);
    settings.extend(
        or_reset(weight, "100", purpose).map(|value| Setting::new("cpu", "cpu.weight", value)),
    );
    if let Some(cpus) = &limits.cpuset_cpus {
        settings.push(Setting::new("cpuset", "cpuset.cpus", cpus));
    }
    if let Some(mems) = &limits.cpuset_mems {
        settings.push(Setting::new("cpuset", "cpuset.mems", mems));
    }
    let pids = limits.pids.filter(|count| *count > 0);
    settings.extend(
        or_reset(pids, "max", purpose).map(|value| Setting::new("pids", "pids.max", value)),
    );
    settings.extend(io(limits)?);
    if purpose == Purpose::Update {
        // What goes back to its default may belong to a controller that was never enabled.
        let required = required(limits);
        settings = settings
            .into_iter()
            .map(|set| if required.contains(&set.controller) { set } else { set.optional() })
            .collect();
    }
    Ok(settings)
}

fn memory(limits: &Limits, purpose: Purpose) -> Vec<Setting> {
    let mut settings = Vec::new();
    let limit = or_reset(limits.memory, "max", purpose);
    settings.extend(limit.map(|value| Setting::new("memory", "memory.max", value)));
    let swap = match (limits.swap(), limits.memory) {
        (Some(Swap::Total(total)), Some(memory)) => Some(total.saturating_sub(memory)),
        _ => None,
    };
    settings.extend(
        or_reset(swap, "max", purpose)
            .map(|value| Setting::new("memory", "memory.swap.max", value).optional()),
    );
    let low = or_reset(limits.memory_reservation, "0", purpose);
    settings.extend(low.map(|value| Setting::new("memory", "memory.low", value)));
    settings
}

fn io(limits: &Limits) -> Result<Vec<Setting>, CgroupError> {
    let blkio = &limits.blkio;
    let mut settings = Vec::new();
    if let Some(weight) = blkio.weight {
        // The BFQ scheduler has version 1's range; the general file has 1 to 10000.
        settings
            .push(Setting::new("io", "io.bfq.weight", weight).or("io.weight", io_weight(weight)));
    }
    for rate in &blkio.weight_devices {
        settings.push(Setting::new(
            "io",
            "io.bfq.weight",
            format!("{} {}", device_number(rate)?, rate.value),
        ));
    }
    let tables: [(&str, &[DeviceRate]); 4] = [
        ("rbps", &blkio.read_bps),
        ("wbps", &blkio.write_bps),
        ("riops", &blkio.read_iops),
        ("wiops", &blkio.write_iops),
    ];
    for (key, rates) in tables {
        for rate in rates {
            settings.push(Setting::new(
                "io",
                "io.max",
                format!("{} {key}={}", device_number(rate)?, rate.value),
            ));
        }
    }
    Ok(settings)
}

/// Shares (2 to 262144, 1024 is usual) as a weight (1 to 10000, 100 is usual).
///
/// A parabola through the ends and the middle, as runc and crun have it since 2025: the straight line before it made 39 of 1024.
fn cpu_weight(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        _ => {
            #[expect(clippy::cast_precision_loss, reason = "below 262144")]
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "1 to 10000"
            )]
            let weight = 10_f64.powf(exponent).ceil() as u64;
            weight
        }
    }
}

/// Version 1's block weight (10 to 1000) as version 2's (1 to 10000).
fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::limits::Blkio;
    use crate::cgroup::setting::print;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn shares_keep_their_usual_value() {
        let table = [
            (2, 1),
            (3, 2),
            (512, 59),
            (1024, 100),
            (2048, 174),
            (131_072, 5478),
            (262_144, 10_000),
            (999_999, 10_000),
        ];
        for (shares, weight) in table {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        assert_eq!((io_weight(10), io_weight(500), io_weight(1000)), (1, 4950, 10_000));
    }

    #[test]
    fn limits_become_files() {
        let base = Limits::default();
        #[rustfmt::skip]
        let table = [
            (base.clone(), ""),
            (Limits { memory: Some(64 * MIB), ..base.clone() }, "memory.max = 67108864\nmemory.swap.max = 67108864\n"),
            (Limits { memory: Some(64 * MIB), memory_swap: Some(Swap::Total(64 * MIB)), ..base.clone() },
                "memory.max = 67108864\nmemory.swap.max = 0\n"),
            (Limits { memory: Some(64 * MIB), memory_swap: Some(Swap::Unlimited), memory_reservation: Some(32 * MIB), ..base.clone() },
                "memory.max = 67108864\nmemory.low = 33554432\n"),
            (Limits { cpu_nanos: Some(250_000_000), cpu_shares: Some(1024), ..base.clone() }, "cpu.max = 25000 100000\ncpu.weight = 100\n"),
            (Limits { cpu_quota_us: Some(-1), cpu_period_us: Some(50_000), pids: Some(10), ..base.clone() },
                "cpu.max = max 50000\npids.max = 10\n"),
            (Limits { pids: Some(0), blkio: Blkio { weight: Some(500), ..Blkio::default() }, ..base }, "io.bfq.weight = 500 | io.weight = 4950\n"),
        ];
        for (limits, expected) in table {
            assert_eq!(print(&settings(&limits, Purpose::Fresh).unwrap()), expected);
        }
    }

    #[test]
    fn an_update_restores_what_is_no_longer_asked_for() {
        let settings = settings(&Limits::default(), Purpose::Update).unwrap();
        assert_eq!(
            print(&settings),
            "memory.max = max\nmemory.swap.max = max\nmemory.low = 0\ncpu.max = max 100000\ncpu.weight = 100\npids.max = max\n"
        );
    }

    #[test]
    fn a_limit_requires_its_controller() {
        let limits = Limits {
            memory: Some(64 * MIB),
            cpuset_cpus: Some("0".into()),
            pids: Some(-1),
            ..Limits::default()
        };
        assert_eq!(required(&limits), ["memory", "cpuset"]);
    }
}
