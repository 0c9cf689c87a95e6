//! One thing in a directory: what it is, and how it is read without being followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, StatxFlags, Timespec, Timestamps};
use sys::root::Place;

/// Directories inside of each other that are followed: each takes a descriptor.
pub const DEEPEST: usize = 256;

/// What there is of a file but its content.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// What it is.
    pub kind: FileType,
    /// Permissions.
    pub mode: Mode,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// The last change.
    pub changed: Timespec,
    /// For a device node: which device.
    pub device: u64,
}

impl From<Stat> for Look {
    fn from(stat: Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: Mode::from_raw_mode(stat.st_mode & 0o7777),
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            changed: Timespec {
                tv_sec: stat.st_mtime,
                tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or_default(),
            },
            device: stat.st_rdev,
        }
    }
}

impl Look {
    /// The times that a copy gets.
    pub fn times(&self) -> Timestamps {
        Timestamps { last_access: self.changed, last_modification: self.changed }
    }
}

/// What is at `place`.
///
/// # Errors
///
/// Nothing, or what the kernel says.
pub fn look(place: &Place) -> io::Result<Look> {
    let stat = place.metadata()?.ok_or(io::ErrorKind::NotFound)?;
    Ok(stat.into())
}

/// Opens the regular file at `place` for reading.
///
/// # Errors
///
/// When it is something else by now.
pub fn open_file(place: &Place) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = place.open(flags)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if kind != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file any more"));
    }
    Ok(file.into())
}

/// Opens the directory at `place`.
///
/// # Errors
///
/// When it is something else by now.
pub fn open_dir(place: &Place) -> io::Result<OwnedFd> {
    place.open(OFlags::RDONLY | OFlags::DIRECTORY)
}

/// What is in a directory, sorted by name.
///
/// # Errors
///
/// What the kernel says.
pub fn children(directory: &Arc<OwnedFd>) -> io::Result<Vec<Place>> {
    let mut names: Vec<OsString> = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    names.sort();
    names.iter().map(|name| Place::new(Arc::clone(directory), name)).collect()
}

/// The mount that `name` in `directory` is on; an empty name is the directory itself (statx(2), `STATX_MNT_ID`).
///
/// # Errors
///
/// What the kernel says.
pub fn mount_of(directory: impl AsFd, name: &OsStr) -> io::Result<u64> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(rustix::fs::statx(directory, name, flags, StatxFlags::MNT_ID)?.stx_mnt_id)
}
