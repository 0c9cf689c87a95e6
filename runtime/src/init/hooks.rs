//! The `createContainer` hooks of the spec: programs of the host that finish what only they know, such as the libraries of a
//! graphics card.
//!
//! Nobody but the Container Device Interface asks for them. They run in the namespaces of the container, with the files of
//! the host, after all mounts are there and before the change of root (OCI runtime specification, "createContainer Hooks").

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::Hook;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::error::{Attempt, StepError};
use super::mounts::{clone_of, place, root_of};
use super::rootfs::open_path;
use super::stage::Stage;

/// How long a hook may run that does not say it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much of what a hook says is told when it fails.
const LONGEST: u64 = 1024;

/// Runs the hooks, one after the other.
pub(super) fn run(stage: &mut Stage) -> Result<(), StepError> {
    let hooks = stage.spec().hooks().as_ref();
    let hooks = hooks.and_then(|hooks| hooks.create_container().clone()).unwrap_or_default();
    let Some(bundle) = stage.launch.bundle.clone().filter(|_| !hooks.is_empty()) else {
        return Ok(());
    };
    // The root lies over that of this process, where no path leads: the hooks find it in the bundle.
    let rootfs = bundle.join("rootfs");
    let root = root_of(stage)?.open_dir(Path::new(".")).attempt(|| "the root".to_owned())?;
    place(clone_of(&root, true)?, open_path(&rootfs)?)?;
    let state = state(&stage.launch.id, &bundle)?;
    for hook in &hooks {
        run_one(hook, &state)?;
    }
    rustix::mount::unmount(&rootfs, UnmountFlags::DETACH)
        .attempt(|| format!("unmounting {}", rootfs.display()))
}

/// What a hook reads: OCI runtime specification, "State".
fn state(id: &str, bundle: &Path) -> Result<String, StepError> {
    // /proc is the host's still: this is the number that the host knows.
    let own = std::fs::read_link("/proc/self").attempt(|| "/proc/self".to_owned())?;
    let state = serde_json::json!({
        "ociVersion": "1.2.1",
        "id": id,
        "status": "creating",
        "pid": own.to_string_lossy().parse::<i32>().unwrap_or(0),
        "bundle": bundle,
    });
    Ok(state.to_string())
}

fn run_one(hook: &Hook, state: &str) -> Result<(), StepError> {
    let path = hook.path();
    let what = || format!("the hook {}", path.display());
    let mut command = Command::new(path);
    let mut args = hook.args().clone().unwrap_or_default().into_iter();
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    command.args(args).env_clear();
    for variable in hook.env().iter().flatten() {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        command.env(name, value);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().attempt(what)?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not want to know is none the worse.
        let _ = input.write_all(state.as_bytes());
    }
    let patience = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok());
    let patience = patience.map_or(PATIENCE, Duration::from_secs);
    if !ends_in_time(&child, patience).attempt(what)? {
        let _ = child.kill();
        let _ = child.wait();
        let detail = format!("{} has not ended after {} s", what(), patience.as_secs());
        return Err(StepError::refused(libc::ETIMEDOUT, detail));
    }
    let status = child.wait().attempt(what)?;
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(errors) = child.stderr.take() {
        let _ = errors.take(LONGEST).read_to_string(&mut said);
    }
    Err(StepError::refused(0, format!("{}: {status}: {}", what(), said.trim())))
}

fn ends_in_time(child: &Child, patience: Duration) -> std::io::Result<bool> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else { return Ok(true) };
    ends_within(pidfd_open(pid, PidfdFlags::empty())?.as_fd(), patience)
}

/// Whether the process of `pidfd` ends before `patience` does.
pub(super) fn ends_within(pidfd: BorrowedFd<'_>, patience: Duration) -> std::io::Result<bool> {
    let due = Instant::now() + patience;
    loop {
        let left = due.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            answer => return Ok(answer? > 0),
        }
    }
}
