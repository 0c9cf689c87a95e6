//! Namespaces of a running container, for another one to share.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};

use crate::launch::NamespaceKind;

/// Opens a namespace of the process with this number that started at this time (clock ticks since boot), to share it.
///
/// # Errors
///
/// [`io::ErrorKind::NotFound`] when that process has ended.
pub fn namespace(pid: i32, started: u64, kind: NamespaceKind) -> io::Result<OwnedFd> {
    let name = match kind {
        NamespaceKind::Network => "net",
        NamespaceKind::Pid => "pid",
        NamespaceKind::Ipc => "ipc",
        NamespaceKind::Uts => "uts",
        NamespaceKind::Mount => "mnt",
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace =
        rustix::fs::openat(CWD, format!("/proc/{pid}/ns/{name}"), flags, Mode::empty())?;
    // Looked at afterwards: if the number was another process's then, it is so now, or the time is another.
    sys::pidfd::open_same(pid, started)?;
    Ok(namespace)
}
