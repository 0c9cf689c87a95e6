//! Secrets and configs of a container that runs: what is mounted for them is replaced, file by file.
//!
//! A new mount comes below the old one, which is taken away then: whoever opens the file has the old content or the new
//! one, and never neither. Before Linux 6.5 it comes on top, and the old one stays below it until the container ends.
//!
//! # Why by descriptors
//!
//! The container may have renamed directories since its start. What is replaced is a name in a directory that is held
//! open, and a mount: a name on which something is mounted cannot be moved or removed by anybody (rename(2), EBUSY).

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{AtFlags, FileType, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sys::root::Root;

use super::error::{Attempt, StepError};
use super::grants::{copy_one, own};
use super::identity;
use super::mounts::{clone_tree, cut_mounts, new_file_system, open_source, place, set_attributes};
use super::options::Options;
use super::rootfs::open_path;
use crate::failure::Failure;
use crate::launch::{GrantedFile, Grants, Launch};

/// `MOVE_MOUNT_BENEATH` of `linux/mount.h`, since Linux 6.5: below what is mounted at the place, and not on top of it.
const BENEATH: MoveMountFlags = MoveMountFlags::from_bits_retain(0x200);

/// Puts what `launch` mounts from the host at each of `targets`, all of them files, into the place of what a container
/// that runs has mounted there. `namespace` is its mount namespace (`/proc/PID/ns/mnt`).
///
/// # Errors
///
/// What could not be replaced. Those before it are; it can be asked for again.
pub fn renew(launch: &Launch, targets: &[&Path], namespace: BorrowedFd<'_>) -> Result<(), Failure> {
    // A thread of its own, which enters namespaces and ends.
    let renewed = thread::scope(|scope| {
        let thread = scope.spawn(|| build(launch, targets, namespace));
        thread.join().unwrap_or_else(|_| Err(StepError::refused(0, "it was cut off")))
    });
    renewed.map_err(|StepError { errno, detail }| Failure {
        step: "secrets and configs".to_owned(),
        errno,
        detail,
    })
}

/// A mount, attached nowhere yet, and the copy in memory that it shows, if it is one.
struct Fresh<'l> {
    target: &'l Path,
    tree: OwnedFd,
    options: Options,
    copy: Option<(&'l GrantedFile, OwnedFd)>,
}

fn build(launch: &Launch, targets: &[&Path], namespace: BorrowedFd<'_>) -> Result<(), StepError> {
    unshare(CloneFlags::CLONE_NEWNS).attempt(|| "a mount namespace".to_owned())?;
    cut_mounts()?;
    let mut fresh = open(launch, targets)?;
    copy(&launch.grants, &mut fresh)?;
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount))
        .attempt(|| "entering the mount namespace of the container".to_owned())?;
    let root = Root::open(Path::new("/")).attempt(|| "the root of the container".to_owned())?;
    let user = identity::owner(&root, &launch.user)
        .map_err(|Failure { errno, detail, .. }| StepError { errno, detail })?;
    for one in &fresh {
        let within = |error: StepError| StepError {
            detail: format!("{}: {}", one.target.display(), error.detail),
            ..error
        };
        if let Some((granted, copy)) = &one.copy {
            own(copy, granted, user).map_err(within)?;
        }
        set_attributes(&one.tree, &one.options).map_err(within)?;
        replace(&root, one.target, &one.tree).map_err(within)?;
    }
    Ok(())
}

/// The sources of what is mounted at `targets`.
fn open<'l>(launch: &'l Launch, targets: &[&Path]) -> Result<Vec<Fresh<'l>>, StepError> {
    let mounts = launch.spec.mounts().iter().flatten();
    let wanted = mounts.filter(|mount| targets.contains(&mount.destination().as_path()));
    let fresh = wanted.map(|mount| {
        let target = mount.destination().as_path();
        let tree = open_source(mount)?.ok_or_else(|| {
            let detail = format!("{} is nothing of the host", target.display());
            StepError::refused(libc::EINVAL, detail)
        })?;
        Ok(Fresh { target, tree, options: Options::of(mount), copy: None })
    });
    fresh.collect()
}

/// Puts copies in memory in the place of the sources of which the container gets one.
fn copy<'l>(grants: &'l Grants, fresh: &mut [Fresh<'l>]) -> Result<(), StepError> {
    if grants.files.is_empty() {
        return Ok(());
    }
    let memory = new_file_system("tmpfs", &[("mode", "700")], &[])?;
    // A kernel before 6.15 clones only what is attached somewhere. Nothing of this mount namespace is seen elsewhere.
    place(&memory, open_path(&grants.staging)?)?;
    for (number, granted) in grants.files.iter().enumerate() {
        let Some(one) = fresh.iter_mut().find(|one| *one.target == granted.target) else {
            continue;
        };
        let name = number.to_string();
        let copy = copy_one(&one.tree, &memory, &name, granted)
            .attempt(|| format!("a copy of the source of {}", one.target.display()))?;
        one.tree = clone_tree(&grants.staging.join(name), false)?;
        one.copy = Some((granted, copy));
    }
    Ok(())
}

/// Mounts `tree` in the place of what is mounted at `target`.
fn replace(root: &Root, target: &Path, tree: &OwnedFd) -> Result<(), StepError> {
    let place = root.place(target).attempt(|| "its directory".to_owned())?;
    let old = place.open(OFlags::PATH).attempt(|| "what is there".to_owned())?;
    let flags = AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let found = rustix::fs::statx(&old, "", flags, StatxFlags::TYPE)
        .attempt(|| "what is there".to_owned())?;
    let is_file = FileType::from_raw_mode(found.stx_mode.into()) == FileType::RegularFile;
    if !is_file || !found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        let detail = "the container has moved what was mounted there";
        return Err(StepError::refused(libc::ENOENT, detail));
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    let attempt = || "attaching the mount".to_owned();
    match rustix::mount::move_mount(tree, "", &old, "", flags | BENEATH) {
        Err(Errno::INVAL) => {
            return rustix::mount::move_mount(tree, "", &old, "", flags).attempt(attempt);
        }
        moved => moved.attempt(attempt)?,
    }
    rustix::process::fchdir(place.directory()).attempt(|| "its directory".to_owned())?;
    rustix::mount::unmount(place.name(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .attempt(|| "taking the old mount away".to_owned())
}
