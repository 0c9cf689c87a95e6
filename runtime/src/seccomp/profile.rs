//! Docker's profile format, as it is written: moby's `profiles/seccomp`, type `Seccomp`.

use serde::Deserialize;

/// A profile before anything in it is understood.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Profile {
    pub(super) default_action: String,
    #[serde(default)]
    pub(super) default_errno_ret: Option<u16>,
    /// Older profiles list their architectures plainly.
    #[serde(default)]
    pub(super) architectures: Option<Vec<String>>,
    #[serde(default)]
    pub(super) arch_map: Option<Vec<ArchEntry>>,
    #[serde(default)]
    pub(super) syscalls: Vec<Rule>,
}

/// What else may run on a machine of an architecture.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ArchEntry {
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) sub_architectures: Option<Vec<String>>,
}

/// What to do about some system calls.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    /// Older profiles have one name a rule.
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) names: Vec<String>,
    pub(super) action: String,
    #[serde(default)]
    pub(super) errno_ret: Option<u16>,
    #[serde(default)]
    pub(super) args: Option<Vec<Argument>>,
    #[serde(default)]
    pub(super) includes: Condition,
    #[serde(default)]
    pub(super) excludes: Condition,
}

/// A comparison of one argument.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Argument {
    pub(super) index: u8,
    pub(super) value: u64,
    /// What a masked argument must be equal to; `value` is the mask then.
    #[serde(default)]
    pub(super) value_two: u64,
    pub(super) op: String,
}

/// On which containers and machines a rule is about.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(default)]
    pub(super) caps: Option<Vec<String>>,
    #[serde(default)]
    pub(super) arches: Option<Vec<String>>,
    #[serde(default)]
    pub(super) min_kernel: Option<String>,
}
