//! Which capabilities a container has: Docker's fourteen, what is added, what is dropped.

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

use super::similar::closest;
use super::{SpecError, Wishes};

/// All capabilities in the order of their numbers in `linux/capability.h`.
const NAMES: [(&str, Capability); 41] = [
    ("CHOWN", Capability::Chown),
    ("DAC_OVERRIDE", Capability::DacOverride),
    ("DAC_READ_SEARCH", Capability::DacReadSearch),
    ("FOWNER", Capability::Fowner),
    ("FSETID", Capability::Fsetid),
    ("KILL", Capability::Kill),
    ("SETGID", Capability::Setgid),
    ("SETUID", Capability::Setuid),
    ("SETPCAP", Capability::Setpcap),
    ("LINUX_IMMUTABLE", Capability::LinuxImmutable),
    ("NET_BIND_SERVICE", Capability::NetBindService),
    ("NET_BROADCAST", Capability::NetBroadcast),
    ("NET_ADMIN", Capability::NetAdmin),
    ("NET_RAW", Capability::NetRaw),
    ("IPC_LOCK", Capability::IpcLock),
    ("IPC_OWNER", Capability::IpcOwner),
    ("SYS_MODULE", Capability::SysModule),
    ("SYS_RAWIO", Capability::SysRawio),
    ("SYS_CHROOT", Capability::SysChroot),
    ("SYS_PTRACE", Capability::SysPtrace),
    ("SYS_PACCT", Capability::SysPacct),
    ("SYS_ADMIN", Capability::SysAdmin),
    ("SYS_BOOT", Capability::SysBoot),
    ("SYS_NICE", Capability::SysNice),
    ("SYS_RESOURCE", Capability::SysResource),
    ("SYS_TIME", Capability::SysTime),
    ("SYS_TTY_CONFIG", Capability::SysTtyConfig),
    ("MKNOD", Capability::Mknod),
    ("LEASE", Capability::Lease),
    ("AUDIT_WRITE", Capability::AuditWrite),
    ("AUDIT_CONTROL", Capability::AuditControl),
    ("SETFCAP", Capability::Setfcap),
    ("MAC_OVERRIDE", Capability::MacOverride),
    ("MAC_ADMIN", Capability::MacAdmin),
    ("SYSLOG", Capability::Syslog),
    ("WAKE_ALARM", Capability::WakeAlarm),
    ("BLOCK_SUSPEND", Capability::BlockSuspend),
    ("AUDIT_READ", Capability::AuditRead),
    ("PERFMON", Capability::Perfmon),
    ("BPF", Capability::Bpf),
    ("CHECKPOINT_RESTORE", Capability::CheckpointRestore),
];

/// What Docker gives a container that asks for nothing.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A set of capabilities, a bit for each number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Set(pub(crate) u64);

impl Set {
    /// What this process has and can therefore give.
    ///
    /// Everything, if the kernel does not say: it refuses later what it must.
    pub(crate) fn held() -> Self {
        rustix::thread::capabilities(None)
            .map_or(Self(u64::MAX), |sets| Self(sets.permitted.bits()))
    }

    /// Whether the capability of this name is in the set; `CAP_` may be left out.
    pub(crate) fn has(self, name: &str) -> bool {
        number(name).is_some_and(|number| self.0 >> number & 1 == 1)
    }

    /// The set in the words of an OCI spec: bounding, permitted and effective; nothing inheritable (CVE-2022-27649) or ambient.
    pub(crate) fn to_spec(self) -> LinuxCapabilities {
        let all = NAMES.iter().enumerate();
        let listed: Capabilities = all
            .filter(|(number, _)| self.0 >> number & 1 == 1)
            .map(|(_, (_, capability))| *capability)
            .collect();
        let mut sets = LinuxCapabilities::default();
        sets.set_bounding(Some(listed.clone()))
            .set_permitted(Some(listed.clone()))
            .set_effective(Some(listed));
        sets.set_inheritable(None).set_ambient(None);
        sets
    }
}

