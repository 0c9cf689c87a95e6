//! The single looks at the machine. Each reads and changes nothing.

use std::fs;
use std::path::Path;

use network::Family;
use runtime::cgroup::{self, Hierarchy};
use rustix::process::{Resource, getrlimit};

use super::{Finding, Verdict};
use crate::record::Roots;

/// Looks at everything.
pub fn all(roots: &Roots) -> Vec<Finding> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let number = |name: &str| -> Option<u64> {
        fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
    };
    let mut findings = vec![
        rights(rustix::process::geteuid().is_root()),
        kernel(release.trim()),
        overlay(&systems),
        control_groups(),
        controllers(&available()),
        seccomp(Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()),
        subordinate_ids(&fs::read_to_string("/etc/subuid").unwrap_or_default()),
        forwarding(number("net/ipv4/ip_forward")),
        firewall(Family::V4, "firewall", "iptables"),
        firewall(Family::V6, "firewall for IPv6", "ip6tables"),
        limit(
            "inotify instances",
            number("fs/inotify/max_user_instances"),
            128,
            "fs.inotify.max_user_instances=1024",
        ),
        limit(
            "inotify watches",
            number("fs/inotify/max_user_watches"),
            65536,
            "fs.inotify.max_user_watches=524288",
        ),
        limit("processes", number("kernel/pid_max"), 32768, "kernel.pid_max=4194304"),
        open_files(getrlimit(Resource::Nofile).maximum),
        resolver(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default()),
    ];
    findings.extend([roots.projects(), roots.network_namespaces()].map(|root| room(&root)));
    findings
}

fn finding(what: &'static str, verdict: Verdict, seen: impl Into<String>, mend: &str) -> Finding {
    let mend = if verdict == Verdict::Good { "" } else { mend };
    Finding { what, verdict, seen: seen.into(), mend: mend.to_owned() }
}

fn good(truth: bool, otherwise: Verdict) -> Verdict {
    if truth { Verdict::Good } else { otherwise }
}

fn rights(root: bool) -> Finding {
    let seen = if root { "root" } else { "not root: containers, networks and volumes need it" };
    finding("rights", good(root, Verdict::Bad), seen, "run compose with `sudo`")
}

/// openat2(2) came with Linux 5.6, `cgroup.kill` with 5.14.
fn kernel(release: &str) -> Finding {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let verdict = match version {
        version if version >= (5, 14) => Verdict::Good,
        version if version >= (5, 6) => Verdict::Poor,
        _ => Verdict::Bad,
    };
    finding("kernel", verdict, format!("Linux {release}"), "install Linux 5.14 or newer")
}

fn overlay(systems: &str) -> Finding {
    let has = systems.lines().any(|line| line.split_whitespace().last() == Some("overlay"));
    let seen = if has { "overlay" } else { "no overlay: images have no layers without it" };
    finding("file system", good(has, Verdict::Bad), seen, "modprobe overlay")
}

fn control_groups() -> Finding {
    match cgroup::detect() {
        Ok(Hierarchy::Unified) => finding("control groups", Verdict::Good, "version 2", ""),
        Ok(Hierarchy::Hybrid) => finding("control groups", Verdict::Good, "version 1 and 2", ""),
        Ok(Hierarchy::Legacy) => finding(
            "control groups",
            Verdict::Poor,
            "version 1 alone: containers are stopped less surely",
            "boot with systemd.unified_cgroup_hierarchy=1",
        ),
        Err(error) => finding(
            "control groups",
            Verdict::Bad,
            error.to_string(),
            "mount -t cgroup2 none /sys/fs/cgroup",
        ),
    }
}

/// The controllers of version 2, and those of version 1 that are mounted.
fn available() -> String {
    let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let first = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let first = first.lines().filter_map(|line| line.split(':').nth(1));
    format!("{unified} {}", first.collect::<Vec<_>>().join(" ").replace(',', " "))
}

fn controllers(available: &str) -> Finding {
    let has = |name: &&&str| available.split_whitespace().any(|word| word == **name);
    let missing: Vec<&str> =
        ["memory", "pids", "cpu", "cpuset"].iter().filter(|name| !has(name)).copied().collect();
    let seen = match missing.as_slice() {
        [] => "memory, pids, cpu, cpuset".to_owned(),
        missing => format!("no {}: such limits cannot be set", missing.join(", ")),
    };
    finding(
        "limits",
        good(missing.is_empty(), Verdict::Poor),
        seen,
        "boot with cgroup_enable=memory swapaccount=1, and see that a container gets its controllers delegated",
    )
}

fn seccomp(has: bool) -> Finding {
    let seen = if has { "seccomp filters" } else { "no seccomp: system calls are not filtered" };
    finding(
        "system calls",
        good(has, Verdict::Bad),
        seen,
        "use a kernel with CONFIG_SECCOMP_FILTER",
    )
}

