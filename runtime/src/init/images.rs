//! Content of other images, mounted read-only.

use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;
use sys::root::Root;

use super::error::{Attempt, StepError};
use super::mounts::{clone_of, place};
use super::rootfs::{detached, open_path};
use super::stage::Stage;
use crate::launch::Upper;

/// Puts the content of images in the place of the sources of their mounts.
pub(super) fn open(stage: &mut Stage) -> Result<(), StepError> {
    let images = std::mem::take(&mut stage.launch.images);
    let mounts = stage.spec().mounts().clone().unwrap_or_default();
    for image in &images {
        let target = &image.target;
        let index = mounts.iter().position(|mount| mount.destination() == target);
        let source = index.and_then(|index| stage.sources.get_mut(index));
        let Some(source) = source else {
            let detail = format!("nothing is mounted at {}", target.display());
            return Err(StepError::refused(libc::ENOENT, detail));
        };
        let tree = detached(&image.layers, &Upper::ReadOnly)?;
        // A kernel before 6.15 clones only what is attached somewhere. Nothing of this mount namespace reaches the host.
        let staging = &stage.launch.grants.staging;
        place(&tree, open_path(staging)?)?;
        let inner = image.subpath.as_deref().unwrap_or(Path::new("."));
        let found = Root::from(tree).resolve(inner, OFlags::PATH, Mode::empty());
        let found = found.attempt(|| format!("{} of the image", inner.display()))?;
        *source = Some(clone_of(&found, false)?);
        // The clone keeps it.
        rustix::mount::unmount(staging, UnmountFlags::DETACH)
            .attempt(|| format!("unmounting {}", staging.display()))?;
    }
    Ok(())
}
