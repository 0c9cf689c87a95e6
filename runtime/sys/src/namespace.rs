//! Network namespaces of the calling thread: make one, look out of one.
//!
//! A socket belongs for its whole life to the namespace in which it was made, so short visits are all that is
//! needed to hold listeners, netlink sockets and relays in many namespaces from one thread. `network` is the
//! caller.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, unshare};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Makes a new network namespace and returns it; the calling thread stays where it is.
///
/// The namespace has a loopback interface that is down, and lives for as long as a descriptor, a mount, a
/// process or a socket refers to it.
///
/// unshare(2), namespaces(7). Needs CAP_SYS_ADMIN.
///
/// # Errors
///
/// What the kernel says to unshare(2) (`EPERM`, `ENOSPC` at `user.max_net_namespaces`), or to opening
/// `/proc/thread-self/ns/net`.
pub fn new_network() -> io::Result<OwnedFd> {
    let _home = Home::remember()?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    current_network()
}

/// The network namespace of the calling thread.
///
/// # Errors
///
/// When `/proc` is not mounted, or the process is out of descriptors.
pub fn current_network() -> io::Result<OwnedFd> {
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

/// Calls `visit` with the calling thread inside `network`, and comes back.
///
/// It comes back after a panic too. What `visit` starts (a thread, a child) begins its life inside.
///
/// setns(2). Needs CAP_SYS_ADMIN here and over `network`.
///
/// # Errors
///
/// When the namespace cannot be entered; `visit` has not been called then.
///
/// # Aborts
///
/// When the thread cannot return: everything that it does later would happen in the wrong network.
pub fn within<T>(network: BorrowedFd<'_>, visit: impl FnOnce() -> T) -> io::Result<T> {
    let _home = Home::remember()?;
    move_into_link_name_space(network, Some(LinkNameSpaceType::Network))?;
    Ok(visit())
}

/// Returns the thread to where it was, however its owner is left.
struct Home(OwnedFd);

impl Home {
    fn remember() -> io::Result<Self> {
        current_network().map(Self)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).is_err() {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::fs::MetadataExt as _;

    fn identity(namespace: &OwnedFd) -> u64 {
        File::from(namespace.try_clone().unwrap()).metadata().unwrap().st_ino()
    }

    #[test]
    fn a_visit_ends_where_it_began() {
        let home = identity(&current_network().unwrap());
        let away = new_network().unwrap();
        assert_ne!(identity(&away), home);
        let seen = within(away.as_fd(), || identity(&current_network().unwrap())).unwrap();
        assert_eq!(seen, identity(&away));
        assert_eq!(identity(&current_network().unwrap()), home);
    }

    #[test]
    fn a_panic_comes_back_too() {
        let home = identity(&current_network().unwrap());
        let away = new_network().unwrap();
        let visit = std::panic::AssertUnwindSafe(|| within(away.as_fd(), || panic!("on purpose")));
        assert!(std::panic::catch_unwind(visit).is_err());
        assert_eq!(identity(&current_network().unwrap()), home);
    }

    #[test]
    fn a_descriptor_of_something_else_is_refused() {
        let file = File::open("/dev/null").unwrap();
        assert!(within(file.as_fd(), || ()).is_err());
    }
}
