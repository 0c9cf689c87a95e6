//! How much a service may use.

use std::collections::BTreeMap;

use crate::file::node::{Node, Value};
use crate::file::report::Report;
use crate::model::{BlockIo, Ceiling, DeviceRate, DeviceWeight, Limits, Service, Ulimit};

use super::fields::Fields;

/// Docker refuses less: nothing runs in it.
const MIN_MEMORY_BYTES: u64 = 6 << 20;

pub(super) fn limits(fields: &mut Fields<'_, '_>, service: &mut Service) {
    let (memory, cpus, pids, reservation) = {
        let mut deploy = fields.inner("deploy");
        let mut resources = deploy.inner("resources");
        let mut limits = resources.inner("limits");
        let memory = memory(&mut limits, "memory");
        let (cpus, pids) = (limits.nano("cpus"), ceiling(&mut limits, "pids"));
        (memory, cpus, pids, resources.inner("reservations").integer("memory"))
    };
    service.limits = Limits {
        memory_bytes: memory.or_else(|| self::memory(fields, "mem_limit")),
        memory_swap_bytes: ceiling(fields, "memswap_limit"),
        memory_reservation_bytes: reservation.or_else(|| fields.integer("mem_reservation")),
        memory_swappiness: swappiness(fields),
        nano_cpus: cpus.or_else(|| fields.nano("cpus")),
        cpu_shares: fields.integer("cpu_shares").filter(|shares| *shares > 0),
        cpu_period_us: fields.integer("cpu_period").filter(|period| *period > 0),
        cpu_quota_us: fields.integer("cpu_quota").filter(|quota| *quota != 0),
        cpu_realtime_period_us: fields.integer("cpu_rt_period"),
        cpu_realtime_runtime_us: fields.integer("cpu_rt_runtime"),
        cpuset: cpuset(fields),
        pids: pids.or_else(|| ceiling(fields, "pids_limit")),
        block_io: fields.get("blkio_config").map(|_| block_io(fields)),
    };
    swap_over_memory(fields, &service.limits);
    service.ulimits = ulimits(fields, "ulimits");
    service.sysctls = fields.pairs("sysctls");
    service.oom_kill_disable = fields.flag("oom_kill_disable");
    service.oom_score_adj = fields.integer("oom_score_adj");
    if let (Some(score), Some(node)) = (service.oom_score_adj, fields.get("oom_score_adj"))
        && !(-1000..=1000).contains(&score)
    {
        fields.refuse(
            node.span,
            format!("`oom_score_adj` cannot be {score}"),
            "it is from -1000 to 1000",
        );
    }
}

fn memory(fields: &mut Fields<'_, '_>, key: &str) -> Option<u64> {
    let bytes: u64 = fields.integer(key)?;
    if (1..MIN_MEMORY_BYTES).contains(&bytes)
        && let Some(node) = fields.get(key)
    {
        fields
            .report
            .error(
                node.span,
                format!("a memory limit of {bytes} bytes is too small to run anything"),
            )
            .help("the least is 6m; did you forget the unit?");
    }
    Some(bytes).filter(|bytes| *bytes > 0)
}

fn ceiling(fields: &mut Fields<'_, '_>, key: &str) -> Option<Ceiling> {
    match fields.get(key)?.as_int()? {
        -1 => Some(Ceiling::Unlimited),
        0 => None,
        _ => fields.integer(key).map(Ceiling::At),
    }
}

fn swappiness(fields: &mut Fields<'_, '_>) -> Option<u64> {
    let swappiness = fields.integer("mem_swappiness")?;
    if swappiness > 100
        && let Some(node) = fields.get("mem_swappiness")
    {
        fields.refuse(
            node.span,
            format!("`mem_swappiness` cannot be {swappiness}"),
            "it is from 0 to 100",
        );
    }
    Some(swappiness)
}

