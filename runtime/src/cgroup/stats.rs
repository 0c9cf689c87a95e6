//! What a container has used so far.

use std::path::Path;

use super::{Hierarchy, Place, file};

/// Use of the machine since the start of a container; `None` where the machine does not count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Bytes of memory in use, without the file cache that can be dropped at once, as `docker stats` shows it.
    pub memory: Option<u64>,
    /// Limit in bytes, if there is one.
    pub memory_limit: Option<u64>,
    /// Processor time in microseconds.
    pub cpu_us: Option<u64>,
    /// Part of it spent in user mode.
    pub cpu_user_us: Option<u64>,
    /// Part of it spent in the kernel.
    pub cpu_system_us: Option<u64>,
    /// How long the container was held back by its processor limit, in microseconds.
    pub throttled_us: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Limit on them, if there is one.
    pub pids_limit: Option<u64>,
    /// Bytes read from block devices; counted only for a container with a block limit.
    pub block_read: Option<u64>,
    /// Bytes written to block devices; counted only for a container with a block limit.
    pub block_written: Option<u64>,
}

impl Place {
    /// Reads the counters. A container that is gone has none.
    pub fn stats(&self) -> Stats {
        match (self.hierarchy, &self.unified) {
            (Hierarchy::Unified, Some(directory)) => unified(directory),
            _ => version_1(self),
        }
    }
}

fn unified(directory: &Path) -> Stats {
    let cpu = file::read(directory, "cpu.stat").unwrap_or_default();
    let io = file::read(directory, "io.stat").ok();
    let sum = |key: &str| io.as_ref().map(|text| sum_of(text, key));
    Stats {
        memory: without_cache(
            file::number(directory, "memory.current"),
            file::field(directory, "memory.stat", "inactive_file"),
        ),
        memory_limit: file::number(directory, "memory.max"),
        cpu_us: file::field_in(&cpu, "usage_usec"),
        cpu_user_us: file::field_in(&cpu, "user_usec"),
        cpu_system_us: file::field_in(&cpu, "system_usec"),
        throttled_us: file::field_in(&cpu, "throttled_usec"),
        pids: file::number(directory, "pids.current"),
        pids_limit: file::number(directory, "pids.max"),
        block_read: sum("rbytes="),
        block_written: sum("wbytes="),
    }
}

fn version_1(place: &Place) -> Stats {
    /// What an unlimited `memory.limit_in_bytes` reads as: the largest multiple of a page in an `i64`, whatever the page size.
    const UNLIMITED: u64 = 0x7fff_ffff_ffff_0000;
    let number = |controller: &str, name: &str| file::number(place.directory(controller)?, name);
    let field = |controller: &str, name: &str, key: &str| {
        file::field(place.directory(controller)?, name, key)
    };
    let micros = |name: &str| number("cpuacct", name).map(|nanos| nanos / 1000);
    let block = |operation: &str| {
        let text = file::read(place.directory("blkio")?, "blkio.throttle.io_service_bytes").ok()?;
        let lines = text.lines().filter_map(|line| {
            line.split_once(' ')?.1.strip_prefix(operation)?.trim().parse::<u64>().ok()
        });
        Some(lines.sum())
    };
    Stats {
        memory: without_cache(
            number("memory", "memory.usage_in_bytes"),
            field("memory", "memory.stat", "total_inactive_file"),
        ),
        memory_limit: number("memory", "memory.limit_in_bytes").filter(|limit| *limit < UNLIMITED),
        cpu_us: micros("cpuacct.usage"),
        cpu_user_us: micros("cpuacct.usage_user"),
        cpu_system_us: micros("cpuacct.usage_sys"),
        throttled_us: field("cpu", "cpu.stat", "throttled_time").map(|nanos| nanos / 1000),
        pids: number("pids", "pids.current"),
        pids_limit: number("pids", "pids.max"),
        block_read: block("Read "),
        block_written: block("Write "),
    }
}

fn without_cache(used: Option<u64>, cache: Option<u64>) -> Option<u64> {
    used.map(|bytes| bytes.saturating_sub(cache.unwrap_or(0)))
}

/// The sum over all devices of one key of `io.stat`.
fn sum_of(text: &str, key: &str) -> u64 {
    text.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok()).sum()
}
