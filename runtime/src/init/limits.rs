//! Resource limits, the out-of-memory score and kernel parameters.

use std::path::PathBuf;

use oci_spec::runtime::{PosixRlimit, PosixRlimitType};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Resource, Rlimit};

use super::entry::Entry;
use super::error::{Attempt, StepError};
use super::paths::{private_proc, write_proc};
use super::stage::Stage;

/// Sets how readily the kernel kills this process when memory runs out: proc(5), `oom_score_adj`.
///
/// The kernel does not let a process without CAP_SYS_RESOURCE go below the least score that it was ever given, which is
/// an error here: the container would die in the place of others.
pub(super) fn score(entry: &mut Entry) -> Result<(), StepError> {
    let Some(score) = entry.process.oom_score_adj else { return Ok(()) };
    let what = || format!("the out-of-memory score {score}");
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file =
        rustix::fs::openat(CWD, "/proc/self/oom_score_adj", flags, Mode::empty()).attempt(what)?;
    rustix::io::write(&file, score.to_string().as_bytes()).attempt(what)?;
    Ok(())
}

/// Sets the resource limits: setrlimit(2).
pub(super) fn resources(entry: &mut Entry) -> Result<(), StepError> {
    files(entry)?;
    entry.process.rlimits.iter().try_for_each(limit)
}

/// Gives back the limit of open files that the keeper has raised for itself.
pub(super) fn files(entry: &Entry) -> Result<(), StepError> {
    let Some(files) = entry.files else { return Ok(()) };
    rustix::process::setrlimit(Resource::Nofile, files)
        .attempt(|| "the limit of open files".to_owned())
}

/// Sets one limit. Without CAP_SYS_RESOURCE a hard limit can only be lowered: one above is left where it is, and the soft
/// one goes as far, so that a file written for a larger machine still starts.
fn limit(limit: &PosixRlimit) -> Result<(), StepError> {
    let resource = resource(limit.typ());
    let value = |number: u64| (number != u64::MAX).then_some(number);
    let wanted = Rlimit { current: value(limit.soft()), maximum: value(limit.hard()) };
    match rustix::process::setrlimit(resource, wanted) {
        Err(rustix::io::Errno::PERM) => {}
        answer => return answer.attempt(|| format!("the limit {:?}", limit.typ())),
    }
    let ceiling = rustix::process::getrlimit(resource).maximum;
    let lower = |limit: Option<u64>| match (limit, ceiling) {
        (Some(limit), Some(ceiling)) => Some(limit.min(ceiling)),
        (limit, ceiling) => limit.or(ceiling),
    };
    let possible = Rlimit { current: lower(wanted.current), maximum: lower(wanted.maximum) };
    rustix::process::setrlimit(resource, possible)
        .attempt(|| format!("the limit {:?}", limit.typ()))
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

/// Sets the kernel parameters of the container's namespaces: sysctl(8) names, with dots or slashes.
pub(super) fn kernel_parameters(stage: &mut Stage) -> Result<(), StepError> {
    let Some(parameters) = stage.linux().and_then(|linux| linux.sysctl().as_ref()) else {
        return Ok(());
    };
    if parameters.is_empty() {
        return Ok(());
    }
    let proc = private_proc()?;
    let mut sorted: Vec<_> = parameters.iter().collect();
    sorted.sort();
    sorted.into_iter().try_for_each(|(name, value)| write_proc(&proc, &path(name), value))
}

/// `net.ipv4.ip_forward` and `net/ipv4/ip_forward` to `sys/net/ipv4/ip_forward`; the separator that comes first is the
/// one that counts, so that `net/ipv4/conf/eth0.1/forwarding` keeps its dot (sysctl.d(5)).
fn path(name: &str) -> PathBuf {
    let swapped = match name.find(['.', '/']).map(|index| name.as_bytes()[index]) {
        Some(b'.') => name
            .chars()
            .map(|char| {
                if char == '.' {
                    '/'
                } else if char == '/' {
                    '.'
                } else {
                    char
                }
            })
            .collect(),
        _ => name.to_owned(),
    };
    PathBuf::from("sys").join(swapped.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_paths() {
        #[rustfmt::skip]
        let table = [
            ("net.ipv4.ip_forward", "sys/net/ipv4/ip_forward"),
            ("net/ipv4/conf/eth0.1/forwarding", "sys/net/ipv4/conf/eth0.1/forwarding"),
            ("net.ipv4.conf.eth0/1.forwarding", "sys/net/ipv4/conf/eth0.1/forwarding"),
            ("/absolute", "sys/absolute"),
        ];
        for (name, expected) in table {
            assert_eq!(path(name), PathBuf::from(expected), "{name}");
        }
    }
}
