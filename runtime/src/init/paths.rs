//! Paths that are hidden or read-only, and the working directory.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, makedev};
use rustix::io::Errno;
use sys::mount::{Attributes, Extent};
use sys::root::Root;

use super::error::{Attempt, StepError};
use super::mounts::{clone_of, clone_tree, new_file_system, place, root_of};
use super::stage::Stage;

/// Hides the masked paths: a file behind `/dev/null`, a directory behind one empty file system that all of them share.
///
/// A path that does not exist needs no mask, and none is made for it.
pub(super) fn mask(stage: &mut Stage) -> Result<(), StepError> {
    let masked = stage.linux().and_then(|linux| linux.masked_paths().clone()).unwrap_or_default();
    let root = root_of(stage)?;
    let null = Path::new("/dev/null");
    let mut empty: Option<OwnedFd> = None;
    for path in masked {
        let Some(found) = find(root, Path::new(&path))? else { continue };
        let stat = rustix::fs::fstat(&found).attempt(|| path.clone())?;
        let cover = if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            require_null(null)?;
            clone_tree(null, false)?
        } else if let Some(first) = &empty {
            clone_of(first, false)?
        } else {
            empty_file_system()?
        };
        place(&cover, &found)
            .map_err(|error| StepError { detail: format!("{path}: {}", error.detail), ..error })?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && empty.is_none() {
            empty = Some(cover);
        }
    }
    Ok(())
}

/// What a path leads to inside the root, if it leads anywhere.
fn find(root: &Root, path: &Path) -> Result<Option<OwnedFd>, StepError> {
    match root.resolve(path, OFlags::PATH, Mode::empty()) {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            Ok(None)
        }
        Err(error) => Err(error).attempt(|| path.display().to_string()),
    }
}

/// Makes sure that the cover of a file is the null device and not something that was put in its place (CVE-2025-31133).
fn require_null(path: &Path) -> Result<(), StepError> {
    let stat = rustix::fs::stat(path).attempt(|| path.display().to_string())?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if is_device && stat.st_rdev == makedev(1, 3) {
        return Ok(());
    }
    Err(StepError::refused(
        libc::ENODEV,
        format!("{} of the host is not the null device", path.display()),
    ))
}

/// A read-only file system with nothing in it, of one inode.
fn empty_file_system() -> Result<OwnedFd, StepError> {
    let empty =
        new_file_system("tmpfs", &[("mode", "755"), ("nr_blocks", "1"), ("nr_inodes", "2")], &[])?;
    let inert = Attributes { set: sys::mount::INERT, ..Attributes::default() };
    sys::mount::set_attributes(&empty, inert, Extent::Single)
        .attempt(|| "an empty file system".to_owned())?;
    Ok(empty)
}

/// Makes the read-only paths read-only, with the mounts below them, by binding each over itself.
pub(super) fn protect(stage: &mut Stage) -> Result<(), StepError> {
    let paths = stage.linux().and_then(|linux| linux.readonly_paths().clone()).unwrap_or_default();
    let root = root_of(stage)?;
    let read_only = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    for path in paths {
        let Some(found) = find(root, Path::new(&path))? else { continue };
        let cover = clone_of(&found, true)?;
        sys::mount::set_attributes(&cover, read_only, Extent::Recursive)
            .attempt(|| path.clone())?;
        place(&cover, &found)
            .map_err(|error| StepError { detail: format!("{path}: {}", error.detail), ..error })?;
    }
    Ok(())
}

/// Makes the root itself read-only, if the spec says so; the mounts below it stay as they are.
pub(super) fn protect_root(stage: &mut Stage) -> Result<(), StepError> {
    if !stage.spec().root().as_ref().and_then(oci_spec::runtime::Root::readonly).unwrap_or(false) {
        return Ok(());
    }
    let root = root_of(stage)?.open_dir(Path::new(".")).attempt(|| "the root".to_owned())?;
    let read_only = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    sys::mount::set_attributes(root.as_fd(), read_only, Extent::Single)
        .attempt(|| "the root".to_owned())
}

/// Makes the working directory if the image has none, as Docker does. One that cannot be made is missed later, by the
/// step that enters it.
pub(super) fn create_working_directory(stage: &mut Stage) -> Result<(), StepError> {
    let path: PathBuf = stage.entry.process.cwd.clone();
    let root = root_of(stage)?;
    match root.create_dir_all(&path, Mode::from_raw_mode(0o755)) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(Errno::ROFS.raw_os_error()) => Ok(()),
        Err(error) => Err(error).attempt(|| path.display().to_string()),
    }
}

/// The kernel's own file system of processes, new and attached nowhere: nothing of the image or of another container
/// can be in the way of what is written to it (CVE-2025-52881).
pub(super) fn private_proc() -> Result<Root, StepError> {
    new_file_system("proc", &[], &[]).map(Root::from)
}

/// Writes a file of [`private_proc`], resolved without leaving it.
pub(super) fn write_proc(proc: &Root, path: &Path, value: &str) -> Result<(), StepError> {
    let what = || format!("/proc/{}", path.display());
    let file =
        proc.resolve(path, OFlags::WRONLY | OFlags::NOFOLLOW, Mode::empty()).attempt(what)?;
    rustix::io::write(&file, value.as_bytes()).attempt(|| format!("{value:?} to {}", what()))?;
    Ok(())
}