fn swap_over_memory(fields: &mut Fields<'_, '_>, limits: &Limits) {
    let Some(node) = fields.get("memswap_limit") else { return };
    match (limits.memory_swap_bytes, limits.memory_bytes) {
        (Some(Ceiling::At(swap)), Some(memory)) if swap < memory => {
            fields
                .report
                .error(node.span, "`memswap_limit` is less than the memory limit")
                .help("it is memory and swap together; make it at least as large, or -1");
        }
        (Some(Ceiling::At(_)), None) => {
            fields
                .report
                .error(node.span, "`memswap_limit` needs a memory limit")
                .help("add `mem_limit: …`");
        }
        _ => {}
    }
}

/// `0-3,6`.
fn cpuset(fields: &mut Fields<'_, '_>) -> Option<String> {
    let node = fields.get("cpuset")?;
    let text = node.as_str().filter(|text| !text.is_empty())?;
    let valid = text.split(',').all(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((first.trim().parse::<u32>(), last.trim().parse::<u32>()), (Ok(a), Ok(b)) if a <= b)
    });
    if !valid {
        fields
            .report
            .error(node.span, format!("`{text}` is not a set of CPUs"))
            .help("write numbers and ranges: `0-3,6`");
    }
    Some(text.to_owned())
}

fn block_io(fields: &mut Fields<'_, '_>) -> BlockIo {
    let mut config = fields.inner("blkio_config");
    let weight_device = config.items("weight_device").iter().map(|node| {
        let mut device = Fields::new(config.report, Some(node));
        let path = device.text("path").unwrap_or_default();
        DeviceWeight { path, weight: device.integer("weight").unwrap_or(0) }
    });
    let weight_device = weight_device.collect();
    BlockIo {
        weight: config.integer("weight").filter(|weight| *weight > 0),
        weight_device,
        device_read_bps: rates(&mut config, "device_read_bps"),
        device_read_iops: rates(&mut config, "device_read_iops"),
        device_write_bps: rates(&mut config, "device_write_bps"),
        device_write_iops: rates(&mut config, "device_write_iops"),
    }
}

fn rates(config: &mut Fields<'_, '_>, key: &str) -> Vec<DeviceRate> {
    let rate = |report: &mut Report, node: &Node| {
        let mut device = Fields::new(report, Some(node));
        let path = device.text("path").unwrap_or_default();
        DeviceRate { path, rate: device.integer("rate").unwrap_or(0) }
    };
    config.items(key).iter().map(|node| rate(config.report, node)).collect()
}

const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

pub(super) fn ulimits(fields: &mut Fields<'_, '_>, key: &str) -> BTreeMap<String, Ulimit> {
    let mut limits = BTreeMap::new();
    for (name, entry) in fields.entries(key) {
        if !ULIMITS.contains(&name) {
            fields
                .report
                .error(entry.key, format!("there is no limit `{name}`"))
                .did_you_mean(name, ULIMITS)
                .help(format!("the limits are {}", ULIMITS.join(", ")));
            continue;
        }
        let (soft, hard) = match &entry.node.value {
            Value::Int(number) => (Some(number.get()), Some(number.get())),
            _ => {
                let part = |key: &str| entry.node.get(key).and_then(Node::as_int);
                (part("soft"), part("hard"))
            }
        };
        if soft.is_none() || hard.is_none() {
            continue;
        }
        let ceiling = |number: Option<i128>| match number {
            Some(-1) => Some(Ceiling::Unlimited),
            other => other.and_then(|number| u64::try_from(number).ok()).map(Ceiling::At),
        };
        let (Some(soft), Some(hard)) = (ceiling(soft), ceiling(hard)) else {
            let message = format!("the limit `{name}` is not a number");
            fields.refuse(entry.node.span, message, "write a number, or -1 for no limit");
            continue;
        };
        if soft > hard {
            fields
                .report
                .error(
                    entry.node.span,
                    format!("the soft limit of `{name}` is over its hard limit"),
                )
                .help("make `hard` at least as large as `soft`");
        }
        limits.insert(name.to_owned(), Ulimit { soft, hard });
    }
    limits
}
