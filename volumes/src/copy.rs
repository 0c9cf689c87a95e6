//! A tree of files, copied as it is: owners, modes, extended attributes, times, links, special files.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;

/// How deep a tree may be. Each level holds two descriptors, of which a process has 1024.
const DEEPEST: usize = 256;

/// Copying a tree stopped.
#[derive(Debug, thiserror::Error)]
#[error("{call}({path})")]
pub struct CopyError {
    /// The call that was refused.
    call: &'static str,
    /// What it was about, relative to the top of the tree.
    path: PathBuf,
    /// The kernel's words.
    source: io::Error,
}

/// One copy of one tree.
///
/// The source is not trusted to stay within itself: every step goes from a descriptor to one name in it, links are not
/// followed, and other mounts are not entered. The target is a folder that only this process writes to.
struct Copy<'fd> {
    target: BorrowedFd<'fd>,
    /// Files with several names: where the first one went.
    links: HashMap<(u64, u64), PathBuf>,
    /// A folder to leave out, by device and inode.
    avoid: (u64, u64),
}

/// Copies what is in `source` into the empty folder `target`, and the attributes of `source` to `target`.
///
/// Whiteouts of an overlay are left out, and so is the folder `avoid` (device, inode): the store itself, when the source is
/// the root of this very machine. Extended attributes of links and special files, which only security modules have, are not
/// copied.
///
/// # Errors
///
/// [`CopyError`] with the first thing that failed; ELOOP for a tree that is too deep.
pub(crate) fn copy_tree(
    source: &OwnedFd,
    target: &OwnedFd,
    avoid: (u64, u64),
) -> Result<(), CopyError> {
    let mut copy = Copy { target: target.as_fd(), links: HashMap::new(), avoid };
    copy.directory(source, target, Path::new(""), 0)
}

/// Copies owner, mode, extended attributes and times from one open file to another.
pub(crate) fn copy_attributes(
    source: &OwnedFd,
    target: &OwnedFd,
    at: &Path,
) -> Result<(), CopyError> {
    let stat = rustix::fs::fstat(source).map_err(failed("fstat", at))?;
    rustix::fs::fchown(target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
        .map_err(failed("fchown", at))?;
    // After the owner: chown(2) clears the set-user-ID bit and capabilities.
    rustix::fs::fchmod(target, Mode::from_raw_mode(stat.st_mode)).map_err(failed("fchmod", at))?;
    copy_xattrs(source, target).map_err(failed("fsetxattr", at))?;
    set_times(&stat, target, at)
}

/// Sets the times of an open file to those in `stat`.
pub(crate) fn set_times(stat: &Stat, target: &OwnedFd, at: &Path) -> Result<(), CopyError> {
    rustix::fs::futimens(target, &times(stat)).map_err(failed("futimens", at))
}

impl Copy<'_> {
    fn directory(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        at: &Path,
        depth: usize,
    ) -> Result<(), CopyError> {
        if depth > DEEPEST {
            return Err(failed("copy", at)(Errno::LOOP));
        }
        for name in names(from).map_err(failed("getdents", at))? {
            let path = at.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
            self.entry(from, to, &name, &path, depth)?;
        }
        copy_attributes(from, to, at)
    }

    fn entry(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        at: &Path,
        depth: usize,
    ) -> Result<(), CopyError> {
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("fstatat", at))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if (stat.st_dev, stat.st_ino) == self.avoid
            || (kind == FileType::CharacterDevice && stat.st_rdev == 0)
        {
            return Ok(());
        }
        if kind != FileType::Directory && self.link(&stat, to, name, at)? {
            return Ok(());
        }
        match kind {
            FileType::Directory => {
                let Some(inner) =
                    enter(from, name, OFlags::DIRECTORY).map_err(failed("openat2", at))?
                else {
                    return Ok(());
                };
                rustix::fs::mkdirat(to, name, Mode::RWXU).map_err(failed("mkdirat", at))?;
                let made = enter(to, name, OFlags::DIRECTORY).map_err(failed("openat2", at))?;
                made.map_or(Ok(()), |made| self.directory(&inner, &made, at, depth + 1))
            }
            FileType::RegularFile => file(from, to, name, at),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())
                    .map_err(failed("readlinkat", at))?;
                rustix::fs::symlinkat(target, to, name).map_err(failed("symlinkat", at))?;
                named_attributes(to, name, &stat, at)
            }
            _ => {
                rustix::fs::mknodat(to, name, kind, Mode::RUSR, stat.st_rdev)
                    .map_err(failed("mknodat", at))?;
                named_attributes(to, name, &stat, at)?;
                rustix::fs::chmodat(to, name, Mode::from_raw_mode(stat.st_mode), AtFlags::empty())
                    .map_err(failed("fchmodat", at))
            }
        }
    }

    /// Makes `name` a second name of a file that was copied already. False if it is the first name of one.
    fn link(
        &mut self,
        stat: &Stat,
        to: &OwnedFd,
        name: &CStr,
        at: &Path,
    ) -> Result<bool, CopyError> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) else {
            self.links.insert((stat.st_dev, stat.st_ino), at.to_owned());
            return Ok(false);
        };
        rustix::fs::linkat(self.target, first, to, name, AtFlags::empty())
            .map_err(failed("linkat", at))?;
        Ok(true)
    }
}

