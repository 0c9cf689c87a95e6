//! Subvolumes of btrfs, and how much each may hold.

use std::ffi::OsStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{StatxFlags, statx};

/// The type by which statfs(2) knows the file system.
pub const MAGIC: u64 = 0x9123_683E;

/// The inode of the root of each subvolume (`BTRFS_FIRST_FREE_OBJECTID`).
const ROOT_INODE: u64 = 256;
/// `BTRFS_QUOTA_CTL_ENABLE`.
const ENABLE: u64 = 1;
/// `BTRFS_QGROUP_LIMIT_MAX_RFER`: all that a subvolume refers to counts.
const MAX_REFERENCED: u64 = 1;
/// Takes a limit away instead of setting it.
const NO_LIMIT: u64 = u64::MAX;

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolumeArguments {
    fd: i64,
    name: [u8; 4088],
}

/// `struct btrfs_ioctl_ino_lookup_args`.
#[repr(C)]
struct LookupArguments {
    tree: u64,
    object: u64,
    name: [u8; 4080],
}

/// `struct btrfs_ioctl_quota_ctl_args`.
#[repr(C)]
struct QuotaArguments {
    command: u64,
    status: u64,
}

/// `struct btrfs_ioctl_qgroup_create_args`.
#[repr(C)]
struct GroupArguments {
    create: u64,
    group: u64,
}

/// `struct btrfs_ioctl_qgroup_limit_args`.
#[repr(C)]
struct LimitArguments {
    group: u64,
    flags: u64,
    max_referenced: u64,
    max_exclusive: u64,
    reserved_referenced: u64,
    reserved_exclusive: u64,
}

mod raw {
    use super::{GroupArguments, LimitArguments, LookupArguments, QuotaArguments, VolumeArguments};

    nix::ioctl_write_ptr!(subvolume_create, 0x94, 14, VolumeArguments);
    nix::ioctl_write_ptr!(snapshot_destroy, 0x94, 15, VolumeArguments);
    nix::ioctl_readwrite!(inode_lookup, 0x94, 18, LookupArguments);
    nix::ioctl_readwrite!(quota_control, 0x94, 40, QuotaArguments);
    nix::ioctl_write_ptr!(group_create, 0x94, 42, GroupArguments);
    nix::ioctl_read!(group_limit, 0x94, 43, LimitArguments);
}

// The sizes are part of the numbers of the requests (`linux/btrfs.h`).
const _: () = assert!(size_of::<VolumeArguments>() == 4096);
const _: () = assert!(size_of::<LookupArguments>() == 4096);
const _: () = assert!(size_of::<LimitArguments>() == 48);

/// Makes an empty subvolume called `name` in `directory` (btrfs-ioctl(2), `BTRFS_IOC_SUBVOL_CREATE`).
///
/// # Errors
///
/// What the kernel says; `EINVAL` for a name that is none.
pub fn create_subvolume(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let arguments = volume_arguments(name)?;
    // SAFETY: the request carries the size of what `arguments` is, which the kernel only reads; the name in it ends with
    // a zero byte; the descriptor is open, and one that is not on btrfs answers ENOTTY.
    unsafe { raw::subvolume_create(directory.as_raw_fd(), &raw const *arguments) }?;
    Ok(())
}

/// Removes the subvolume called `name` in `directory` with all that is in it, which the kernel clears away in the
/// background (`BTRFS_IOC_SNAP_DESTROY`).
///
/// # Errors
///
/// What the kernel says; `EINVAL` for a name that is none.
pub fn destroy_subvolume(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let arguments = volume_arguments(name)?;
    // SAFETY: as in `create_subvolume`.
    unsafe { raw::snapshot_destroy(directory.as_raw_fd(), &raw const *arguments) }?;
    Ok(())
}

fn volume_arguments(name: &OsStr) -> io::Result<Box<VolumeArguments>> {
    let mut arguments = Box::new(VolumeArguments { fd: 0, name: [0; 4088] });
    let bytes = name.as_bytes();
    // The last byte stays zero.
    if bytes.is_empty() || bytes.len() >= arguments.name.len() || bytes.contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    arguments.name[..bytes.len()].copy_from_slice(bytes);
    Ok(arguments)
}

/// The number of the subvolume whose root `directory` on btrfs is; `None` if it is no root of one.
///
/// # Errors
///
/// What the kernel says.
pub fn subvolume(directory: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let stat = statx(directory, c"", rustix::fs::AtFlags::EMPTY_PATH, StatxFlags::INO)?;
    if stat.stx_ino != ROOT_INODE {
        return Ok(None);
    }
    let mut arguments = Box::new(LookupArguments { tree: 0, object: ROOT_INODE, name: [0; 4080] });
    // SAFETY: the request carries the size of what `arguments` is, in which every bit pattern is valid; it outlives the
    // call, and nobody else has it.
    unsafe { raw::inode_lookup(directory.as_raw_fd(), &raw mut *arguments) }?;
    Ok(Some(arguments.tree))
}

/// Has the file system of `directory` count what each subvolume holds, which it may do already.
///
/// # Errors
///
/// What the kernel says.
pub fn enable_quota(directory: BorrowedFd<'_>) -> io::Result<()> {
    let mut arguments = QuotaArguments { command: ENABLE, status: 0 };
    // SAFETY: the request carries the size of what `arguments` is, in which every bit pattern is valid; it outlives the
    // call, and nobody else has it.
    unsafe { raw::quota_control(directory.as_raw_fd(), &raw mut arguments) }?;
    Ok(())
}

/// Sets how many bytes the subvolume of this number may hold; nothing means as many as there are.
///
/// # Errors
///
/// `ENOTCONN` while nothing is counted, `ENOENT` if there is no such subvolume, and what else the kernel says.
pub fn limit(directory: BorrowedFd<'_>, subvolume: u64, bytes: Option<u64>) -> io::Result<()> {
    let mut arguments = LimitArguments {
        group: subvolume,
        flags: MAX_REFERENCED,
        max_referenced: bytes.unwrap_or(NO_LIMIT),
        max_exclusive: 0,
        reserved_referenced: 0,
        reserved_exclusive: 0,
    };
    // SAFETY: the request carries the size of what `arguments` is, which the kernel reads; it outlives the call, and
    // nobody else has it.
    unsafe { raw::group_limit(directory.as_raw_fd(), &raw mut arguments) }?;
    Ok(())
}

/// Forgets what was counted of a subvolume, and its limit.
///
/// # Errors
///
/// `EBUSY` since Linux 6.11 while the subvolume is not cleared away: there the kernel does it by itself then; and what
/// else it says.
pub fn forget_limit(directory: BorrowedFd<'_>, subvolume: u64) -> io::Result<()> {
    let arguments = GroupArguments { create: 0, group: subvolume };
    // SAFETY: the request carries the size of what `arguments` is, which the kernel only reads.
    unsafe { raw::group_create(directory.as_raw_fd(), &raw const arguments) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_name_fits_or_is_refused() {
        let here = std::fs::File::open("/proc").unwrap();
        for name in [OsStr::new(""), OsStr::from_bytes(b"a\0b"), OsStr::from_bytes(&[b'x'; 4088])] {
            let error = create_subvolume(here.as_fd(), name).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
        assert_eq!(volume_arguments(OsStr::new("one")).unwrap().name[..4], *b"one\0");
    }

    #[test]
    fn what_is_no_btrfs_says_so() {
        let here = std::fs::File::open("/proc").unwrap();
        let error = create_subvolume(here.as_fd(), OsStr::new("one")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(subvolume(here.as_fd()).unwrap(), None);
    }
}
