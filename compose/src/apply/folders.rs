//! The folders that a container has on disk.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::record::ContainerPaths;

/// A folder could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the folder {}", path.display())]
pub struct FolderError {
    /// Which one.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Makes the folder of one container, which is garbage until there is a record in it.
///
/// # Errors
///
/// [`FolderError`].
pub(super) fn begin(paths: &ContainerPaths) -> Result<(), FolderError> {
    if let Some(all) = paths.folder().parent() {
        spread_below(all);
    }
    let path = paths.folder().to_owned();
    fs::create_dir_all(&path).map_err(|source| FolderError { path, source })
}

/// Makes the folders in it, all but [`ContainerPaths::limited`], which comes before them.
///
/// # Errors
///
/// [`FolderError`] names the first that could not be made.
pub(super) fn make(paths: &ContainerPaths) -> Result<(), FolderError> {
    for path in [paths.upper(), paths.work(), paths.log(), paths.etc()] {
        fs::create_dir_all(&path).map_err(|source| FolderError { path, source })?;
    }
    // What the container's files are is nobody's business but root's; its own root is open to all of its users.
    let closed = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(|source| FolderError { path: path.to_owned(), source })
    };
    closed(paths.folder(), 0o700)?;
    closed(&paths.upper(), 0o755)
}

/// Makes what hooks find a container by: `config.json`, and an empty `rootfs` beside it.
///
/// # Errors
///
/// [`FolderError`] names what could not be made.
pub(super) fn bundle(paths: &ContainerPaths, spec: &Spec) -> Result<PathBuf, FolderError> {
    let folder = paths.folder().join("bundle");
    let rootfs = folder.join("rootfs");
    fs::create_dir_all(&rootfs).map_err(|source| FolderError { path: rootfs, source })?;
    let path = folder.join("config.json");
    let text = serde_json::to_vec(spec).expect("a spec has string keys only");
    fs::write(&path, text).map_err(|source| FolderError { path, source })?;
    Ok(folder)
}

/// Makes the folder of all containers, if it is not there, such that ext4 gives each folder in it a group of blocks of
/// its own.
///
/// # Why
///
/// For some minutes ext4 without a journal does not use the number of a deleted file again (`recently_deleted` in
/// `fs/ext4/ialloc.c`), and looks at each of them, one by one, whenever a file is made in the same group. Some `up` and `down` in a row leave
/// thousands. Elsewhere than on ext4 nobody knows the flag, which is only a hint (chattr(1), `T`).
fn spread_below(folder: &Path) {
    let made = folder.parent().map(fs::create_dir_all);
    if made.is_some_and(|made| made.is_ok())
        && fs::create_dir(folder).is_ok()
        && let Ok(folder) = File::open(folder)
        && let Ok(flags) = ioctl_getflags(&folder)
    {
        let _ = ioctl_setflags(&folder, flags | IFlags::TOPDIR);
    }
}
