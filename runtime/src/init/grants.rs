//! Secrets and configs: copies in memory, whose owners and permissions are the container's own business.
//!
//! The file of the host stays as it is. The copies live in one tmpfs of the container, which goes with it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::mount::UnmountFlags;

use super::error::{Attempt, StepError};
use super::identity;
use super::mounts::{clone_tree, new_file_system, place, root_of};
use super::rootfs::{by_descriptor, open_path};
use super::stage::Stage;
use crate::launch::GrantedFile;

/// Copies the granted files, and puts the copies in the place of the sources of their mounts.
pub(super) fn copy(stage: &mut Stage) -> Result<(), StepError> {
    let grants = std::mem::take(&mut stage.launch.grants);
    if grants.files.is_empty() {
        return Ok(());
    }
    let staging = &grants.staging;
    let memory = new_file_system("tmpfs", &[("mode", "700")], &[])?;
    // A kernel before 6.15 clones only what is attached somewhere. Nothing of this mount namespace reaches the host.
    place(&memory, open_path(staging)?)?;
    let mounts = stage.spec().mounts().clone().unwrap_or_default();
    for (number, granted) in grants.files.iter().enumerate() {
        let target = &granted.target;
        let index = mounts.iter().position(|mount| mount.destination() == target);
        let source = index.and_then(|index| stage.sources.get(index)?.as_ref());
        let (Some(index), Some(source)) = (index, source) else {
            let detail = format!("nothing is mounted at {}", target.display());
            return Err(StepError::refused(libc::ENOENT, detail));
        };
        let name = number.to_string();
        let copy = copy_one(source, &memory, &name, granted)
            .attempt(|| format!("a copy of the source of {}", target.display()))?;
        stage.sources[index] = Some(clone_tree(&staging.join(name), false)?);
        stage.granted.push(copy);
    }
    // The clones keep it.
    rustix::mount::unmount(staging, UnmountFlags::DETACH)
        .attempt(|| format!("unmounting {}", staging.display()))?;
    stage.launch.grants = grants;
    Ok(())
}

/// Copies one file into `memory`.
pub(super) fn copy_one(
    source: &OwnedFd,
    memory: &OwnedFd,
    name: &str,
    granted: &GrantedFile,
) -> io::Result<OwnedFd> {
    let mut from = File::open(by_descriptor(source))?;
    if !from.metadata()?.is_file() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut copy = File::from(rustix::fs::openat(memory, name, flags, Mode::empty())?);
    io::copy(&mut from, &mut copy)?;
    rustix::fs::fchmod(&copy, Mode::from_raw_mode(granted.mode))?;
    Ok(copy.into())
}

/// Gives the copies to their owners.
pub(super) fn give(stage: &mut Stage) -> Result<(), StepError> {
    let copies = std::mem::take(&mut stage.granted);
    if copies.is_empty() {
        return Ok(());
    }
    let user = identity::look_up_in(root_of(stage)?, &stage.entry.process)?;
    for (granted, copy) in stage.launch.grants.files.iter().zip(copies) {
        own(&copy, granted, (user.user, user.group))?;
    }
    Ok(())
}

/// Gives a copy to its owner: the user of the container where nothing else is said.
pub(super) fn own(
    copy: &OwnedFd,
    granted: &GrantedFile,
    (user, group): (u32, u32),
) -> Result<(), StepError> {
    let owner = Uid::from_raw(granted.uid.unwrap_or(user));
    let group = Gid::from_raw(granted.gid.unwrap_or(group));
    let what = || format!("the owner of {}", granted.target.display());
    rustix::fs::fchown(copy, Some(owner), Some(group)).attempt(what)?;
    // A change of the owner takes set-user-id bits away.
    rustix::fs::fchmod(copy, Mode::from_raw_mode(granted.mode)).attempt(what)
}
