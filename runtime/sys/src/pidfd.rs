//! Processes by descriptor: what a number means later, and how a process ended that is not our child.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags};

/// Opens the process with this number, whichever it is: pidfd_open(2), Linux 5.3.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    // rustix refuses a negative number by a panic.
    let pid = (pid > 0).then(|| Pid::from_raw(pid)).flatten().ok_or(io::ErrorKind::NotFound)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Opens the process with this number if it is the one that started then, in clock ticks since boot.
///
/// The descriptor is opened first and the time read afterwards: if the number had been given to another process before,
/// the time is another; if it is given away afterwards, the descriptor does not follow.
///
/// # Errors
///
/// [`io::ErrorKind::NotFound`] if there is no such process, or another one by now.
pub fn open_same(pid: i32, started: u64) -> io::Result<OwnedFd> {
    let gone = |error: io::Error| match error.raw_os_error() {
        Some(libc::ESRCH) => io::ErrorKind::NotFound.into(),
        _ => error,
    };
    let pidfd = open(pid).map_err(gone)?;
    if start_time(pid).map_err(gone)? != started {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(pidfd)
}

/// When a process started, in clock ticks since boot: field 22 of proc_pid_stat(5).
pub fn start_time(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the name in parentheses, and may itself contain spaces and parentheses.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = rest.split_ascii_whitespace().nth(19).and_then(|text| text.parse().ok());
    field.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "no start time in /proc/PID/stat")
    })
}

/// Sends a signal by number, the real-time ones included: pidfd_send_signal(2).
///
/// # Errors
///
/// ESRCH when the process has ended, EINVAL for what is no signal.
pub fn send(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let pidfd = pidfd.as_fd().as_raw_fd();
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is borrowed for the call, the kernel checks the number of the signal, and a null `info`
    // means that of kill(2).
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, info, 0) };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Opens a namespace of a process, by its name in `/proc/PID/ns`, and makes sure that it is that of this process and
/// not of a later one with the same number.
///
/// # Errors
///
/// ESRCH when the process has ended, and what opening the file says.
pub fn open_namespace(pid: i32, started: u64, name: &str) -> io::Result<OwnedFd> {
    let pidfd = open_same(pid, started)?;
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/{name}"))?;
    // Signal 0 reaches a process that has not been waited for: its number was not another's meanwhile.
    send(&pidfd, 0)?;
    Ok(namespace.into())
}

/// The number of a process in our namespace, or `None` if it has ended: `PIDFD_GET_INFO`, Linux 6.13.
pub fn number(pidfd: impl AsFd) -> io::Result<Option<i32>> {
    match info(pidfd, libc::PIDFD_INFO_PID) {
        Ok(info) => Ok(i32::try_from(info.pid).ok()),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How a process ended, as the status word of wait(2); `None` while it runs or has not been waited for by its parent.
///
/// `PIDFD_INFO_EXIT`, Linux 6.15: works for a process that is not our child, as long as the descriptor was open when it
/// was waited for.
///
/// # Errors
///
/// ENOTTY on a kernel without the call, [`io::ErrorKind::Unsupported`] on one that cannot tell the end.
pub fn exit_word(pidfd: impl AsFd) -> io::Result<Option<i32>> {
    match info(pidfd, libc::PIDFD_INFO_EXIT) {
        Ok(info) if info.mask & u64::from(libc::PIDFD_INFO_EXIT) != 0 => Ok(Some(info.exit_code)),
        Ok(_) => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
            Err(io::ErrorKind::Unsupported.into())
        }
        Err(error) => Err(error),
    }
}

/// How a process ended that may not have been waited for yet, as the status word of wait(2); `None` while it runs, or
/// when the kernel cannot tell.
///
/// While it is a zombie its word is in field 52 of proc_pid_stat(5), afterwards it is with the descriptor.
pub fn last_word(pidfd: impl AsFd, pid: i32, started: u64) -> Option<i32> {
    let by_descriptor = || exit_word(&pidfd).ok().flatten();
    by_descriptor().or_else(|| zombie_word(pid, started)).or_else(by_descriptor)
}

fn zombie_word(pid: i32, started: u64) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let same = fields.get(19)?.parse() == Ok(started) && fields.first() == Some(&"Z");
    same.then(|| fields.get(49)?.parse().ok())?
}

/// Asks for the parts of a process's description in `mask`; which of them came is in the mask of the answer.
fn info(pidfd: impl AsFd, mask: libc::c_uint) -> io::Result<libc::pidfd_info> {
    // SAFETY: `pidfd_info` is plain integers, for which zero is a valid value.
    let mut info: libc::pidfd_info = unsafe { std::mem::zeroed() };
    info.mask = u64::from(mask);
    // SAFETY: the request number carries the size of `pidfd_info`, the kernel writes no more than that, and `info`
    // outlives the call; the descriptor is open, and one that is no pidfd answers ENOTTY.
    let answer =
        unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) };
    if answer == 0 { Ok(info) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_number_is_only_good_with_its_start_time() {
        let own = i32::try_from(std::process::id()).unwrap();
        let started = start_time(own).unwrap();
        assert_eq!(number(open_same(own, started).unwrap()).unwrap(), Some(own));
        assert_eq!(open_same(own, started + 1).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(open(-1).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_end_of_a_process_is_known_after_it_was_waited_for() {
        let mut child = Command::new("sh")
            .args(["-c", "read x; exit 42"])
            .stdin(std::process::Stdio::piped())
            .spawn();
        let child = child.as_mut().unwrap();
        let pidfd = open(i32::try_from(child.id()).unwrap()).unwrap();
        assert_eq!(exit_word(&pidfd).unwrap(), None);
        let number_of = i32::try_from(child.id()).unwrap();
        let started = start_time(number_of).unwrap();
        assert_eq!(last_word(&pidfd, number_of, started), None);
        drop(child.stdin.take());
        let ended = rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN);
        rustix::event::poll(&mut [ended], None).unwrap();
        assert_eq!(last_word(&pidfd, number_of, started), Some(42 << 8));
        child.wait().unwrap();
        assert_eq!(last_word(&pidfd, number_of, started), Some(42 << 8));
        assert_eq!(exit_word(&pidfd).unwrap(), Some(42 << 8));
        assert_eq!(number(&pidfd).unwrap(), None);
    }
}
