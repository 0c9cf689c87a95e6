//! What one more process in a container is to be.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxCapabilities, PosixRlimit};
use serde::{Deserialize, Serialize};

use crate::cgroup::Place;
use crate::foreign::Doorway;
use crate::launch::Launch;

/// A process to be run in a container that runs already, with the confinement that PID 1 has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecProcess {
    /// The command and its arguments; not empty.
    pub args: Vec<String>,
    /// The environment as `NAME=value`.
    pub env: Vec<String>,
    /// The working directory.
    pub cwd: PathBuf,
    /// As [`Launch::user`].
    pub user: String,
    /// As [`Launch::groups`].
    pub groups: Vec<String>,
    /// Capabilities; `None` keeps those of the caller.
    pub capabilities: Option<LinuxCapabilities>,
    /// No program may raise its rights.
    pub no_new_privileges: bool,
    /// Resource limits.
    pub rlimits: Vec<PosixRlimit>,
    /// The out-of-memory score of the container.
    pub oom_score_adj: Option<i32>,
    /// An AppArmor profile of the host.
    #[serde(default)]
    pub apparmor: Option<String>,
    /// As [`Launch::filter`].
    #[serde(with = "crate::launch::hex")]
    pub filter: Vec<u8>,
    /// The container's control groups.
    pub cgroup: Option<Place>,
    /// Where the container is a sandbox, the way into it.
    #[serde(default)]
    pub doorway: Option<Doorway>,
}

/// How confined the process of an exec is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// As PID 1.
    Container,
    /// All capabilities and no filter, as `exec --privileged`.
    Full,
}

impl ExecProcess {
    /// A process with `args` that has everything else from the container: user, environment, directory, confinement.
    pub fn of(launch: &Launch, args: Vec<String>, privilege: Privilege) -> Self {
        let process = launch.spec.process().clone().unwrap_or_default();
        let confined = privilege == Privilege::Container;
        Self {
            args,
            env: process.env().clone().unwrap_or_default(),
            cwd: process.cwd().clone(),
            user: launch.user.clone(),
            groups: launch.groups.clone(),
            capabilities: process.capabilities().clone().filter(|_| confined),
            apparmor: process.apparmor_profile().clone().filter(|_| confined),
            no_new_privileges: confined && process.no_new_privileges().unwrap_or(false),
            rlimits: process.rlimits().clone().unwrap_or_default(),
            oom_score_adj: process.oom_score_adj(),
            filter: if confined { launch.filter.clone() } else { Vec::new() },
            cgroup: launch.cgroup.clone(),
            doorway: Doorway::of(launch),
        }
    }
}
