//! The attendant: a process outside of the place of its containers, which removes that in the end, one within, from
//! which the containers are born, and for each container one more that is its parent.

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

use super::{LONGEST, PLACE, Preparation, Report, SOCKET, Tree};
use crate::cgroup::Place;
use crate::container::{self, Progress, Starting};
use crate::exit::ExitStatus;
use crate::failure::Failure;
use crate::init::{self, Standard};
use crate::launch::NamespaceKind;

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

/// Attends the containers of one place: what `compose once` does. Ends when its caller is gone.
///
/// # Errors
///
/// [`AttendError`] when nobody can be told what went wrong.
pub fn main() -> Result<(), AttendError> {
    let inherited = |number| sys::fds::inherited(number).map_err(attempt("taking a descriptor"));
    let (place, socket) = (inherited(PLACE)?, inherited(SOCKET)?);
    let place: Place = init::read(&place)
        .map_err(|failure| attempt("reading the place")(io::Error::other(failure)))?;
    // Nothing in a container that shares a namespace with a child on its way may look into our memory.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| attempt("prctl(PR_SET_DUMPABLE)")(error.into()))?;
    // The one within has the only end of the socket from here on: with it, the caller knows that nobody listens.
    let within = sys::clone::spawn(Namespaces::NONE, None, || serve(socket, &place))
        .map_err(attempt("clone3"))?;
    sys::process::wait_word(within.pidfd.as_fd()).map_err(attempt("waiting"))?;
    // What is left behind is replaced by whoever uses the name again, and empty.
    let _ = place.kill();
    let _ = place.remove();
    Ok(())
}

/// Enters the place, and starts one container after the other until the caller is gone.
///
/// What is born here is where it belongs, while each process that is moved there may wait for a grace period of the
/// kernel. The version 2 directory is not entered: into that one a process can be cloned, and what is in it is killed.
fn serve(socket: OwnedFd, place: &Place) -> i32 {
    let entered = place.join_version_1().map_err(|error| Failure {
        step: "control groups".to_owned(),
        errno: 0,
        detail: error.to_string(),
    });
    loop {
        let mut polled = [PollFd::new(&socket, PollFlags::IN)];
        if rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None)).is_err() {
            return 1;
        }
        let mut message = [0; LONGEST];
        let Ok((_, descriptors)) = sys::fds::receive(&socket, &mut message) else { return 0 };
        let told = match &entered {
            Err(failure) => tell(&socket, &Report::Failed(failure.clone())),
            Ok(()) => attend(&socket, descriptors),
        };
        if told.is_err() {
            return 1;
        }
    }
}

/// Has one container attended, by a process with a mount namespace of its own.
fn attend(socket: &OwnedFd, descriptors: Vec<OwnedFd>) -> Result<(), AttendError> {
    let parent = sys::clone::spawn(Namespaces::NONE, None, || {
        let report = match begin(descriptors) {
            Ok(starting) => follow(&starting, socket),
            Err(failure) => Ok(Some(Report::Failed(failure))),
        };
        let told = report.and_then(|report| report.map_or(Ok(()), |report| tell(socket, &report)));
        i32::from(told.is_err())
    });
    let parent = parent.map_err(attempt("clone3"))?;
    match sys::process::wait_word(parent.pidfd.as_fd()) {
        Ok(0) => Ok(()),
        // It was killed before it could say anything.
        _ => tell(socket, &Report::Lost),
    }
}

fn tell(socket: &OwnedFd, report: &Report) -> Result<(), AttendError> {
    let message =
        serde_json::to_vec(report).map_err(|error| attempt("the report")(error.into()))?;
    match sys::fds::send(socket, &message, &[]) {
        // Nobody is left to be told.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        answer => answer.map_err(attempt("the report")),
    }
}

/// Starts a container with what came along: launch, preparation, standard streams and, it may be, a network.
fn begin(descriptors: Vec<OwnedFd>) -> Result<Starting, Failure> {
    let mut descriptors = descriptors.into_iter();
    let mut next = || {
        descriptors.next().ok_or_else(|| Failure {
            step: "descriptors".to_owned(),
            errno: 0,
            detail: "one is missing".to_owned(),
        })
    };
    let (launch, preparation) = (next()?, next()?);
    let standard = Standard { input: next()?, output: next()?, error: next()? };
    let joins = descriptors.map(|network| (NamespaceKind::Network, network)).collect();
    let preparation: Preparation = init::read(&preparation)?;
    prepare(&preparation).map_err(|(what, error)| Failure::of_call("preparation", &error, what))?;
    container::start(launch, standard, None, joins, None)
}

/// Waits for the end of the container, or of the caller, with which the container ends.
fn follow(starting: &Starting, socket: &OwnedFd) -> Result<Option<Report>, AttendError> {
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
                Progress::Reached | Progress::HandedOver(_) => reached = true,
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
