//! A container that one caller starts, waits for, and takes with it when it ends: a step of a build.
//!
//! Only a process with one thread may clone, and callers have many. So each such container gets an attendant: a small
//! process of ours ([`main`]) that is its parent, kills it when the caller is gone, and says how it ended. The
//! attendant has a mount namespace of its own, in which files and trees that only this container is to see are made
//! ([`Preparation`]): they vanish with it, whoever is killed.

mod attend;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};
use sys::clone::Child;
use sys::process::{Program, Session};

use crate::exec::Relay;
use crate::exit::ExitStatus;
use crate::failure::Failure;
use crate::launch::Launch;

pub use attend::{AttendError, main};

/// Where the attendant finds the launch, the preparation, its socket and the network.
const LAUNCH: i32 = 3;
const PREPARATION: i32 = 4;
const SOCKET: i32 = 5;
const NETWORK: i32 = 6;

/// What is made before the container starts, in the attendant's own mount namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    /// Files in memory.
    pub files: Vec<PrivateFile>,
    /// Layers as one tree.
    pub trees: Vec<Tree>,
    /// An existing directory over which the file system of `files` is mounted; needed if there are any.
    pub memory: Option<PathBuf>,
}

/// A file that is in memory alone, such as a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateFile {
    /// Its name in [`Preparation::memory`].
    pub name: String,
    /// What is in it.
    #[serde(with = "crate::launch::hex")]
    pub content: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl std::fmt::Debug for PrivateFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PrivateFile").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Layers that are mounted over a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// An existing directory.
    pub at: PathBuf,
    /// The layers, topmost first.
    pub layers: Vec<PathBuf>,
    /// Where changes go (upper and work directory); the tree is read-only without.
    pub changes: Option<(PathBuf, PathBuf)>,
}

/// The container has not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// It did not reach its program.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The attendant could not be started, or not be spoken to.
    #[error("{attempt}")]
    Attendant {
        /// What was attempted.
        attempt: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The attendant has ended without a word, as when somebody kills it.
    #[error("the process that attends the container has ended")]
    Gone,
}

/// What the attendant says in the end.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Ended(ExitStatus),
    Failed(Failure),
}

/// A container with its attendant. When this is dropped, the container is killed.
#[derive(Debug)]
pub struct Once {
    attendant: Child,
    socket: OwnedFd,
}

fn attendant(attempt: &'static str) -> impl FnOnce(io::Error) -> OnceError {
    move |source| OnceError::Attendant { attempt, source }
}

/// Starts a container with these standard streams and, unless the launch has one of its own, in this network namespace.
///
/// # Errors
///
/// [`OnceError::Attendant`]; what goes wrong later is told by [`Once::wait`].
pub fn start(
    launch: &Launch,
    preparation: &Preparation,
    streams: [BorrowedFd<'_>; 3],
    network: Option<BorrowedFd<'_>>,
) -> Result<Once, OnceError> {
    let begin = || -> io::Result<Once> {
        let launch = sys::fds::sealed("launch", &serde_json::to_vec(launch)?)?;
        let preparation = sys::fds::sealed("preparation", &serde_json::to_vec(preparation)?)?;
        let (ours, theirs) = sys::fds::message_pair()?;
        let executable = sys::executable::sealed()?;
        let mut descriptors = streams.to_vec();
        descriptors.extend([launch.as_fd(), preparation.as_fd(), theirs.as_fd()]);
        descriptors.extend(network);
        let mut words = vec!["compose", "once"];
        words.extend(network.map(|_| "network"));
        let arguments = words.into_iter().map(CString::new).collect::<Result<_, _>>()?;
        let child = sys::process::start(&Program {
            executable: executable.as_fd(),
            arguments,
            environment: Vec::new(),
            descriptors,
            session: Session::Own,
        })?;
        Ok(Once { attendant: child, socket: ours })
    };
    begin().map_err(attendant("cannot start the process that attends a container"))
}

/// Runs a container with a new terminal, joined to the caller's own, until it ends. The calling process has one thread.
///
/// # Errors
///
/// [`OnceError`].
pub fn interactive(
    launch: &Launch,
    preparation: &Preparation,
    network: Option<BorrowedFd<'_>>,
) -> Result<ExitStatus, OnceError> {
    let pair = crate::pty::open().map_err(attendant("cannot make a terminal"))?;
    let slave = pair.slave.as_fd();
    let signals = sys::process::signal_descriptor(&[libc::SIGWINCH, libc::SIGTERM, libc::SIGHUP])
        .map_err(attendant("signalfd"))?;
    let once = start(launch, preparation, [slave, slave, slave], network)?;
    drop(pair.slave);
    let relay = Relay::begin(pair.master).map_err(attendant("the terminal"))?;
    relay.run(&once.attendant.pidfd, &signals).map_err(attendant("the terminal"))?;
    once.report()
}

impl Once {
    /// Waits until the container has ended.
    ///
    /// # Errors
    ///
    /// [`OnceError`]; nothing of the container is left.
    pub fn wait(self) -> Result<ExitStatus, OnceError> {
        let outcome = self.report();
        sys::process::wait_word(self.attendant.pidfd.as_fd())
            .map_err(attendant("waiting for the attendant"))?;
        outcome
    }

    fn report(&self) -> Result<ExitStatus, OnceError> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            match sys::fds::receive(&self.socket, &mut buffer) {
                Ok((length, _)) => {
                    return match serde_json::from_slice(&buffer[..length]) {
                        Ok(Report::Ended(status)) => Ok(status),
                        Ok(Report::Failed(failure)) => Err(failure.into()),
                        Err(error) => Err(attendant("the attendant's report")(error.into())),
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
                    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))
                        .map_err(|error| attendant("poll")(error.into()))?;
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(OnceError::Gone);
                }
                Err(error) => return Err(attendant("the attendant's report")(error)),
            }
        }
    }
}
