//! The order in which a process becomes a container's, and why.

use std::os::fd::OwnedFd;

use rustix::process::Rlimit;

use super::entry::Entry;
use super::error::StepError;
use super::stage::Stage;
use super::{
    JoinStandard, capabilities, cgroups, devices, grants, hooks, identity, images, limits, memory,
    mounts, paths, program, rootfs, session,
};
use crate::exec::ExecProcess;
use crate::failure::Failure;

/// A name for reports, and what is done.
type Step<T> = (&'static str, fn(&mut T) -> Result<(), StepError>);

/// What is done once, around PID 1.
#[rustfmt::skip]
const BUILD: &[Step<Stage>] = &[
    // Before it does anything that somebody would have to undo.
    ("bond to the parent", |stage| session::bind_to_parent(&mut stage.entry)),
    // First, so that everything from here on is counted and limited, and before the control group namespace, whose root
    // is where the process is when it is made.
    ("control groups", cgroups::join),
    // While the host's /proc is the one at /proc: nothing of the container's can redirect the write.
    ("out-of-memory score", |stage| limits::score(&mut stage.entry)),
    ("shared namespaces", session::join_shared),
    ("control group namespace", cgroups::unshare),
    ("session", |stage| session::begin(&mut stage.entry)),
    // A clone of a mount is in the peer group of its original only while the original is shared.
    ("mount sources", mounts::open_sources),
    ("shared memory", memory::share),
    // From here on nothing that is mounted reaches the host.
    ("private mounts", mounts::cut_propagation),
    ("images that are mounted", images::open),
    ("copies of secrets and configs", grants::copy),
    ("root file system", rootfs::mount),
    ("mounts", mounts::attach_all),
    // Users are looked up in files that may be mounted.
    (Failure::USER, grants::give),
    // After the mounts, one of which is /dev.
    ("devices", devices::create),
    ("console", devices::console),
    // They may write to the root, and need all that is mounted.
    ("hooks", hooks::run),
    // Image paths that do not exist are created while the root can still be written.
    ("working directory", paths::create_working_directory),
    // By descriptors below the root, and before the old root goes, from which /dev/null is taken.
    ("masked paths", paths::mask),
    ("read-only paths", paths::protect),
    ("read-only root", paths::protect_root),
    ("kernel parameters", limits::kernel_parameters),
    ("host name", session::names),
    ("change of root", rootfs::pivot),
];

/// What is done to every process, PID 1 and those that join.
#[rustfmt::skip]
const ENTER: &[Step<Entry>] = &[
    ("resource limits", limits::resources),
    // Looked up with the rights of root, since the files may not be readable for the user; and after the change of root.
    (Failure::USER, identity::look_up),
    // The one fork: before the filter, which forbids clone3; both processes take all that follows upon them.
    ("reaper", program::fork_reaper),
    (Failure::DIRECTORY, program::enter_directory),
    // Before the filter, which may not allow the call.
    ("its turn", program::await_turn),
    // Loading a filter needs CAP_SYS_ADMIN or no_new_privs. Without the latter it is loaded while the former is there, and
    // the few calls that follow have to be allowed by it, as runc has it.
    ("system call filter", capabilities::filter_early),
    // Like the filter it takes rights that go with the identity.
    ("AppArmor profile", identity::confine),
    // Bounding set, groups, user, then the other sets: each needs a right that the next one takes.
    ("identity", identity::assume),
    // A directory that only the user may enter (a home on NFS).
    (Failure::DIRECTORY, program::enter_directory_as_user),
    // The last thing before the program, which needs the fewest calls then.
    ("no new privileges", capabilities::no_new_privileges),
    ("system call filter", capabilities::filter_late),
    (Failure::EXECUTE, program::execute),
];

/// Makes a container around this process and executes its program.
pub(super) fn start(mut stage: Stage) -> Result<(), Failure> {
    rustix::process::umask(rustix::fs::Mode::empty());
    walk(BUILD, &mut stage)?;
    walk(ENTER, &mut stage.entry)
}

/// Makes this process one of a container and executes its program.
pub(super) fn join(
    process: ExecProcess,
    container: &OwnedFd,
    files: Option<Rlimit>,
    standard: JoinStandard,
) -> Result<(), Failure> {
    let (mut entry, socket) = standard.begin(process, files)?;
    step("control groups", cgroups::join_entry(&entry))?;
    step("out-of-memory score", limits::score(&mut entry))?;
    step("namespaces", session::join_all(container))?;
    if let Some(socket) = socket {
        step("terminal", session::take_terminal(&mut entry, &socket))?;
    }
    step("session", session::begin(&mut entry))?;
    walk(ENTER, &mut entry)
}

fn walk<T>(steps: &[Step<T>], state: &mut T) -> Result<(), Failure> {
    steps.iter().try_for_each(|(name, run)| step(name, run(state)))
}

pub(super) fn step<T>(name: &str, outcome: Result<T, StepError>) -> Result<T, Failure> {
    outcome.map_err(|StepError { errno, detail }| Failure { step: name.to_owned(), errno, detail })
}
