//! What a process is to the kernel beside its memory: its program, its signals, its keys, its children.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags};

use crate::clone::{Child, exit};

/// The highest signal number (signal(7)).
const LAST_SIGNAL: i32 = 64;

/// How many descriptors a program can be given.
const DESCRIPTORS: usize = 8;

/// A program to be started with exactly these descriptors.
#[derive(Debug)]
pub struct Program<'a> {
    /// The program, as [`crate::executable::sealed`] gives it.
    pub executable: BorrowedFd<'a>,
    /// Its arguments, the first being its name.
    pub arguments: Vec<CString>,
    /// Its environment as `NAME=value`.
    pub environment: Vec<CString>,
    /// What it finds as descriptors 0, 1, 2 and so on, at most 8; nothing else is left open.
    pub descriptors: Vec<BorrowedFd<'a>>,
    /// Whether it is one of ours that outlives the terminal.
    pub session: Session,
}

/// The session that a program is started in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// The caller's, and the caller's working directory.
    Inherited,
    /// One of its own without a terminal, in the directory `/`.
    Own,
}

/// Starts a program. It may be called by a process with threads.
///
/// # Errors
///
/// What clone or execveat says; a program that could not be executed is not left behind.
pub fn start(program: &Program<'_>) -> io::Result<Child> {
    if program.descriptors.len() > DESCRIPTORS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let arguments = pointers(&program.arguments);
    let environment = pointers(&program.environment);
    let mut descriptors = [-1; DESCRIPTORS];
    for (slot, descriptor) in descriptors.iter_mut().zip(&program.descriptors) {
        *slot = descriptor.as_raw_fd();
    }
    let (failure, report) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let prepared = Prepared {
        executable: program.executable.as_raw_fd(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        descriptors,
        count: program.descriptors.len(),
        session: program.session,
        report: report.as_raw_fd(),
    };
    // SAFETY: the process may have threads, whose locks the child inherits as they are at this moment. The child makes
    // only system calls on what was prepared above, neither allocating nor locking, and then executes or exits.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    match pid {
        -1 => return Err(io::Error::last_os_error()),
        0 => prepared.execute(),
        _ => {}
    }
    drop(report);
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    // The child is ours and has not been waited for, so that its number is still its own.
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let mut errno = [0; 4];
    match File::from(failure).read_exact(&mut errno) {
        Ok(()) => {
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())?;
            Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))
        }
        // The pipe was closed by a successful exec.
        Err(_) => Ok(Child { pid, pidfd }),
    }
}

/// The terminated array that exec wants.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// All that the child of [`start`] needs, so that it allocates nothing.
struct Prepared {
    executable: RawFd,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
    descriptors: [RawFd; DESCRIPTORS],
    count: usize,
    session: Session,
    report: RawFd,
}

impl Prepared {
    /// Runs in the child: system calls only, see [`start`].
    fn execute(&self) -> ! {
        let errno = self.attempt();
        // SAFETY: `errno` is four readable bytes; the descriptor was moved out of the way of the others.
        unsafe { libc::write(self.report, (&raw const errno).cast(), 4) };
        exit(127)
    }

    /// Returns the errno of what failed.
    fn attempt(&self) -> i32 {
        // Each descriptor is first copied above all targets, so that placing one does not overwrite the next.
        const ABOVE: libc::c_int = 64;
        let mut copies = [-1; DESCRIPTORS];
        for (copy, descriptor) in copies.iter_mut().zip(self.descriptors).take(self.count) {
            // SAFETY: fcntl(2) with numbers; the caller lends the descriptors, which are open.
            *copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, ABOVE) };
            if *copy == -1 {
                return last_errno();
            }
        }
        // SAFETY: as above.
        let executable = unsafe { libc::fcntl(self.executable, libc::F_DUPFD_CLOEXEC, ABOVE) };
        // SAFETY: as above.
        let report = unsafe { libc::fcntl(self.report, libc::F_DUPFD_CLOEXEC, ABOVE) };
        if executable == -1 || report == -1 {
            return last_errno();
        }
        for (target, copy) in (0..).zip(copies).take(self.count) {
            // SAFETY: this process is a copy that will only execute or exit: no value that owns `target` is used again.
            if unsafe { libc::dup2(copy, target) } == -1 {
                return last_errno();
            }
        }
        let first = u32::try_from(self.count).unwrap_or(u32::MAX);
        // SAFETY: the call takes numbers, and only marks descriptors.
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        default_signals();
        if self.session == Session::Own {
            // SAFETY: setsid(2) takes nothing.
            unsafe { libc::setsid() };
            // SAFETY: the path is a terminated string.
            if unsafe { libc::chdir(c"/".as_ptr()) } == -1 {
                return last_errno();
            }
        }
        // SAFETY: the arrays are terminated by a null pointer, their strings by a zero byte, and all were made before
        // the clone and are alive in this copy of the memory.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                executable,
                c"".as_ptr(),
                self.arguments,
                self.environment,
                libc::AT_EMPTY_PATH,
            )
        };
        let errno = last_errno();
        // SAFETY: as for the other targets: this process only reports and exits.
        unsafe { libc::dup2(report, self.report) };
        errno
    }
}

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)
}

/// Sets every signal to its default action and blocks none: what a program expects to find after exec.
pub fn default_signals() {
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the default action runs no code of ours; signals that cannot be changed answer EINVAL.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: `sigset_t` is plain bits; all zero is an empty set in every libc for Linux.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `none` outlives the call, and a null pointer for the old set is allowed.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) };
}

