//! Resource limits by name: setrlimit(2).

use std::collections::BTreeMap;

use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};
use rustix::process::Resource;

use super::capabilities::Set;
use super::similar::closest;
use super::{SpecError, Ulimit};

/// Names, as Docker has them (and `as`), the word for the spec, and the word for the kernel.
#[rustfmt::skip]
const NAMES: [(&str, PosixRlimitType, Resource); 16] = [
    ("as",         PosixRlimitType::RlimitAs,         Resource::As),
    ("core",       PosixRlimitType::RlimitCore,       Resource::Core),
    ("cpu",        PosixRlimitType::RlimitCpu,        Resource::Cpu),
    ("data",       PosixRlimitType::RlimitData,       Resource::Data),
    ("fsize",      PosixRlimitType::RlimitFsize,      Resource::Fsize),
    ("locks",      PosixRlimitType::RlimitLocks,      Resource::Locks),
    ("memlock",    PosixRlimitType::RlimitMemlock,    Resource::Memlock),
    ("msgqueue",   PosixRlimitType::RlimitMsgqueue,   Resource::Msgqueue),
    ("nice",       PosixRlimitType::RlimitNice,       Resource::Nice),
    ("nofile",     PosixRlimitType::RlimitNofile,     Resource::Nofile),
    ("nproc",      PosixRlimitType::RlimitNproc,      Resource::Nproc),
    ("rss",        PosixRlimitType::RlimitRss,        Resource::Rss),
    ("rtprio",     PosixRlimitType::RlimitRtprio,     Resource::Rtprio),
    ("rttime",     PosixRlimitType::RlimitRttime,     Resource::Rttime),
    ("sigpending", PosixRlimitType::RlimitSigpending, Resource::Sigpending),
    ("stack",      PosixRlimitType::RlimitStack,      Resource::Stack),
];

/// The limits in the words of an OCI spec.
pub(super) fn rlimits(
    wishes: &BTreeMap<String, Ulimit>,
    held: Set,
) -> Result<Vec<PosixRlimit>, SpecError> {
    wishes.iter().map(|(name, ulimit)| rlimit(name, *ulimit, held)).collect()
}

fn rlimit(name: &str, ulimit: Ulimit, held: Set) -> Result<PosixRlimit, SpecError> {
    let bare = name.strip_prefix("RLIMIT_").unwrap_or(name).to_ascii_lowercase();
    let Some((_, kind, resource)) = NAMES.iter().find(|(known, ..)| *known == bare) else {
        let similar = closest(&bare, NAMES.iter().map(|(known, ..)| *known));
        return Err(SpecError::UnknownUlimit { name: name.to_owned(), similar });
    };
    let refused = |problem: String| SpecError::BadUlimit {
        name: name.to_owned(),
        soft: ulimit.soft,
        hard: ulimit.hard,
        problem,
    };
    let (Some(soft), Some(hard)) = (value(ulimit.soft), value(ulimit.hard)) else {
        return Err(refused("a limit is a number from 0 up, or -1 for unlimited".into()));
    };
    if soft > hard {
        return Err(refused("the soft limit must not exceed the hard one".into()));
    }
    if let Some(ceiling) = ceiling(*resource, held).filter(|ceiling| hard > *ceiling) {
        return Err(refused(format!("the highest that can be given here is {ceiling}")));
    }
    Ok(PosixRlimitBuilder::default()
        .typ(*kind)
        .soft(soft)
        .hard(hard)
        .build()
        .expect("all three fields are given"))
}

/// The kernel's number for a limit; `None` for one that makes no sense.
fn value(limit: i64) -> Option<u64> {
    if limit == -1 { Some(u64::MAX) } else { u64::try_from(limit).ok() }
}

/// The highest hard limit that the kernel accepts: our own without `CAP_SYS_RESOURCE`, and `fs.nr_open` for files in any case.
fn ceiling(resource: Resource, held: Set) -> Option<u64> {
    let own =
        if held.has("SYS_RESOURCE") { None } else { rustix::process::getrlimit(resource).maximum };
    if resource != Resource::Nofile {
        return own;
    }
    let system = std::fs::read_to_string("/proc/sys/fs/nr_open")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    own.into_iter().chain(system).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, soft: i64, hard: i64) -> Result<PosixRlimit, SpecError> {
        rlimit(name, Ulimit { soft, hard }, Set(u64::MAX))
    }

    #[test]
    fn limits_are_read_by_name() {
        let limit = one("nofile", 512, 1024).unwrap();
        assert_eq!(
            (limit.typ(), limit.soft(), limit.hard()),
            (PosixRlimitType::RlimitNofile, 512, 1024)
        );
        assert_eq!(one("core", 0, -1).unwrap().hard(), u64::MAX);
    }

    #[test]
    fn mistakes_are_named() {
        let message =
            |name: &str, soft: i64, hard: i64| one(name, soft, hard).unwrap_err().to_string();
        assert_eq!(message("nofiles", 1, 1), "unknown ulimit `nofiles`, did you mean `nofile`?");
        assert_eq!(
            message("nproc", 2, 1),
            "ulimit `nproc` 2:1: the soft limit must not exceed the hard one"
        );
        assert_eq!(
            message("nproc", -2, 1),
            "ulimit `nproc` -2:1: a limit is a number from 0 up, or -1 for unlimited"
        );
        assert!(
            message("nofile", -1, -1)
                .starts_with("ulimit `nofile` -1:-1: the highest that can be given here is ")
        );
    }
}
