//! Children that share nothing but what they are given: clone3(2) in the manner of fork(2).

use std::io;
use std::ops::{BitOr, BitOrAssign};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::Pid;

/// The bit for clone3(2), from `linux/sched.h`. `libc::CLONE_INTO_CGROUP` is a `c_int`, in which it does not fit: it reads
/// as 0 there, and the child would run outside of its group.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What a child exits with when its code panicked.
const PANICKED: i32 = 101;

/// Kinds of namespaces that a child gets new, or that a thread leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces(u32);

impl Namespaces {
    /// No new one.
    pub const NONE: Self = Self(0);
    /// Mounts.
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS.cast_unsigned());
    /// Host and domain name.
    pub const UTS: Self = Self(libc::CLONE_NEWUTS.cast_unsigned());
    /// System V and POSIX queues.
    pub const IPC: Self = Self(libc::CLONE_NEWIPC.cast_unsigned());
    /// Process numbers.
    pub const PID: Self = Self(libc::CLONE_NEWPID.cast_unsigned());
    /// Links, addresses, ports.
    pub const NETWORK: Self = Self(libc::CLONE_NEWNET.cast_unsigned());
    /// Control group paths.
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP.cast_unsigned());

    /// Whether all kinds of `other` are in here.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The kinds that are in here and not in `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Namespaces {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Namespaces {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// A child that was started here.
#[derive(Debug)]
pub struct Child {
    /// Its number in the namespace of the caller.
    pub pid: Pid,
    /// The descriptor that stays with it even when the number is used again.
    pub pidfd: OwnedFd,
}

/// Runs `child` in a process of its own, in new `namespaces` and, if given, in a version 2 control group, with no
/// moment in which it runs outside of it. The process exits with what `child` returns, or 101 after a panic.
///
/// clone3(2), Linux 5.3; `CLONE_INTO_CGROUP` needs Linux 5.7.
///
/// # Errors
///
/// EINVAL when the calling process has other threads: one of them may hold the allocator's lock at this moment, and the
/// child, in which that thread does not exist, would wait for it for ever (signal-safety(7)). Otherwise what clone3 says.
pub fn spawn(
    namespaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> io::Result<Child> {
    require_one_thread()?;
    let mut pidfd: libc::c_int = -1;
    // SAFETY: `clone_args` is plain integers, for which zero is a valid value and is what clone3(2) wants in every
    // field that is not used.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(namespaces.0 | libc::CLONE_PIDFD.cast_unsigned());
    args.pidfd = (&raw mut pidfd).expose_provenance() as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }

    // SAFETY: `args` and `pidfd` outlive the call, and the size is that of the struct passed. With stack 0 and without
    // CLONE_VM, which `Namespaces` cannot hold, the child has its own copy of this stack, as after fork(2). The process
    // has one thread, so nothing that the copy holds is locked or half written by another.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(PANICKED);
            exit(code)
        }
        _ => {
            // SAFETY: with CLONE_PIDFD a successful clone3 has stored a new descriptor in `pidfd`, and nothing else
            // knows its number.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            Ok(Child { pid: pid.ok_or(io::ErrorKind::InvalidData)?, pidfd })
        }
    }
}

/// Parts the process in two, as fork(2): the parent gets the child's number, the child `None`.
///
/// # Errors
///
/// EINVAL when the calling process has other threads, see [`spawn`].
pub fn fork() -> io::Result<Option<Pid>> {
    require_one_thread()?;
    // SAFETY: without CLONE_VM and with stack 0 the child has its own copy of the memory and of this stack, and the
    // process has one thread, so that nothing in the copy is locked or half written by another.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(i32::try_from(pid).ok().and_then(Pid::from_raw)),
    }
}

/// Moves the calling thread into new `namespaces`; for [`Namespaces::PID`] only its later children.
///
/// unshare(2).
pub fn unshare(namespaces: Namespaces) -> io::Result<()> {
    // SAFETY: the flags are those of `Namespaces`, none of which parts the thread from the descriptor table, the
    // memory or the signal handlers of the process.
    let answer = unsafe { libc::unshare(namespaces.0.cast_signed()) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ends this process at once: no destructors, no exit handlers, which belong to the parent of a clone.
pub fn exit(code: i32) -> ! {
    // SAFETY: _exit(2) takes any number, touches no memory of ours and does not return.
    unsafe { libc::_exit(code) }
}

/// Asks the kernel whether the process has one thread.
///
/// unshare(2): `CLONE_THREAD` changes nothing for a process with one thread, and is EINVAL for any other.
fn require_one_thread() -> io::Result<()> {
    // SAFETY: for a process with one thread the call has no effect, for any other it fails.
    let answer = unsafe { libc::unshare(libc::CLONE_THREAD) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_refused() {
        let waiting = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| waiting.wait());
            let error = spawn(Namespaces::NONE, None, || 0).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
            waiting.wait();
        });
    }

    #[test]
    fn the_group_bit_is_the_one_of_the_kernel() {
        assert_eq!(CLONE_INTO_CGROUP, 1 << 33);
        let all = Namespaces::MOUNT | Namespaces::PID;
        assert!(
            all.contains(Namespaces::PID)
                && !all.without(Namespaces::PID).contains(Namespaces::PID)
        );
    }
}