/// Gives this process a session keyring of its own, so that a container does not find the keys of the host:
/// keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`.
///
/// # Errors
///
/// ENOSYS on a kernel without keys, EDQUOT when the user has too many.
pub fn join_new_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; the call touches no memory of ours.
    let answer = unsafe {
        libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, ptr::null::<libc::c_char>())
    };
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Is PID 1 for `child` until that ends, and then ends in the same way a shell would: closes every descriptor, hands
/// every signal on, waits for every orphan.
///
/// All signals have to be blocked before, by [`block_signals`], so that none is lost in between: PID 1 does not even
/// see a signal with a default action that is not blocked (pid_namespaces(7)).
pub fn reap(child: Pid) -> ! {
    // SAFETY: this function does not return, so that no value which owns a descriptor is used, or dropped, after this.
    unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) };
    let all = every_signal();
    loop {
        let mut signal = 0;
        // SAFETY: both pointers lead to values that outlive the call.
        if unsafe { libc::sigwait(&raw const all, &raw mut signal) } != 0 {
            continue;
        }
        if signal != libc::SIGCHLD {
            // SAFETY: kill(2) takes numbers; the child has not been waited for, so that the number is its own.
            unsafe { libc::kill(child.as_raw_nonzero().get(), signal) };
            continue;
        }
        while let Ok(Some((pid, status))) =
            rustix::process::wait(rustix::process::WaitOptions::NOHANG)
        {
            if pid == child {
                let code = status.exit_status();
                exit(code.unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or_default()));
            }
        }
    }
}

/// Blocks every signal that can be blocked, so that it waits for [`reap`].
pub fn block_signals() {
    let all = every_signal();
    // SAFETY: `all` outlives the call, and a null pointer for the old set is allowed.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut()) };
}

fn every_signal() -> libc::sigset_t {
    // SAFETY: `sigset_t` is plain bits, for which zero is a valid value.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `all` is a set that outlives the call.
    unsafe { libc::sigfillset(&raw mut all) };
    all
}

/// Makes `descriptor` the standard input, output or error (0, 1, 2) of this process.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`] for another number; otherwise what dup2(2) says.
pub fn install_standard(descriptor: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    match number {
        0 => Ok(rustix::stdio::dup2_stdin(descriptor)?),
        1 => Ok(rustix::stdio::dup2_stdout(descriptor)?),
        2 => Ok(rustix::stdio::dup2_stderr(descriptor)?),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Waits on a child of ours to end, by its descriptor: the status word of wait(2).
pub fn wait_word(pidfd: BorrowedFd<'_>) -> io::Result<i32> {
    use rustix::process::{WaitId, WaitIdOptions};
    let status = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED)
    })?;
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    let code = status.exit_status().map(|code| (code & 0xff) << 8);
    Ok(code.or(status.terminating_signal()).unwrap_or_default())
}

/// A descriptor on which signals arrive as data, for a loop that polls: signalfd(2). The signals are blocked from then on.
pub fn signal_descriptor(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: `sigset_t` is plain bits, for which zero is a valid value.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in signals {
        // SAFETY: `set` outlives the call; a number that is no signal answers EINVAL.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    // SAFETY: `set` outlives the call, and a null pointer for the old set is allowed.
    if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `set` outlives the call; -1 asks for a new descriptor.
    let descriptor =
        unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if descriptor == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nothing else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Takes all signals that wait on a descriptor of [`signal_descriptor`], and says which they were.
pub fn pending_signals(descriptor: BorrowedFd<'_>) -> io::Result<Vec<i32>> {
    let mut signals = Vec::new();
    let mut buffer = [0; size_of::<libc::signalfd_siginfo>()];
    loop {
        match rustix::io::read(descriptor, &mut buffer) {
            Ok(0) | Err(rustix::io::Errno::AGAIN) => return Ok(signals),
            // The number is the first field of `signalfd_siginfo`, 32 bits.
            Ok(_) => signals.extend(buffer.first_chunk().map(|number| i32::from_ne_bytes(*number))),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_program_gets_its_descriptors_and_nothing_else() {
        let shell = File::open("/bin/sh").unwrap();
        let (output, input) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        let null = File::open("/dev/null").unwrap();
        let text = |text: &str| CString::new(text).unwrap();
        let child = start(&Program {
            executable: shell.as_fd(),
            arguments: vec![text("sh"), text("-c"), text("exec >&3; ls /proc/$$/fd; pwd; exit 7")],
            environment: vec![text("PATH=/usr/bin:/bin")],
            descriptors: vec![null.as_fd(), null.as_fd(), null.as_fd(), input.as_fd()],
            session: Session::Own,
        });
        drop(input);
        let mut said = String::new();
        File::from(output).read_to_string(&mut said).unwrap();
        assert_eq!(said, "0\n1\n2\n3\n/\n");
        assert_eq!(wait_word(child.unwrap().pidfd.as_fd()).unwrap(), 7 << 8);
    }

    #[test]
    fn a_program_that_cannot_be_executed_is_an_error() {
        let none = File::open("/etc/passwd").unwrap();
        let program = Program {
            executable: none.as_fd(),
            arguments: Vec::new(),
            environment: Vec::new(),
            descriptors: Vec::new(),
            session: Session::Inherited,
        };
        assert_eq!(start(&program).unwrap_err().raw_os_error(), Some(libc::EACCES));
    }
}
