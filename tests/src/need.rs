//! What a scenario needs of the machine, and whether it is there.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Something that not every machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The rights of root, name spaces among them, and `ip`.
    Root,
    /// The images of `scripts/images`; `COMPOSE_TEST_IMAGES` names their archive.
    Images,
    /// The real clients: `mysql`, `redis-cli`, `svn`, `curl`.
    Clients,
    /// A registry, and those who talk to it: `docker-registry`, `skopeo`, `openssl`, `htpasswd`.
    Registry,
    /// The recorded answers of docker compose in `../shared/conformance`, and `python3` to compare with them.
    Conformance,
    /// A memory controller: limits are enforced.
    Memory,
    /// Other runtimes: `crun`, `runc`, `runsc`.
    Runtimes,
    /// `mkfs.btrfs` and `btrfs`, for a file system that counts what is in its folders.
    Btrfs,
    /// `strace`, to see which system calls are made.
    Trace,
}

impl Need {
    /// The word in `TEST_REQUIRE`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Images => "images",
            Self::Clients => "clients",
            Self::Registry => "registry",
            Self::Conformance => "conformance",
            Self::Memory => "memory",
            Self::Runtimes => "runtimes",
            Self::Btrfs => "btrfs",
            Self::Trace => "trace",
        }
    }

    /// Why this machine does not have it, if it does not.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Root if !rustix::process::geteuid().is_root() => Some("not root".to_owned()),
            Self::Root => programs(&["ip"]),
            Self::Images => match images() {
                None => {
                    Some("COMPOSE_TEST_IMAGES is not set (scripts/images prints it)".to_owned())
                }
                Some(path) if !path.exists() => Some(format!("{} is not there", path.display())),
                Some(_) => None,
            },
            Self::Clients => programs(&["mysql", "redis-cli", "svn", "curl", "script"]),
            Self::Registry => programs(&["docker-registry", "skopeo", "openssl", "htpasswd"]),
            Self::Conformance => match conformance() {
                None => Some(
                    "there is no ../shared/conformance, and CONFORMANCE names no other".to_owned(),
                ),
                Some(_) => programs(&["python3"]),
            },
            Self::Runtimes => programs(&["crun", "runc", "runsc"]),
            Self::Btrfs => programs(&["mkfs.btrfs", "btrfs", "mount"]),
            Self::Trace => programs(&["strace"]),
            Self::Memory => {
                let found =
                    ["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory"]
                        .iter()
                        .any(|path| Path::new(path).exists())
                        || std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
                            .is_ok_and(|controllers| controllers.contains("memory"));
                (!found).then(|| "no memory controller".to_owned())
            }
        }
    }

    /// Whether `TEST_REQUIRE` says that it must be there.
    pub fn is_required(self) -> bool {
        std::env::var("TEST_REQUIRE")
            .is_ok_and(|words| words.split(',').any(|word| word.trim() == self.word()))
    }
}

/// The folder of the conformance runner: `CONFORMANCE`, else `shared/conformance` beside the checkout.
pub fn conformance() -> Option<PathBuf> {
    let given = std::env::var_os("CONFORMANCE").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance");
    [given, Some(beside)].into_iter().flatten().find(|path| path.join("run.py").is_file())
}

/// The archive that `scripts/images` made.
pub fn images() -> Option<PathBuf> {
    std::env::var_os("COMPOSE_TEST_IMAGES").filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn programs(names: &[&str]) -> Option<String> {
    let found = |name: &str| {
        Command::new("which").arg(name).output().is_ok_and(|output| output.status.success())
    };
    let missing: Vec<_> = names.iter().copied().filter(|name| !found(name)).collect();
    (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(", ")))
}
