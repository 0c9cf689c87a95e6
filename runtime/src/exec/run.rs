//! The side of the command line: joins a running container, without anybody else's help.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::FileType;
use rustix::pipe::PipeFlags;
use rustix::process::{DumpableBehavior, Signal};

use super::ExecProcess;
use super::relay::Relay;
use crate::container::{self, Progress, Starting};
use crate::exit::ExitStatus;
use crate::failure::Failure;
use crate::init::{JoinStandard, Standard};

/// The signals that are handed on to the process.
const HANDED_ON: [i32; 6] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2];

/// The PID 1 of a running container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Its number on the host.
    pub pid: i32,
    /// Its start time in clock ticks since boot, which with the number is its identity.
    pub pid_started: u64,
}

/// What the process has as standard input, output and error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A new pseudo-terminal of the container, joined to the caller's own terminal.
    Terminal,
    /// The caller's own descriptors.
    Streams,
    /// Nothing; it is not waited for.
    Detached,
}

/// A process could not be run in a container.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The container has ended.
    #[error("the container is not running")]
    NotRunning(#[source] io::Error),
    /// The process did not reach its program; [`Failure::shell_code`] is the exit code for it.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The caller's own descriptors, or the terminal between them, failed.
    #[error("{attempt}")]
    Streams {
        /// What was attempted.
        attempt: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Runs one more process in a container and waits for it: with the container's namespaces, control groups,
/// capabilities and filter, and the user, directory and environment of `process`.
///
/// The calling process has one thread, and expects no signals of its own: those that end a program are handed on to the
/// other one, and stay blocked afterwards.
///
/// # Errors
///
/// [`ExecError`]; of a process that has started, only the exit code is of interest.
pub fn run(target: Target, mut process: ExecProcess, mode: Mode) -> Result<ExitStatus, ExecError> {
    let streams = |attempt| move |source: io::Error| ExecError::Streams { attempt, source };
    let container =
        sys::pidfd::open_same(target.pid, target.pid_started).map_err(ExecError::NotRunning)?;
    // The child must not be looked into by the container it enters.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| streams("prctl(PR_SET_DUMPABLE)")(error.into()))?;
    let mut signals = HANDED_ON.to_vec();
    if mode == Mode::Terminal {
        signals.push(libc::SIGWINCH);
        know_the_terminal(&mut process.env);
    }
    match mode {
        Mode::Detached => {
            let standard = nothing().map_err(streams("/dev/null"))?;
            let starting =
                container::exec(process, container, JoinStandard::Given(standard), None)?;
            reach(&starting)?;
            Ok(ExitStatus::exited(0))
        }
        Mode::Streams => {
            let signals = sys::process::signal_descriptor(&signals).map_err(streams("signalfd"))?;
            let mut standard = own().map_err(streams("our standard streams"))?;
            let mut pumps = Vec::new();
            if process.doorway.is_some() {
                pumps = Pump::between(&mut standard).map_err(streams("pipes"))?;
            }
            let starting =
                container::exec(process, container, JoinStandard::Given(standard), None)?;
            reach(&starting)?;
            wait(&starting.child.pidfd, &signals, pumps).map_err(streams("waiting for the process"))
        }
        Mode::Terminal => {
            let signals = sys::process::signal_descriptor(&signals).map_err(streams("signalfd"))?;
            let (ours, theirs) = sys::fds::message_pair().map_err(streams("socketpair"))?;
            let starting =
                container::exec(process, container, JoinStandard::Terminal(theirs), None)?;
            let master = receive_terminal(&starting, &ours)?;
            let relay = Relay::begin(master).map_err(streams("the terminal"))?;
            reach(&starting)?;
            relay.run(&starting.child.pidfd, &signals).map_err(streams("the terminal"))
        }
    }
}

/// Says what the terminal understands if nobody has: the container itself may have none.
fn know_the_terminal(env: &mut Vec<String>) {
    if !env.iter().any(|variable| variable.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
}

fn own() -> io::Result<Standard> {
    Ok(Standard {
        input: rustix::stdio::stdin().try_clone_to_owned()?,
        output: rustix::stdio::stdout().try_clone_to_owned()?,
        error: rustix::stdio::stderr().try_clone_to_owned()?,
    })
}

fn nothing() -> io::Result<Standard> {
    let open = || File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
    Ok(Standard { input: open()?, output: open()?, error: open()? })
}

/// Waits until the process has reached its program. One that has failed is waited for, so that nothing is left of it.
fn reach(starting: &Starting) -> Result<(), Failure> {
    loop {
        match starting.progress() {
            Progress::Reached | Progress::HandedOver(_) => return Ok(()),
            Progress::Failed(failure) => {
                // It exits at once; that it has is all there is to know.
                let _ = sys::process::wait_word(starting.child.pidfd.as_fd());
                return Err(failure);
            }
            Progress::Underway => {
                let mut polled = [PollFd::new(starting, PollFlags::IN)];
                // After an interruption the progress is looked at again.
                let _ = rustix::event::poll(&mut polled, None);
            }
        }
    }
}

/// Waits for the master that the process has made, or for its failure before that.
fn receive_terminal(starting: &Starting, socket: &OwnedFd) -> Result<OwnedFd, Failure> {
    let mut buffer = [0; 16];
    loop {
        match sys::fds::receive(socket, &mut buffer) {
            Ok((_, descriptors)) => {
                let missing = || Failure {
                    step: "terminal".to_owned(),
                    errno: 0,
                    detail: "no terminal came".to_owned(),
                };
                return descriptors.into_iter().next().ok_or_else(missing);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut polled =
                    [PollFd::new(socket, PollFlags::IN), PollFd::new(starting, PollFlags::IN)];
                // After an interruption both are looked at again.
                let _ = rustix::event::poll(&mut polled, None);
                if let Progress::Failed(failure) = starting.progress() {
                    let _ = sys::process::wait_word(starting.child.pidfd.as_fd());
                    return Err(failure);
                }
            }
            Err(error) => {
                return Err(Failure::of_call("terminal", &error, "its descriptor"));
            }
        }
    }
}

/// What goes on between a stream of ours and the pipe that a sandbox has instead of it. gVisor gives each stream to the user of
/// its sandbox (fchown(2)), be it a file or the terminal, and writes to a file where it believes the end to be, over what others
/// have written to it in the meantime.
#[derive(Debug)]
struct Pump {
    from: File,
    to: File,
    /// Read and not written yet.
    held: Vec<u8>,
    /// It is from us to the sandbox, which need not take it all.
    inwards: bool,
}

impl Pump {
    const BYTES: usize = 64 << 10;

    /// Puts pipes in the place of those streams that are neither pipes nor sockets.
    fn between(standard: &mut Standard) -> io::Result<Vec<Self>> {
        let mut pumps = Vec::new();
        let Standard { input, output, error } = standard;
        for (stream, inwards) in [(input, true), (output, false), (error, false)] {
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&*stream)?.st_mode);
            if matches!(kind, FileType::Fifo | FileType::Socket) {
                continue;
            }
            let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            let (ours, theirs) = if inwards { (write, read) } else { (read, write) };
            rustix::io::ioctl_fionbio(&ours, true)?;
            let stream = std::mem::replace(stream, theirs);
            let (from, to) = if inwards { (stream, ours) } else { (ours, stream) };
            pumps.push(Self { from: from.into(), to: to.into(), held: Vec::new(), inwards });
        }
        Ok(pumps)
    }

    /// What it waits for.
    fn polled(&self) -> PollFd<'_> {
        match self.held.is_empty() {
            true => PollFd::new(&self.from, PollFlags::IN),
            false => PollFd::new(&self.to, PollFlags::OUT),
        }
    }

    /// Moves one piece on; whether there may be more.
    fn step(&mut self) -> io::Result<bool> {
        if self.held.is_empty() {
            let mut piece = vec![0; Self::BYTES];
            match self.from.read(&mut piece) {
                Ok(0) => return Ok(false),
                Ok(length) => {
                    piece.truncate(length);
                    self.held = piece;
                }
                Err(error) if is_later(&error) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        match self.to.write(&self.held) {
            Ok(length) => {
                self.held.drain(..length);
                Ok(true)
            }
            Err(error) if is_later(&error) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Moves on what has come out until nothing more comes, when there is nobody left to say more.
    fn drain(mut self) -> io::Result<()> {
        loop {
            // What has been read is written, however long that takes.
            let timeout = self.held.is_empty().then(Timespec::default);
            let mut polled = [self.polled()];
            let is_ready =
                rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, timeout.as_ref()))?
                    > 0;
            if !(is_ready && self.step()?) {
                return Ok(());
            }
        }
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Waits for the end of a child of ours, and hands signals on to it until then, and what it says to us.
fn wait(pidfd: &OwnedFd, signals: &OwnedFd, mut pumps: Vec<Pump>) -> io::Result<ExitStatus> {
    loop {
        let mut polled =
            vec![PollFd::new(pidfd, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        polled.extend(pumps.iter().map(Pump::polled));
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))?;
        let ready: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
        let mut left = Vec::new();
        for (mut pump, is_ready) in pumps.into_iter().zip(&ready[2..]) {
            if !is_ready || pump.step()? {
                left.push(pump);
            }
        }
        pumps = left;
        if ready[0] {
            pumps.into_iter().filter(|pump| !pump.inwards).try_for_each(Pump::drain)?;
            return Ok(ExitStatus::from_wait_status(sys::process::wait_word(pidfd.as_fd())?));
        }
        for signal in sys::process::pending_signals(signals.as_fd())? {
            hand_on(pidfd, signal);
        }
    }
}

/// Sends a signal to the process.
pub(super) fn hand_on(pidfd: &OwnedFd, signal: i32) {
    if let Some(signal) = Signal::from_named_raw(signal) {
        // One that has ended in the meantime needs none.
        let _ = rustix::process::pidfd_send_signal(pidfd, signal);
    }
}
