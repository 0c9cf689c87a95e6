//! The root file system: an overlay of layers, or a directory; and the change into it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, XattrFlags};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, UnmountFlags};
use sys::mount::{Attributes, Extent};
use sys::root::{Place, Root};

use super::error::{Attempt, StepError};
use super::mounts::{clone_tree, message_of, mounted, new_file_system, place, root_of};
use super::stage::Stage;
use crate::launch::{Rootfs, Upper};

/// On the work directory: the boot in which it was last used.
const BOOT_MARK: &str = "trusted.compose.boot";

/// In the work directory: what the last mount has left, until it is swept.
const SPENT: &str = "spent";

/// Mounts the root file system over the present root, where no path of the host is hidden by it: the root directory of a
/// process is its own place, which a mount on top does not change.
pub(super) fn mount(stage: &mut Stage) -> Result<(), StepError> {
    let top = open_path(Path::new("/"))?;
    let tree = tree(&stage.launch.rootfs, &top)?;
    let private = Attributes { propagation: libc::MS_PRIVATE, ..Attributes::default() };
    sys::mount::set_attributes(&tree, private, Extent::Recursive)
        .attempt(|| "making it private".to_owned())?;
    place(&tree, &top)?;
    stage.root = Some(Root::from(tree));
    Ok(())
}

/// The root file system, mounted nowhere yet; `top` is the root of this process.
pub(super) fn tree(rootfs: &Rootfs, top: &OwnedFd) -> Result<OwnedFd, StepError> {
    match rootfs {
        Rootfs::Directory(path) => clone_tree(path, true),
        Rootfs::Overlay { lower, upper } => overlay(lower, upper, top),
    }
}

/// Makes the mounted root file system the root of this mount namespace, and takes the old one away.
///
/// pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one, and is unmounted from there.
pub(super) fn pivot(stage: &mut Stage) -> Result<(), StepError> {
    let root = root_of(stage)?.open_dir(Path::new(".")).attempt(|| "the new root".to_owned())?;
    rustix::process::fchdir(&root).attempt(|| "entering the new root".to_owned())?;
    rustix::process::pivot_root(".", ".").attempt(|| "pivot_root".to_owned())?;
    unmount(&root, "the old root")?;
    // What is left on top of the new root would be the root of everyone who joins this namespace later: setns(2) enters
    // the topmost mount, as `..` in the root does.
    let top = mount_id(CWD, "..")?;
    if top == mount_id(root.as_fd(), "")? {
        return Ok(());
    }
    Err(StepError::refused(libc::EBUSY, "a part of the old root could not be unmounted"))
}

fn mount_id(directory: BorrowedFd<'_>, path: &str) -> Result<u64, StepError> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let stat = rustix::fs::statx(directory, path, flags, StatxFlags::MNT_ID)
        .attempt(|| "statx".to_owned())?;
    Ok(stat.stx_mnt_id)
}

pub(super) fn open_path(path: &Path) -> Result<OwnedFd, StepError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).attempt(|| path.display().to_string())
}

/// Mounts layers, attached nowhere.
pub(super) fn detached(lower: &[PathBuf], upper: &Upper) -> Result<OwnedFd, StepError> {
    overlay(lower, upper, &open_path(Path::new("/"))?)
}

fn overlay(lower: &[PathBuf], upper: &Upper, top: &OwnedFd) -> Result<OwnedFd, StepError> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .attempt(|| "overlay".to_owned())?;
    let _ = rustix::mount::fsconfig_set_string(context.as_fd(), "source", "overlay");
    let layers: Vec<OwnedFd> =
        lower.iter().map(|path| open_path(path)).collect::<Result<_, _>>()?;
    match upper {
        Upper::ReadOnly => match lower {
            // An overlay needs two layers; one alone is its own view.
            [only] => read_only(clone_tree(only, false)?),
            _ => read_only(of_layers(&context, &layers)?),
        },
        Upper::Directory { upper, work } => {
            allow_again(work)?;
            let (upper, work) = (open_path(upper)?, open_path(work)?);
            set(&context, "upperdir", &by_descriptor(&upper))?;
            set(&context, "workdir", &by_descriptor(&work))?;
            volatile(&context)?;
            of_layers(&context, &layers)
        }
        Upper::Memory => {
            let memory = new_file_system("tmpfs", &[("mode", "755")], &[])?;
            for name in ["upper", "work"] {
                rustix::fs::mkdirat(&memory, name, Mode::from_raw_mode(0o755))
                    .attempt(|| name.to_owned())?;
            }
            // Overlay takes layers only from mounts of this namespace, so the tmpfs is attached, under the overlay to come.
            place(&memory, top)?;
            set(&context, "upperdir", &format!("{}/upper", by_descriptor(&memory)))?;
            set(&context, "workdir", &format!("{}/work", by_descriptor(&memory)))?;
            volatile(&context)?;
            let tree = of_layers(&context, &layers)?;
            // The overlay keeps it; attached it would stay on top of the old root when that is unmounted.
            unmount(&memory, "the tmpfs of changes")?;
            Ok(tree)
        }
    }
}

