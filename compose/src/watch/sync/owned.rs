//! What is made in a container: whose it is, and what it looks like.

use std::fs::Metadata;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use sys::root::{Place, Root};

use super::Owner;

/// The place `to` below `root`; directories on the way are made, and belong to `owner`.
pub(super) fn place(root: &Root, owner: Owner, to: &Path) -> io::Result<Place> {
    match root.place(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let parent = to.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let above = place(root, owner, parent)?;
    match above.create_dir(Mode::from_raw_mode(0o755)) {
        Ok(()) => own(&above, owner)?,
        // A link that leads to nothing yet.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            root.create_dir_all(parent, Mode::from_raw_mode(0o755))?;
        }
        Err(error) => return Err(error),
    }
    root.place(to)
}

pub(super) fn make_directory(place: &Place, owner: Owner, found: &Metadata) -> io::Result<()> {
    if let Some(there) = place.metadata()? {
        if FileType::from_raw_mode(there.st_mode) == FileType::Directory {
            return Ok(());
        }
        place.remove_file()?;
    }
    place.create_dir(Mode::from_raw_mode(0o700))?;
    let directory = place.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
    let (user, group) = ids(owner);
    rustix::fs::fchown(&directory, Some(user), Some(group))?;
    Ok(rustix::fs::fchmod(&directory, mode(found))?)
}

pub(super) fn own(place: &Place, owner: Owner) -> io::Result<()> {
    let (user, group) = ids(owner);
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::chownat(place.directory(), place.name(), Some(user), Some(group), flags)?)
}

/// Owner, permissions and time, in this order: a change of the owner takes away set-user-ID (chown(2)).
pub(super) fn dress(file: impl AsFd, owner: Owner, found: &Metadata) -> io::Result<()> {
    let (user, group) = ids(owner);
    rustix::fs::fchown(&file, Some(user), Some(group))?;
    rustix::fs::fchmod(&file, mode(found))?;
    let changed = Timespec { tv_sec: found.mtime(), tv_nsec: found.mtime_nsec() };
    let times = Timestamps { last_access: changed, last_modification: changed };
    Ok(rustix::fs::futimens(&file, &times)?)
}

fn mode(found: &Metadata) -> Mode {
    Mode::from_raw_mode(found.mode() & 0o7777)
}

fn ids((user, group): Owner) -> (Uid, Gid) {
    (Uid::from_raw(user), Gid::from_raw(group))
}
