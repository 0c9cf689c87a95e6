//! What is in `/dev` beside its mounts.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid, makedev};
use rustix::io::Errno;
use sys::root::{Place, Root};

use super::error::{Attempt, StepError};
use super::mounts::{attach, clone_tree, root_of, target};
use super::options::Options;
use super::stage::Stage;

/// The devices that every container has: OCI runtime spec, config-linux, "Default Devices".
#[rustfmt::skip]
const DEFAULTS: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3), ("/dev/zero", 1, 5), ("/dev/full", 1, 7),
    ("/dev/random", 1, 8), ("/dev/urandom", 1, 9), ("/dev/tty", 5, 0),
];

/// The links that every container has: OCI runtime spec, config-linux, "Dev symbolic links".
#[rustfmt::skip]
const LINKS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"), ("/dev/stdin", "/proc/self/fd/0"), ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"), ("/dev/ptmx", "pts/ptmx"), ("/dev/core", "/proc/kcore"),
];

const DIRECTORY: Mode = Mode::from_raw_mode(0o755);

/// A device node to be made.
struct Node {
    path: PathBuf,
    kind: FileType,
    device: u64,
    mode: u32,
    owner: (u32, u32),
}

/// Makes the devices and links, if `/dev` is the container's own and not a folder of its image or of the host.
pub(super) fn create(stage: &mut Stage) -> Result<(), StepError> {
    let own = |mount: &oci_spec::runtime::Mount| {
        mount.destination() == Path::new("/dev") && mount.typ().as_deref() != Some("bind")
    };
    let root = root_of(stage)?;
    for device in stage.linux().and_then(|linux| linux.devices().as_ref()).into_iter().flatten() {
        create_node(root, &Node::of(device))?;
    }
    if !stage.spec().mounts().iter().flatten().any(own) {
        return Ok(());
    }
    for (path, major, minor) in DEFAULTS {
        let device = makedev(*major, *minor);
        let node = Node {
            path: path.into(),
            kind: FileType::CharacterDevice,
            device,
            mode: 0o666,
            owner: (0, 0),
        };
        create_node(root, &node)?;
    }
    for (path, points_to) in LINKS {
        let place =
            root.place_creating(Path::new(path), DIRECTORY).attempt(|| (*path).to_owned())?;
        match place.create_symlink(points_to.as_ref()) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            answer => answer.attempt(|| (*path).to_owned())?,
        }
    }
    Ok(())
}

impl Node {
    fn of(device: &LinuxDevice) -> Self {
        let number = |number: i64| u32::try_from(number).unwrap_or_default();
        let kind = match device.typ() {
            LinuxDeviceType::B => FileType::BlockDevice,
            LinuxDeviceType::P => FileType::Fifo,
            _ => FileType::CharacterDevice,
        };
        Self {
            path: device.path().clone(),
            kind,
            device: makedev(number(device.major()), number(device.minor())),
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
        }
    }
}

fn create_node(root: &Root, node: &Node) -> Result<(), StepError> {
    let what = || node.path.display().to_string();
    let place = root.place_creating(&node.path, DIRECTORY).attempt(what)?;
    match place.create_node(node.kind, Mode::from_raw_mode(node.mode), node.device) {
        Ok(()) => give(&place, node.owner).attempt(what),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        // Without the right to make devices, the host's own is bound to the same place.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            let source = clone_tree(&node.path, false)?;
            attach(source, target(root, &node.path, node.kind)?, &Options::default())
        }
        Err(error) => Err(error).attempt(what),
    }
}

fn give(place: &Place, (user, group): (u32, u32)) -> std::io::Result<()> {
    if (user, group) == (0, 0) {
        return Ok(());
    }
    let node = place.open(OFlags::PATH)?;
    let flags = rustix::fs::AtFlags::EMPTY_PATH;
    Ok(rustix::fs::chownat(node, "", Some(Uid::from_raw(user)), Some(Gid::from_raw(group)), flags)?)
}

/// Binds the terminal of the process to `/dev/console`.
///
/// Its descriptor was opened in the mount namespace of the host, from which no mount can be cloned here, so the terminal
/// is opened once more by its name, and compared (CVE-2025-52565).
pub(super) fn console(stage: &mut Stage) -> Result<(), StepError> {
    let (true, Some(standard)) = (stage.entry.terminal, &stage.entry.standard) else {
        return Ok(());
    };
    let what = || "the terminal of the container".to_owned();
    let given = rustix::fs::fstat(&standard.input).attempt(what)?;
    let name = std::fs::read_link(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&standard.input)
    ))
    .attempt(what)?;
    let found = rustix::fs::openat(
        CWD,
        &name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .and_then(rustix::fs::fstat)
    .attempt(|| name.display().to_string())?;
    if (found.st_rdev, found.st_ino, found.st_dev) != (given.st_rdev, given.st_ino, given.st_dev) {
        return Err(StepError::refused(
            Errno::NOTTY.raw_os_error(),
            format!("{} is another terminal", name.display()),
        ));
    }
    let source = clone_tree(&name, false)?;
    let target = target(root_of(stage)?, Path::new("/dev/console"), FileType::CharacterDevice)?;
    attach(source.as_fd(), &target, &Options::default())
}
