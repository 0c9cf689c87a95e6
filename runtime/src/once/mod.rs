//! Containers that one caller starts, waits for, and takes with it when it ends: the steps of a build.
//!
//! Only a process with one thread may clone, and callers have many. So the containers of one place get an attendant: small
//! processes of ours ([`main`]) that are their parents, kill them when the caller is gone, say how they ended, and remove
//! the place. For each container there is a mount namespace beside its own, in which files and trees that only this
//! container is to see are made ([`Preparation`]): they vanish with it, whoever is killed.
//!
//! # Why a place is used again
//!
//! On control groups of version 1 a process can only be moved to its place, and the move waits for a grace period of the
//! kernel, ten milliseconds and more; an attendant costs a few. A build runs one command after the other, each in the same
//! place, born there by an attendant that was moved once.

mod attend;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags};
use rustix::net::Shutdown;
use serde::{Deserialize, Serialize};
use sys::clone::Child;
use sys::process::{Program, Session};

use crate::cgroup::Place;
use crate::exec::Relay;
use crate::exit::ExitStatus;
use crate::failure::Failure;
use crate::launch::Launch;

pub use attend::{AttendError, main};

/// Where the attendant finds the place and its socket.
const PLACE: i32 = 3;
const SOCKET: i32 = 4;

/// The longest message between the two, in bytes.
const LONGEST: usize = 16 << 10;

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

/// What the attendant says of a container in the end.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Ended(ExitStatus),
    Failed(Failure),
    /// Its parent was killed.
    Lost,
}

/// Who attends the containers of one place, one at a time. When this is dropped, what runs is killed, and the place
/// removed.
#[derive(Debug)]
pub struct Attendant {
    process: Child,
    socket: OwnedFd,
    place: Place,
}

fn attendant(attempt: &'static str) -> impl FnOnce(io::Error) -> OnceError {
    move |source| OnceError::Attendant { attempt, source }
}

impl Attendant {
    /// Starts an attendant for the containers of this place.
    ///
    /// # Errors
    ///
    /// [`OnceError::Attendant`]; what goes wrong later is told by [`Self::wait`].
    pub fn begin(place: Place) -> Result<Self, OnceError> {
        let begin = || -> io::Result<(Child, OwnedFd)> {
            let described = sys::fds::sealed("place", &serde_json::to_vec(&place)?)?;
            let (ours, theirs) = sys::fds::message_pair()?;
            let executable = sys::executable::sealed()?;
            let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
            let null = null.as_fd();
            let arguments = ["compose", "once"].map(CString::new);
            let process = sys::process::start(&Program {
                executable: executable.as_fd(),
                arguments: arguments.into_iter().collect::<Result<_, _>>()?,
                environment: Vec::new(),
                descriptors: vec![null, null, null, described.as_fd(), theirs.as_fd()],
                session: Session::Own,
            })?;
            Ok((process, ours))
        };
        match begin() {
            Ok((process, socket)) => Ok(Self { process, socket, place }),
            Err(error) => {
                let _ = place.remove();
                Err(attendant("cannot start the process that attends containers")(error))
            }
        }
    }

    /// Starts a container with these standard streams and, unless the launch has one of its own, in this network
    /// namespace. One that was started before has been waited for.
    ///
    /// # Errors
    ///
    /// [`OnceError::Attendant`]; what goes wrong later is told by [`Self::wait`].
    pub fn start(
        &self,
        launch: &Launch,
        preparation: &Preparation,
        streams: [BorrowedFd<'_>; 3],
        network: Option<BorrowedFd<'_>>,
    ) -> Result<(), OnceError> {
        let send = || -> io::Result<()> {
            let launch = sys::fds::sealed("launch", &serde_json::to_vec(launch)?)?;
            let preparation = sys::fds::sealed("preparation", &serde_json::to_vec(preparation)?)?;
            let mut descriptors = vec![launch.as_fd(), preparation.as_fd()];
            descriptors.extend(streams);
            descriptors.extend(network);
            sys::fds::send(&self.socket, b"start", &descriptors)
        };
        match send() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(OnceError::Gone),
            sent => sent.map_err(attendant("cannot speak to the process that attends containers")),
        }
    }

    /// Ends it, without waiting for that: what runs is killed, and nothing starts any more, not even what is on its way.
    pub fn end(&self) {
        // Whoever waits within sees it, kills what runs, and ends too.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    /// Where its containers are.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Waits until the container has ended.
    ///
    /// # Errors
    ///
    /// [`OnceError`]; nothing of the container is left.
    pub fn wait(&self) -> Result<ExitStatus, OnceError> {
        let mut buffer = vec![0; LONGEST];
        loop {
            match sys::fds::receive(&self.socket, &mut buffer) {
                Ok((length, _)) => {
                    return match serde_json::from_slice(&buffer[..length]) {
                        Ok(Report::Ended(status)) => Ok(status),
                        Ok(Report::Failed(failure)) => Err(failure.into()),
                        Ok(Report::Lost) => Err(OnceError::Gone),
                        Err(error) => Err(attendant("the attendant's report")(error.into())),
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable()?,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(OnceError::Gone);
                }
                Err(error) => return Err(attendant("the attendant's report")(error)),
            }
        }
    }

    fn readable(&self) -> Result<(), OnceError> {
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None));
        ready.map(drop).map_err(|error| attendant("poll")(error.into()))
    }

    /// Runs a container with a new terminal, joined to the caller's own, until it ends.
    ///
    /// # Errors
    ///
    /// [`OnceError`].
    pub fn interactive(
        &self,
        launch: &Launch,
        preparation: &Preparation,
        network: Option<BorrowedFd<'_>>,
    ) -> Result<ExitStatus, OnceError> {
        let pair = crate::pty::open().map_err(attendant("cannot make a terminal"))?;
        let slave = pair.slave.as_fd();
        let signals =
            sys::process::signal_descriptor(&[libc::SIGWINCH, libc::SIGTERM, libc::SIGHUP])
                .map_err(attendant("signalfd"))?;
        self.start(launch, preparation, [slave, slave, slave], network)?;
        drop(pair.slave);
        let relay = Relay::begin(pair.master).map_err(attendant("the terminal"))?;
        let end = |_| drop(self.place.kill());
        relay.until(&self.socket, &signals, end).map_err(attendant("the terminal"))?;
        self.wait()
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        self.end();
        let _ = sys::process::wait_word(self.process.pidfd.as_fd());
        // An attendant that was killed has left them.
        let _ = self.place.kill();
        let _ = self.place.remove();
    }
}
