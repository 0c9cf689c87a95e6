//! The mounts of the spec: bind mounts from the host, and file systems of the container's own.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use oci_spec::runtime::Mount;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
};
use sys::mount::{Attributes, Extent};
use sys::root::Root;

use super::error::{Attempt, StepError};
use super::options::{Kind, Options};
use super::stage::Stage;
use super::{cgroups, error};
use crate::cgroup::Place;

/// What a directory is made with that an image does not have.
const DIRECTORY: Mode = Mode::from_raw_mode(0o755);

/// Takes the sources of all bind mounts, still in the peer groups of their originals.
pub(super) fn open_sources(stage: &mut Stage) -> Result<(), StepError> {
    let mounts = stage.spec().mounts().clone().unwrap_or_default();
    stage.sources = mounts.iter().map(open_source).collect::<Result<_, _>>()?;
    Ok(())
}

pub(super) fn open_source(mount: &Mount) -> Result<Option<OwnedFd>, StepError> {
    let kind = Options::of(mount).kind;
    if kind == Kind::FileSystem {
        return Ok(None);
    }
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    clone_tree(source, kind == Kind::RecursiveBind).map(Some)
}

/// Clones the mount at a trusted path, attached nowhere yet: open_tree(2), `OPEN_TREE_CLONE`.
pub(super) fn clone_tree(source: &Path, recursive: bool) -> Result<OwnedFd, StepError> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(CWD, source, flags)
        .attempt(|| format!("the source {}", source.display()))
}

/// Clones the mount that a descriptor stands for, attached nowhere yet.
pub(super) fn clone_of(source: impl AsFd, recursive: bool) -> Result<OwnedFd, StepError> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(&source, "", flags)
        .attempt(|| format!("a clone of {}", sys::fds::describe(&source)))
}

/// Parts this mount namespace from the host's: nothing that is mounted or unmounted in one is seen in the other.
pub(super) fn cut_propagation(_: &mut Stage) -> Result<(), StepError> {
    cut_mounts()
}

/// As [`cut_propagation`], for whoever builds no container.
pub(super) fn cut_mounts() -> Result<(), StepError> {
    let flags = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change("/", flags).attempt(|| "making all mounts private".to_owned())
}

/// Attaches every mount of the spec, in its order.
pub(super) fn attach_all(stage: &mut Stage) -> Result<(), StepError> {
    let mounts = stage.spec().mounts().clone().unwrap_or_default();
    let sources = std::mem::take(&mut stage.sources);
    let root = root_of(stage)?;
    let place = stage.entry.process.cgroup.as_ref();
    mounts
        .iter()
        .zip(sources)
        .try_for_each(|(mount, source)| attach_one(root, mount, source, place))
}

/// The root, which the step "root file system" has made.
pub(super) fn root_of(stage: &Stage) -> Result<&Root, StepError> {
    stage.root.as_ref().ok_or_else(|| StepError::refused(libc::ENOENT, "there is no root yet"))
}

pub(super) fn attach_one(
    root: &Root,
    mount: &Mount,
    source: Option<OwnedFd>,
    place: Option<&Place>,
) -> Result<(), StepError> {
    let options = Options::of(mount);
    let destination = mount.destination();
    let within = |error: StepError| StepError {
        detail: format!("{}: {}", destination.display(), error.detail),
        ..error
    };
    if let Some(source) = source {
        let kind = FileType::from_raw_mode(
            rustix::fs::fstat(&source).attempt(|| "its source".to_owned())?.st_mode,
        );
        let target = target(root, destination, kind).map_err(within)?;
        return attach(&source, &target, &options).map_err(within);
    }
    refuse_link(root, destination)?;
    let target = target(root, destination, FileType::Directory).map_err(within)?;
    let kind = mount.typ().as_deref().unwrap_or_default();
    if kind == "cgroup" || kind == "cgroup2" {
        return cgroups::mount(&target, &options, place).map_err(within);
    }
    let values: Vec<(&str, &str)> =
        options.values.iter().map(|(name, value)| (&**name, &**value)).collect();
    let flags: Vec<&str> = options.flags.iter().map(String::as_str).collect();
    let tree = new_file_system(kind, &values, &flags).map_err(within)?;
    attach(&tree, &target, &options).map_err(within)
}

/// Refuses an image in which `/proc`, `/sys` or `/dev` is a symbolic link: the mount would land elsewhere, and what is
/// masked, read-only and trusted by path would be files of the image (CVE-2026-41579).
fn refuse_link(root: &Root, destination: &Path) -> Result<(), StepError> {
    let mut names =
        destination.components().filter(|component| matches!(component, Component::Normal(_)));
    let (Some(first), None) = (names.next(), names.next()) else { return Ok(()) };
    let place = root.place(Path::new(&first)).attempt(|| destination.display().to_string())?;
    let found = place.metadata().attempt(|| destination.display().to_string())?;
    match found.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        None | Some(FileType::Directory) => Ok(()),
        Some(_) => Err(StepError::refused(
            libc::ENOTDIR,
            format!("{} is not a directory in the image", destination.display()),
        )),
    }
}

