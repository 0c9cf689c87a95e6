//! One more process in a container that is a sandbox: its runtime lets it in.
//!
//! Nothing can be joined, so this process becomes the program of the runtime (`runsc exec`), which gives its standard streams to the
//! process within, hands signals on to it, and ends as it does.

use std::convert::Infallible;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;

use oci_spec::runtime::Process;
use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::process::Rlimit;
use sys::root::Root;

use super::entry::Entry;
use super::error::{Attempt, StepError};
use super::foreign::{identify, known};
use super::identity::{self, Identity};
use super::steps::step;
use super::{JoinStandard, limits, program, session};
use crate::exec::ExecProcess;
use crate::failure::Failure;
use crate::foreign::{Doorway, server_of_files};
use crate::spec::capabilities::Set;

/// Bits of a mode by which somebody may execute a file.
const EXECUTABLE: u32 = 0o111;

/// Becomes the runtime's program that lets `process` in.
pub(super) fn enter(
    process: ExecProcess,
    doorway: &Doorway,
    files: Option<Rlimit>,
    standard: JoinStandard,
) -> Result<Infallible, Failure> {
    let (mut entry, socket) = standard.begin(process, files)?;
    step("resource limits", limits::files(&entry))?;
    if let Some(socket) = socket {
        let made = session::terminal_of_host().attempt(|| "a terminal of the host".to_owned());
        let given = made.and_then(|made| session::give_terminal(&mut entry, &socket, made));
        step("terminal", given)?;
    }
    step("standard streams", session::part_from_null(&mut entry))?;
    step("session", session::begin(&mut entry))?;
    let root = step("its file system", root(&entry.process))?;
    let identity = step(Failure::USER, identity::look_up_in(&root, &entry.process))?;
    step(Failure::EXECUTE, look(&root, doorway, &entry.process))?;
    let file = step("bundle", write(&entry, &identity))?;
    step("exec", go(&file, doorway))
}

/// The root of the container, as the sandbox takes it from the host.
fn root(process: &ExecProcess) -> Result<Root, StepError> {
    let place = process.cgroup.as_ref();
    let Some(pid) = place.and_then(server_of_files) else {
        return Err(StepError::refused(libc::ESRCH, "nobody opens files for it"));
    };
    let path = format!("/proc/{pid}/root");
    Root::open(Path::new(&path)).attempt(|| path.clone())
}

/// Makes sure that the program is there, since a runtime has one exit code for all that it refuses. What lies where only the sandbox
/// can look is left to that.
fn look(root: &Root, doorway: &Doorway, process: &ExecProcess) -> Result<(), StepError> {
    let Some(name) = process.args.first() else {
        return Err(StepError::refused(libc::ENOENT, "no command was given"));
    };
    program::find_with(name, &process.env, &process.cwd, |path| {
        if doorway.hides(path) {
            return Ok(());
        }
        let found = root.resolve(path, OFlags::PATH, rustix::fs::Mode::empty());
        let found = found.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOENT))?;
        let stat = rustix::fs::statat(&found, "", AtFlags::EMPTY_PATH)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) != FileType::Directory;
        match is_file && stat.st_mode & EXECUTABLE != 0 {
            true => Ok(()),
            false => Err(Errno::ACCESS),
        }
    })
    .map(drop)
}

/// The process as the specification has it, in a file that the runtime inherits.
fn write(entry: &Entry, identity: &Identity) -> Result<OwnedFd, StepError> {
    let wanted = &entry.process;
    let what = || "the process to be let in".to_owned();
    // One that keeps those of its caller has all that there are within.
    let capabilities = wanted.capabilities.clone().unwrap_or_else(|| Set(u64::MAX).to_spec());
    let mut process = Process::default();
    process
        .set_args(Some(wanted.args.clone()))
        .set_env(Some(wanted.env.clone()))
        .set_cwd(wanted.cwd.clone())
        .set_terminal(Some(entry.terminal))
        .set_no_new_privileges(Some(wanted.no_new_privileges))
        .set_rlimits(Some(wanted.rlimits.clone()))
        .set_capabilities(Some(known(&capabilities)));
    identify(&mut process, identity);
    let text = serde_json::to_vec(&process).map_err(std::io::Error::from).attempt(what)?;
    let memory = rustix::fs::memfd_create("process.json", rustix::fs::MemfdFlags::empty());
    let mut file = std::fs::File::from(memory.attempt(what)?);
    file.write_all(&text).attempt(what)?;
    Ok(file.into())
}

fn go(file: &OwnedFd, doorway: &Doorway) -> Result<Infallible, StepError> {
    let program = doorway.runtime.program.display();
    // From here on it outlives whoever started it.
    rustix::process::set_parent_process_death_signal(None)
        .attempt(|| "prctl(PR_SET_PDEATHSIG)".to_owned())?;
    sys::process::default_signals();
    sys::fds::close_on_exec_from(3).attempt(|| "closing descriptors".to_owned())?;
    rustix::io::fcntl_setfd(file, FdFlags::empty())
        .attempt(|| "keeping a descriptor".to_owned())?;
    let mut command = doorway.runtime.command();
    command.args(["exec", "--process"]).arg(format!("/proc/self/fd/{}", file.as_raw_fd()));
    if let Some(pid_file) = &doorway.pid_file {
        command.arg("--internal-pid-file").arg(pid_file);
    }
    let error = command.arg(&doorway.id).exec();
    Err(error).attempt(|| program.to_string())
}
