//! The supervisor's end: requests out, replies in, and a new keeper for one that was lost.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::PipeFlags;
use sys::process::{Program, Session};

use super::config::{Config, Origin, environment};
use super::message::{Reply, Request};

/// Where the supervisor finds its socket, and a keeper its socket or pipe.
pub(super) const SOCKET: i32 = 3;

/// Where the supervisor finds the pipe on which it says that it is ready.
const READY: i32 = 4;

/// The longest message. What is large travels in a memfd beside it.
pub(super) const LONGEST: usize = 16 << 10;

/// How long a request waits for a keeper that does not read.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a new project waits until its supervisor is ready.
const START: Duration = Duration::from_secs(30);

/// How much of the log is shown when it does not become ready.
const TAIL: u64 = 2048;

/// The file's name in the project's run folder.
pub(super) const LOG: &str = "keeper.log";

/// The connection to the keeper.
#[derive(Debug)]
pub struct Keeper {
    socket: OwnedFd,
}

impl Keeper {
    /// Takes the connection that the keeper has given to this process as descriptor 3. Works once.
    ///
    /// # Errors
    ///
    /// EBADF when this process was not started by a keeper.
    pub fn inherited() -> io::Result<Self> {
        Ok(Self { socket: sys::fds::inherited(SOCKET)? })
    }

    /// Starts a new keeper for this process, when the old one is gone. What that held is given to the new one with
    /// [`Request::Adopt`] and [`Request::Hold`].
    ///
    /// # Errors
    ///
    /// [`LaunchError`] says which step failed.
    pub fn replace(config: &Config) -> Result<Self, LaunchError> {
        let (ours, theirs) = sys::fds::message_pair().map_err(LaunchError::Start)?;
        start(config, Origin::Replacement, theirs.as_fd())?;
        Ok(Self { socket: ours })
    }

    /// Sends a request with copies of its descriptors. A keeper always reads, so that this hardly ever waits.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::BrokenPipe`] when the keeper is gone, [`io::ErrorKind::TimedOut`] when it does not read.
    pub fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let message = serde_json::to_vec(request)?;
        match sys::fds::send(&self.socket, &message, descriptors) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            answer => return answer,
        }
        if !wait(&self.socket, PollFlags::OUT, PATIENCE)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        sys::fds::send(&self.socket, &message, descriptors)
    }

    /// Takes the next reply with its descriptors, without waiting; `None` when there is none yet.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] when the keeper is gone.
    pub fn receive(&self) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; LONGEST];
        match sys::fds::receive(&self.socket, &mut buffer) {
            Ok((length, descriptors)) => {
                Ok(Some((serde_json::from_slice(&buffer[..length])?, descriptors)))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Keeper {
    /// Readable when there is a reply, or when the keeper is gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Tells whoever started this project that the supervisor listens. A supervisor that was started again, for which
/// nobody waits, has nothing to tell, and this does nothing.
///
/// # Errors
///
/// What the write says; nobody waiting any more is no error.
pub fn announce_ready() -> io::Result<()> {
    let Ok(pipe) = sys::fds::inherited(READY) else { return Ok(()) };
    match rustix::io::write(&pipe, b"1") {
        Ok(_) | Err(rustix::io::Errno::PIPE) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A keeper, or the supervisor that it was to start, did not come up.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The project's run folder or the log in it cannot be written.
    #[error("cannot write {path}")]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Our own program could not be sealed.
    #[error("cannot seal our own program against being overwritten")]
    Seal(#[source] io::Error),
    /// The keeper could not be started.
    #[error("cannot start the keeper")]
    Start(#[source] io::Error),
    /// The supervisor has ended before it was ready.
    #[error("the supervisor of project {project} did not start; the end of {log}:\n{tail}")]
    NotReady {
        /// The project's name.
        project: String,
        /// The log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// The supervisor neither ends nor becomes ready.
    #[error("the supervisor of project {project} was not ready in 30 s; the end of {log}:\n{tail}")]
    Timeout {
        /// The project's name.
        project: String,
        /// The log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
}

/// Starts a project's keeper as a daemon, which starts the supervisor, and waits until that is ready.
///
/// The keeper is in a session of its own, in `/`, with its output in `keeper.log` of the run folder, and with no
/// descriptor of the caller but the pipe on which the supervisor says that it is ready.
///
/// # Errors
///
/// [`LaunchError`] says which step failed; [`LaunchError::NotReady`] has the end of the log.
pub fn launch(config: &Config) -> Result<(), LaunchError> {
    let (ready, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .map_err(|error| LaunchError::Start(error.into()))?;
    let log = start(config, Origin::Fresh, writer.as_fd())?;
    drop(writer);
    let said = wait(&ready, PollFlags::IN, START).map_err(LaunchError::Start)?;
    let mut byte = [0];
    let project = config.project.clone();
    match said.then(|| rustix::io::read(&ready, &mut byte)) {
        Some(Ok(1)) => Ok(()),
        Some(_) => Err(LaunchError::NotReady { project, tail: tail(&log), log }),
        None => Err(LaunchError::Timeout { project, tail: tail(&log), log }),
    }
}

/// Starts a keeper with `link` as its descriptor 3; returns where it logs.
fn start(config: &Config, origin: Origin, link: BorrowedFd<'_>) -> Result<PathBuf, LaunchError> {
    let path = config.run.join(LOG);
    let log = open_log(&path).map_err(|source| LaunchError::Log { path: path.clone(), source })?;
    let executable = sys::executable::sealed().map_err(LaunchError::Seal)?;
    let begin = || {
        let null = File::open("/dev/null")?;
        sys::process::start(&Program {
            executable: executable.as_fd(),
            arguments: config.keeper_arguments(origin)?,
            environment: environment()?,
            descriptors: vec![null.as_fd(), log.as_fd(), log.as_fd(), link],
            session: Session::Own,
        })
    };
    begin().map_err(LaunchError::Start)?;
    Ok(path)
}

fn open_log(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn tail(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let start = file.metadata()?.len().saturating_sub(TAIL);
        file.seek(SeekFrom::Start(start))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    };
    read().unwrap_or_default()
}

/// Waits until a descriptor is ready, or gone; says whether it is.
fn wait(descriptor: impl AsFd, events: PollFlags, patience: Duration) -> io::Result<bool> {
    let limit = Timespec::try_from(patience).ok();
    let mut polled = [PollFd::new(&descriptor, events)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, limit.as_ref()))?;
    Ok(ready > 0)
}