/// Ranges of ids that users may give away (subuid(5)). None is needed: containers are made by root, with its ids.
fn subordinate_ids(table: &str) -> Finding {
    let ranges = table.lines().filter(|line| line.split(':').count() == 3).count();
    let seen = format!("not needed: containers are made by root ({ranges} ranges in /etc/subuid)");
    finding("subordinate ids", Verdict::Good, seen, "")
}

fn forwarding(value: Option<u64>) -> Finding {
    let seen = match value {
        Some(1) => "on",
        Some(_) => "off: the first network with a way out switches it on",
        None => "not known: the kernel has no IPv4 forwarding",
    };
    finding(
        "forwarding",
        good(value.is_some(), Verdict::Bad),
        seen,
        "sysctl -w net.ipv4.ip_forward=1",
    )
}

fn firewall(family: Family, name: &'static str, program: &str) -> Finding {
    match network::obstacles(family) {
        Ok(chains) if chains.is_empty() => finding(name, Verdict::Good, "lets containers out", ""),
        Ok(chains) => finding(
            name,
            Verdict::Poor,
            format!(
                "drops what is forwarded ({}): containers may not reach the outside",
                chains.join(", ")
            ),
            &format!("{program} -I FORWARD -i cu-+ -j ACCEPT"),
        ),
        Err(error) => finding(
            name,
            Verdict::Bad,
            format!("nf_tables does not answer: {error}"),
            "modprobe nf_tables",
        ),
    }
}

fn limit(what: &'static str, value: Option<u64>, least: u64, setting: &str) -> Finding {
    let seen = value.map_or_else(|| "not known".to_owned(), |value| value.to_string());
    let enough = value.is_some_and(|value| value >= least);
    let seen = if enough { seen } else { format!("{seen}: at least {least} are wanted") };
    finding(what, good(enough, Verdict::Poor), seen, &format!("sysctl -w {setting}"))
}

fn open_files(most: Option<u64>) -> Finding {
    let enough = most.is_none_or(|most| most >= 4096);
    let seen = most.map_or_else(|| "without a limit".to_owned(), |most| most.to_string());
    finding("open files", good(enough, Verdict::Poor), seen, "ulimit -Hn 1048576")
}

fn resolver(text: &str) -> Finding {
    let servers: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .map(str::trim)
        .collect();
    let seen = match servers.as_slice() {
        [] => "no nameserver in /etc/resolv.conf: containers find only each other".to_owned(),
        servers => servers.join(", "),
    };
    finding(
        "names",
        good(!servers.is_empty(), Verdict::Poor),
        seen,
        "echo nameserver 9.9.9.9 >> /etc/resolv.conf",
    )
}

/// Room below a root, whether it is there yet or not.
fn room(root: &Path) -> Finding {
    const LEAST: u64 = 1 << 30;
    let there = root.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let what = "room";
    match rustix::fs::statvfs(there) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let size = crate::cli::terminal::sizes::binary(free);
            let verdict = good(free >= LEAST || root.starts_with("/run"), Verdict::Poor);
            finding(
                what,
                verdict,
                format!("{size} below {}", root.display()),
                "compose volume prune; COMPOSE_DATA_ROOT moves the data",
            )
        }
        Err(error) => {
            finding(what, Verdict::Bad, format!("{}: {error}", there.display()), "mkdir -p it")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_found_and_has_a_mend() {
        use Verdict::{Bad, Good, Poor};
        #[rustfmt::skip]
        let table = [
            (rights(true), Good), (rights(false), Bad),
            (kernel("6.18.5-cloud"), Good), (kernel("5.10.0"), Poor), (kernel("4.19"), Bad),
            (overlay("nodev\ttmpfs\n\text4\nnodev\toverlay\n"), Good), (overlay("nodev\ttmpfs\n"), Bad),
            (controllers("cpuset cpu io memory pids"), Good), (controllers("cpu cpuset"), Poor),
            (seccomp(true), Good), (seccomp(false), Bad),
            (subordinate_ids("a:100000:65536\n"), Good), (subordinate_ids(""), Good),
            (forwarding(Some(1)), Good), (forwarding(Some(0)), Good), (forwarding(None), Bad),
            (limit("x", Some(8192), 8192, "a=1"), Good), (limit("x", Some(128), 8192, "a=1"), Poor),
            (limit("x", None, 8192, "a=1"), Poor),
            (open_files(Some(1024)), Poor), (open_files(None), Good),
            (resolver("search a\nnameserver 1.2.3.4\n"), Good), (resolver(""), Poor),
        ];
        for (finding, verdict) in table {
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert_eq!(finding.mend.is_empty(), verdict == Good, "{finding:?}");
        }
    }

    #[test]
    fn this_machine_is_looked_at_without_a_change() {
        let roots = Roots::new("/nonexistent/data", "/nonexistent/run");
        assert!(all(&roots).len() > 10);
        assert!(!Path::new("/nonexistent").exists());
    }
}
