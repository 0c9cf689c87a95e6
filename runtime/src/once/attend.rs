//! The attendant: parent of one container.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags};
use rustix::process::DumpableBehavior;
use sys::clone::Namespaces;

use super::{LAUNCH, NETWORK, PREPARATION, Preparation, Report, SOCKET, Tree};
use crate::cgroup::Place;
use crate::container::{self, Progress, Starting};
use crate::exit::ExitStatus;
use crate::failure::Failure;
use crate::init::{self, Standard};
use crate::launch::{Launch, NamespaceKind};

/// The attendant could not do its work, and could not say so to its caller either.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}")]
pub struct AttendError {
    attempt: &'static str,
    source: io::Error,
}

fn attempt(attempt: &'static str) -> impl FnOnce(io::Error) -> AttendError {
    move |source| AttendError { attempt, source }
}

/// Attends one container: what `compose once …` does, with the words after that.
///
/// # Errors
///
/// [`AttendError`] when nobody can be told what went wrong.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Result<(), AttendError> {
    let inherited = |number| sys::fds::inherited(number).map_err(attempt("taking a descriptor"));
    let (launch, preparation, socket) =
        (inherited(LAUNCH)?, inherited(PREPARATION)?, inherited(SOCKET)?);
    let network = arguments.into_iter().next().map(|_| inherited(NETWORK)).transpose()?;
    // Nothing in a container that shares a namespace with a child on its way may look into our memory.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| attempt("prctl(PR_SET_DUMPABLE)")(error.into()))?;
    let report = match begin(launch, &preparation, network) {
        Ok((starting, place)) => follow(&starting, place.as_ref(), &socket)?,
        Err(failure) => Some(Report::Failed(failure)),
    };
    let Some(report) = report else { return Ok(()) };
    let message =
        serde_json::to_vec(&report).map_err(|error| attempt("the report")(error.into()))?;
    match sys::fds::send(&socket, &message, &[]) {
        // Nobody is left to be told.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        answer => answer.map_err(attempt("the report")),
    }
}

fn begin(
    launch: OwnedFd,
    preparation: &OwnedFd,
    network: Option<OwnedFd>,
) -> Result<(Starting, Option<Place>), Failure> {
    let place = init::read::<Launch>(&launch)?.cgroup;
    let preparation: Preparation = init::read(preparation)?;
    prepare(&preparation).map_err(|(what, error)| Failure::of_call("preparation", &error, what))?;
    let standard = || -> io::Result<Standard> {
        Ok(Standard {
            input: rustix::stdio::stdin().try_clone_to_owned()?,
            output: rustix::stdio::stdout().try_clone_to_owned()?,
            error: rustix::stdio::stderr().try_clone_to_owned()?,
        })
    };
    let standard =
        standard().map_err(|error| Failure::of_call("streams", &error, "the standard streams"))?;
    let joins = network.into_iter().map(|network| (NamespaceKind::Network, network)).collect();
    Ok((container::start(launch, standard, None, joins)?, place))
}

/// Waits for the end of the container, or of the caller, with which the container ends.
fn follow(
    starting: &Starting,
    place: Option<&Place>,
    socket: &OwnedFd,
) -> Result<Option<Report>, AttendError> {
    let pidfd = &starting.child.pidfd;
    let mut reached = false;
    loop {
        let mut polled =
            vec![PollFd::new(pidfd, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
        if !reached {
            polled.push(PollFd::new(starting, PollFlags::IN));
        }
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))
            .map_err(|error| attempt("poll")(error.into()))?;
        let ended = !polled[0].revents().is_empty();
        let alone = !polled[1].revents().is_empty();
        if !reached {
            match starting.progress() {
                Progress::Reached => reached = true,
                Progress::Failed(failure) => {
                    sys::process::wait_word(pidfd.as_fd()).map_err(attempt("waiting"))?;
                    return Ok(Some(Report::Failed(failure)));
                }
                Progress::Underway => {}
            }
        }
        if ended {
            let word = sys::process::wait_word(pidfd.as_fd()).map_err(attempt("waiting"))?;
            return Ok(Some(Report::Ended(ExitStatus::from_wait_status(word))));
        }
        if alone {
            // With the first process of a pid namespace all others in it end.
            let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
            sys::process::wait_word(pidfd.as_fd()).map_err(attempt("waiting"))?;
            let _ = place.map(Place::remove);
            return Ok(None);
        }
    }
}

type Attempted = (String, io::Error);

/// Makes what only this container is to see.
fn prepare(preparation: &Preparation) -> Result<(), Attempted> {
    if preparation.trees.is_empty() && preparation.files.is_empty() {
        return Ok(());
    }
    let named = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| (what, error)
    };
    sys::clone::unshare(Namespaces::MOUNT).map_err(named("a mount namespace"))?;
    let flags = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change("/", flags)
        .map_err(|error| named("making all mounts private")(error.into()))?;
    if let Some(memory) = &preparation.memory {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount("tmpfs", memory, "tmpfs", flags, Some(c"mode=755"))
            .map_err(|error| named("a file system in memory")(error.into()))?;
        for file in &preparation.files {
            let path = memory.join(&file.name);
            let write = || -> io::Result<()> {
                let mut out =
                    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                out.write_all(&file.content)?;
                chown(&path, Some(file.uid), Some(file.gid))?;
                fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))
            };
            write().map_err(named(&file.name))?;
        }
    }
    preparation.trees.iter().try_for_each(attach)
}

fn attach(tree: &Tree) -> Result<(), Attempted> {
    let Tree { at, layers, changes } = tree;
    let mounted = match changes {
        Some((upper, work)) => crate::overlay::writable(layers, upper, work),
        None => crate::overlay::view(layers),
    };
    let mounted = mounted.map_err(|error| (error.to_string(), error.source))?;
    let place = |at: &Path| -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let target = rustix::fs::openat(CWD, at, flags, Mode::empty())?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        Ok(rustix::mount::move_mount(&mounted, "", target, "", flags)?)
    };
    place(at).map_err(|error| (format!("attaching layers at {}", at.display()), error))
}
