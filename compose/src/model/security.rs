//! What a container may do.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `security_opt`, understood.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// `no-new-privileges`: set-user-id programs gain nothing.
    pub no_new_privileges: bool,
    /// `seccomp`: which system calls are let through.
    pub seccomp: Seccomp,
    /// `apparmor`: a profile of the host.
    pub apparmor: Option<String>,
    /// `label`: SELinux labels.
    pub labels: Vec<String>,
    /// `systempaths=unconfined`: /proc and /sys are not masked.
    pub unmasked: bool,
}

/// Which system calls are let through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// Those of the built-in profile.
    #[default]
    Default,
    /// All.
    Unconfined,
    /// Those of a profile in a file, by absolute path.
    Profile(PathBuf),
}

/// A capability, or `ALL` of them; capabilities(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capability {
    /// Its place in [`Capability::NAMES`].
    index: usize,
}

/// Text that names no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a capability")]
pub struct CapabilityError(String);

impl Capability {
    /// Every name, with its prefix, and `ALL`.
    pub const NAMES: [&str; 42] = [
        "ALL",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_LINUX_IMMUTABLE",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_BROADCAST",
        "CAP_NET_ADMIN",
        "CAP_NET_RAW",
        "CAP_IPC_LOCK",
        "CAP_IPC_OWNER",
        "CAP_SYS_MODULE",
        "CAP_SYS_RAWIO",
        "CAP_SYS_CHROOT",
        "CAP_SYS_PTRACE",
        "CAP_SYS_PACCT",
        "CAP_SYS_ADMIN",
        "CAP_SYS_BOOT",
        "CAP_SYS_NICE",
        "CAP_SYS_RESOURCE",
        "CAP_SYS_TIME",
        "CAP_SYS_TTY_CONFIG",
        "CAP_MKNOD",
        "CAP_LEASE",
        "CAP_AUDIT_WRITE",
        "CAP_AUDIT_CONTROL",
        "CAP_SETFCAP",
        "CAP_MAC_OVERRIDE",
        "CAP_MAC_ADMIN",
        "CAP_SYSLOG",
        "CAP_WAKE_ALARM",
        "CAP_BLOCK_SUSPEND",
        "CAP_AUDIT_READ",
        "CAP_PERFMON",
        "CAP_BPF",
        "CAP_CHECKPOINT_RESTORE",
    ];

    /// The name with its prefix (`CAP_NET_ADMIN`), or `ALL`.
    pub const fn as_str(self) -> &'static str {
        Self::NAMES[self.index]
    }
}

impl FromStr for Capability {
    type Err = CapabilityError;

    fn from_str(text: &str) -> Result<Self, CapabilityError> {
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        Self::NAMES
            .iter()
            .position(|known| known.strip_prefix("CAP_").unwrap_or(known) == bare)
            .map(|index| Self { index })
            .ok_or_else(|| CapabilityError(text.to_owned()))
    }
}

impl TryFrom<String> for Capability {
    type Error = CapabilityError;

    fn try_from(text: String) -> Result<Self, CapabilityError> {
        text.parse()
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        capability.as_str().to_owned()
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_come_in_several_spellings() {
        for text in ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_net_admin"] {
            assert_eq!(text.parse::<Capability>().unwrap().as_str(), "CAP_NET_ADMIN");
        }
        assert_eq!("all".parse::<Capability>().unwrap().as_str(), "ALL");
        assert!("NET_ADMN".parse::<Capability>().is_err());
    }
}
