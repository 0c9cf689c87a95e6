//! Owners, modes, times and attributes of what a layer has.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use sys::root::Place;

use super::archive::Entry;

/// The attribute by which a directory hides everything below it from overlayfs.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

/// User and group.
pub(super) type Owner = (Uid, Gid);

/// The owner of an entry. The largest number is not an owner but means "as it is" to chown(2).
pub(super) fn owner(entry: &Entry) -> Option<Owner> {
    let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    Some((Uid::from_raw(id(entry.uid)?), Gid::from_raw(id(entry.gid)?)))
}

pub(super) fn times(mtime: Timespec) -> Timestamps {
    Timestamps { last_access: mtime, last_modification: mtime }
}

/// Gives a file or directory its owner, mode and attributes, in this order: a change of the owner takes the setuid
/// bit and the capabilities away (chown(2)).
pub(super) fn adorn(file: &impl AsFd, entry: &Entry, (uid, gid): Owner) -> io::Result<()> {
    rustix::fs::fchown(file, Some(uid), Some(gid))?;
    rustix::fs::fchmod(file, Mode::from_bits_retain(entry.mode))?;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_allowed_attribute(name)) {
        match rustix::fs::fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty()) {
            // A file system without attributes of this family; Docker goes on, too.
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Gives a symbolic link, device or fifo its owner and time.
pub(super) fn adorn_node(place: &Place, entry: &Entry, (uid, gid): Owner) -> io::Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(place.directory(), place.name(), Some(uid), Some(gid), flags)?;
    rustix::fs::utimensat(place.directory(), place.name(), &times(entry.mtime), flags)?;
    Ok(())
}

/// Attributes that an image may set. Those of overlayfs would redirect it, labels and signatures belong to the host.
pub(crate) fn is_allowed_attribute(name: &[u8]) -> bool {
    match name {
        b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default" => true,
        _ => name.starts_with(b"user.") && !name.starts_with(b"user.overlay."),
    }
}

pub(super) fn set_opaque(directory: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    set_opaque_on(&rustix::fs::openat(directory, ".", flags, Mode::empty())?)
}

pub(super) fn set_opaque_on(directory: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())?)
}
