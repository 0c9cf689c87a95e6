//! Capabilities, no_new_privs and the system call filter.

use oci_spec::runtime::{Capability, LinuxCapabilities};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::entry::Entry;
use super::error::{Attempt, StepError};

/// The capabilities in the kernel's order, from bit 0 (`linux/capability.h`).
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
];

/// The bit of a capability.
fn bit(capability: &Capability) -> CapabilitySet {
    let name = capability.to_string();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    let found = NAMES.iter().position(|known| *known == name);
    found.map_or(CapabilitySet::empty(), |index| CapabilitySet::from_bits_retain(1 << index))
}

fn set(capabilities: Option<&oci_spec::runtime::Capabilities>) -> CapabilitySet {
    capabilities
        .into_iter()
        .flatten()
        .fold(CapabilitySet::empty(), |set, capability| set | bit(capability))
}

/// Takes all capabilities but those of the spec from the bounding set: no program gives them back.
pub(super) fn limit(capabilities: &LinuxCapabilities) -> Result<(), StepError> {
    let kept = set(capabilities.bounding().as_ref());
    for index in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << index);
        match rustix::thread::capability_is_in_bounding_set(one) {
            // Beyond the last one that this kernel knows.
            Err(Errno::INVAL) => break,
            Ok(true) if !kept.contains(one) => {
                rustix::thread::remove_capability_from_bounding_set(one)
                    .attempt(|| format!("taking capability {index} from the bounding set"))?
            }
            _ => {}
        }
    }
    Ok(())
}

/// Takes on the other sets. What this process does not have itself (a privileged container on a restricted host) cannot
/// be given, and is left out.
pub(super) fn take(capabilities: &LinuxCapabilities) -> Result<(), StepError> {
    let have =
        rustix::thread::capabilities(None).attempt(|| "reading capabilities".to_owned())?.permitted;
    let sets = CapabilitySets {
        effective: set(capabilities.effective().as_ref()) & have,
        permitted: set(capabilities.permitted().as_ref()) & have,
        inheritable: set(capabilities.inheritable().as_ref()) & have,
    };
    rustix::thread::set_capabilities(None, sets).attempt(|| "setting capabilities".to_owned())?;
    rustix::thread::set_keep_capabilities(false).attempt(|| "keeping capabilities".to_owned())?;
    rustix::thread::clear_ambient_capability_set().attempt(|| "the ambient set".to_owned())?;
    let ambient = set(capabilities.ambient().as_ref()) & sets.permitted & sets.inheritable;
    for one in ambient.iter() {
        rustix::thread::configure_capability_in_ambient_set(one, true)
            .attempt(|| "the ambient set".to_owned())?;
    }
    Ok(())
}

/// From here on no program raises its rights by set-user-ID bits or file capabilities.
pub(super) fn no_new_privileges(entry: &mut Entry) -> Result<(), StepError> {
    if !entry.process.no_new_privileges {
        return Ok(());
    }
    rustix::thread::set_no_new_privs(true).attempt(|| "no_new_privs".to_owned())
}

/// Loads the filter while CAP_SYS_ADMIN is there, for a process without no_new_privs.
pub(super) fn filter_early(entry: &mut Entry) -> Result<(), StepError> {
    if entry.process.no_new_privileges { Ok(()) } else { load(entry) }
}

/// Loads the filter last, for a process with no_new_privs.
pub(super) fn filter_late(entry: &mut Entry) -> Result<(), StepError> {
    if entry.process.no_new_privileges { load(entry) } else { Ok(()) }
}

fn load(entry: &Entry) -> Result<(), StepError> {
    if entry.process.filter.is_empty() {
        return Ok(());
    }
    sys::seccomp::load(&entry.process.filter).attempt(|| "loading the filter".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_at_their_bits() {
        assert_eq!(bit(&Capability::Chown), CapabilitySet::CHOWN);
        assert_eq!(bit(&Capability::AuditWrite), CapabilitySet::AUDIT_WRITE);
        assert_eq!(bit(&Capability::SysAdmin), CapabilitySet::SYS_ADMIN);
        assert_eq!(bit(&Capability::CheckpointRestore), CapabilitySet::CHECKPOINT_RESTORE);
        assert_eq!(NAMES.len(), 41);
    }
}
