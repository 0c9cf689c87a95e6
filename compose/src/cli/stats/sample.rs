//! What one container has used up to a moment.

use std::fs;
use std::time::Duration;

use runtime::cgroup::{Place, Stats};
use rustix::time::{ClockId, clock_gettime};

/// Counters at a moment.
#[derive(Debug)]
pub struct Sample {
    /// When, by a clock that only goes forward.
    pub at: Duration,
    /// Those of its control groups.
    pub stats: Stats,
    /// Bytes that came over its networks.
    pub received: u64,
    /// Bytes that went out over its networks.
    pub sent: u64,
}

impl Sample {
    /// Reads the counters of the container at `place` whose PID 1 is `pid`. One that has ended meanwhile has none.
    pub fn take(place: &Place, pid: i32) -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        let table = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
        let (received, sent) = traffic(&table);
        Self {
            at: Duration::try_from(now).unwrap_or_default(),
            stats: place.stats(),
            received,
            sent,
        }
    }

    /// Its limit of memory; without one that of the machine.
    pub fn memory_limit(&self) -> Option<u64> {
        self.stats.memory_limit.or_else(|| {
            let text = fs::read_to_string("/proc/meminfo").ok()?;
            let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
            Some(total.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
        })
    }

    /// The use of the processor since `before`, in hundredths of one processor.
    #[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
    pub fn cpu_since(&self, before: &Self) -> Option<f64> {
        let used = self.stats.cpu_us?.saturating_sub(before.stats.cpu_us?);
        let passed = self.at.checked_sub(before.at)?.as_micros();
        (passed > 0).then(|| used as f64 * 100.0 / passed as f64)
    }
}

/// Bytes received and sent over all interfaces but loopback (proc_pid_net(5), `dev`).
fn traffic(table: &str) -> (u64, u64) {
    let mut all = (0, 0);
    for line in table.lines() {
        let Some((name, counters)) = line.split_once(':') else { continue };
        let counters: Vec<u64> =
            counters.split_whitespace().filter_map(|counter| counter.parse().ok()).collect();
        if name.trim() != "lo"
            && let (Some(received), Some(sent)) = (counters.first(), counters.get(8))
        {
            all = (all.0 + received, all.1 + sent);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_leaves_loopback_out() {
        let table = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    9999       1    0    0    0     0          0         0     9999       1    0    0    0     0       0          0
  eth0:     100       1    0    0    0     0          0         0      7       1    0    0    0     0       0          0
  eth1:      11       1    0    0    0     0          0         0      1       1    0    0    0     0       0          0
";
        assert_eq!(traffic(table), (111, 8));
    }
}
