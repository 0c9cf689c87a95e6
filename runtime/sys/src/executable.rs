//! Our own program, in a form that nobody can write to.
//!
//! A process inside a container that is allowed to look at one of ours could open `/proc/PID/exe` and overwrite the
//! program that the host runs (CVE-2019-5736). So what comes near a container runs from a mount of the program that is
//! read-only for everybody and attached nowhere, or, where that cannot be had, from a sealed copy in memory.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;

use crate::mount::{Attributes, Extent, set_attributes};

/// The running program.
const SELF: &str = "/proc/self/exe";

/// Opens our own program for execveat(2), sealed.
pub fn sealed() -> io::Result<OwnedFd> {
    if is_sealed()? {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        return Ok(rustix::fs::openat(CWD, SELF, flags, Mode::empty())?);
    }
    detached().or_else(|_| copied())
}

/// Whether this process already runs from the mount, or the copy, of another one: a clone of a mount that is attached
/// nowhere is refused, and not needed.
fn is_sealed() -> io::Result<bool> {
    let program = rustix::fs::openat(CWD, SELF, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let read_only = rustix::fs::fstatvfs(&program)?.f_flag.contains(StatVfsMountFlags::RDONLY);
    Ok(read_only || rustix::fs::fcntl_get_seals(&program).is_ok_and(|seals| !seals.is_empty()))
}

/// A read-only bind mount of the program, attached nowhere: open_tree(2), mount_setattr(2), needs CAP_SYS_ADMIN.
fn detached() -> io::Result<OwnedFd> {
    let program = rustix::fs::readlink(SELF, Vec::new())?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = match rustix::mount::open_tree(CWD, SELF, flags) {
        // Without following the magic link, for kernels that refuse to clone through one.
        Err(rustix::io::Errno::INVAL) => rustix::mount::open_tree(CWD, program, flags)?,
        answer => answer?,
    };
    let read_only = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    set_attributes(&tree, read_only, Extent::Single)?;
    Ok(tree)
}

/// A copy in memory that nobody can change.
fn copied() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(rustix::fs::memfd_create("compose", flags)?);
    io::copy(&mut File::open(SELF)?, &mut copy)?;
    crate::fds::seal(&copy)?;
    // Executing a file that somebody has open for writing is ETXTBSY, so the copy is opened once more.
    let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&copy));
    Ok(File::open(name)?.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_copy_is_the_program_and_is_sealed() {
        let mut ours = Vec::new();
        let mut copy = Vec::new();
        File::open(SELF).unwrap().read_to_end(&mut ours).unwrap();
        let sealed = copied().unwrap();
        assert!(!rustix::fs::fcntl_get_seals(&sealed).unwrap().is_empty());
        File::from(sealed).read_to_end(&mut copy).unwrap();
        assert!(ours == copy);
    }
}
