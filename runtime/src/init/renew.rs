//! Files that a container which runs has mounted: its secrets and configs, and single files of the host that others have
//! taken the place of. What is mounted is replaced, file by file.
//!
//! A new mount comes below the old one, which is taken away then: whoever opens the file has the old content or the new
//! one, and never neither. Before Linux 6.5 it comes on top, and the old one stays below it until the container ends.
//!
//! # Why by descriptors
//!
//! The container may have renamed directories since its start. What is replaced is a name in a directory that is held
//! open, and a mount: a name on which something is mounted cannot be moved or removed by anybody (rename(2), EBUSY).

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use nix::sched::{CloneFlags, unshare};
use oci_spec::runtime::Mount;
use rustix::fs::{AtFlags, FileType, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sys::root::{Place, Root};

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

/// Symbolic links that are followed one after the other: the kernel's own limit (path_resolution(7)).
const LINKS: usize = 40;

/// Puts what `launch` mounts from the host at each of `targets`, all of them files, into the place of what a container
/// that runs has mounted there. `namespace` is its mount namespace (`/proc/PID/ns/mnt`).
///
/// # Errors
///
/// What could not be replaced. Those before it are; it can be asked for again.
pub fn renew(launch: &Launch, targets: &[&Path], namespace: BorrowedFd<'_>) -> Result<(), Failure> {
    aside("secrets and configs", || build(launch, targets, namespace))
}

/// Has each of `targets` show what is at its source in `launch`, where that is another file than the one that is mounted:
/// a name on the host was given to another file, and a mount holds the file and not the name. Where a source is gone, or
/// has become a directory, what is mounted stays. Returns the targets at which another file is seen. `namespace` is as
/// for [`renew`].
///
/// # Errors
///
/// The first that could not be replaced; it does not keep the others from it.
pub fn refresh(
    launch: &Launch,
    targets: &[PathBuf],
    namespace: BorrowedFd<'_>,
) -> Result<Vec<PathBuf>, Failure> {
    aside("files of the host", || look_again(launch, targets, namespace))
}

/// Does `work` in a thread of its own, which enters namespaces and ends.
fn aside<T: Send>(
    step: &str,
    work: impl FnOnce() -> Result<T, StepError> + Send,
) -> Result<T, Failure> {
    let done = thread::scope(|scope| {
        let thread = scope.spawn(work);
        thread.join().unwrap_or_else(|_| Err(StepError::refused(0, "it was cut off")))
    });
    done.map_err(|StepError { errno, detail }| Failure { step: step.to_owned(), errno, detail })
}

fn look_again(
    launch: &Launch,
    targets: &[PathBuf],
    namespace: BorrowedFd<'_>,
) -> Result<Vec<PathBuf>, StepError> {
    // Without that a thread may enter no mount namespace. The sources are those of the mount namespace of this process.
    unshare(CloneFlags::CLONE_FS).attempt(|| "a root of its own".to_owned())?;
    let mounts = launch.spec.mounts().iter().flatten();
    let wanted = mounts.filter(|mount| targets.iter().any(|one| one == mount.destination()));
    // What is not there is waited for.
    let there: Vec<(&Mount, OwnedFd)> = wanted
        .filter_map(|mount| Some((mount, open_source(mount).ok()??)))
        .filter(|(_, tree)| looked_at(tree).is_ok_and(|(_, kind)| kind != FileType::Directory))
        .collect();
    enter(namespace)?;
    let root = Root::open(Path::new("/")).attempt(|| "the root of the container".to_owned())?;
    let mut replaced = Vec::new();
    let mut failed = None;
    for (mount, tree) in there {
        let target = mount.destination();
        match show(&root, mount, &tree).map_err(|error| within(target, error)) {
            Ok(true) => replaced.push(target.clone()),
            Ok(false) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(replaced), Err)
}

/// Mounts `tree` where `mount` says, unless that is what is there.
fn show(root: &Root, mount: &Mount, tree: &OwnedFd) -> Result<bool, StepError> {
    let (place, old) = mounted_at(root, mount.destination())?;
    if looked_at(&old)? == looked_at(tree)? {
        return Ok(false);
    }
    set_attributes(tree, &Options::of(mount))?;
    replace(&place, &old, tree)?;
    Ok(true)
}

/// Which file it is, and of what kind.
fn looked_at(file: &OwnedFd) -> Result<((u64, u64), FileType), StepError> {
    let found = rustix::fs::fstat(file).attempt(|| "a file".to_owned())?;
    Ok(((found.st_dev, found.st_ino), FileType::from_raw_mode(found.st_mode)))
}

fn enter(namespace: BorrowedFd<'_>) -> Result<(), StepError> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount))
        .attempt(|| "entering the mount namespace of the container".to_owned())
}

fn within(target: &Path, error: StepError) -> StepError {
    StepError { detail: format!("{}: {}", target.display(), error.detail), ..error }
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
    enter(namespace)?;
    let root = Root::open(Path::new("/")).attempt(|| "the root of the container".to_owned())?;
    let user = identity::owner(&root, &launch.user)
        .map_err(|Failure { errno, detail, .. }| StepError { errno, detail })?;
    for one in &fresh {
        put(&root, one, user).map_err(|error| within(one.target, error))?;
    }
    Ok(())
}

fn put(root: &Root, fresh: &Fresh<'_>, user: (u32, u32)) -> Result<(), StepError> {
    if let Some((granted, copy)) = &fresh.copy {
        own(copy, granted, user)?;
    }
    set_attributes(&fresh.tree, &fresh.options)?;
    let (place, old) = mounted_at(root, fresh.target)?;
    replace(&place, &old, &fresh.tree)
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

/// The place of the file that is mounted at `target`, behind the links of the image, and what is mounted there.
fn mounted_at(root: &Root, target: &Path) -> Result<(Place, OwnedFd), StepError> {
    let mut target = target.to_owned();
    for _ in 0..LINKS {
        let place = root.place(&target).attempt(|| "its directory".to_owned())?;
        let old = place.open(OFlags::PATH).attempt(|| "what is there".to_owned())?;
        let flags = AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
        let found = rustix::fs::statx(&old, "", flags, StatxFlags::TYPE)
            .attempt(|| "what is there".to_owned())?;
        let is_mounted = found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
        match FileType::from_raw_mode(found.stx_mode.into()) {
            FileType::Symlink if !is_mounted => {
                let led = place.read_link().attempt(|| "a link".to_owned())?;
                target.pop();
                target.push(led);
            }
            kind if is_mounted && kind != FileType::Directory => return Ok((place, old)),
            _ => break,
        }
    }
    let detail = "the container has moved what was mounted there";
    Err(StepError::refused(libc::ENOENT, detail))
}

/// Mounts `tree` in the place of `old`, which is mounted at `place`.
fn replace(place: &Place, old: &OwnedFd, tree: &OwnedFd) -> Result<(), StepError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    let attempt = || "attaching the mount".to_owned();
    match rustix::mount::move_mount(tree, "", old, "", flags | BENEATH) {
        Err(Errno::INVAL) => {
            return rustix::mount::move_mount(tree, "", old, "", flags).attempt(attempt);
        }
        moved => moved.attempt(attempt)?,
    }
    rustix::process::fchdir(place.directory()).attempt(|| "its directory".to_owned())?;
    rustix::mount::unmount(place.name(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .attempt(|| "taking the old mount away".to_owned())
}
