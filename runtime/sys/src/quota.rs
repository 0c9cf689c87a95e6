//! Project quotas, which ext4 and XFS have: how much may be in all files that have one number.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `PRJQUOTA`: what is counted is neither users nor groups.
const PROJECTS: libc::c_int = 2;
/// `Q_XGETQSTAT` of `linux/dqblk_xfs.h`, which file systems other than XFS answer as well.
const GET_STATE: libc::c_int = ((b'X' as libc::c_int) << 8) + 5;
/// `FS_QUOTA_PDQ_ENFD`: limits of projects are enforced, and what is in them is not only counted.
const ENFORCED: u16 = 1 << 5;
/// `FS_XFLAG_PROJINHERIT`: what is made in a directory has its number.
const INHERITED: u32 = 0x200;
/// The unit of limits (`QIF_DQBLKSIZE`).
const BLOCK: u64 = 1024;

/// `struct fsxattr`.
#[repr(C)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `struct fs_qfilestat`.
#[repr(C)]
struct FileState {
    inode: u64,
    blocks: u64,
    extents: u32,
}

/// `struct fs_quota_stat`.
#[repr(C)]
struct State {
    version: i8,
    flags: u16,
    padding: i8,
    users: FileState,
    groups: FileState,
    in_core: u32,
    time_limits: [i32; 3],
    warnings: [u16; 2],
}

mod raw {
    use super::Attributes;

    nix::ioctl_read!(get_attributes, b'X', 31, Attributes);
    nix::ioctl_write_ptr!(set_attributes, b'X', 32, Attributes);
}

// The sizes are those of the header.
const _: () = assert!(size_of::<Attributes>() == 28);
const _: () = assert!(size_of::<State>() == 80);

/// What is counted of one project.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The bytes of its files.
    pub bytes: u64,
    /// How many files and directories it has.
    pub files: u64,
    /// How many bytes it may have; 0 for as many as there are.
    pub limit: u64,
}

/// Whether the file system of `file` enforces limits of projects.
///
/// # Errors
///
/// What the kernel says, other than that there are no quotas.
pub fn is_enforced(file: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: `State` is plain integers, for which zero is a valid value.
    let mut state: State = unsafe { std::mem::zeroed() };
    // SAFETY: for this command the kernel writes one `struct fs_quota_stat`, which `State` is, and `state` outlives the call.
    match unsafe { control(file, GET_STATE, 0, (&raw mut state).cast()) } {
        Ok(()) => Ok(state.flags & ENFORCED != 0),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOSYS | libc::ESRCH | libc::EOPNOTSUPP | libc::EINVAL)
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// What is counted of `project` on the file system of `file`.
///
/// # Errors
///
/// What the kernel says; `ESRCH` without quotas.
pub fn usage(file: BorrowedFd<'_>, project: u32) -> io::Result<Usage> {
    // SAFETY: `dqblk` is plain integers, for which zero is a valid value.
    let mut block: libc::dqblk = unsafe { std::mem::zeroed() };
    // SAFETY: for this command the kernel writes one `struct if_dqblk`, which `dqblk` is, and `block` outlives the call.
    match unsafe { control(file, libc::Q_GETQUOTA, project, (&raw mut block).cast()) } {
        // XFS has no entry for what was never counted.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Usage::default()),
        Err(error) => Err(error),
        Ok(()) => Ok(Usage {
            bytes: block.dqb_curspace,
            files: block.dqb_curinodes,
            limit: block.dqb_bhardlimit.saturating_mul(BLOCK),
        }),
    }
}

/// Sets how many bytes `project` may have on the file system of `file`, rounded up to whole KiB; nothing means as many as there are.
///
/// # Errors
///
/// What the kernel says; `ESRCH` without quotas.
pub fn limit(file: BorrowedFd<'_>, project: u32, bytes: Option<u64>) -> io::Result<()> {
    // SAFETY: `dqblk` is plain integers, for which zero is a valid value.
    let mut block: libc::dqblk = unsafe { std::mem::zeroed() };
    block.dqb_bhardlimit = bytes.map_or(0, |bytes| bytes.div_ceil(BLOCK).max(1));
    block.dqb_valid = libc::QIF_BLIMITS;
    // SAFETY: for this command the kernel reads one `struct if_dqblk`, which `dqblk` is, and `block` outlives the call.
    unsafe { control(file, libc::Q_SETQUOTA, project, (&raw mut block).cast()) }
}

/// quotactl_fd(2), since Linux 5.14: the device need not be known.
///
/// # Safety
///
/// `data` is valid for what `command` reads or writes.
unsafe fn control(
    file: BorrowedFd<'_>,
    command: libc::c_int,
    project: u32,
    data: *mut libc::c_void,
) -> io::Result<()> {
    // `QCMD` of `linux/quota.h`; it is a number without a sign there.
    let command = command.cast_unsigned() << 8 | PROJECTS.cast_unsigned();
    // SAFETY: the descriptor is open, and the caller answers for `data`.
    let answer =
        unsafe { libc::syscall(libc::SYS_quotactl_fd, file.as_raw_fd(), command, project, data) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The project that `file` belongs to; 0 is that of all that were given none.
///
/// # Errors
///
/// `ENOTTY` or `EOPNOTSUPP` where files have no projects, and what else the kernel says.
pub fn project(file: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(attributes(file)?.project)
}

/// Gives an empty `directory` to a project, and with it all that will be made in it (xfs_quota(8), `project -s`).
///
/// # Errors
///
/// What the kernel says.
pub fn give(directory: BorrowedFd<'_>, project: u32) -> io::Result<()> {
    let mut attributes = attributes(directory)?;
    attributes.project = project;
    attributes.flags |= INHERITED;
    // SAFETY: the request carries the size of what `attributes` is, which the kernel only reads.
    unsafe { raw::set_attributes(directory.as_raw_fd(), &raw const attributes) }?;
    Ok(())
}

fn attributes(file: BorrowedFd<'_>) -> io::Result<Attributes> {
    // SAFETY: `Attributes` is plain integers, for which zero is a valid value.
    let mut attributes: Attributes = unsafe { std::mem::zeroed() };
    // SAFETY: the request carries the size of what `attributes` is, and it outlives the call.
    unsafe { raw::get_attributes(file.as_raw_fd(), &raw mut attributes) }?;
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn where_there_are_no_quotas_nothing_is_enforced() {
        let here = std::fs::File::open("/proc").unwrap();
        assert!(!is_enforced(here.as_fd()).unwrap());
        assert!(limit(here.as_fd(), 7, Some(1)).is_err());
        assert!(project(here.as_fd()).is_err());
    }
}
