//! What of /proc and /sys a container must not see or change.

use std::fs;
use std::sync::OnceLock;

/// Docker's masked paths; `masked` adds those that differ from machine to machine.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Paths that are to look empty.
pub(super) fn masked() -> Vec<String> {
    MASKED.iter().map(|path| (*path).to_owned()).chain(throttles().iter().cloned()).collect()
}

/// Paths that cannot be written.
pub(super) fn read_only() -> Vec<String> {
    READ_ONLY.iter().map(|path| (*path).to_owned()).collect()
}

/// The thermal counters of each processor, by which a neighbour can be watched (GHSA-6fw5-f8r9-fgfm); looked up once.
fn throttles() -> &'static [String] {
    static FOUND: OnceLock<Vec<String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let entries = fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
        let directories =
            entries.map(|entry| entry.path().join("thermal_throttle")).filter(|path| path.exists());
        let mut paths: Vec<String> =
            directories.filter_map(|path| path.into_os_string().into_string().ok()).collect();
        paths.sort();
        paths
    })
}
