//! Sessions, terminals, names, and namespaces of others.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::LinuxNamespaceType;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType};

use super::entry::{Entry, Standard, own_root};
use super::error::{Attempt, StepError};
use super::mounts::new_file_system;
use super::stage::Stage;
use crate::launch::NamespaceKind;

/// What the file system of pseudo-terminals says it is (`linux/magic.h`).
const DEVPTS: u64 = 0x1cd1;

/// Makes this process die with its parent until it executes its program: a keeper that is killed now could tell nobody
/// of a container that is half made.
pub(super) fn bind_to_parent(_: &mut Entry) -> Result<(), StepError> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .attempt(|| "prctl(PR_SET_PDEATHSIG)".to_owned())
}

/// Begins a session of its own, with its own keys and standard streams, and with the terminal if there is one.
pub(super) fn begin(entry: &mut Entry) -> Result<(), StepError> {
    // A process that leads its group already is refused, and has a session of its own then.
    let _ = rustix::process::setsid();
    match sys::process::join_new_session_keyring() {
        // A kernel without keys, or a host that forbids them: there are none to be kept from the container.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {}
        answer => answer.attempt(|| "a session keyring".to_owned())?,
    }
    let Some(standard) = &entry.standard else { return Ok(()) };
    let what = || "the standard streams".to_owned();
    for (number, stream) in
        [&standard.input, &standard.output, &standard.error].into_iter().enumerate()
    {
        let number = i32::try_from(number).unwrap_or_default();
        sys::process::install_standard(stream.as_fd(), number).attempt(what)?;
    }
    if entry.terminal {
        rustix::process::ioctl_tiocsctty(&standard.input)
            .attempt(|| "controlling the terminal".to_owned())?;
    }
    Ok(())
}

/// Puts a null device of its own in the place of the host's among the standard streams: gVisor gives what it has for them to
/// the user of its sandbox (`fchown(2)`), and that one belongs to everybody.
pub(super) fn part_from_null(entry: &mut Entry) -> Result<(), StepError> {
    let Some(standard) = &mut entry.standard else { return Ok(()) };
    let null = rustix::fs::makedev(1, 3);
    for stream in [&mut standard.input, &mut standard.output, &mut standard.error] {
        let stat = rustix::fs::fstat(&*stream).attempt(|| "a standard stream".to_owned())?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::CharacterDevice && stat.st_rdev == null {
            let memory = new_file_system("tmpfs", &[("mode", "700")], &[])?;
            let what = || "a null device".to_owned();
            rustix::fs::mknodat(&memory, "null", kind, Mode::from_raw_mode(0o666), null)
                .attempt(what)?;
            *stream =
                rustix::fs::openat(&memory, "null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                    .attempt(what)?;
        }
    }
    Ok(())
}

/// Joins the namespaces of others that came as descriptors.
pub(super) fn join_shared(stage: &mut Stage) -> Result<(), StepError> {
    for (kind, namespace) in std::mem::take(&mut stage.joins) {
        let only = match kind {
            NamespaceKind::Network => LinkNameSpaceType::Network,
            NamespaceKind::Ipc => LinkNameSpaceType::InterProcessCommunication,
            NamespaceKind::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
            // The parent has cloned this process into it.
            NamespaceKind::Pid => continue,
            // It is looked into, and left again.
            NamespaceKind::Mount => {
                stage.neighbour = Some(namespace);
                continue;
            }
        };
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(only))
            .attempt(|| format!("the {kind:?} namespace of another container"))?;
    }
    Ok(())
}

/// Joins all namespaces of a container at once; its root is then ours as well. That of process numbers the parent has
/// cloned this process into.
pub(super) fn join_all(container: &OwnedFd) -> Result<(), StepError> {
    let all = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::CONTROL_GROUP
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::NETWORK;
    rustix::thread::move_into_thread_name_spaces(container.as_fd(), all)
        .attempt(|| "the namespaces of the container".to_owned())
}

/// Sets the host and the domain name, in a namespace that is the container's own.
pub(super) fn names(stage: &mut Stage) -> Result<(), StepError> {
    if !stage.has_namespace(LinuxNamespaceType::Uts) {
        return Ok(());
    }
    if let Some(name) = stage.spec().hostname() {
        rustix::system::sethostname(name.as_bytes()).attempt(|| format!("the host name {name}"))?;
    }
    if let Some(name) = stage.spec().domainname() {
        rustix::system::setdomainname(name.as_bytes())
            .attempt(|| format!("the domain name {name}"))?;
    }
    Ok(())
}

/// Makes a pseudo-terminal of the container this process is in: its master and its slave.
///
/// What stands at `/dev/pts/ptmx` may be anything the container has put there, so the file system is looked at, and the
/// slave is taken from the master and not by name (CVE-2025-52565).
fn allocate_terminal() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let master = own_root()?.resolve(Path::new("dev/pts/ptmx"), flags, Mode::empty())?;
    let file_system = rustix::fs::fstatfs(&master)?;
    if u64::try_from(file_system.f_type) != Ok(DEVPTS) {
        return Err(rustix::io::Errno::NOTTY.into());
    }
    rustix::fs::fcntl_setfl(&master, OFlags::RDWR)?;
    unlocked(master)
}

/// Makes a pseudo-terminal of the namespace that this process is in, which is to be the host's.
pub(super) fn terminal_of_host() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    unlocked(rustix::pty::openpt(flags)?)
}

fn unlocked(master: OwnedFd) -> std::io::Result<(OwnedFd, OwnedFd)> {
    rustix::pty::unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    Ok((master, slave))
}

/// Makes a terminal of the container, sends its master over `socket`, and takes its slave as the standard streams.
pub(super) fn take_terminal(entry: &mut Entry, socket: &OwnedFd) -> Result<(), StepError> {
    let made = allocate_terminal().attempt(|| "a terminal of the container".to_owned())?;
    give_terminal(entry, socket, made)
}

/// Sends the master of a terminal over `socket`, and takes its slave as the standard streams.
pub(super) fn give_terminal(
    entry: &mut Entry,
    socket: &OwnedFd,
    (master, slave): (OwnedFd, OwnedFd),
) -> Result<(), StepError> {
    let what = || "a terminal of the container".to_owned();
    sys::fds::send(socket, b"terminal", &[master.as_fd()]).attempt(what)?;
    let copy = || slave.try_clone().attempt(what);
    entry.standard = Some(Standard { input: copy()?, output: copy()?, error: copy()? });
    Ok(())
}
