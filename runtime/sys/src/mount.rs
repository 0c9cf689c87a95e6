//! What rustix has no function for in the mount interface of descriptors: attributes of a whole tree.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Changes of mount attributes (`linux/mount.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Bits of `MOUNT_ATTR_…` to set.
    pub set: u64,
    /// Bits of `MOUNT_ATTR_…` to clear.
    pub clear: u64,
    /// One of `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 for no change.
    pub propagation: u64,
}

/// One mount, or it and all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The mount alone.
    Single,
    /// The mount and every one below it, all or none.
    Recursive,
}

/// Nothing can be written, no device opened, no set-user-ID bit honoured, no program run.
pub const INERT: u64 = libc::MOUNT_ATTR_RDONLY
    | libc::MOUNT_ATTR_NODEV
    | libc::MOUNT_ATTR_NOSUID
    | libc::MOUNT_ATTR_NOEXEC;

/// Changes the attributes of the mount that `mount` stands for, attached or not: mount_setattr(2), Linux 5.12.
pub fn set_attributes(mount: impl AsFd, attributes: Attributes, extent: Extent) -> io::Result<()> {
    let change = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: attributes.propagation,
        userns_fd: 0,
    };
    let recursive = if extent == Extent::Recursive { libc::AT_RECURSIVE } else { 0 };
    let nowhere: &CStr = c"";
    // SAFETY: the descriptor is open, the path is a terminated string, `change` outlives the call and the size is its
    // own; the kernel reads it and writes nothing.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            nowhere.as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const change,
            size_of_val(&change),
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
