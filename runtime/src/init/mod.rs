//! The child's side: what a new process does between clone3 and its own program.
//!
//! It runs in the keeper's image after clone3, so it is ordinary single-threaded Rust, but it never returns: it
//! executes the program, or reports why not over a pipe and exits. [`steps`] is the list of what is done and the reasons
//! for the order; each other file holds the steps of one topic.
//!
//! Trust: the launch is ours and trusted; the root file system is hostile. So no path inside of it is ever joined as
//! text: all are resolved below a descriptor, and what was checked is what is used, by descriptor.

mod capabilities;
mod cgroups;
mod devices;
mod doorway;
mod entry;
mod error;
mod foreign;
mod grants;
mod hooks;
mod identity;
mod images;
mod limits;
mod memory;
mod mounts;
mod options;
mod paths;
mod program;
mod renew;
mod rootfs;
mod session;
mod stage;
mod steps;
mod view;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::process::Rlimit;

use crate::exec::ExecProcess;
use crate::failure::Failure;
use crate::launch::{Launch, NamespaceKind, Upper};

use entry::Entry;

pub(crate) use entry::Standard;
pub use identity::owner;
pub use renew::{refresh, renew};
pub(crate) use rootfs::sweep;
pub use view::view;

/// What the exit code of a child is that has reported its failure; nobody looks at it.
const REPORTED: i32 = 125;

/// Mounts layers, attached nowhere; on failure the errno and what was attempted.
pub(crate) fn overlay(lower: &[PathBuf], upper: &Upper) -> Result<OwnedFd, (i32, String)> {
    rootfs::detached(lower, upper).map_err(|error| (error.errno, error.detail))
}

/// What the parent hands to a child that is to become PID 1 of a container.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The sealed launch.
    pub launch: OwnedFd,
    /// Standard input, output and error.
    pub standard: Standard,
    /// The limit of open files that the process is given back, where the parent has raised its own.
    pub files: Option<Rlimit>,
    /// Namespaces of others to join. That of process numbers is not among them: the parent has cloned into it.
    pub joins: Vec<(NamespaceKind, OwnedFd)>,
    /// A pipe that it waits at before its program.
    pub gate: Option<OwnedFd>,
    /// The pipe for the failure; it closes when the program is executed.
    pub report: OwnedFd,
}

/// Becomes PID 1 of a container. Returns the exit code of a failure that has been reported.
pub(crate) fn start(setup: Setup) -> i32 {
    let report = setup.report;
    let build = || -> Result<(), Failure> {
        let launch: Launch = read(&setup.launch)?;
        let mut stage = stage::Stage::new(launch, setup.standard, setup.joins);
        stage.entry.files = setup.files;
        stage.entry.gate = setup.gate;
        match stage.launch.foreign.clone() {
            None => steps::start(stage),
            Some(runtime) => foreign::start(stage, &runtime, &report).map(|never| match never {}),
        }
    };
    reported(build(), &report)
}

/// What the parent hands to a child that is to be one more process of a container.
#[derive(Debug)]
pub(crate) struct Joining {
    /// What it is to be.
    pub process: ExecProcess,
    /// The container's PID 1.
    pub container: OwnedFd,
    /// As [`Setup::files`].
    pub files: Option<Rlimit>,
    /// Standard input, output and error.
    pub standard: JoinStandard,
    /// The pipe for the failure; it closes when the program is executed.
    pub report: OwnedFd,
}

/// Where the standard streams of a joining process come from.
#[derive(Debug)]
pub(crate) enum JoinStandard {
    /// From the caller.
    Given(Standard),
    /// From a new pseudo-terminal of the container, whose other end is sent over this socket.
    Terminal(OwnedFd),
}

impl JoinStandard {
    /// The beginning of `process`, bonded to its parent, and the socket over which its terminal is sent, if it has one.
    fn begin(
        self,
        process: ExecProcess,
        files: Option<Rlimit>,
    ) -> Result<(Entry, Option<OwnedFd>), Failure> {
        let (given, socket) = match self {
            Self::Given(standard) => (Some(standard), None),
            Self::Terminal(socket) => (None, Some(socket)),
        };
        let mut entry = Entry::new(process, given, socket.is_some());
        entry.files = files;
        steps::step("bond to the parent", session::bind_to_parent(&mut entry))?;
        Ok((entry, socket))
    }
}

/// Becomes one more process of a container. Returns the exit code of a failure that has been reported.
pub(crate) fn join(joining: Joining) -> i32 {
    let Joining { process, container, files, standard, report } = joining;
    if let Some(doorway) = process.doorway.clone() {
        let entered = doorway::enter(process, &doorway, files, standard);
        return reported(entered.map(|never| match never {}), &report);
    }
    reported(steps::join(process, &container, files, standard), &report)
}

/// Reads a sealed value that the supervisor wrote.
pub(crate) fn read<T: serde::de::DeserializeOwned>(memory: &OwnedFd) -> Result<T, Failure> {
    let step = "read request";
    let content = sys::fds::read_sealed(memory)
        .map_err(|error| Failure::of_call(step, &error, "the sealed request"))?;
    serde_json::from_slice(&content).map_err(|error| Failure {
        step: step.to_owned(),
        errno: libc::EINVAL,
        detail: error.to_string(),
    })
}

fn reported(outcome: Result<(), Failure>, report: &OwnedFd) -> i32 {
    let Err(failure) = outcome else { return 0 };
    let text = serde_json::to_vec(&failure).unwrap_or_default();
    // The parent that would read it may be gone; there is nobody else to tell.
    let _ = rustix::io::write(report, &text);
    REPORTED
}
