//! Folders that hold no more than so many bytes, for what a container writes into its root.
//!
//! On btrfs such a folder is a subvolume of its own, of which the file system counts what it holds. Elsewhere it belongs to
//! a project, a number that each file made in it inherits (ext4 with `prjquota`, XFS with `pquota`). Either way the file
//! system itself knows the limit and which folder has it: nothing is written down beside it, so that whatever is cut off
//! is found by looking at the folder.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use sys::{btrfs, quota};

/// Projects below are for who counts by hand, and for other programs: `/etc/projid` and Docker count up from 1.
const FIRST_PROJECT: u32 = 1 << 30;
/// How often another number is tried, of a thousand million.
const ATTEMPTS: usize = 32;

/// A folder cannot be limited.
#[derive(Debug, thiserror::Error)]
pub enum QuotaError {
    /// Its file system cannot do it.
    #[error("{} is on {file_system}, which limits no folder{}", folder.display(), as_mounted(*file_system))]
    Unable {
        /// The folder, or the nearest one above it that is there.
        folder: PathBuf,
        /// What is there.
        file_system: FileSystem,
    },
    /// The kernel refuses.
    #[error("cannot {attempt} {}", folder.display())]
    Refused {
        /// What was tried.
        attempt: &'static str,
        /// With which folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A kind of file system, as far as it decides how a folder is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// It counts by subvolume.
    Btrfs,
    /// It counts by project, if it is mounted so.
    Ext4,
    /// It counts by project, if it is mounted so.
    Xfs,
    /// Files are in memory.
    Tmpfs,
    /// Layers of others.
    Overlay,
    /// Limits are for data sets as a whole.
    Zfs,
    /// Files of another machine.
    Nfs,
    /// Another one, by the number of statfs(2).
    Other(u64),
}

impl FileSystem {
    /// The file system on which `folder` is.
    fn of(folder: &Path) -> io::Result<Self> {
        let found = rustix::fs::statfs(folder)?;
        Ok(match u64::try_from(found.f_type).unwrap_or_default() {
            btrfs::MAGIC => Self::Btrfs,
            0xEF53 => Self::Ext4,
            0x5846_5342 => Self::Xfs,
            0x0102_1994 => Self::Tmpfs,
            0x794C_7630 => Self::Overlay,
            0x2FC1_2FC1 => Self::Zfs,
            0x6969 => Self::Nfs,
            other => Self::Other(other),
        })
    }
}

impl std::fmt::Display for FileSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Btrfs => "btrfs",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Tmpfs => "tmpfs",
            Self::Overlay => "an overlay",
            Self::Zfs => "zfs",
            Self::Nfs => "nfs",
            Self::Other(number) => return write!(f, "a file system of the type {number:#x}"),
        };
        f.write_str(name)
    }
}

/// A file system that could, and was not told to.
const fn as_mounted(file_system: FileSystem) -> &'static str {
    match file_system {
        FileSystem::Ext4 | FileSystem::Xfs => " as it is mounted: project quotas are off",
        _ => "",
    }
}

/// Makes sure that folders below `folder`, which need not be there yet, can be limited.
///
/// # Errors
///
/// [`QuotaError::Unable`], and [`QuotaError::Refused`] if that cannot be told.
pub fn check(folder: &Path) -> Result<(), QuotaError> {
    let there = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    let refused = refused("look at", there);
    let file_system = FileSystem::of(there).map_err(&refused)?;
    let able = match file_system {
        FileSystem::Btrfs => true,
        _ => quota::is_enforced(open(there).map_err(&refused)?.as_fd()).map_err(&refused)?,
    };
    match able {
        true => Ok(()),
        false => Err(QuotaError::Unable { folder: there.to_owned(), file_system }),
    }
}

/// Makes `folder`, which is not there yet and holds no more than `bytes`: whoever writes more is told EDQUOT, or ENOSPC
/// (ext4 says so).
///
/// # Errors
///
/// [`QuotaError`]. What was made is for [`remove`].
pub fn create(folder: &Path, bytes: u64) -> Result<(), QuotaError> {
    let parent = folder.parent().unwrap_or(Path::new("/"));
    check(parent)?;
    let made = match FileSystem::of(parent).map_err(refused("look at", parent))? {
        FileSystem::Btrfs => create_subvolume(parent, folder.file_name().unwrap_or_default()),
        _ => create_project(folder),
    };
    made.map_err(refused("make", folder))?;
    resize(folder, bytes)
}

