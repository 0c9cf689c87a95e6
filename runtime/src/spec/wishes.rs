//! What a caller may ask of a container, before any default is filled in.
//!
//! Plain values without behaviour: `compose::apply` fills them from its model, `images` from a build step.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything about one container that ends up in its OCI spec.
///
/// [`Wishes::default`] asks for nothing: no program yet, every namespace private, the default filter, no limits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// The environment, in order; a later entry replaces an earlier one of the same name.
    pub env: Vec<(String, String)>,
    /// Working directory inside the container; empty means `/`.
    pub cwd: PathBuf,
    /// The program gets a terminal.
    pub terminal: bool,
    /// Host name; needs a UTS namespace of its own.
    pub hostname: Option<String>,
    /// NIS domain name; needs a UTS namespace of its own.
    pub domainname: Option<String>,
    /// The root file system cannot be written to.
    pub read_only: bool,
    /// All capabilities, all devices, no filter, nothing masked.
    pub privileged: bool,
    /// Capabilities beyond the default ones, as `NET_ADMIN`, `CAP_NET_ADMIN` or `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities to take away, spelled as in `cap_add`.
    pub cap_drop: Vec<String>,
    /// execve(2) may not grant privileges (set-user-id bits, file capabilities).
    pub no_new_privileges: bool,
    /// Which system call filter to load.
    pub seccomp: SeccompChoice,
    /// Nothing below /proc and /sys is masked or read-only (`systempaths=unconfined`).
    pub unmasked: bool,
    /// Mounts beyond the default ones, in any order.
    pub mounts: Vec<MountWish>,
    /// Devices of the host to make available.
    pub devices: Vec<DeviceWish>,
    /// Rules such as `c 81:* rmw`, allowed without making a node.
    pub device_rules: Vec<String>,
    /// Resource limits by their setrlimit(2) names in lower case: `nofile`, `core`, …
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Kernel parameters by their sysctl(8) names.
    pub sysctls: BTreeMap<String, String>,
    /// Size of /dev/shm in bytes; 64 MiB if absent.
    pub shm_bytes: Option<u64>,
    /// Whether there is a /dev/shm at all.
    pub shm: SharedMemory,
    /// Preference of the OOM killer, -1000 (never) to 1000 (first).
    pub oom_score_adj: Option<i32>,
    /// An AppArmor profile of the host; nothing means unconfined.
    pub apparmor: Option<String>,
    /// Annotations of the spec, for whoever reads it.
    pub annotations: BTreeMap<String, String>,
    /// Network namespace.
    pub network: NamespaceWish,
    /// Process id namespace.
    pub pid: NamespaceWish,
    /// System V IPC and message queue namespace.
    pub ipc: NamespaceWish,
    /// Host name namespace.
    pub uts: NamespaceWish,
    /// Control group namespace; `Joined` is refused.
    pub cgroup: NamespaceWish,
}

/// Where one of the container's namespaces comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NamespaceWish {
    /// A new one: listed in the spec without a path.
    #[default]
    Private,
    /// The one of the host: absent from the spec.
    Host,
    /// One that exists and is handed over as a descriptor at the start: absent from the spec.
    Joined,
}

/// Whether processes find memory to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SharedMemory {
    /// In /dev/shm.
    #[default]
    Mounted,
    /// /dev/shm is a folder as any other.
    Absent,
}

/// Which system call filter a container gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SeccompChoice {
    /// Docker's default profile; none if privileged.
    #[default]
    Default,
    /// No filter.
    Unconfined,
    /// A profile file in Docker's format.
    Profile(PathBuf),
}

/// One mount beyond (or in place of) the default ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountWish {
    /// A file or directory of the host, which includes the directory of a volume.
    Bind(Bind),
    /// A file system in memory.
    Tmpfs(Tmpfs),
}

/// A file or directory of the host made visible in the container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bind {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path in the container.
    pub target: PathBuf,
    /// Cannot be written through this mount.
    pub read_only: bool,
    /// How later mounts pass between host and container.
    pub propagation: Propagation,
    /// Whether mounts below the source come along.
    pub recursion: Recursion,
}

/// How later mounts pass between a bind's source and target: mount_namespaces(7), "Shared subtrees".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are those of mount(8)")]
pub enum Propagation {
    #[default]
    RPrivate,
    Private,
    RShared,
    Shared,
    RSlave,
    Slave,
}

/// Whether mounts below a bind's source come along, and how read-only reaches them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recursion {
    /// All come along; a read-only bind makes them read-only too where the kernel can (Linux 5.12).
    #[default]
    Recursive,
    /// All come along; read-only applies to the topmost alone.
    WritableBelow,
    /// None come along.
    Off,
}

/// A file system in memory: always `nosuid,nodev`, and `noexec` unless `exec` is among the options.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tmpfs {
    /// Absolute path in the container.
    pub target: PathBuf,
    /// Bytes; half of the memory of the machine if absent.
    pub size: Option<u64>,
    /// Permission bits of the root of the file system; 1777 if absent.
    pub mode: Option<u32>,
    /// Owner of the root of the file system.
    pub uid: Option<u32>,
    /// Group of the root of the file system.
    pub gid: Option<u32>,
    /// Further options as mount(8) and tmpfs(5) write them: `exec`, `ro`, `nr_inodes=1k`.
    pub options: Vec<String>,
}

/// A device of the host to make available.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceWish {
    /// A device node on the host, or a directory of them.
    pub source: PathBuf,
    /// Where the node (or the directory) appears in the container.
    pub target: PathBuf,
    /// Any of `r`, `w` and `m`.
    pub permissions: String,
}

/// A soft and a hard resource limit; a value of -1 means unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ulimit {
    /// The limit in force.
    pub soft: i64,
    /// What the process may raise the soft limit to.
    pub hard: i64,
}
