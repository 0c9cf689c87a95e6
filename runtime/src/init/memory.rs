//! The `/dev/shm` of another container, for one that has joined its queues and semaphores: POSIX shared memory is a file
//! system, which no ipc namespace holds (shm_overview(7)).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::thread::LinkNameSpaceType;

use super::entry::own_root;
use super::error::{Attempt, StepError};
use super::mounts::clone_of;
use super::stage::Stage;

/// Where processes share memory.
const PLACE: &str = "/dev/shm";
/// What a tmpfs says it is (`linux/magic.h`).
const TMPFS: u64 = 0x0102_1994;

/// Puts the other container's memory in the place of the container's own, unless something else is to be mounted there.
pub(super) fn share(stage: &mut Stage) -> Result<(), StepError> {
    let Some(theirs) = stage.neighbour.take() else { return Ok(()) };
    let mounts = stage.spec().mounts().as_deref().unwrap_or_default();
    let own = mounts.iter().position(|mount| {
        let is_ours = mount.source().as_deref() == Some(Path::new("shm"));
        mount.destination() == Path::new(PLACE) && is_ours
    });
    let Some(source) = own.and_then(|index| stage.sources.get_mut(index)) else { return Ok(()) };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let ours = rustix::fs::openat(CWD, "/proc/self/ns/mnt", flags, Mode::empty())
        .attempt(|| "our mount namespace".to_owned())?;
    enter(&theirs)?;
    // A mount is cloned from within its own namespace: open_tree(2).
    let found = memory();
    enter(&ours)?;
    *source = found?;
    Ok(())
}

/// A clone of the memory of the namespace that this process is in; nothing if that has none.
fn memory() -> Result<Option<OwnedFd>, StepError> {
    let what = || format!("{PLACE} of the other container");
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let place = own_root().attempt(what)?.resolve(Path::new("dev/shm"), flags, Mode::empty());
    let Ok(place) = place else { return Ok(None) };
    let file_system = rustix::fs::fstatfs(&place).attempt(what)?;
    if u64::try_from(file_system.f_type) != Ok(TMPFS) {
        return Ok(None);
    }
    clone_of(&place, false).map(Some)
}

fn enter(mounts: impl AsFd) -> Result<(), StepError> {
    rustix::thread::move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))
        .attempt(|| "entering a mount namespace".to_owned())
}