/// Copies a regular file. One that another mount lies on is left out.
fn file(from: &OwnedFd, to: &OwnedFd, name: &CStr, at: &Path) -> Result<(), CopyError> {
    let Some(source) = enter(from, name, OFlags::NONBLOCK).map_err(failed("openat2", at))? else {
        return Ok(());
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)
        .map_err(failed("openat", at))?;
    let (mut reader, mut writer) = (File::from(source), File::from(target));
    // copy_file_range(2) where it works, which shares the blocks where the file system can.
    io::copy(&mut reader, &mut writer).map_err(failed_io("copy_file_range", at))?;
    copy_attributes(&reader.into(), &writer.into(), at)
}

/// Opens `name` in `directory` for reading, or nothing if another file system is mounted there.
fn enter(directory: &OwnedFd, name: &CStr, flags: OFlags) -> Result<Option<OwnedFd>, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(directory, name, flags, Mode::empty(), how) {
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::XDEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn names(directory: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let entries =
        Dir::read_from(directory)?.map(|entry| entry.map(|entry| entry.file_name().to_owned()));
    let dots: [&CStr; 2] = [c".", c".."];
    entries.filter(|name| !name.as_deref().is_ok_and(|name| dots.contains(&name))).collect()
}

/// Owner and times of what has no descriptor that could carry them: links and special files.
fn named_attributes(to: &OwnedFd, name: &CStr, stat: &Stat, at: &Path) -> Result<(), CopyError> {
    let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("fchownat", at))?;
    rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("utimensat", at))
}

fn times(stat: &Stat) -> Timestamps {
    // The kernel keeps nanoseconds below a second, whatever the width of the field is.
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.try_into().unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Copies all extended attributes but those by which an overlay works. A target that cannot hold them goes without.
fn copy_xattrs(source: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    let mut list = Vec::with_capacity(64 << 10);
    match rustix::fs::flistxattr(source, rustix::buffer::spare_capacity(&mut list)) {
        Ok(_) => {}
        Err(Errno::NOTSUP) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    for name in list
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
    {
        if name.to_bytes().starts_with(b"trusted.overlay.") {
            continue;
        }
        let mut value = Vec::with_capacity(64 << 10);
        rustix::fs::fgetxattr(source, name, rustix::buffer::spare_capacity(&mut value))?;
        match rustix::fs::fsetxattr(target, name, &value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn failed(call: &'static str, at: &Path) -> impl FnOnce(Errno) -> CopyError {
    move |errno| failed_io(call, at)(errno.into())
}

fn failed_io(call: &'static str, at: &Path) -> impl FnOnce(io::Error) -> CopyError {
    move |source| CopyError { call, path: at.to_owned(), source }
}
