//! The file system of a container that does not run, for those who copy into it or out of it.
//!
//! The same root and the same mounts from the host as at a start, without those that are made of nothing (`/proc`, `/dev`,
//! tmpfs): they are empty before a start and gone after an end.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use oci_spec::runtime::Mount;
use sys::mount::{Attributes, Extent};
use sys::root::Root;

use super::error::{Attempt, StepError};
use super::mounts::{attach_one, cut_mounts, open_source, place};
use super::rootfs::{open_path, tree};
use crate::failure::Failure;
use crate::launch::{Launch, Rootfs, Upper};

/// Enters a mount namespace of this process's own, mounts the file system of the container in it, and gives its root.
///
/// The process must have one thread (unshare(2)); what it mounts goes with it. Paths of the host lead where they have led.
///
/// # Errors
///
/// The step that failed. A container whose changes are in memory has none to show.
pub fn view(launch: &Launch) -> Result<Root, Failure> {
    build(launch).map_err(|StepError { errno, detail }| Failure {
        step: "file system".to_owned(),
        errno,
        detail,
    })
}

fn build(launch: &Launch) -> Result<Root, StepError> {
    if let Rootfs::Overlay { upper: Upper::Memory, .. } = &launch.rootfs {
        return Err(StepError::refused(
            0,
            "its changes were kept in memory and went with its last process",
        ));
    }
    let mounts = launch.spec.mounts().clone().unwrap_or_default();
    unshare(CloneFlags::CLONE_NEWNS).attempt(|| "a mount namespace".to_owned())?;
    let sources = mounts.iter().map(source).collect::<Result<Vec<_>, StepError>>()?;
    cut_mounts()?;
    let top = open_path(Path::new("/"))?;
    let tree = tree(&launch.rootfs, &top)?;
    let private = Attributes { propagation: libc::MS_PRIVATE, ..Attributes::default() };
    sys::mount::set_attributes(&tree, private, Extent::Recursive)
        .attempt(|| "making it private".to_owned())?;
    place(&tree, &top)?;
    let root = Root::from(tree);
    for (mount, source) in mounts.iter().zip(sources) {
        if source.is_some() {
            attach_one(&root, mount, source, None)?;
        }
    }
    Ok(root)
}

/// What is mounted from the host. A start makes some of it: without one it is not there, and nothing is mounted.
fn source(mount: &Mount) -> Result<Option<OwnedFd>, StepError> {
    match open_source(mount) {
        Err(error) if error.errno == libc::ENOENT => Ok(None),
        opened => opened,
    }
}
