//! Why wishes cannot become a spec.

use std::io;
use std::path::PathBuf;

/// A wish that the kernel would refuse, or that contradicts another.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A profile, and a kernel without AppArmor.
    #[error("the AppArmor profile `{0}` cannot be set: AppArmor is not on in this kernel")]
    NoAppArmor(String),
    /// There is nothing to run.
    #[error("no program to run: neither the image nor the service names a command")]
    NoProgram,
    /// A capability the kernel does not have.
    #[error("unknown capability `{name}`{}", hint(.similar.as_deref()))]
    UnknownCapability {
        /// As it was written.
        name: String,
        /// The closest known name.
        similar: Option<String>,
    },
    /// A capability that we do not have and so cannot hand on.
    #[error("capability `{0}` cannot be given, as this process does not have it itself")]
    CapabilityNotHeld(String),
    /// A resource limit the kernel does not have.
    #[error("unknown ulimit `{name}`{}", hint(.similar.as_deref()))]
    UnknownUlimit {
        /// As it was written.
        name: String,
        /// The closest known name.
        similar: Option<String>,
    },
    /// The values of a resource limit cannot be.
    #[error("ulimit `{name}` {soft}:{hard}: {problem}")]
    BadUlimit {
        /// Name of the limit.
        name: String,
        /// Soft limit asked for.
        soft: i64,
        /// Hard limit asked for.
        hard: i64,
        /// What is wrong with them.
        problem: String,
    },
    /// A path that must be absolute and free of `..` is not.
    #[error("{what} `{}` must be an absolute path without `..`", .path.display())]
    BadPath {
        /// What the path is for.
        what: &'static str,
        /// The path as it was written.
        path: PathBuf,
    },
    /// A mount cannot have this place.
    #[error("cannot mount over `{}`", .0.display())]
    BadTarget(PathBuf),
    /// Two mounts want the same place.
    #[error("two mounts have the target `{}`", .0.display())]
    DuplicateTarget(PathBuf),
    /// The options of a tmpfs are wrong.
    #[error("tmpfs `{}`: {problem}", .target.display())]
    BadTmpfs {
        /// Where it was to be mounted.
        target: PathBuf,
        /// What is wrong with the options.
        problem: String,
    },
    /// A device of the host cannot be read.
    #[error("device `{}` of the host", .path.display())]
    Device {
        /// Path on the host.
        path: PathBuf,
        /// Why stat(2) or readdir(3) failed.
        source: io::Error,
    },
    /// A path that should be a device is something else.
    #[error("`{}` is not a device node, nor a directory that has any", .0.display())]
    NotADevice(PathBuf),
    /// Device permissions other than `r`, `w` and `m`.
    #[error("device permissions `{0}` must be any of `r`, `w` and `m`, each once")]
    BadDevicePermissions(String),
    /// A device rule that does not read `TYPE MAJOR:MINOR ACCESS`.
    #[error("device rule `{0}` must read like `c 81:* rwm`")]
    BadDeviceRule(String),
    /// A kernel parameter that this container may not set.
    #[error("sysctl `{name}` {problem}")]
    BadSysctl {
        /// Name of the parameter.
        name: String,
        /// Why it is refused.
        problem: &'static str,
    },
    /// A host or domain name that the kernel would refuse.
    #[error("{what} `{name}` {problem}")]
    BadName {
        /// `hostname` or `domainname`.
        what: &'static str,
        /// The name as it was written.
        name: String,
        /// Why it is refused.
        problem: &'static str,
    },
    /// A preference of the OOM killer outside its range, or beyond our rights.
    #[error("oom_score_adj {score} {problem}")]
    BadOomScore {
        /// The value asked for.
        score: i32,
        /// Why it is refused.
        problem: String,
    },
    /// A string for execve(2) or mount(2) has a NUL byte, or a variable's name has an `=`.
    #[error("{what} `{value}` {problem}")]
    BadString {
        /// What the string is for.
        what: &'static str,
        /// The string with the fault visible.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A namespace cannot be had in this way.
    #[error("the {0} namespace of another container cannot be joined")]
    CannotJoin(&'static str),
}

/// The words that suggest a name, if there is one to suggest.
fn hint(similar: Option<&str>) -> String {
    similar.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default()
}