/// Opens the place of a mount inside the root, which is made if it is missing: a file for anything but a directory.
pub(super) fn target(root: &Root, path: &Path, kind: FileType) -> Result<OwnedFd, StepError> {
    let what = || "the mount point".to_owned();
    if kind == FileType::Directory {
        return root.create_dir_all(path, DIRECTORY).attempt(what);
    }
    match root.resolve(path, OFlags::PATH, Mode::empty()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        found => return found.attempt(what),
    }
    let place = root.place_creating(path, DIRECTORY).attempt(what)?;
    match place.create_file(Mode::from_raw_mode(0o644)) {
        Ok(_) => {}
        // A link to nothing: the mount cannot go where it points, and is put over the link's own place by no kernel call.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(StepError::refused(
                libc::ELOOP,
                "the mount point is a dangling symbolic link",
            ));
        }
        Err(error) => return Err::<OwnedFd, _>(error).attempt(what),
    }
    place.open(OFlags::PATH).attempt(what)
}

/// Makes a new file system with the options that are its own: fsopen(2), fsconfig(2), fsmount(2).
pub(super) fn new_file_system(
    kind: &str,
    values: &[(&str, &str)],
    flags: &[&str],
) -> Result<OwnedFd, StepError> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
        .attempt(|| format!("a file system of kind {kind}"))?;
    // The source is what mountinfo shows.
    let _ = rustix::mount::fsconfig_set_string(context.as_fd(), "source", kind);
    for (name, value) in values {
        rustix::mount::fsconfig_set_string(context.as_fd(), *name, *value)
            .attempt(|| format!("the option {name}={value} of {kind}"))?;
    }
    for flag in flags {
        rustix::mount::fsconfig_set_flag(context.as_fd(), *flag)
            .attempt(|| format!("the option {flag} of {kind}"))?;
    }
    finish(&context)
        .map_err(|error| error::StepError { detail: format!("{kind}: {}", error.detail), ..error })
}

/// Turns a configured file system into a mount, attached nowhere yet.
fn finish(context: &OwnedFd) -> Result<OwnedFd, StepError> {
    rustix::mount::fsconfig_create(context.as_fd())
        .attempt(|| message_of(context, "creating it"))?;
    mounted(context)
}

/// The mount of a file system that has been created.
pub(super) fn mounted(context: &OwnedFd) -> Result<OwnedFd, StepError> {
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .attempt(|| message_of(context, "mounting it"))
}

/// What the file system itself has to say about its last refusal (fsopen(2): the log of the context), or `otherwise`.
pub(super) fn message_of(context: &OwnedFd, otherwise: &str) -> String {
    let mut buffer = [0; 512];
    match rustix::io::read(context, &mut buffer) {
        Ok(length) => {
            String::from_utf8_lossy(&buffer[..length]).trim_start_matches("e ").trim().to_owned()
        }
        Err(_) => otherwise.to_owned(),
    }
}

/// Sets the options of a mount and puts it over `target`.
pub(super) fn attach(
    tree: impl AsFd,
    target: impl AsFd,
    options: &Options,
) -> Result<(), StepError> {
    set_attributes(&tree, options)?;
    place(&tree, &target)
}

/// Puts a mount over `target`, by descriptors alone: move_mount(2).
pub(super) fn place(tree: impl AsFd, target: impl AsFd) -> Result<(), StepError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", target, "", flags)
        .attempt(|| "attaching the mount".to_owned())
}

/// Sets the options of a mount that are not those of its file system. One without a propagation is private.
pub(super) fn set_attributes(tree: impl AsFd, options: &Options) -> Result<(), StepError> {
    let what = || "setting the mount's options".to_owned();
    let (propagation, spread) = match options.propagation {
        0 => (libc::MS_PRIVATE, Extent::Recursive),
        kind if options.propagation_recursive => (kind, Extent::Recursive),
        kind => (kind, Extent::Single),
    };
    let change = Attributes { propagation, ..Attributes::default() };
    sys::mount::set_attributes(&tree, change, spread).attempt(what)?;
    let all =
        Attributes { set: options.recursive, clear: options.recursive_cleared, propagation: 0 };
    if all != Attributes::default() {
        sys::mount::set_attributes(&tree, all, Extent::Recursive).attempt(what)?;
    }
    let one = Attributes { set: options.attributes, clear: options.cleared, propagation: 0 };
    if one != Attributes::default() {
        sys::mount::set_attributes(&tree, one, Extent::Single).attempt(what)?;
    }
    Ok(())
}
