//! Waiting for a control group to become what was asked: frozen, thawed, empty; and being told of OOM kills.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{CgroupError, Place, file};

/// How long processes get to stop, to go on, or to die: they only need to be scheduled once.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a container's processes are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frozen {
    Yes,
    No,
}

impl Frozen {
    fn name(self) -> &'static str {
        match self {
            Self::Yes => "frozen",
            Self::No => "thawed",
        }
    }
}

/// Freezes or thaws, in the version 2 tree where there is one.
pub(super) fn set_frozen(place: &Place, wanted: Frozen) -> Result<(), CgroupError> {
    if let Some(directory) = &place.unified {
        let (value, number) = if wanted == Frozen::Yes { ("1", 1) } else { ("0", 0) };
        file::write(directory, "cgroup.freeze", value)?;
        return wait(directory, "frozen", number, wanted.name());
    }
    match place.directory("freezer") {
        Some(directory) => set_freezer(directory, wanted),
        None => Err(CgroupError::MissingController {
            controller: "freezer",
            tree: "/sys/fs/cgroup".into(),
        }),
    }
}

/// Version 1 tells nobody when it is done, and a process that forks at the wrong moment needs the command again.
fn set_freezer(directory: &Path, wanted: Frozen) -> Result<(), CgroupError> {
    let value = if wanted == Frozen::Yes { "FROZEN" } else { "THAWED" };
    let deadline = Instant::now() + PATIENCE;
    loop {
        file::write(directory, "freezer.state", value)?;
        if file::read(directory, "freezer.state")? == value {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(timeout(directory, wanted.name()));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Waits until no process is left in the place.
pub(super) fn wait_until_empty(place: &Place) -> Result<(), CgroupError> {
    match (&place.unified, place.version_1_directories().next()) {
        (Some(directory), _) => wait(directory, "populated", 0, "empty"),
        (None, Some(directory)) => wait_for_exits(place, directory),
        (None, None) => Ok(()),
    }
}

/// Version 1 has no event for "empty", but each process has one for its end.
fn wait_for_exits(place: &Place, directory: &Path) -> Result<(), CgroupError> {
    let deadline = Instant::now() + PATIENCE;
    while let Some(pid) = place.pids().first().copied() {
        let Some(process) =
            Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            continue;
        };
        if !poll_until(process.as_fd(), PollFlags::IN, deadline)
            .map_err(|source| call("poll", directory, source))?
        {
            return Err(timeout(directory, "empty"));
        }
    }
    Ok(())
}

/// Waits for a field of `cgroup.events`; a directory that is gone has nothing to wait for.
fn wait(directory: &Path, key: &str, wanted: u64, state: &'static str) -> Result<(), CgroupError> {
    let path = directory.join("cgroup.events");
    let mut events = match File::open(&path) {
        Err(error) if file::is_missing(&error) => return Ok(()),
        other => other.map_err(|source| CgroupError::Read { path: path.clone(), source })?,
    };
    let deadline = Instant::now() + PATIENCE;
    let mut text = String::new();
    loop {
        // Reading from the start is also what arms the next event.
        text.clear();
        match events.rewind().and_then(|()| events.read_to_string(&mut text)) {
            Err(error) if file::is_missing(&error) => return Ok(()),
            other => other.map_err(|source| CgroupError::Read { path: path.clone(), source })?,
        };
        if file::field_in(&text, key).unwrap_or(wanted) == wanted {
            return Ok(());
        }
        if !poll_until(events.as_fd(), PollFlags::PRI, deadline)
            .map_err(|source| call("poll", &path, source))?
        {
            return Err(timeout(directory, state));
        }
    }
}

/// poll(2) on one descriptor; `false` when the deadline has passed.
fn poll_until(fd: BorrowedFd<'_>, flags: PollFlags, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Tells of OOM kills in a container: its descriptor becomes readable after each.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl OomWatch {
    /// Takes what has been told so far, so that the descriptor is readable again only after something new.
    ///
    /// Version 1 also tells of the end of the control group: [`Place::was_oom_killed`] knows the difference.
    pub fn drain(&self) {
        let mut buffer = [0; 4096];
        while rustix::io::read(&self.fd, &mut buffer).is_ok_and(|count| count > 0) {}
    }
}

impl Place {
    /// Starts to watch for OOM kills.
    ///
    /// # Errors
    /// [`CgroupError::Call`] or [`CgroupError::Write`]; [`CgroupError::MissingController`] on a machine without memory accounting.
    pub fn oom_watch(&self) -> Result<OomWatch, CgroupError> {
        let Some(directory) = self.directory("memory") else {
            return Err(CgroupError::MissingController {
                controller: "memory",
                tree: "/sys/fs/cgroup".into(),
            });
        };
        let fd = if self.controllers.is_empty() {
            watch_events(directory)
        } else {
            watch_control(directory)
        }?;
        Ok(OomWatch { fd })
    }

    /// Whether the OOM killer has struck in this container since it was made; `false` once its directories are gone.
    pub fn was_oom_killed(&self) -> bool {
        let name = if self.controllers.is_empty() { "memory.events" } else { "memory.oom_control" };
        self.directory("memory")
            .and_then(|directory| file::field(directory, name, "oom_kill"))
            .is_some_and(|kills| kills > 0)
    }
}

/// Version 2: the counters of `memory.events` change. See "Memory Interface Files" in the kernel's cgroup-v2 document.
fn watch_events(directory: &Path) -> Result<OwnedFd, CgroupError> {
    let path = directory.join("memory.events");
    let watch = || -> io::Result<OwnedFd> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(&fd, &path, inotify::WatchFlags::MODIFY)?;
        Ok(fd)
    };
    watch().map_err(|source| call("inotify_add_watch", &path, source))
}

/// Version 1: an eventfd registered with `cgroup.event_control`. See section 10 of the kernel's cgroup-v1/memory document.
fn watch_control(directory: &Path) -> Result<OwnedFd, CgroupError> {
    let path = directory.join("memory.oom_control");
    let control = File::open(&path).map_err(|source| CgroupError::Read { path, source })?;
    let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|source| call("eventfd", directory, source.into()))?;
    file::write(
        directory,
        "cgroup.event_control",
        &format!("{} {}", fd.as_raw_fd(), control.as_raw_fd()),
    )?;
    Ok(fd)
}

fn call(call: &'static str, path: &Path, source: io::Error) -> CgroupError {
    CgroupError::Call { call, path: path.to_owned(), source }
}

fn timeout(directory: &Path, state: &'static str) -> CgroupError {
    CgroupError::Timeout {
        path: directory.to_owned(),
        state,
        seconds: PATIENCE.as_secs(),
        pids: file::pids(directory),
    }
}