/// Turns a configured overlay into a mount, attached nowhere yet.
fn of_layers(context: &OwnedFd, layers: &[OwnedFd]) -> Result<OwnedFd, StepError> {
    let what = || message_of(context, &format!("creating it with {} layers", layers.len()));
    sys::overlay::create(context.as_fd(), layers).attempt(what)?;
    mounted(context)
}

/// Unmounts the topmost mount of the place that a mount's own descriptor stands for.
fn unmount(mount: &OwnedFd, what: &str) -> Result<(), StepError> {
    rustix::process::fchdir(mount).attempt(|| what.to_owned())?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).attempt(|| format!("unmounting {what}"))?;
    rustix::process::chdir("/").attempt(|| "/".to_owned())
}

fn read_only(tree: OwnedFd) -> Result<OwnedFd, StepError> {
    let attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    sys::mount::set_attributes(&tree, attributes, Extent::Single)
        .attempt(|| "making it read-only".to_owned())?;
    Ok(tree)
}

/// No sync of the upper file system, which costs milliseconds at each unmount: containers can be made again.
///
/// A kernel before 5.10 does not know the option, and is only slower.
fn volatile(context: &OwnedFd) -> Result<(), StepError> {
    match rustix::mount::fsconfig_set_flag(context.as_fd(), "volatile") {
        Err(Errno::INVAL) => Ok(()),
        answer => answer.attempt(|| "the option volatile".to_owned()),
    }
}

fn set(context: &OwnedFd, name: &str, value: &str) -> Result<(), StepError> {
    rustix::mount::fsconfig_set_string(context.as_fd(), name, value)
        .attempt(|| format!("{name}={value}"))
}

/// A short path to what a descriptor stands for, without characters that overlay would read as its own syntax.
pub(super) fn by_descriptor(descriptor: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

/// Lets a volatile overlay be mounted again, if this is the boot in which it was mounted before.
///
/// Overlay leaves `incompat/volatile` in its work directory and refuses to mount while that is there, since an unclean
/// end may have lost any part of what was written (kernel, `Documentation/filesystems/overlayfs.rst`, "Volatile mount").
/// What was written in this boot is in the page cache and whole; what is from an earlier one may not be.
fn allow_again(work: &Path) -> Result<(), StepError> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .attempt(|| "the boot id".to_owned())?;
    let boot = boot.trim();
    let mut mark = [0; 64];
    let marked = rustix::fs::getxattr(work, BOOT_MARK, &mut mark).unwrap_or_default();
    let same = &mark[..marked] == boot.as_bytes();
    let left = Root::open(work)
        .and_then(|root| root.place(Path::new("work/incompat")))
        .and_then(|place| Ok(place.metadata()?.map(|_| place)));
    match left {
        Ok(Some(_)) if !same => {
            let changes = work.display();
            return Err(StepError::refused(
                libc::ESTALE,
                format!(
                    "the changes beside {changes} are from before a reboot and may be incomplete"
                ),
            ));
        }
        Ok(Some(place)) => {
            put_aside(&place, work).attempt(|| format!("{}/work/incompat", work.display()))?
        }
        Ok(None) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).attempt(|| work.display().to_string()),
    }
    if !same {
        rustix::fs::setxattr(work, BOOT_MARK, boot.as_bytes(), XattrFlags::empty())
            .attempt(|| format!("a mark on {}", work.display()))?;
    }
    Ok(())
}

/// Takes a directory out of the way of a mount. To remove it waits for the journal of the file system, which is for [`sweep`]; it is
/// removed all the same if nobody has swept.
fn put_aside(place: &Place, work: &Path) -> std::io::Result<()> {
    let spent = Root::open(work)?.place(Path::new(SPENT))?;
    place.rename(&spent).or_else(|_| place.remove_all())
}

/// Removes what mounts have put aside in the directory `work`.
pub(crate) fn sweep(work: &Path) -> std::io::Result<()> {
    match Root::open(work) {
        Ok(root) => root.place(Path::new(SPENT))?.remove_all(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_a_mount_leaves_is_put_aside_and_swept() {
        let folder = tempfile::tempdir().unwrap();
        let work = folder.path();
        let left = work.join("work/incompat/volatile");
        let spent = work.join(SPENT);
        let put_aside = || {
            fs::create_dir_all(&left).unwrap();
            let place = Root::open(work).unwrap().place(Path::new("work/incompat")).unwrap();
            super::put_aside(&place, work).unwrap();
            assert!(!work.join("work/incompat").exists());
        };
        put_aside();
        assert!(spent.join("volatile").exists());
        // The supervisor was killed before it could sweep.
        put_aside();
        assert!(spent.join("volatile").exists());
        sweep(work).unwrap();
        assert_eq!(fs::read_dir(work).unwrap().count(), 1);
        sweep(work).unwrap();
        sweep(&work.join("nowhere")).unwrap();
    }
}