/// The capabilities of a container.
///
/// `ALL` and privilege mean all that can be given; what was asked for by name and cannot be given is an error.
/// As in Docker, a name that is both added and dropped is added, unless `ALL` is added.
pub(crate) fn wished(wishes: &Wishes, held: Set) -> Result<Set, SpecError> {
    let (add_all, added) = parse(&wishes.cap_add)?;
    let (drop_all, dropped) = parse(&wishes.cap_drop)?;
    let default =
        DEFAULT.iter().filter_map(|name| number(name)).fold(0, |set, number| set | 1 << number);
    if wishes.privileged {
        return Ok(held);
    }
    if add_all {
        return Ok(Set(held.0 & !dropped));
    }
    if let Some((name, _)) = NAMES
        .iter()
        .enumerate()
        .find(|(number, _)| added & !held.0 & 1 << number != 0)
        .map(|(_, entry)| entry)
    {
        return Err(SpecError::CapabilityNotHeld((*name).to_owned()));
    }
    let base = if drop_all { 0 } else { default & held.0 & !dropped };
    Ok(Set(base | added))
}

/// Whether `ALL` is among the names, and the set of the others.
fn parse(names: &[String]) -> Result<(bool, u64), SpecError> {
    let mut set = (false, 0);
    for name in names {
        if name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL") {
            set.0 = true;
            continue;
        }
        set.1 |= 1 << number(name).ok_or_else(|| unknown(name))?;
    }
    Ok(set)
}

fn number(name: &str) -> Option<usize> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|(known, _)| *known == bare)
}

fn unknown(name: &str) -> SpecError {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    SpecError::UnknownCapability {
        name: name.to_owned(),
        similar: closest(bare, NAMES.iter().map(|(known, _)| *known)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Set = Set((1 << 41) - 1);

    fn wish(add: &[&str], drop: &[&str]) -> Wishes {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Wishes { cap_add: owned(add), cap_drop: owned(drop), ..Wishes::default() }
    }

    fn count(set: Set) -> u32 {
        set.0.count_ones()
    }

    #[test]
    fn adding_and_dropping_is_dockers() {
        type Row = (&'static [&'static str], &'static [&'static str], u32, &'static str, bool);
        let table: [Row; 9] = [
            (&[], &[], 14, "CAP_CHOWN", true),
            (&["NET_ADMIN"], &[], 15, "NET_ADMIN", true),
            (&["cap_net_admin", "SYS_TIME"], &["CHOWN"], 15, "CHOWN", false),
            (&[], &["ALL"], 0, "KILL", false),
            (&["KILL"], &["all"], 1, "KILL", true),
            (&["ALL"], &[], 41, "SYS_MODULE", true),
            (&["ALL"], &["SYS_MODULE"], 40, "SYS_MODULE", false),
            (&["CHOWN"], &["CHOWN"], 14, "CHOWN", true),
            (&["CAP_ALL"], &["CAP_ALL"], 41, "CHOWN", true),
        ];
        for (add, drop, size, name, present) in table {
            let set = wished(&wish(add, drop), EVERY).unwrap();
            assert_eq!((count(set), set.has(name)), (size, present), "{add:?} {drop:?}");
        }
        let privileged = Wishes { privileged: true, ..wish(&[], &["ALL"]) };
        assert_eq!(count(wished(&privileged, EVERY).unwrap()), 41);
    }

    #[test]
    fn what_we_lack_cannot_be_given() {
        let lacking = Set(EVERY.0 & !(1 << 24) & !1);
        assert_eq!(count(wished(&wish(&["ALL"], &[]), lacking).unwrap()), 39);
        assert_eq!(count(wished(&wish(&[], &[]), lacking).unwrap()), 13);
        let refusal = wished(&wish(&["SYS_RESOURCE"], &[]), lacking).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "capability `SYS_RESOURCE` cannot be given, as this process does not have it itself"
        );
    }

    #[test]
    fn an_unknown_name_is_an_error_with_a_suggestion() {
        let message = |name: &str| wished(&wish(&[name], &[]), EVERY).unwrap_err().to_string();
        assert_eq!(
            message("CAP_NET_ADMN"),
            "unknown capability `CAP_NET_ADMN`, did you mean `NET_ADMIN`?"
        );
        assert_eq!(message("FLY"), "unknown capability `FLY`");
    }

    #[test]
    fn the_table_is_in_the_order_of_the_numbers() {
        for (number, (name, capability)) in NAMES.iter().enumerate() {
            assert_eq!(capability.to_string(), *name, "{number}");
        }
        assert_eq!(NAMES[24].0, "SYS_RESOURCE");
        assert_eq!(NAMES[40].0, "CHECKPOINT_RESTORE");
    }
}