fn create_subvolume(parent: &Path, name: &OsStr) -> io::Result<()> {
    let parent = open(parent)?;
    // Before, so that the subvolume is counted from its beginning.
    btrfs::enable_quota(parent.as_fd())?;
    btrfs::create_subvolume(parent.as_fd(), name)
}

/// Makes `folder` the only one of a project.
///
/// # Why
///
/// Numbers are drawn, and nobody keeps a list of them that could differ from what is on the disk: one that nothing
/// counts for is free, and is taken by giving it the folder. Of two that draw the same number at the same time at least
/// one sees that it is not alone, and draws again.
fn create_project(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)?;
    let folder = open(folder)?;
    for _ in 0..ATTEMPTS {
        let project = draw()?;
        if quota::usage(folder.as_fd(), project)? != quota::Usage::default() {
            continue;
        }
        quota::give(folder.as_fd(), project)?;
        if quota::usage(folder.as_fd(), project)?.files == 1 {
            return Ok(());
        }
    }
    Err(io::Error::other("no number of a project is free"))
}

fn draw() -> io::Result<u32> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(FIRST_PROJECT | u32::from_ne_bytes(bytes) >> 2)
}

/// Changes how many bytes `folder`, which [`create`] has made, may hold. What is in it stays, even if that is more.
///
/// # Errors
///
/// [`QuotaError::Refused`].
pub fn resize(folder: &Path, bytes: u64) -> Result<(), QuotaError> {
    limit(folder, Some(bytes)).map_err(refused("limit", folder))
}

fn limit(folder: &Path, bytes: Option<u64>) -> io::Result<()> {
    let file = open(folder)?;
    if FileSystem::of(folder)? == FileSystem::Btrfs {
        let Some(subvolume) = btrfs::subvolume(file.as_fd())? else {
            return Err(io::Error::other("it is no subvolume"));
        };
        return btrfs::limit(file.as_fd(), subvolume, bytes);
    }
    let project = quota::project(file.as_fd())?;
    if project < FIRST_PROJECT {
        return Err(io::Error::other("it is of no project of ours"));
    }
    quota::limit(file.as_fd(), project, bytes)
}

/// Removes `folder`, which [`create`] has made, with all that is in it, and forgets its limit. One that is not there is a success,
/// and so is one that was not finished.
///
/// # Errors
///
/// What the kernel says.
pub fn remove(folder: &Path) -> io::Result<()> {
    let file = match open(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    if FileSystem::of(folder)? == FileSystem::Btrfs {
        if let Some(subvolume) = btrfs::subvolume(file.as_fd())? {
            // Before it goes: its number is known from itself only. Where it is too early the kernel does it by itself.
            let _too_early = btrfs::forget_limit(file.as_fd(), subvolume);
            drop(file);
            let parent = open(folder.parent().unwrap_or(Path::new("/")))?;
            let name = folder.file_name().unwrap_or_default();
            if btrfs::destroy_subvolume(parent.as_fd(), name).is_ok() {
                return Ok(());
            }
        }
    } else {
        // The file system may have been mounted without quotas since.
        let _no_limits = limit(folder, None);
    }
    sys::remove::remove_tree(folder)
}

fn open(folder: &Path) -> io::Result<File> {
    File::open(folder)
}

fn refused(attempt: &'static str, folder: &Path) -> impl Fn(io::Error) -> QuotaError {
    move |source| QuotaError::Refused { attempt, folder: folder.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_limit_says_what_it_is() {
        let error = check(Path::new("/proc/self/not/there")).unwrap_err();
        assert!(error.to_string().contains("a file system of the type 0x9fa0"), "{error}");
        assert!(matches!(error, QuotaError::Unable { .. }));
    }

    #[test]
    fn what_was_never_limited_is_removed_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        fs::create_dir_all(plain.join("upper/deep")).unwrap();
        remove(&plain).unwrap();
        assert!(!plain.exists());
        remove(&plain).unwrap();
    }

    #[test]
    fn numbers_of_projects_are_ours_and_none_that_has_a_meaning() {
        for _ in 0..1000 {
            let project = draw().unwrap();
            assert!((FIRST_PROJECT..u32::MAX).contains(&project));
        }
    }
}
